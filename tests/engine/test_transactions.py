"""Tasks and transactions: what is committed, what is rolled back, in which order, and what the run shows."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mainspring import Transaction, flow, task
from mainspring.states import Failed
from mainspring.transactions import (
    TransactionState,
    transaction,
)
from tests.engine.history import only_task_run, sequence, states_of, task_runs
from tests.engine.scenarios import BoomError
from tests.transactions.stories import Events, failing, hook

# Tasks in transactions


@pytest.mark.contract("H-9", "H-10", "H-18", "E-62")
def test_the_commit_hook_of_a_task_gets_its_transaction() -> None:
    """Outside of any flow, too; the transaction is staged with the result and not yet committed."""
    seen: list[Any] = []

    @task(on_commit=[lambda txn: seen.append((txn, txn.state, txn.staged_value))])
    def work() -> list[int]:
        return [1]

    value = work()
    ((txn, state, result),) = seen
    assert isinstance(txn, Transaction)
    assert state is TransactionState.STAGED
    assert result is value
    assert txn.is_committed()


@pytest.mark.contract("TX-36", "H-17", "E-105", "E-127", "W-9")
def test_a_group_of_tasks_is_rolled_back_together() -> None:
    """When a later task fails, those that completed are rolled back; the failing one has nothing staged."""
    events: Events = []

    @task(on_rollback=[hook(events, "undo first")])
    def first() -> None: ...

    @task(on_rollback=[hook(events, "undo second")])
    def second() -> None:
        raise BoomError

    @flow
    def pipeline() -> None:
        with transaction():
            first()
            second()

    with pytest.raises(BoomError):
        pipeline()
    assert events == ["undo first"]
    assert [sequence(run) for run in task_runs()] == [
        "Pending Running Completed RolledBack",
        "Pending Running Failed",
    ]


@pytest.mark.contract("H-17", "V-9")
def test_async_tasks_are_rolled_back_alike() -> None:
    """The same holds for async tasks, whose rollback hooks may be async."""
    events: Events = []

    @task
    async def first() -> None: ...

    @first.on_rollback
    async def undo(txn: Transaction) -> None:
        await asyncio.sleep(0)
        events.append("undo")

    @flow
    async def pipeline() -> None:
        with transaction():
            await first()
            raise BoomError

    with pytest.raises(BoomError):
        asyncio.run(pipeline())
    assert events == ["undo"]
    assert sequence() == "Pending Running Completed RolledBack"


@pytest.mark.contract("W-7", "E-129")
def test_a_retried_attempt_does_not_roll_back_what_is_around() -> None:
    """An attempt that fails and is retried with success leaves the enclosing transaction alone."""
    events: Events = []
    attempts = iter([BoomError(), None])

    @task(on_rollback=[hook(events, "undo first")])
    def first() -> None: ...

    @task(retries=1)
    def second() -> None:
        if error := next(attempts):
            raise error

    with transaction() as outer:
        first()
        second()
    assert events == []
    assert outer.is_committed()


@pytest.mark.contract("E-131", "E-74")
def test_the_result_survives_a_commit_hook_that_fails() -> None:
    """The run is shown as rolled back, yet it completed: return value and result of the state stand."""

    def bad(txn: Transaction) -> None:
        raise BoomError

    @task(on_commit=[bad])
    def work() -> int:
        return 1

    assert work() == 1
    state = work(return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "RolledBack")
    assert state.result() == 1


@pytest.mark.contract("V-5", "H-9")
def test_an_attempt_that_is_retried_commits_nothing() -> None:
    """Only the attempt that counts runs commit hooks, also when the one before it returned a failed state."""
    events: Events = []
    attempts = iter([Failed(message="not yet"), 1])

    @task(retries=1, on_commit=[hook(events, "commit")], on_rollback=[hook(events, "undo")])
    def work() -> Any:
        return next(attempts)

    with failing():
        assert work() == 1
        assert events == []
    assert events == ["undo"]
    assert sequence() == "Pending Running Retrying Completed RolledBack"


@pytest.mark.contract("E-74", "E-105")
def test_a_rollback_does_not_make_a_failed_run_complete() -> None:
    """A run that returned a failed state stays failed when the block around it is rolled back."""

    @task
    def work() -> Any:
        return Failed(message="no")

    with failing():
        work()
    assert sequence() == "Pending Running Failed"


@pytest.mark.contract("L-29")
def test_the_engines_own_rollback_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Without rollback hooks of the user's, a rollback logs nothing about hooks."""

    @task
    def work() -> None: ...

    with caplog.at_level(logging.DEBUG), failing():
        work()
    assert "Running rollback hook" not in caplog.text


@pytest.mark.contract("TX-24")
def test_tasks_of_threads_join_the_block_around_their_submission() -> None:
    """A task submitted inside a transaction is rolled back with it."""
    events: Events = []

    @task(on_rollback=[hook(events, "undo")])
    def work() -> int:
        return 1

    @flow
    def pipeline() -> None:
        with transaction():
            assert work.submit().result() == 1
            raise BoomError

    with pytest.raises(BoomError):
        pipeline()
    assert events == ["undo"]
    assert states_of(only_task_run())[-1].name == "RolledBack"


def test_a_generator_task_is_committed_at_its_end() -> None:
    """The transaction of a generator task spans all steps, and its hooks run when it is exhausted."""
    events: Events = []

    @task(on_commit=[hook(events, "commit")])
    def steps() -> Iterator[int]:
        yield 1
        events.append("step")

    assert list(steps()) == [1]
    assert events == ["step", "commit"]
