"""The machine of a transaction: its states, modes, hooks and values, without anything kept."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from mainspring.transactions import (
    BaseTransaction,
    CommitMode,
    IsolationLevel,
    Transaction,
    TransactionState,
    get_transaction,
    transaction,
)
from tests.engine.scenarios import BoomError
from tests.transactions.stories import Events, failing, hook, staged

# The machine of a transaction


@pytest.mark.contract("TX-2", "TX-3")
def test_names_of_states_and_modes() -> None:
    """Members equal their names as text."""
    for kind in (TransactionState, CommitMode, IsolationLevel):
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


async def _active() -> BaseTransaction | None:
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


@pytest.mark.contract("TX-24", "TX-68", "TX-16")
@pytest.mark.parametrize("fails", [True, False])
def test_hooks_of_a_child_know_its_parent(fails: bool) -> None:
    """They run after the block of the child was left, and find the parent and what was set in it, also later."""
    seen: list[Any] = []

    def look(txn: Transaction) -> None:
        seen.append((txn.get_parent(), txn.get("name")))

    def nest(outer: Transaction) -> None:
        with transaction() as inner:
            inner.stage(1, on_rollback_hooks=[look], on_commit_hooks=[look])
        outer.set("name", "set later")

    if fails:
        with failing() as outer:
            nest(outer)
    else:
        with transaction() as outer:
            nest(outer)
    assert seen == [(outer, "set later")]
    assert seen[0][0] is outer


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


@pytest.mark.contract("TX-34", "V-9", "TX-68")
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
