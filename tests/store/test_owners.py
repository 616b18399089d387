"""Whose run is it, and is its process alive? With real processes, killed for real."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.exceptions import StoreUnavailable
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import StateType
from mainspring.store import RunFilter, RunStore, open_store
from mainspring.store.sqlite import SQLiteRunStore
from tests.store.children import child, run_child
from tests.store.histories import COMPLETED, CRASHED, RUNNING, advance, facts, names_in, new_task_run, record

START_ONE_RUN = """
store = SQLiteRunStore(path)
run = new_task_run(name="only")
record(store, advance(run, RUNNING))
ready(run.key.hex())
wait()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[RunStore]:
    store = SQLiteRunStore(path)
    yield store
    store.close()


def owners(path: Path) -> list[tuple[int, bool]]:
    """Process id and whether ended, for each owner."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT pid, ended IS NOT NULL FROM owners ORDER BY id").fetchall()


def lock_files(path: Path) -> list[str]:
    directory = Path(f"{path}.owners")
    return names_in(directory) if directory.exists() else []


def state_of(store: RunStore, key: str) -> StateType:
    found = store.read_run(bytes.fromhex(key))
    assert found is not None
    return found.state.type


def test_killed_process(path: Path) -> None:
    """What a killed process left unfinished is crashed by the next opener; what waits or is over stays."""
    script = """
    store = SQLiteRunStore(path)
    flow = new_flow_run(name="flow")
    record(store, advance(flow, RUNNING))
    for name, states in {
        "pending": [],
        "running": [RUNNING],
        "awaiting": [RUNNING, State(SCHEDULED, "AwaitingRetry")],
        "cancelling": [RUNNING, CANCELLING],
        "not-ready": [State(PENDING, "NotReady")],
        "paused": [RUNNING, PAUSED],
        "completed": [RUNNING, COMPLETED],
        "failed": [RUNNING, FAILED],
    }.items():
        record(store, advance(new_task_run(flow, name), *states))
    ready()
    wait()
    """.replace("\n    ", "\n")
    with child(path, script) as process:
        process.line()
        process.kill()
    with closing(SQLiteRunStore(path)) as store:
        settled = store.settle_dead_owners()
        assert {run.name for run in settled} == {"flow", "pending", "running", "awaiting", "cancelling"}
        runs = {run.name: run for run in store.read_task_runs(RunFilter())}
        names = {name: run.state.name for name, run in runs.items()}
    assert names == {
        "pending": "Crashed",
        "running": "Crashed",
        "awaiting": "Crashed",
        "cancelling": "Crashed",
        "not-ready": "NotReady",
        "paused": "Paused",
        "completed": "Completed",
        "failed": "Failed",
    }


def test_what_a_crash_says(path: Path) -> None:
    """The added state names process and host, counters are as for any crash, and the answer tells all."""
    with child(path, START_ONE_RUN) as process:
        key = bytes.fromhex(process.line())
        process.kill()
    with closing(SQLiteRunStore(path)) as store:
        (settled,) = store.settle_dead_owners()
        found = store.read_run(key)
        assert isinstance(found, TaskRun)
        assert facts(settled) == facts(found)
        assert settled.recorded == found.state.key
        states = store.read_states(key)
    assert [state.type for state in states] == [StateType.PENDING, RUNNING, CRASHED]
    assert f"pid {process.pid} on host {os.uname().nodename}" in (states[2].message or "")
    assert found.ended_at == states[2].at
    assert found.run_time == states[2].at - states[1].at
    assert found.run_count == 1


def test_pending_run_of_the_dead_has_no_end(path: Path) -> None:
    """A run that never ran has no end, also if its process died."""
    with child(path, START_ONE_RUN.replace("RUNNING", "*[]")) as process:
        process.line()
        process.kill()
    with closing(SQLiteRunStore(path)) as store:
        (settled,) = store.settle_dead_owners()
    assert settled.state.type is CRASHED
    assert settled.ended_at is None


def test_settling_cleans_up(path: Path) -> None:
    """A dead owner is settled once: its row is ended and its lock file removed."""
    with child(path, START_ONE_RUN) as process:
        process.line()
        assert len(lock_files(path)) == 1
        process.kill()
    with closing(SQLiteRunStore(path)) as store:
        assert len(store.settle_dead_owners()) == 1
        assert store.settle_dead_owners() == []
    assert owners(path) == [(process.pid, True)]
    assert lock_files(path) == []


def test_living_process_is_left_alone(path: Path, store: RunStore) -> None:
    """As long as a process lives its runs are its own."""
    with child(path, START_ONE_RUN) as process:
        key = process.line()
        assert store.settle_dead_owners() == []
        assert state_of(store, key) is RUNNING
        process.kill()
    assert len(store.settle_dead_owners()) == 1


def test_superseded_after_a_crash(path: Path) -> None:
    """A run that was settled cannot be continued by who had it before, only by who adopts it anew."""
    with closing(SQLiteRunStore(path)) as first, closing(SQLiteRunStore(path)) as second:
        run = new_task_run()
        record(first, advance(run, RUNNING))
        first.close()
        (adopted,) = second.settle_dead_owners()
        late = advance(run, COMPLETED)
        assert second.write([late]) == [late]
        record(second, advance(adopted, RUNNING, COMPLETED))
        found = second.read_run(run.key)
    assert found is not None
    assert found.run_count == 2


def test_adopted_run_belongs_to_its_new_process(path: Path, store: RunStore) -> None:
    """Who goes on with a run owns it: if that process dies too, the run crashes again."""
    with child(path, START_ONE_RUN) as process:
        key = process.line()
        process.kill()
    script = """
