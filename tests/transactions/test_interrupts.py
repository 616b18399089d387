"""What ends more than a transaction, and comes while that is committed or rolled back."""

import time
from itertools import count
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.task_engine import SyncTaskRunEngine
from mainspring.transactions import BaseTransaction, faces, get_transaction, transaction
from tests.engine.faults import once, replaced
from tests.engine.history import query, task_runs
from tests.transactions.stories import Events, hook

LONG = 10


def slow(txn: BaseTransaction) -> None:
    time.sleep(LONG)


@pytest.mark.contract("TX-28", "E-70")
def test_a_time_limit_around_a_commit_hook() -> None:
    """The transaction is rolled back, and what is around it ends there and then instead of going on late."""
    events: Events = []

    @task(on_commit=[slow], on_rollback=[hook(events, "undo")])
    def step() -> None: ...

    @flow(timeout_seconds=0.6)
    def pipeline() -> None:
        with transaction():
            step()
        events.append("went on")

    assert pipeline(return_state=True).name == "TimedOut"
    assert events == ["undo"]


@pytest.mark.contract("TX-33", "E-70")
def test_a_time_limit_around_a_rollback_hook() -> None:
    """The other hooks are called, and then the limit counts."""
    events: Events = []

    @task(on_rollback=[hook(events, "undo"), slow])
    def step() -> None: ...

    @flow(timeout_seconds=0.6)
    def pipeline() -> None:
        with transaction() as txn:
            step()
            txn.rollback()
        events.append("went on")

    assert pipeline(return_state=True).name == "TimedOut"
    assert events == ["undo"]


@pytest.mark.contract("TX-18", "TX-31")
def test_a_commit_that_is_interrupted_between_hooks() -> None:
    """If its block rolls it back, nobody finishes the commit any more."""
    events: Events = []

    @task(on_commit=[hook(events, "commit")], on_rollback=[hook(events, "undo")])
    def step() -> None: ...

    @flow(persist_result=True)
    def pipeline() -> None:
        with transaction() as txn:
            step()
            with replaced("advance_settlement", once(KeyboardInterrupt())):
                txn.commit()

    with pytest.raises(KeyboardInterrupt):
        pipeline()
    assert events == ["undo"]
    assert query("SELECT count(*) FROM settlements") == query("SELECT count(*) FROM staged") == [(0,)]


@pytest.mark.contract("TX-36", "E-62")
@pytest.mark.parametrize("question", [1, 2])
def test_an_interrupt_once_a_run_has_completed(monkeypatch: pytest.MonkeyPatch, question: int) -> None:
    """It is rolled back with what ran inside of it, however early after its state was recorded."""
    events: Events = []

    @task(on_rollback=[hook(events, "undo inner")])
    def inner() -> None: ...

    @task(name="outer", on_rollback=[hook(events, "undo outer")])
    def outer() -> None:
        inner()

    @flow(persist_result=True)
    def pipeline() -> None:
        with transaction():
            outer()

    is_running, questions = SyncTaskRunEngine.is_running, count(1)

    def interrupted(engine: Any) -> bool:
        if engine.task.name == "outer" and engine.state.is_completed() and next(questions) == question:
            raise KeyboardInterrupt
        return is_running(engine)

    monkeypatch.setattr(SyncTaskRunEngine, "is_running", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline()
    assert events == ["undo outer", "undo inner"]
    assert [run.state.name for run in task_runs()] == ["RolledBack"] * 2
    assert query("SELECT count(*) FROM staged") == [(0,)]


@pytest.mark.contract("TX-23")
def test_an_interrupt_on_leaving_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction is not the innermost one of whatever comes next."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch, transaction():
        patch.setattr(faces, "leave_block", interrupted)
    assert get_transaction() is None
