"""What is particular to SQLite: several processes, the write-ahead log, the size of the file."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.identifiers import new_id
from mainspring.store import RunFilter, open_store
from mainspring.store.results import Settlement
from mainspring.store.sqlite import store as sqlite
from tests.store.children import children, run_child
from tests.store.histories import (
    COMPLETED,
    RUNNING,
    advance,
    finished_flow_run,
    finished_task_run,
    new_flow_run,
    new_task_run,
    record,
)
from tests.store.results import settle, stage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_processes_write_at_the_same_time(path: Path) -> None:
    """Processes that write to one file as fast as they can lose nothing and meet no lock."""
    script = """
store = open_store(path)
ready()
wait()
for _ in range(150):
    run = new_task_run()
    record(store, advance(run, RUNNING))
    record(store, advance(run, COMPLETED))
    store.checkpoint()
store.close()
ready("done")
"""
    with children(path, script, 4) as writers:
        for writer in writers:
            writer.line()
        for writer in writers:
            writer.go()
        for writer in writers:
            assert writer.line() == "done"
            writer.end()
    with closing(open_store(path)) as store:
        runs = store.read_task_runs(RunFilter())
    assert len(runs) == 600
    assert {run.state.type for run in runs} == {COMPLETED}


def test_written_is_visible_elsewhere(path: Path) -> None:
    """What `write` returned for, another process finds, without either being closed."""
    with closing(open_store(path)) as writer, closing(open_store(path)) as reader:
        for _ in range(3):
            run = finished_task_run(writer)
            assert reader.read_run(run.key) is not None


def test_checkpoint_keeps_the_log_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log grows until a checkpoint is due; after it the same space is used again."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_ROWS", 50)
    log = Path(f"{path}-wal")
    with closing(open_store(path)) as store:
        for _ in range(51):
            finished_task_run(store)
        grown = log.stat().st_size
        for _ in range(10):
            store.checkpoint()
            for _ in range(51):
                finished_task_run(store)
        assert log.stat().st_size < 1.5 * grown


def test_checkpoint_does_not_come_too_often(path: Path) -> None:
    """As long as little was written there is nothing to do, and no disk is kept busy."""
    with closing(open_store(path)) as store:
        for _ in range(100):
            finished_task_run(store)
            store.checkpoint()
        assert store._maintenance.db is None  # type: ignore[attr-defined]


def test_checkpoint_catches_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that outgrew the ordinary checkpoint starts over once readers let go of it; then it is patient."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_ROWS", 1)
    monkeypatch.setattr(sqlite, "CATCH_UP_PAGES", 1)
    log = Path(f"{path}-wal")
    with closing(open_store(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        finished_task_run(store)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM task_runs").fetchall()
        for _ in range(20):
            finished_task_run(store)
        grown = log.stat().st_size
        store.checkpoint()
        assert store._catch_up_at > 1  # type: ignore[attr-defined]
        finished_task_run(store)
        assert log.stat().st_size > grown
        reader.execute("COMMIT")
        store.checkpoint()
        grown = log.stat().st_size
        for _ in range(10):
            finished_task_run(store)
        assert log.stat().st_size == grown


def test_reading_does_not_block_writing(path: Path) -> None:
    """A program that reads for long does not keep runs from being recorded."""
    with closing(open_store(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        finished_task_run(store)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM task_runs").fetchone() == (1,)
        finished_task_run(store)
        assert reader.execute("SELECT count(*) FROM task_runs").fetchone() == (1,)


@pytest.mark.slow
def test_bytes_per_finished_task(path: Path) -> None:
    """A finished task run in a flow takes less than 500 bytes, states and indexes included."""
    number = 20_000
    with closing(open_store(path)) as store:
        flow_run = finished_flow_run(store)
        for _ in range(number // 100):
            runs = [new_task_run(flow_run, name="resize-4f2") for _ in range(100)]
            record(store, *(advance(run, RUNNING, COMPLETED) for run in runs))
    assert path.stat().st_size / number < 500


def test_indexes_serve_the_questions(path: Path) -> None:
    """Each frequent question is answered from an index, not by reading all runs."""
    with closing(open_store(path)) as store, closing(sqlite3.connect(path)) as db:
        seen: list[str] = []
        store._writer.db.set_trace_callback(seen.append)  # type: ignore[attr-defined]
        reader = store._reader.open()  # type: ignore[attr-defined]
        reader.set_trace_callback(seen.append)
        run = new_flow_run()
        record(store, advance(run, RUNNING))
        record(store, advance(run, COMPLETED))
        store.settle_dead_owners()
        store.read_run(run.key)
        store.read_states(run.key)
        store.read_logs(run.key)
        store.read_task_runs(RunFilter(states=["FAILED"], limit=20))
        store.read_task_runs(RunFilter(flow_run_keys=[run.key], limit=20))
        store.read_flow_runs(RunFilter(parents=[run.key]))
        store.count_task_runs([run.key])
        plans = {
            query: [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {query}")]
            for query in seen
            if query.startswith(("SELECT", "UPDATE"))
        }
    tables = ("task_runs", "flow_runs", "states", "logs", "r", "s")
    scans = {
        query: plan
        for query, plan in plans.items()
        if any(step == f"SCAN {t}" for t in tables for step in plan)
    }
    assert len(plans) > 8
    assert not scans


def test_lock_file_is_not_inherited(path: Path) -> None:
    """A program started by the owner does not keep the owner's lock alive."""
    with closing(open_store(path)) as store:
        finished_task_run(store)
        fd = store._owner._fd  # type: ignore[attr-defined]
        assert not os.get_inheritable(fd)


TAKE = """
store = open_store(path)
(run,) = store.read_flow_runs(RunFilter())
run.recorded = run.state.key
record(store, advance(run, State(RUNNING)))
store.close()
"""


def test_a_process_that_has_lost_a_flow_run_settles_nothing(path: Path) -> None:
    """Once another process has written its newest state, nothing of it is staged, decided or published here."""
    with closing(open_store(path)) as store:
        root = finished_flow_run(store)
        steps = [stage(store, root.key, key) for key in ("a", "b")]
        settlement = settle(store, steps[:1])
        assert store.advance_settlement(settlement.key, 1)
        run_child(path, TAKE)
        late = stage(store, root.key, "late", file="/late")
        another = Settlement(new_id(), root.key, "ROLLBACK", b"")
        refused = (
            store.advance_settlement(settlement.key, 2),
            store.claim_settlement(settlement.key, new_id()),
            store.close_settlement(settlement.key, [steps[0].run_key]),
            store.close_settlement(settlement.key, drop=[steps[0].run_key]),
            store.close_settlement(None, [steps[1].run_key]),
            store.open_settlement(another, [steps[1].run_key]),
        )
        assert not any(refused)
        found = store.read_leftovers(root.key)
        assert [(each.key, each.begun) for each in found.settlements] == [(settlement.key, 1)]
        assert [step.key for step in found.steps] == ["a", "b"]
        assert store.read_unused_files() == ["/late"]
        assert store.read_run(late.run_key) is not None


def test_stores_of_one_process_settle_for_each_other(path: Path) -> None:
    """A process that has the same database open twice, as with two durabilities, is one owner of its flow runs."""
    with closing(open_store(path)) as first, closing(open_store(path, "disk")) as second:
        root = finished_flow_run(first)
        step = stage(second, root.key)
        settlement = settle(second, [step])
        assert first.advance_settlement(settlement.key, 1)
        assert second.close_settlement(settlement.key, [step.run_key])