store = SQLiteRunStore(path)
(run,) = store.settle_dead_owners()
record(store, advance(run, RUNNING))
ready(run.key.hex())
wait()
"""
    with child(path, script) as process:
        assert process.line() == key
        assert store.settle_dead_owners() == []
        process.kill()
    (run,) = store.settle_dead_owners()
    assert run.run_count == 2
    assert f"pid {process.pid} " in (run.state.message or "")


def test_clean_close_ends_ownership(path: Path) -> None:
    """A process that leaves nothing unfinished takes its lock file along."""
    with closing(SQLiteRunStore(path)) as store:
        record(store, advance(new_task_run(), RUNNING, COMPLETED))
        assert owners(path) == [(os.getpid(), False)]
        assert len(lock_files(path)) == 1
    assert owners(path) == [(os.getpid(), True)]
    assert lock_files(path) == []


def test_close_with_unfinished_runs(path: Path, store: RunStore) -> None:
    """What a process leaves unfinished when it closes its store is settled by the next opener."""
    with closing(SQLiteRunStore(path)) as leaving:
        record(leaving, advance(new_task_run(name="left"), RUNNING))
    assert [run.name for run in store.settle_dead_owners()] == ["left"]
    assert owners(path) == [(os.getpid(), True)]


def test_opening_settles(path: Path) -> None:
    """Whoever opens a store by its address finds the runs of dead processes settled, readers included."""
    with child(path, START_ONE_RUN) as process:
        key = process.line()
        process.kill()
    with closing(open_store(path, create=False)) as store:
        assert state_of(store, key) is CRASHED


def test_reading_owns_nothing(path: Path) -> None:
    """A process that only reads and settles leaves no trace of itself."""
    with closing(SQLiteRunStore(path)) as store:
        store.settle_dead_owners()
        store.read_flow_runs(RunFilter())
    assert owners(path) == []
    assert names_in(path.parent) == ["runs.db"]


def test_another_host_is_left_alone(path: Path, store: RunStore) -> None:
    """Whether a process on another machine lives cannot be seen, so its runs stay as they are."""
    with child(path, START_ONE_RUN) as process:
        key = process.line()
        process.kill()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE owners SET host = 'elsewhere', boot = 'another'")
    assert store.settle_dead_owners() == []
    assert state_of(store, key) is RUNNING


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="the system has no boot id")
def test_another_container_on_this_machine(path: Path, store: RunStore) -> None:
    """Owners without a lease, of an older version, are known by the start of the machine, whatever their host name."""
    with child(path, START_ONE_RUN) as process:
        process.line()
        process.kill()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE owners SET host = 'f00dcafe', lease_expires = NULL")
    assert len(store.settle_dead_owners()) == 1


def test_lost_lock_files(path: Path, store: RunStore) -> None:
    """If lock files were removed or the database was moved, only processes that are gone count as dead."""
    with child(path, START_ONE_RUN) as process:
        key = process.line()
        (lock_file,) = Path(f"{path}.owners").iterdir()
        lock_file.unlink()
        assert store.settle_dead_owners() == []
        process.kill()
    assert [run.key.hex() for run in store.settle_dead_owners()] == [key]


def test_link_to_the_database(path: Path, store: RunStore, tmp_path: Path) -> None:
    """A store opened through a symbolic link is the same store: its owners are seen to live."""
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    with closing(SQLiteRunStore(link)) as other:
        record(other, advance(new_task_run(), RUNNING))
        assert store.settle_dead_owners() == []
    assert len(store.settle_dead_owners()) == 1
    assert names_in(link.parent) == ["link.db"]


def test_settled_by_one(path: Path) -> None:
    """Several openers at once settle each run exactly once."""
    for _ in range(3):
        with child(path, START_ONE_RUN) as process:
            process.line()
            process.kill()
    stores = [SQLiteRunStore(path) for _ in range(6)]
    settled: list[TaskRun | FlowRun] = []
    barrier = threading.Barrier(len(stores))

    def settle(store: RunStore) -> None:
        barrier.wait()
        settled.extend(store.settle_dead_owners())

    threads = [threading.Thread(target=settle, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = [len(stores[0].read_states(run.key)) for run in settled]
    for store in stores:
        store.close()
    assert counts == [3, 3, 3]


def test_interrupted_settling_is_done_again(
    path: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If settling fails nothing is half settled, and the next opener does it."""
    with child(path, START_ONE_RUN) as process:
        process.line()
        process.kill()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mainspring.store.sql.settling.write_changes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.settle_dead_owners()
    assert owners(path) == [(process.pid, False)]
    assert len(store.settle_dead_owners()) == 1


