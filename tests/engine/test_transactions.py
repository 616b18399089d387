"""Tasks and transactions: what is committed, what is rolled back, in which order, and what the run shows."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mainspring import Transaction, flow, task
from mainspring.states import Failed
from mainspring.transactions import (
    CommitMode,
    TransactionState,
    get_transaction,
    transaction,
)
from tests.engine.history import only_task_run, sequence, states_of, task_runs
from tests.engine.scenarios import BoomError

Events = list[str]


def hook(events: Events, name: str, error: Exception | None = None) -> Any:
    def call(txn: Transaction) -> None:
        events.append(name)
        if error is not None:
            raise error

    call.__name__ = name
    return call


def staged(events: Events, name: str, txn: Transaction) -> None:
    """Stage something with a commit and a rollback hook that tell the name."""
    txn.stage(name, [hook(events, f"undo {name}")], [hook(events, f"commit {name}")])


@contextmanager
def failing() -> Iterator[Transaction]:
    """A transaction whose block ends with an error, which goes no further."""
    try:
        with transaction() as txn:
            yield txn
            raise BoomError
    except BoomError:
        pass


# The machine of a transaction


@pytest.mark.contract("TX-2", "TX-3")
def test_names_of_states_and_modes() -> None:
    """Members equal their names as text."""
    for kind in (TransactionState, CommitMode):
        assert all(member == member.name for member in kind)
    assert [state.name for state in TransactionState] == [
        "PENDING",
        "ACTIVE",
        "STAGED",
        "COMMITTED",
        "ROLLED_BACK",
    ]


@pytest.mark.contract("TX-2", "TX-11", "TX-13", "TX-21")
def test_the_life_of_a_transaction() -> None:
    """Pending, active in its block, staged once something is staged, committed when it is left."""

    def only(txn: Transaction) -> str:
        true = [
            name
            for name in ("pending", "active", "staged", "committed", "rolled_back")
            if getattr(txn, f"is_{name}")()
        ]
        assert true == [txn.state.value.lower()]
        return true[0]

    txn = Transaction()
    life = [only(txn)]
    with txn:
        life.append(only(txn))
        txn.stage(1)
        life.append(only(txn))
    life.append(only(txn))
    assert life == ["pending", "active", "staged", "committed"]


@pytest.mark.contract("TX-7")
def test_a_transaction_is_entered_once() -> None:
    """Entering again, or leaving what was never entered, is an error."""
    with transaction() as txn:
        with pytest.raises(RuntimeError, match="already entered"):
            txn.__enter__()
        assert get_transaction() is txn
    with pytest.raises(RuntimeError, match="already entered"):
        txn.__enter__()
    with pytest.raises(RuntimeError, match="without being entered"):
        Transaction().__exit__(None, None, None)


@pytest.mark.contract("TX-6", "TX-23")
def test_the_innermost_transaction_is_found() -> None:
    """The active transaction is that of the innermost block, here and in copies of the context alone."""
    seen = []
    assert get_transaction() is None
    with transaction() as outer:
        with transaction() as inner:
            assert get_transaction() is inner
            thread = threading.Thread(target=lambda: seen.append(get_transaction()))
            thread.start()
            thread.join()
            seen.append(asyncio.run(_active()))
        assert get_transaction() is outer
    assert get_transaction() is None
    assert seen == [None, inner]


async def _active() -> Transaction | None:
    return get_transaction()


@pytest.mark.contract("TX-18")
def test_an_error_rolls_back_and_goes_on() -> None:
    """The exception that leaves the block is the same object, after the rollback."""
    events: Events = []
    error = BoomError()

    def block() -> None:
        with transaction() as txn:
            staged(events, "a", txn)
            raise error

    with pytest.raises(BoomError) as caught:
        block()
    assert caught.value is error
    assert events == ["undo a"]


@pytest.mark.contract("TX-8", "TX-20", "TX-24", "TX-26")
def test_children_are_committed_by_the_outermost_block() -> None:
    """A nested transaction waits for its parent, which commits children in order and then itself."""
    events: Events = []
    with transaction() as outer:
        for name in ("a", "b"):
            with transaction() as inner:
                staged(events, name, inner)
            assert inner.is_staged()
            assert inner.get_parent() is outer
        staged(events, "outer", outer)
        assert events == []
    assert events == ["commit a", "commit b", "commit outer"]
    assert all(child.is_committed() for child in outer.children)
    assert outer.get_parent() is None


@pytest.mark.contract("TX-32", "TX-36", "W-8")
def test_children_are_rolled_back_with_their_parent() -> None:
    """Own rollback hooks run in reverse order, then the children are rolled back, newest first."""
    events: Events = []
    with failing() as outer:
        staged(events, "outer 1", outer)
        staged(events, "outer 2", outer)
        for name in ("a", "b"):
            with transaction() as inner:
                staged(events, name, inner)
    assert events == ["undo outer 2", "undo outer 1", "undo b", "undo a"]


@pytest.mark.contract("W-7")
def test_a_failure_that_is_caught_leaves_the_parent_alone() -> None:
    """Only what leaves the parent's own block rolls the parent back."""
    events: Events = []
    with transaction() as outer:
        staged(events, "outer", outer)
        with failing() as inner:
            staged(events, "inner", inner)
    assert events == ["undo inner", "commit outer"]


