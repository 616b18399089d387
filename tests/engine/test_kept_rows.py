"""A result and the state of its run are one commit: how many commits there are, and what is there after each."""

import asyncio
import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mainspring import Transaction, flow, task
from mainspring.cache_policies import INPUTS
from mainspring.context import TaskRunContext
from mainspring.exceptions import MissingResult, SupersededRun
from mainspring.locking.memory import MemoryLockManager
from mainspring.recording import close_recorders, current_recorder, recorder
from mainspring.states import Crashed, State
from mainspring.store import Change, open_store
from mainspring.transactions import get_transaction, transaction
from tests.engine.history import query, sequence, states_of, task_runs
from tests.engine.scenarios import BoomError
from tests.transactions.stories import Events, hook

LONG = "long " * 10_000

BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


FINAL = """
    SELECT s.name FROM states s LEFT JOIN task_runs t ON t.id = s.run_id
    WHERE s.type IN ('COMPLETED', 'FAILED') ORDER BY t.id IS NULL, s.position, s.run_id
"""


class View(NamedTuple):
    """What another process sees between two commits."""

    states: str
    results: int
    staged: int
    settlements: int


def view() -> View:
    """The final states that were entered, in their order, and how many rows there are."""
    names = query(FINAL)
    counts = [query(f"SELECT count(*) FROM {table}")[0][0] for table in ("results", "staged", "settlements")]
    return View(" ".join(name for (name,) in names), *counts)