# Forks

FORK = """
store = SQLiteRunStore(path)
mine = new_task_run(name="parent's")
record(store, advance(mine, RUNNING))
inner, outer = os.pipe()
if pid := os.fork():
    os.read(inner, 1)
    ready(pid)
    wait()
else:
    theirs = new_task_run(name="child's")
    assert store.read_run(mine.key) is not None
    record(store, advance(theirs, RUNNING))
    os.write(outer, b"x")
    time.sleep(60)
"""


def test_forked_child_owns_what_it_writes(path: Path, store: RunStore) -> None:
    """A child keeps neither its parent alive nor dies with it: each has a lock of its own."""
    with child(path, FORK) as process:
        pid = int(process.line())
        try:
            assert store.settle_dead_owners() == []
            process.kill()
            assert [run.name for run in store.settle_dead_owners()] == ["parent's"]
        finally:
            os.kill(pid, signal.SIGKILL)
    while not (settled := store.settle_dead_owners()):  # nobody can wait for an orphan's end
        pass
    assert [run.name for run in settled] == ["child's"]


def test_child_ends_without_harm(path: Path) -> None:
    """A child that does nothing, or closes the store, leaves its parent's store and ownership alone."""
    script = """
store = SQLiteRunStore(path)
run = new_task_run()
record(store, advance(run, RUNNING))
for close in (True, False):
    if not (pid := os.fork()):
        if close:
            store.close()
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
with_other = SQLiteRunStore(path)
assert with_other.settle_dead_owners() == []
with_other.close()
record(store, advance(run, COMPLETED))
store.close()
"""
    run_child(path, script)
    assert [ended for _, ended in owners(path)] == [True]
    with closing(SQLiteRunStore(path)) as store:
        assert [run.state.type for run in store.read_task_runs(RunFilter())] == [COMPLETED]


def test_fork_in_the_middle_of_work(path: Path) -> None:
    """Forks while other threads write: no child hangs or fails, no row is lost, the file stays sound."""
    script = """
import threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer versions warn of forks with threads
store = SQLiteRunStore(path)
stop = threading.Event()
written = []

def work():
    while not stop.is_set():
        run = finished_task_run(store)
        store.read_run(run.key)
        written.append(run.key)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(15):
    if not (pid := os.fork()):
        finished_task_run(store)
        store.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
assert len(store.read_task_runs(RunFilter())) == len(written) + 15
store.close()
"""
    run_child(path, script)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(owners(path)) == 16


def test_memory_does_not_cross_a_fork(path: Path) -> None:
    """A store in memory is not shared with a forked child, and the child is told."""
    script = """
store = SQLiteRunStore(":memory:")
finished_task_run(store)
if not (pid := os.fork()):
    try:
        finished_task_run(store)
    except Exception as error:
        ready(type(error).__name__, error)
    os._exit(0)
os.waitpid(pid, 0)
assert len(store.read_task_runs(RunFilter())) == 1
store.close()
"""
    (line,) = run_child(path, script)
    assert line.startswith(f"{StoreUnavailable.__name__} A run store in memory")
