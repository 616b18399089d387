"""From the engine to the disk: what is durable when, what is refused, and what happens when writing fails."""

import asyncio
import copy
import gc
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, get_run_logger, task
from mainspring.client import get_client
from mainspring.context import get_run_context
from mainspring.exceptions import StoreError, StoreUnavailable, SupersededRun
from mainspring.recording import Recorder, close_recorders, current_recorder, use_recorder
from mainspring.recording.recorder import CAPACITY
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import get_current_settings, temporary_settings
from mainspring.states import Completed, Crashed, Failed, Pending, Running, State
from mainspring.store.addresses import open_store
from mainspring.store.protocol import Change, LogEntry
from mainspring.transactions import transaction
from tests.engine.history import flow_runs, only_task_run, query, sequence, task_runs
from tests.engine.scenarios import BoomError, Meteor

STATES = (
    "SELECT s.name FROM states s JOIN task_runs r ON r.id = s.run_id WHERE r.name = ? ORDER BY r.id, position"
)


def on_disk(name: str) -> str:
    """The states of a task run as another connection sees them at this moment."""
    return " ".join(row[0] for row in query(STATES, name))


def until(condition: Any, seconds: float = 3.0) -> None:
    """Wait until something is true that a background thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def database() -> Path:
    return Path(get_current_settings().run_store_url.removeprefix("sqlite:///"))


# Promise 2: if a call returned, its history is on disk


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_returned_is_on_disk(durability: str, is_async: bool) -> None:
    """When a call returns or raises, its final state is committed, as another connection can see."""

    @task(name="good")
    def good() -> int:
        return 1

    @task(name="agood")
    async def agood() -> int:
        return 1

    @task(name="bad")
    def bad() -> None:
        raise BoomError

    with temporary_settings({"durability": durability}):
        for number in range(1, 6):
            asyncio.run(agood()) if is_async else good()
            assert on_disk("agood" if is_async else "good") == " ".join(
                ["Pending Running Completed"] * number
            )
        with pytest.raises(BoomError):
            bad()
        assert on_disk("bad") == "Pending Running Failed"


@pytest.mark.contract("F-42", "H-6")
def test_hooks_find_the_final_state_on_disk() -> None:
    """A hook for the end of a run is called when that end is committed, for tasks and flows."""
    seen = []

    def look(of: Any, run: Any, state: State) -> None:
        table = "flow_runs" if isinstance(run, FlowRun) else "task_runs"
        seen.extend(query(f"SELECT state_name, total_run_time FROM {table} WHERE id = ?", run.key))

    @task(on_completion=[look], on_failure=[look])
    def work(x: int) -> float:
        return 1 / x

    @flow(on_completion=[look])
    def pipeline() -> None:
        work(1)
        work(0, return_state=True)

    pipeline()
    assert [row[0] for row in seen] == ["Completed", "Failed", "Completed"]


def test_the_result_of_a_future_is_on_disk() -> None:
    """A value that a future gives was committed before."""

    @task(name="work")
    def work(x: int) -> int:
        return x

    @flow
    def pipeline() -> None:
        for number, future in enumerate([work.submit(x) for x in range(20)]):
            assert future.result() == number
            rows = query("SELECT state_name FROM task_runs WHERE id = ?", future.task_run_key)
            assert [row[0] for row in rows] == ["Completed"]

    pipeline()


def test_a_yielded_value_belongs_to_a_visible_run() -> None:
    """While a generator is suspended its run becomes visible; at its end it is committed."""

    @task(name="steps")
    def steps() -> Iterator[int]:
        yield 1

    iterator = steps()
    next(iterator)
    until(lambda: on_disk("steps") == "Pending Running")
    assert list(iterator) == []
    assert on_disk("steps") == "Pending Running Completed"


def test_a_run_that_goes_on_becomes_visible() -> None:
    """A run that has not ended can be seen by others after some tens of milliseconds, log lines too."""

    @task(name="long")
    def long() -> None:
        get_run_logger().info("at work")
        until(lambda: on_disk("long") == "Pending Running")
        until(lambda: query("SELECT message FROM logs") == [("at work",)])

    long()


def test_a_short_run_is_one_commit() -> None:
    """Pending, Running and the final state of a short run reach the store together."""
    writes = []

    @task
    def work() -> None: ...

    work()
    recorder = current_recorder()
    write = recorder.store.write

    def counted(changes: Any, *rest: Any) -> Any:
        writes.append([[state.name for state in change.states] for change in changes])
        return write(changes, *rest)

    recorder.store.write = counted  # type: ignore[method-assign]
    work()
    assert writes == [[["Pending", "Running", "Completed"]]]


def test_relaxed_durability_writes_soon() -> None:
    """With ``relaxed`` a call may return before its commit, which follows within moments, in order."""

    @task(name="work")
    def work() -> None: ...

    with temporary_settings({"durability": "relaxed"}):
        for _ in range(10):
            work()
        until(lambda: on_disk("work") == " ".join(["Pending Running Completed"] * 10))


def test_relaxed_history_is_complete_at_the_end() -> None:
    """Closing writes what was still on its way."""

    @task(name="work")
    def work() -> None: ...

    with temporary_settings({"durability": "relaxed"}):
        for _ in range(50):
            work()
        close_recorders()
        assert query("SELECT count(*) FROM task_runs WHERE state_name = 'Completed'") == [(50,)]


def test_reading_sees_everything_entered_so_far() -> None:
    """A client of this process writes out the buffer before it reads."""

    @task
    def work() -> str:
        return get_client().read_task_run(get_run_context().task_run.id).state.name  # type: ignore[union-attr]

    assert work() == "Running"


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("disk", 2)])
def test_durability_is_what_sqlite_is_told(durability: str, level: int) -> None:
    """Surviving a power cut needs a full sync of each commit, surviving the process does not."""
    with temporary_settings({"durability": durability}):
        store: Any = current_recorder().store
        assert store._writer.db is None or store._writer.db.execute("PRAGMA synchronous").fetchone() == (
            level,
        )
        task(lambda: None)()
        assert store._writer.db.execute("PRAGMA synchronous").fetchone() == (level,)


# Fencing: a superseded attempt changes nothing


def settle_elsewhere(run: TaskRun | FlowRun, state: State) -> None:
    """Do what another process would: settle a run in the same store, past this process's recorder."""
    current_recorder().flush()
    settings = get_current_settings()
    other = open_store(settings.run_store_url, settings.durability)
    try:
        stored = other.read_run(run.key)
        assert stored is not None
        state.belong_to(run.key if isinstance(run, TaskRun) else None, None)
        assert other.write([Change(stored, [state], stored.recorded)]) == []
    finally:
        other.close()


