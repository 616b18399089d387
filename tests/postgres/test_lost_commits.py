"""The connection breaks at any message of a transaction, its commit and the answer included: all happens once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from mainspring.identifiers import new_id
from mainspring.store import Change, LogEntry, SlotRequest
from mainspring.store.cancellations import CancellationRequest
from mainspring.store.pauses import PauseRecord
from mainspring.store.postgres import PostgresRunStore
from mainspring.store.protocol import CacheKey
from mainspring.store.results import CrashHooks, KeptResult, Settlement, StagedStep
from tests.postgres.conftest import Open
from tests.postgres.proxy import Proxy
from tests.store.histories import (
    COMPLETED,
    CRASHED,
    NOON,
    RUNNING,
    advance,
    facts,
    new_flow_run,
    new_task_run,
    record,
)

MOST_MESSAGES = 400

Act = Callable[..., object]


class Breaking:
    """A store whose connection breaks once, at a message further on each time."""

    def __init__(self, store: PostgresRunStore, proxy: Proxy, url: str) -> None:
        self.store = store
        self._proxy = proxy
        self._db = psycopg.connect(url, autocommit=True)

    def everywhere(self, step: int = 1) -> Iterator[Act]:
        """Give, for each message of what is done with it, a function to do it with; or for some of them."""
        for index in range(0, MOST_MESSAGES, step):

            def do(act: Act, *args: object, index: int = index) -> object:
                self._proxy.cut_at(index)
                try:
                    return act(*args)
                finally:
                    self.was_cut = self._proxy.disarm()

            yield do
            if not self.was_cut:
                assert index > 5  # else nothing was done
                return
        raise AssertionError(f"more than {MOST_MESSAGES} messages")

    @contextmanager
    def at_commit(self) -> Iterator[None]:
        """Break the connection instead of handing on the answer to the next commit."""
        self._proxy.cut_once(lambda message: message.is_answer_to_commit)
        yield
        assert self._proxy.disarm()

    def count(self, query: str, *values: object) -> int:
        row = self._db.execute(query, values).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def breaking(url: str, proxy: Proxy, opened: Open) -> Iterator[Breaking]:
    store = opened(proxy.url)
    store.renew_lease()
    record(store, advance(new_task_run(), RUNNING, COMPLETED))  # so that the owner is there
    found = Breaking(store, proxy, url)
    yield found
    found._db.close()


def facts_of(breaking: Breaking, change: Change) -> list[object]:
    return [state.type for state in breaking.store.read_states(change.run.key)]


def test_a_finished_run_is_written_once(breaking: Breaking) -> None:
    """A run that is new and over has each state, each line and its cache key once, wherever the connection broke."""
    for do in breaking.everywhere():
        run = new_task_run()
        change = advance(run, RUNNING, COMPLETED)
        lines = [LogEntry(NOON, 20, "log", text, None, run.key) for text in ("a", "b", "a")]
        assert do(breaking.store.write, [change], lines, [CacheKey(run.key, "k", {})]) == []
        found = breaking.store.read_run(run.key)
        assert found is not None
        assert facts(found) == facts(run)
        assert breaking.store.read_states(run.key) == change.states
        assert breaking.store.read_logs(run.key) == lines


def test_lines_alone_are_written_once(breaking: Breaking) -> None:
    """Lines that come with no state are there once, as often as each was given."""
    for do in breaking.everywhere():
        key = new_id()
        lines = [LogEntry(NOON, 20, "log", text, None, key) for text in ("a", "b")]
        breaking_lines = lines
        do(breaking.store.write, [], breaking_lines)
        assert breaking.count("SELECT count(*) FROM logs WHERE task_run_id = %s", key) == 2


def test_lines_when_the_second_try_breaks_too(breaking: Breaking, proxy: Proxy) -> None:
    """A commit whose answer is lost twice in a row writes lines once, and is no error."""
    key = new_id()
    line = LogEntry(NOON, 20, "log", "once", None, key)
    with breaking.at_commit():
        original = breaking.store._transact_once
        calls = 0

        def transact(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 2:
                proxy.cut_once(lambda message: message.is_answer_to_commit)
            return original(*args, **kwargs)  # type: ignore[arg-type]

        breaking.store._transact_once = transact  # type: ignore[method-assign,assignment]
        breaking.store.write([], [line])
    assert calls > 1
    assert breaking.count("SELECT count(*) FROM logs WHERE task_run_id = %s", key) == 1


def test_a_run_that_goes_on_is_written_once(breaking: Breaking) -> None:
    """States that follow others are there once, and none is refused."""
    for do in breaking.everywhere():
        run = new_flow_run()
        record(breaking.store, advance(run, RUNNING))
        change = advance(run, COMPLETED)
        assert do(breaking.store.write, [change]) == []
        assert len(breaking.store.read_states(run.key)) == 3


def test_a_kept_result_is_written_once(breaking: Breaking) -> None:
    """A task of a flow whose result is kept is neither refused nor written twice, nor is its result missing."""
    flow_run = new_flow_run()
    record(breaking.store, advance(flow_run, RUNNING))
    for do in breaking.everywhere():
        run = new_task_run(flow_run)
        run.flow_run_run_count = 1
        change = advance(run, RUNNING, COMPLETED)
        key = new_id().hex()
        change.attachments = [KeptResult(key, "1", None, run.key), CrashHooks(run.key, is_over=True)]
        assert do(breaking.store.write, [change]) == []
        assert breaking.store.read_result(key) == KeptResult(key, "1", None, run.key)
        assert len(breaking.store.read_states(run.key)) == 3
    assert breaking.store.read_unused_files() == []


def test_a_staged_step_with_a_file_is_written_once(breaking: Breaking) -> None:
    """A step that is staged with a file is there once, and its file does not count as unused."""
    flow_run = new_flow_run()
    record(breaking.store, advance(flow_run, RUNNING))
    for do in breaking.everywhere():
        run = new_task_run(flow_run)
        run.flow_run_run_count = 1
        change = advance(run, RUNNING, COMPLETED)
        change.attachments = [StagedStep(run.key, flow_run.key, flow_run.key, "k", file=f"/{run.key.hex()}")]
        assert do(breaking.store.write, [change]) == []
        assert breaking.count("SELECT count(*) FROM staged WHERE run_id = %s", run.key) == 1
    assert breaking.store.read_unused_files() == []


def test_slots_are_taken_and_released_once(breaking: Breaking) -> None:
    """Slots are held once after they were taken, and free after they were given back."""
    store = breaking.store
    store.write_limit("db", 2, True, 0)
    for do in breaking.everywhere(3):
        request = SlotRequest(new_id(), ["db"], 1, 10**12)
        answer = do(store.take_slots, request, NOON, None)
        assert answer.granted  # type: ignore[attr-defined]
        assert breaking.count("SELECT count(*) FROM slots") == 1
        store.release_slots(request.lease_key, NOON, 1.0)
    for do in breaking.everywhere(3):
        request = SlotRequest(new_id(), ["db"], 1, 10**12)
        assert store.take_slots(request, NOON, None).granted
        do(store.release_slots, request.lease_key, NOON, 1.0)
        assert breaking.count("SELECT count(*) FROM slots") == 0


def test_decaying_slots_are_counted_once(breaking: Breaking) -> None:
    """A token of a rate limit is used up once."""
    store = breaking.store
    for do in breaking.everywhere(3):
        name = new_id().hex()
        store.write_limit(name, 5, True, 1e-9)
        request = SlotRequest(new_id(), [name], 1, 10**12, decays=True)
        answer = do(store.take_slots, request, NOON, None)
        assert answer.granted  # type: ignore[attr-defined]
        assert store.read_limits([name])[0].active_slots == 1


def test_locks_are_taken_and_released_once(breaking: Breaking) -> None:
    """A lock is held by who took it, and whoever gives it back is told that it did."""
    store = breaking.store
    for do in breaking.everywhere(3):
        key = new_id().hex()
        assert do(store.take_lock, key, "me", NOON, None) is None
        held = store.read_lock(key, NOON)
        assert held is not None
        assert held.holder == "me"
    for do in breaking.everywhere(3):
        key = new_id().hex()
        store.take_lock(key, "me", NOON, None)
        assert do(store.release_lock, key, "me", NOON) is True
        assert store.read_lock(key, NOON) is None


def test_settlements_are_decided_once(breaking: Breaking) -> None:
    """Opening, claiming, advancing and closing a settlement say that they did it, and did it."""
    store = breaking.store
    flow_run = new_flow_run()
    record(store, advance(flow_run, RUNNING))

    def settlement() -> tuple[Settlement, StagedStep]:
        run = new_task_run(flow_run)
        run.flow_run_run_count = 1
        change = advance(run, RUNNING, COMPLETED)
        step = StagedStep(run.key, flow_run.key, flow_run.key, run.key.hex(), content="1")
        change.attachments = [step]
        record(store, change)
        return Settlement(new_id(), flow_run.key, "COMMIT", b""), step

    for do in breaking.everywhere(3):
        found, step = settlement()
        assert do(store.open_settlement, found, [step.run_key]) is True
    for do in breaking.everywhere(3):
        found, step = settlement()
        assert store.open_settlement(found, [step.run_key])
        assert do(store.advance_settlement, found.key, 1) is True
    for do in breaking.everywhere(3):
        found, step = settlement()
        assert store.open_settlement(found, [step.run_key])
        new_key = new_id()
        assert do(store.claim_settlement, found.key, new_key) is True
        assert not store.claim_settlement(found.key, new_id())
        assert store.close_settlement(new_key, [step.run_key])
    for do in breaking.everywhere(3):
        found, step = settlement()
        assert store.open_settlement(found, [step.run_key])
        assert do(store.close_settlement, found.key, [step.run_key]) is True
        assert store.read_result(step.run_key.hex()) is not None
        assert not store.close_settlement(found.key, [step.run_key])


def test_crash_hooks_are_claimed_once(breaking: Breaking) -> None:
    """Who claims crash hooks is told that they are theirs, although the answer to the commit was lost."""
    for do in breaking.everywhere(3):
        run = new_task_run()
        change = advance(run, RUNNING)
        change.attachments = [CrashHooks(run.key, "module:task", "/module.py")]
        record(breaking.store, change, advance(run, CRASHED))
        assert do(breaking.store.claim_crash_hooks, run.key) is True
        assert not breaking.store.claim_crash_hooks(run.key)


def test_results_are_deleted_once(breaking: Breaking) -> None:
    """Deleting a result says whether there was one."""
    for do in breaking.everywhere(3):
        key = new_id().hex()
        breaking.store.write([], [], [], [KeptResult(key, "1")])
        assert do(breaking.store.delete_result, key) is True
        assert breaking.store.read_result(key) is None
        assert not breaking.store.delete_result(key)


def test_pauses_are_answered_once(breaking: Breaking) -> None:
    """Who answers a pause, or closes it, is told that it counted."""
    store = breaking.store

    def pause() -> PauseRecord:
        record_ = PauseRecord(
            flow_run_key=new_id(), key="1", root_key=new_id(), requested=NOON, expires=NOON + 1
        )
        return store.open_pause(record_)

    for do in breaking.everywhere(3):
        key = pause().flow_run_key
        assert do(store.answer_pause, key, "1", NOON, "1") is True
        assert not store.answer_pause(key, "1", NOON, "2")
    for do in breaking.everywhere(3):
        key = pause().flow_run_key
        assert do(store.close_pause, key, "1", NOON) is True
        assert not store.answer_pause(key, "1", NOON, "2")


def test_an_answer_is_refused_once(breaking: Breaking) -> None:
    """Refusing an answer whose commit was in doubt leaves alone the answer that came meanwhile."""
    store = breaking.store
    given = PauseRecord(flow_run_key=new_id(), key="1", root_key=new_id(), requested=NOON, expires=NOON + 1)
    store.open_pause(given)
    store.answer_pause(given.flow_run_key, "1", NOON, "wrong")
    other = store._connections.connect()
    original = store._connections._take

    def take() -> object:
        if breaking._proxy._cut is None:  # it is the second try
            other.execute("UPDATE pauses SET answered = 1, input = 'right' WHERE answered IS NULL")
        return original()

    store._connections._take = take  # type: ignore[method-assign,assignment]
    with breaking.at_commit():
        store.refuse_answer(given.flow_run_key, "1", "no number")
    store._connections._take = original  # type: ignore[method-assign]
    other.close()
    found = store.read_pause(given.flow_run_key, "1")
    assert found is not None
    assert found.input == "right"


def test_cancellations_are_requested_once(breaking: Breaking) -> None:
    """A request to cancel a run is there once, and says so."""
    for do in breaking.everywhere(3):
        run = new_task_run()
        record(breaking.store, advance(run, RUNNING))
        request = CancellationRequest(run.key, "why")
        assert do(breaking.store.request_cancellation, request, NOON) is True
        assert breaking.count("SELECT count(*) FROM cancellations WHERE run_id = %s", run.key) == 1


def test_the_first_write_of_a_process(url: str, proxy: Proxy, opened: Open) -> None:
    """The first transaction, with which a process becomes an owner, can break anywhere, too."""
    with psycopg.connect(url, autocommit=True) as db:
        for index in range(MOST_MESSAGES):
            store = opened(proxy.url)
            run = new_task_run()
            proxy.cut_at(index)
            assert store.write([advance(run, RUNNING)]) == []
            was_cut = proxy.disarm()
            row = db.execute(
                "SELECT count(*) FROM task_runs JOIN owners ON owners.id = owner_id WHERE task_runs.id = %s"
                " AND ended IS NULL",
                [run.key],
            ).fetchone()
            assert row == (1,)
            assert store.renew_lease()
            store.close()
            if not was_cut:
                break
        else:
            raise AssertionError