@pytest.mark.contract("TX-8", "TX-19", "TX-20", "TX-21")
@pytest.mark.parametrize(
    ("outer_mode", "inner_mode", "order"),
    [
        (None, None, "inside, after, commit"),
        (None, "EAGER", "inside, commit, after"),
        ("EAGER", None, "inside, commit, after"),
        ("EAGER", "LAZY", "inside, after, commit"),
        ("OFF", None, "inside, after, undo"),
        ("OFF", "EAGER", "inside, commit, after"),
        (None, "OFF", "inside, after, commit"),
    ],
)
def test_commit_modes(outer_mode: str | None, inner_mode: str | None, order: str) -> None:
    """EAGER commits on leaving, LAZY with the outermost block, OFF only by hand; inner blocks inherit."""
    events: Events = []
    with transaction(commit_mode=outer_mode):
        with transaction(commit_mode=inner_mode) as inner:
            inner.stage(1, [hook(events, "undo")], [hook(events, "commit")])
            events.append("inside")
        events.append("after")
    assert ", ".join(events) == order


@pytest.mark.contract("TX-21", "TX-25", "TX-31")
def test_a_decision_is_final() -> None:
    """What is committed or rolled back cannot be decided again, and runs no more hooks."""
    events: Events = []
    with transaction(commit_mode=CommitMode.OFF) as txn:
        staged(events, "a", txn)
        assert txn.commit() is True
        assert txn.commit() is False
        assert txn.rollback() is False
        txn.stage("late", [hook(events, "late")], [hook(events, "late")])
    assert events == ["commit a"]
    assert txn.is_committed()
    with transaction() as other:
        assert other.rollback() is True
        assert other.commit() is False
        assert other.rollback() is False
    assert other.is_rolled_back()


@pytest.mark.contract("TX-27", "TX-28")
def test_a_commit_hook_that_fails_rolls_back(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, the remaining commit hooks do not run, the rollback hooks do; nothing is raised."""
    events: Events = []
    with transaction() as txn:
        txn.stage(1, [hook(events, "undo")], [hook(events, "bad", BoomError("no")), hook(events, "good")])
    assert events == ["bad", "undo"]
    assert txn.is_rolled_back()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "An error was encountered while running commit hook 'bad': BoomError: no" in record.getMessage()
    assert record.exc_info


@pytest.mark.contract("TX-70", "TX-33", "H-13")
def test_every_rollback_hook_runs() -> None:
    """A rollback hook that fails stops neither the others nor the children, and the answer is False."""
    events: Events = []
    with transaction() as outer:
        with transaction() as inner:
            staged(events, "inner", inner)
        outer.stage(1, [hook(events, "first"), hook(events, "bad", BoomError())])
        assert outer.rollback() is False
    assert events == ["bad", "first", "undo inner"]
    assert outer.is_rolled_back()
    assert inner.is_rolled_back()


@pytest.mark.contract("TX-34", "V-9")
def test_async_hooks() -> None:
    """Coroutine functions are hooks like others, with and without an event loop around them."""
    events: Events = []

    async def commit(txn: Transaction) -> None:
        await asyncio.sleep(0)
        events.append(f"commit {txn.state.value}")

    def work() -> None:
        with transaction() as txn:
            txn.stage(1, on_commit_hooks=[commit])

    async def main() -> None:
        work()

    work()
    asyncio.run(main())
    assert events == ["commit STAGED"] * 2


@pytest.mark.contract("TX-35", "H-5", "L-30")
def test_hooks_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Start and success of each hook are logged with its name, unless the hook asks for silence."""
    events: Events = []
    silent = hook(events, "silent")
    silent.log_on_run = False
    with caplog.at_level(logging.INFO), transaction() as txn:
        txn.stage(1, (), [hook(events, "loud"), silent])
    assert [record.getMessage() for record in caplog.records] == [
        "Running commit hook 'loud'",
        "Commit hook 'loud' finished running successfully",
    ]
    assert events == ["loud", "silent"]


# Values


@pytest.mark.contract("TX-15")
def test_named_values() -> None:
    """Values are found by name; a missing one is an error unless there is a default, which may be None."""
    with transaction() as txn:
        txn.set("x", 1)
        assert txn.get("x") == 1
        assert txn.get("y", None) is None
        with pytest.raises(ValueError, match="unknown key 'y'"):
            txn.get("y")


@pytest.mark.contract("TX-16", "TX-17")
def test_values_of_the_parent() -> None:
    """A child sees what its parent has when it looks, and can change neither the parent's names nor values."""
    with transaction() as outer:
        outer.set("list", [1])
        with transaction() as middle, transaction() as inner:
            inner.get("list").append(2)
            inner.set("new", 1)
            assert inner.get("list") == [1, 2], "the child's own copy is live for the child"
            outer.set("late", 3)
            assert inner.get("late") == 3
            assert middle.get("list") == [1]
        assert outer.get("list") == [1]
        with pytest.raises(ValueError, match="new"):
            outer.get("new")


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


@pytest.mark.contract("TX-36", "TX-37", "H-17", "E-105", "E-127")
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