@pytest.mark.parametrize("outcome", ["returns", "raises"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_superseded_run(outcome: str, is_async: bool) -> None:
    """If somebody else has settled the run, its end is refused, no hook runs, the caller is told; rows stand."""
    events: list[str] = []

    def end() -> str:
        settle_elsewhere(get_run_context().task_run, Crashed(message="by the operator"))  # type: ignore[union-attr]
        if outcome == "raises":
            raise BoomError
        return "late"

    async def aend() -> str:
        return end()

    work: Any = task(
        name="work",
        on_completion=[lambda *_: events.append("completed")],
        on_failure=[lambda *_: events.append("failed")],
    )(aend if is_async else end)
    with pytest.raises(SupersededRun, match=r"was refused.*mainspring runs show"):
        asyncio.run(work()) if is_async else work()
    assert events == []
    assert on_disk("work") == "Pending Running Crashed"
    run = only_task_run()
    assert (run.state.name, run.state.message) == ("Crashed", "by the operator")


def test_a_superseded_run_is_rolled_back() -> None:
    """Its transaction does not commit."""
    events: list[str] = []

    @task(on_commit=[lambda txn: events.append("commit")], on_rollback=[lambda txn: events.append("undo")])
    def work() -> None:
        settle_elsewhere(get_run_context().task_run, Completed())  # type: ignore[union-attr]

    with pytest.raises(SupersededRun), transaction():
        work()
    assert events == ["undo"]
    assert sequence() == "Pending Running Completed"


def test_a_superseded_flow_run() -> None:
    """The same holds for flow runs."""
    events: list[str] = []

    @flow(on_completion=[lambda *_: events.append("completed")])
    def pipeline() -> None:
        settle_elsewhere(get_run_context().flow_run, Failed(message="elsewhere"))  # type: ignore[union-attr, arg-type]

    with pytest.raises(SupersededRun):
        pipeline()
    assert events == []
    assert [run.state.message for run in flow_runs()] == ["elsewhere"]


@pytest.mark.invariants(by_hand=True, is_over=False)
def test_a_refusal_is_of_one_record() -> None:
    """Somebody in the same process who goes on with the run, from what the store holds, is not refused as well."""
    recorder = current_recorder()
    run = TaskRun(b"r" * 16, "run", Pending(), "key")
    assert recorder.claim({run: ()}) == set()
    settle_elsewhere(run, Crashed())
    recorder.enter(run, Running(), wait=False)
    recorder.flush()  # which nobody asks for what was refused
    found = only_task_run()
    assert recorder.enter(found, Running(), wait=True, confirm=True)
    assert sequence() == "Pending Crashed Running"


@pytest.mark.parametrize("others", [0, 1, 3])
@pytest.mark.invariants(is_over=False)
def test_claims(others: int) -> None:
    """Of several who claim a run, the first one has it; that says nothing of other runs in the same commit."""
    recorder = current_recorder()
    runs = [TaskRun(bytes([number]) * 16, f"run-{number}", Pending(), "key") for number in range(others + 1)]
    assert recorder.claim({runs[0]: ()}) == set()
    again = [copy.copy(run) for run in runs]
    for run in again:
        run.state, run.recorded = run.state.again(), None
    assert recorder.claim(dict.fromkeys(again, ())) == {runs[0].key}
    assert {run.key for run in task_runs()} == {run.key for run in runs}
    recorder.enter(runs[0], Running(), wait=True, confirm=True)


def test_others_are_not_hurt_by_a_refusal() -> None:
    """Runs that are written together with a refused one are written."""

    @task(name="good")
    def good() -> int:
        return 1

    @task(name="superseded")
    def superseded() -> None:
        settle_elsewhere(get_run_context().task_run, Crashed())  # type: ignore[union-attr]
        assert good() == 1

    with pytest.raises(SupersededRun):
        superseded()
    assert good() == 1
    assert on_disk("good") == "Pending Running Completed RolledBack Pending Running Completed"
    assert on_disk("superseded") == "Pending Running Crashed"


# When writing fails


class BrokenStore:
    """A store around a real one that fails while ``error`` is set."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.error: BaseException | None = None
        self.after = False

    def write(self, changes: Any, *rest: Any) -> Any:
        if self.error is not None and not self.after:
            raise self.error
        refused = self.store.write(changes, *rest)
        if self.error is not None:
            raise self.error
        return refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.fixture
def broken() -> Iterator[BrokenStore]:
    """A recorder of the test's own whose store can be broken and mended."""
    settings = get_current_settings()
    store = BrokenStore(open_store(settings.run_store_url, settings.durability))
    recorder = Recorder(store)  # type: ignore[arg-type]
    with use_recorder(recorder):
        yield store
    store.error = None
    recorder.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_an_end_that_cannot_be_written(broken: BrokenStore, is_async: bool) -> None:
    """The caller gets the error instead of a value whose history is not kept, so what was done is rolled back.

    What is in the buffer is written as soon as that works.
    """
    events: list[str] = []

    def end() -> int:
        broken.error = StoreUnavailable("the disk is full")
        return 1

    async def aend() -> int:
        return end()

    work: Any = task(name="work", on_completion=[lambda *_: events.append("completed")], retries=2)(
        aend if is_async else end
    )
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        asyncio.run(work()) if is_async else work()
    assert events == []
    broken.error = None
    current_recorder().flush()
    assert on_disk("work") == "Pending Running Completed RolledBack"


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_write_is_repeated(broken: BrokenStore, after: bool) -> None:
    """An interrupt before or after the commit loses nothing and writes nothing twice."""

    @task(name="work")
    def work() -> None:
        broken.error, broken.after = KeyboardInterrupt(), after

    with pytest.raises(KeyboardInterrupt):
        work()
    broken.error = None
    current_recorder().flush()
    assert on_disk("work") == "Pending Running Completed RolledBack"


@pytest.mark.invariants(is_over=False)
def test_an_interrupt_while_the_buffer_is_taken_loses_nothing(broken: BrokenStore) -> None:
    """Between taking the buffer and giving it to the store nothing may get lost either."""

    class Interrupted(TaskRun):
        __slots__ = ("armed",)

        @property
        def recorded(self) -> bytes | None:  # type: ignore[override]
            return None

        @recorded.setter
        def recorded(self, key: bytes | None) -> None:
            if key is not None and self.armed:
                self.armed = False
                raise KeyboardInterrupt

    recorder = current_recorder()
    recorder._idle = False  # the background thread is not to be the one that meets it
    run = TaskRun(b"1" * 16, "other", Pending(), "key")
    recorder.enter(run, run.state, wait=False)
    bad = Interrupted.__new__(Interrupted)
    bad.armed = True
    TaskRun.__init__(bad, b"2" * 16, "bad", Pending(), "key")
    recorder.enter(bad, bad.state, wait=False)
    with pytest.raises(KeyboardInterrupt):
        recorder.flush()
    recorder.flush()
    assert on_disk("other") == on_disk("bad") == "Pending"


@pytest.mark.invariants(is_over=False)
def test_the_background_thread_reports_trouble_once(
    broken: BrokenStore, caplog: pytest.LogCaptureFixture
) -> None:
    """While nothing can be written a warning is logged once, nothing is lost, and writing goes on afterwards."""
    broken.error = StoreUnavailable("the disk is full")
    run = TaskRun(b"1" * 16, "waiting", Pending(), "key")
    recorder = current_recorder()
    recorder.enter(run, run.state, wait=False)
    until(lambda: "the disk is full" in caplog.text)
    time.sleep(0.1)
    assert caplog.text.count("the disk is full") == 1
    broken.error = None
    until(lambda: on_disk("waiting") == "Pending")


@pytest.mark.no_invariants("states are entered without an engine to count them")
def test_states_entered_while_writing_fails_keep_their_order(broken: BrokenStore) -> None:
    """What could not be written comes before what was entered since."""
    recorder = current_recorder()
    run = TaskRun(b"1" * 16, "work", Pending(), "key")
    recorder.enter(run, run.state, wait=False)
    broken.error = StoreUnavailable("full")
    with pytest.raises(StoreError):
        recorder.flush()
    for state in (Running(), Completed()):
        state.move_after(run.state)
        run.state = state
        recorder.enter(run, state, wait=False)
    broken.error = None
    recorder.flush()
    assert on_disk("work") == "Pending Running Completed"


def test_a_full_buffer_is_written_by_its_producer() -> None:
    """Nobody can buffer more than the capacity, and nothing is dropped."""
    settings = get_current_settings()
    store = open_store(settings.run_store_url, settings.durability)
    recorder = Recorder(store)
    gate = threading.Event()
    recorder._flusher = threading.Thread(target=gate.wait)  # nobody writes in the background
    recorder._idle = False
    try:
        for number in range(CAPACITY + 10):
            recorder.log(LogEntry(number, 20, "test", "line"))
        assert len(recorder._buffer.logs) < CAPACITY
        recorder.flush()
        assert query("SELECT count(*) FROM logs") == [(CAPACITY + 10,)]
    finally:
        recorder._flusher = None
        recorder.close()


# The recorder of the process


def test_one_recorder_per_store_and_durability() -> None:
    """Equal settings share a recorder; another store or durability has its own."""
    recorder = current_recorder()
    with temporary_settings({"debug_mode": True}):
        assert current_recorder() is recorder
    with temporary_settings({"durability": "disk"}):
        assert current_recorder() is not recorder
    with temporary_settings({"home": str(database().parent / "other")}):
        assert current_recorder() is not recorder
    assert current_recorder() is recorder


def test_the_home_is_made_when_it_is_needed(mainspring_home: Path) -> None:
    """The first recorded run makes the folder and the database."""
    assert not mainspring_home.exists()
    task(lambda: None)()
    assert (mainspring_home / "mainspring.db").is_file()


def test_closing_twice() -> None:
    """A recorder may be closed again, and the next use after closing opens a new one."""
    recorder = current_recorder()
    task(lambda: None)()
    recorder.close()
    recorder.close()
    close_recorders()
    task(lambda: None)()
    assert len(task_runs()) == 2


def test_listeners() -> None:
    """Inside the block they hear each state as it is entered, in order, and no more afterwards."""
    heard: list[tuple[str, str]] = []

    def listen(run: Any, state: State) -> None:
        heard.append((run.name, state.name))

    work = task(name="work")(lambda: None)
    with current_recorder().listen(listen):
        work()
    work()
    assert heard == [("work", "Pending"), ("work", "Running"), ("work", "Completed")]


@pytest.mark.parametrize("workers", [2, 16])
def test_threads_that_finish_together_share_commits(workers: int) -> None:
    """Under load every value handed out is on disk, and there are not more commits than runs."""

    @task(name="work")
    def work(x: int) -> int:
        return x

    task(lambda: None)()
    recorder = current_recorder()
    write = recorder.store.write
    commits = []

    def counted(changes: Any, *rest: Any) -> Any:
        commits.append(len(changes))
        return write(changes, *rest)

    recorder.store.write = counted  # type: ignore[method-assign]

    def loop() -> None:
        for x in range(20):
            work(x)

    threads = [threading.Thread(target=loop) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert query("SELECT count(*) FROM task_runs WHERE name = 'work' AND state_name = 'Completed'") == [
        (workers * 20,)
    ]
    assert len(commits) <= workers * 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_records_for_itself() -> None:
    """Parent and child go on with connections of their own, and both histories are complete."""

    @task(name="work")
    def work() -> None: ...

    work()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            close_recorders()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    work()
    assert on_disk("work") == " ".join(["Pending Running Completed"] * 3)


def test_the_history_is_plain_sql() -> None:
    """The schema is public: attempts and times can be asked for with SQL."""
    attempts = iter([BoomError("no"), None])

    @task(name="work", retries=1)
    def work() -> None:
        if error := next(attempts):
            raise error

    work()
    rows = query(
        "SELECT a.attempt, a.state_name FROM attempts a JOIN task_runs r ON r.id = a.run_id WHERE r.name = 'work'"
    )
    assert list(rows) == [(1, "Retrying"), (2, "Completed")]
    ((created, started, ended, total),) = query(
        "SELECT created, start_time, end_time, total_run_time FROM task_runs"
    )
    assert created <= started <= ended
    assert total == ended - started


@pytest.mark.no_invariants("the store cannot be opened")
def test_a_store_that_cannot_be_opened() -> None:
    """A call whose history cannot be kept is refused before the function runs, with one clear error."""
    database().parent.mkdir(parents=True)
    database().mkdir()
    called = []
    with pytest.raises(StoreUnavailable, match="directory"):
        task(lambda: called.append(1))()
    assert called == []


@pytest.mark.no_invariants("the store cannot be opened")
def test_a_store_of_another_program() -> None:
    """A database that is not ours is left alone."""
    database().parent.mkdir(parents=True)
    connection = sqlite3.connect(database())
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = database().read_bytes()
    with pytest.raises(StoreError):
        task(lambda: None)()
    assert database().read_bytes() == before


def test_nothing_of_a_run_is_kept_in_memory() -> None:
    """After its commit a finished run is garbage: the recorder holds no list of past runs."""
    import weakref

    class Value:
        pass

    refs = []

    @task
    def work() -> Value:
        value = Value()
        refs.append(weakref.ref(value))
        return value

    for _ in range(3):
        work()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3


def test_a_crash_is_on_disk_when_it_is_raised() -> None:
    """The last thing a run does before its exception goes on is to be recorded."""

    @task(name="work")
    def work() -> None:
        raise Meteor

    with pytest.raises(Meteor):
        work()
    assert on_disk("work") == "Pending Running Crashed"