class Commits:
    """What there was to be seen after each commit of the process."""

    def __init__(self, watched: Any = view) -> None:
        self._watched = watched
        self._seen: list[Any] = []
        current_recorder().flush()
        self._db = current_recorder().store._writer.db  # type: ignore[attr-defined]
        self._db.set_trace_callback(self._trace)

    def _trace(self, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self._seen.append(self._watched())

    def end(self) -> list[Any]:
        """The views, the one after the last commit at the end."""
        self._db.set_trace_callback(None)
        return [*self._seen[1:], self._watched()]


@pytest.fixture(autouse=True)
def no_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background thread never has its turn, and the database has been written to."""
    monkeypatch.setattr(recorder, "VISIBLE_AFTER", 600)
    current_recorder().store.delete_result("nothing")


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def settle_elsewhere(run: Any, state: State) -> None:
    """What another process does that finds the run abandoned: enter a final state for it."""
    current_recorder().flush()
    with closing(open_store(current_recorder().store.url)) as store:
        found = store.read_run(run.key)
        assert found is not None
        found.claim(state)
        assert store.write([Change(found, [state], found.recorded)]) == []


def run(call: Any, *args: Any, **options: Any) -> Any:
    made = call(*args, **options)
    return asyncio.run(made) if hasattr(made, "__await__") else made


def made(is_async: bool, function: Any, **options: Any) -> Any:
    """A task of a sync function, or of an async one that does the same."""

    async def work(*args: Any) -> Any:
        return function(*args)

    return task(**options)(work if is_async else function)


# Outside of transactions


@BOTH
def test_a_kept_result_takes_one_commit(is_async: bool) -> None:
    """All states of the run and the row of its result are there after it, and nothing is before."""
    work = made(is_async, lambda: 1, persist_result=True)
    commits = Commits()
    assert run(work) == 1
    assert commits.end() == [("Completed", 1, 0, 0)]
    ((key, run_id),) = query("SELECT key, run_id FROM results")
    (found,) = task_runs()
    assert (found.key, found.state.data.storage_key) == (run_id, f"history://{key}")
    assert sequence() == "Pending Running Completed"


def test_a_result_that_is_not_kept_takes_one_commit() -> None:
    """Keeping a small result costs no commit."""
    work = made(False, lambda: 1, persist_result=False)
    commits = Commits()
    work()
    assert commits.end() == [("Completed", 0, 0, 0)]


@BOTH
def test_a_kept_exception_takes_one_commit(is_async: bool) -> None:
    """A failed run that keeps what it came to has its row in the same commit, too."""

    def fail() -> None:
        raise BoomError

    work = made(is_async, fail, persist_result=True)
    commits = Commits()
    with pytest.raises(BoomError):
        run(work)
    assert commits.end() == [("Failed", 1, 0, 0)]
    with pytest.raises(BoomError):
        task_runs()[0].state.result()


@BOTH
@pytest.mark.contract("E-25")
def test_a_cache_hit_takes_one_commit(is_async: bool) -> None:
    """It has a state, and no row of its own."""
    work = made(is_async, lambda x: x, cache_policy=INPUTS)
    run(work, 1)
    commits = Commits()
    assert run(work, 1) == 1
    assert commits.end() == [("Completed Cached", 1, 0, 0)]


def test_a_large_result_is_complete_before_its_row(mainspring_home: Path) -> None:
    """There is one commit; the file is there when it begins."""
    files = mainspring_home / "storage"
    work = made(False, lambda: LONG, persist_result=True)
    commits = Commits(lambda: (view(), len(files_in(files))))
    work()
    ((seen, number),) = commits.end()
    assert (seen, number) == (("Completed", 1, 0, 0), 1)
    assert task_runs()[0].state.result() == LONG


@pytest.mark.contract("R-79")
def test_a_file_elsewhere_is_complete_before_the_state(tmp_path: Path) -> None:
    """A result in a storage of the user's is written first: no state tells of what is not there."""
    seen: list[list[str]] = []
    work = made(False, lambda: 1, result_storage=tmp_path / "results")
    db = current_recorder().store._writer.db  # type: ignore[attr-defined]
    db.set_trace_callback(
        lambda text: seen.append(files_in(tmp_path / "results")) if text.startswith("BEGIN") else None
    )
    work()
    db.set_trace_callback(None)
    assert [len(names) for names in seen] == [1]
    assert view() == ("Completed", 0, 0, 0)


def test_results_of_flow_runs_come_with_their_states() -> None:
    """A flow run has its row with its final state, too."""

    @flow(persist_result=True)
    def pipeline() -> int:
        return 1

    commits = Commits()
    pipeline()
    assert commits.end() == [("Completed", 1, 0, 0)]


# In transactions


def block_of(count: int, **options: Any) -> Any:
    """A flow with a block of so many tasks, which counts the commits from the beginning of the block."""
    work = task(persist_result=True, **options)(lambda x: x)

    @flow(persist_result=True)
    def pipeline() -> list[View]:
        commits = Commits()
        with transaction():
            for number in range(count):
                work(number)
        return commits.end()

    return pipeline


def test_a_block_takes_a_commit_for_each_task_and_one_more() -> None:
    """What the tasks come to is staged with their states, and counts from the last commit on, all at once."""
    assert block_of(3)() == [
        ("Completed", 0, 1, 0),
        ("Completed Completed", 0, 2, 0),
        ("Completed Completed Completed", 0, 3, 0),
        ("Completed Completed Completed", 3, 0, 0),
    ]


def test_a_task_in_an_open_transaction_takes_one_commit() -> None:
    """Its row is staged in it; the end of the block publishes it in another one."""
    assert block_of(1)() == [("Completed", 0, 1, 0), ("Completed", 1, 0, 0)]


def test_hooks_take_a_commit_each() -> None:
    """What is decided is noted, then each hook before it is called, and the last commit publishes all."""
    seen: list[View] = []
    done = "Completed Completed"

    def look(txn: Transaction) -> None:
        seen.append(view())

    look.log_on_run = False  # type: ignore[attr-defined]  # lines are written as they come, too

    assert block_of(2, on_commit=[look], on_rollback=[look])() == [
        ("Completed", 0, 1, 0),
        (done, 0, 2, 0),
        (done, 0, 2, 1),
        (done, 0, 2, 1),
        (done, 0, 2, 1),
        (done, 2, 0, 0),
    ]
    assert seen == [(done, 0, 2, 1)] * 2


def test_a_block_outside_of_flows() -> None:
    """Nobody could go on with it, so nothing is staged; all results are kept by one commit at its end."""
    work = made(False, lambda x: x, persist_result=True)
    commits = Commits()
    with transaction():
        for number in range(2):
            work(number)
    assert commits.end() == [
        ("Completed", 0, 0, 0),
        ("Completed Completed", 0, 0, 0),
        ("Completed Completed", 2, 0, 0),
    ]


@pytest.mark.parametrize("value", [1, LONG], ids=["small", "large"])
@pytest.mark.contract("TX-37", "E-105")
def test_what_is_rolled_back_is_gone(value: object, mainspring_home: Path) -> None:
    """With the state RolledBack there is neither a row, nor something staged, nor a file."""
    work = made(False, lambda: value, persist_result=True)

    @flow(persist_result=True)
    def pipeline() -> list[View]:
        commits = Commits()
        try:
            with transaction():
                work()
                raise BoomError
        except BoomError:
            return commits.end()
        return []

    commits = pipeline()
    assert commits[0] == ("Completed", 0, 1, 0)
    assert commits[-1] == ("Completed RolledBack", 0, 0, 0)
    assert [each.results for each in commits] == [0] * len(commits)
    (found,) = task_runs()
    assert sequence(found) == "Pending Running Completed RolledBack"
    with pytest.raises(MissingResult):
        found.state.result()
    close_recorders()
    assert len(files_in(mainspring_home / "storage")) == 0


def test_a_rolled_back_run_is_staged_no_more() -> None:
    """From the commit of the state RolledBack on, also if nothing was to be kept of it."""
    work = made(False, lambda: 1, persist_result=False, on_commit=[hook([], "commit", BoomError())])

    @flow(persist_result=True)
    def pipeline() -> list[View]:
        commits = Commits()
        work()
        return commits.end()

    commits = pipeline()
    assert commits[0] == ("Completed", 0, 1, 0)
    rolled_back = [each for each in commits if each.states == "Completed RolledBack"]
    assert rolled_back
    assert [each.staged for each in rolled_back] == [0] * len(rolled_back)
    assert commits[-1].settlements == 0


@pytest.mark.parametrize("in_flow", [False, True])
def test_what_is_rolled_back_elsewhere_is_gone(in_flow: bool, tmp_path: Path, mainspring_home: Path) -> None:
    """A result that was to be kept in a folder is not there, and the copy that was staged of it is removed."""
    work = made(False, lambda: LONG, result_storage=tmp_path / "results")

    def pipeline() -> None:
        with transaction():
            work()
            raise BoomError

    with pytest.raises(BoomError):
        flow(persist_result=True)(pipeline)() if in_flow else pipeline()
    assert sequence() == "Pending Running Completed RolledBack"
    assert files_in(tmp_path / "results") == []
    close_recorders()
    assert files_in(mainspring_home / "storage") == []


def test_what_is_committed_elsewhere_is_there(tmp_path: Path, mainspring_home: Path) -> None:
    """A result for a folder is staged in the run store, and in the folder after the end of the block."""
    work = made(False, lambda: LONG, result_storage=tmp_path / "results")

    @flow(persist_result=True)
    def pipeline() -> None:
        with transaction():
            work()
            assert files_in(tmp_path / "results") == []
        assert len(files_in(tmp_path / "results")) == 1

    pipeline()
    assert task_runs()[0].state.result() == LONG
    close_recorders()
    assert files_in(mainspring_home / "storage") == []


# What does not count


@BOTH
@pytest.mark.parametrize("value", [1, LONG], ids=["small", "large"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_superseded_run_keeps_nothing(
    is_async: bool, value: object, elsewhere: bool, tmp_path: Path, mainspring_home: Path
) -> None:
    """Whoever has settled the run finds no row and no file of it."""

    def end() -> object:
        settle_elsewhere(TaskRunContext.get().task_run, Crashed(message="elsewhere"))  # type: ignore[union-attr]
        return value

    storage = {"result_storage": tmp_path / "results"} if elsewhere else {}
    work = made(is_async, end, persist_result=True, **storage)
    with pytest.raises(SupersededRun):
        run(work)
    assert query("SELECT * FROM results") == query("SELECT * FROM staged") == []
    assert sequence() == "Pending Running Crashed"
    close_recorders()
    assert files_in(tmp_path / "results") == files_in(mainspring_home / "storage") == []


def test_a_superseded_run_in_a_transaction_keeps_nothing(mainspring_home: Path) -> None:
    """It is not staged, either, and its hooks are those of a rollback."""
    events: Events = []

    @task(persist_result=True, on_commit=[hook(events, "commit")], on_rollback=[hook(events, "undo")])
    def work() -> str:
        settle_elsewhere(TaskRunContext.get().task_run, Crashed(message="elsewhere"))  # type: ignore[union-attr]
        return LONG

    @flow(persist_result=True)
    def pipeline() -> None:
        with transaction():
            work()

    with pytest.raises(SupersededRun):
        pipeline()
    assert events == ["undo"]
    assert query("SELECT * FROM staged") == query("SELECT * FROM settlements") == []
    assert query("SELECT * FROM results WHERE run_id = ?", task_runs()[0].key) == []
    close_recorders()
    assert files_in(mainspring_home / "storage") == []


@BOTH
@pytest.mark.contract("TX-77")
def test_a_lost_lock_keeps_nothing(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    """If the lock was lost before the end, others may have gone on: there is no row, and the run is rolled back."""
    policy = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=MemoryLockManager())

    def lose(x: int) -> int:
        txn = get_transaction()
        assert txn is not None
        txn.store.release_lock(txn.key, holder=txn.holder)  # as a hold timeout does
        return x

    work = made(is_async, lose, cache_policy=policy)
    assert run(work, 1) == 1
    assert query("SELECT * FROM results") == []
    assert sequence() == "Pending Running Completed RolledBack"
    assert "was lost before the transaction was committed" in caplog.text


@pytest.mark.parametrize("in_flow", [False, True])
@pytest.mark.parametrize("by_signal", [False, True])
def test_an_interrupted_commit_keeps_nothing(in_flow: bool, by_signal: bool) -> None:
    """Ctrl-C in a commit hook rolls back: the run shows it, and nothing is kept or left."""
    events: Events = []

    def interrupt(txn: Transaction) -> None:
        events.append("commit")
        if by_signal:
            os.kill(os.getpid(), signal.SIGINT)
        raise KeyboardInterrupt

    work = made(
        False, lambda: 1, persist_result=True, on_commit=[interrupt], on_rollback=[hook(events, "undo")]
    )

    def pipeline() -> None:
        with transaction():
            work()

    with pytest.raises(KeyboardInterrupt):
        flow(persist_result=True)(pipeline)() if in_flow else pipeline()
    assert events == ["commit", "undo"]
    assert sequence(task_runs()[0]) == "Pending Running Completed RolledBack"
    assert query("SELECT * FROM results WHERE run_id = ?", task_runs()[0].key) == []
    assert query("SELECT * FROM staged") == query("SELECT * FROM settlements") == []


@BOTH
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("value", [1, LONG], ids=["small", "large"])
def test_an_interrupt_between_state_and_commit(
    is_async: bool, elsewhere: bool, value: object, tmp_path: Path, mainspring_home: Path
) -> None:
    """A run that was interrupted while its state was entered is rolled back, and its row or file does not stay."""
    storage = {"result_storage": tmp_path / "results"} if elsewhere else {}
    work = made(is_async, lambda: value, persist_result=True, **storage)

    def interrupt(entered: object, state: State) -> None:
        if state.name == "Completed":
            raise KeyboardInterrupt

    with current_recorder().listen(interrupt), pytest.raises(KeyboardInterrupt):
        run(work)
    (found,) = task_runs()
    assert sequence(found) == "Pending Running Completed RolledBack"
    assert query("SELECT * FROM results") == []
    close_recorders()
    assert files_in(tmp_path / "results") == files_in(mainspring_home / "storage") == []


def test_a_replaced_result_does_not_come_back_by_a_rollback() -> None:
    """A run that is rolled back after another one has kept the same key leaves that result alone."""
    work = made(False, lambda x: x, persist_result=True, cache_key_fn=lambda *_: "k", refresh_cache=True)
    other = made(False, lambda: "other", persist_result=True, cache_key_fn=lambda *_: "k", refresh_cache=True)

    def interrupt(entered: Any, state: State) -> None:
        if state.name == "Completed" and not rivals:
            rivals.append(threading.Thread(target=other))
            current_recorder().flush()
            rivals[0].start()
            rivals[0].join()
            raise KeyboardInterrupt

    rivals: list[threading.Thread] = []
    with current_recorder().listen(interrupt), pytest.raises(KeyboardInterrupt):
        work("ours")
    ours, theirs = task_runs()
    assert [state.name for state in states_of(ours)][-1] == "RolledBack"
    assert theirs.state.result() == "other"
