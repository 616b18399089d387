"""Transactions in transactions: what the end of one means for the others."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from mainspring import task
from mainspring.states import Failed
from mainspring.transactions import (
    AsyncTransaction,
    Transaction,
    TransactionState,
    atransaction,
    get_transaction,
    transaction,
)
from tests.engine.scenarios import BoomError
from tests.transactions.stores import DictStore
from tests.transactions.stories import Events, failing, hook, staged


@pytest.mark.contract("TX-60")
def test_a_child_of_an_eager_block_is_committed_at_its_own_end() -> None:
    """It takes the mode of the block around, and is written before that one ends."""
    store = DictStore()
    with failing(commit_mode="EAGER"):
        with transaction("k", store) as inner:
            inner.stage(1)
        assert inner.commit_mode == "EAGER"
        assert inner.is_committed()
        assert store.kept == {"k": 1}
    assert inner.is_committed()


@pytest.mark.contract("TX-22", "TX-62", "E-128")
def test_a_rollback_by_hand_goes_outwards() -> None:
    """Each block around is rolled back when the one inside of it is left."""
    events: Events = []
    with transaction() as outer:
        staged(events, "outer", outer)
        with transaction() as middle:
            staged(events, "middle", middle)
            with transaction() as inner:
                staged(events, "inner", inner)
                inner.rollback()
                assert not middle.is_rolled_back()
            assert middle.is_rolled_back()
            assert not outer.is_rolled_back()
        assert outer.is_rolled_back()
    assert events == ["undo inner", "undo middle", "undo outer"]


@pytest.mark.contract("W-7", "W-8")
def test_what_joins_a_decided_block_follows_the_decision() -> None:
    """A step after the rollback is rolled back, one after a commit by hand is committed: nothing is left open."""
    events: Events = []
    with transaction() as outer:
        outer.rollback()
        with transaction() as late:
            staged(events, "late", late)
        assert late.is_rolled_back()
        staged(events, "outer", outer)
        assert outer.is_rolled_back()
    with transaction() as outer:
        outer.commit()
        with transaction() as late:
            staged(events, "later", late)
        assert late.is_committed()
    assert events == ["undo late", "commit later"]


def test_a_thread_that_ends_after_the_block_follows_the_decision() -> None:
    """A nested block that goes on in a thread is committed when it is left, if the one around was."""
    events: Events = []
    go_on = threading.Event()

    def nested() -> None:
        with transaction() as inner:
            staged(events, "late", inner)
            go_on.wait(30)

    with transaction() as outer:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(nested,))
        thread.start()
    assert outer.is_committed()
    go_on.set()
    thread.join()
    assert events == ["commit late"]


def test_a_child_that_comes_while_hooks_run_is_committed_too() -> None:
    """A hook that leaves a nested block behind leaves nothing open."""
    events: Events = []

    def late(txn: Any) -> None:
        with Transaction() as inner:
            inner.parent = txn
            staged(events, "late", inner)

    with transaction() as outer:
        outer.stage(1, on_commit_hooks=[late])
    assert events == ["commit late"]
    assert [child.state for child in outer.children] == [TransactionState.COMMITTED]


@pytest.mark.contract("W-7")
def test_discarded_work_disturbs_nobody() -> None:
    """It is rolled back when its block is left, and the block around goes on."""
    events: Events = []
    with transaction() as outer:
        staged(events, "outer", outer)
        with transaction() as attempt:
            with transaction() as inner:
                staged(events, "inner", inner)
            attempt.discard()
        assert attempt.is_rolled_back()
        assert events == ["undo inner"]
    assert events == ["undo inner", "commit outer"]


@pytest.mark.contract("W-7")
def test_an_attempt_that_is_retried_leaves_the_block_around_alone() -> None:
    """Also if it failed by returning a failed state."""
    events: Events = []
    answers = iter([Failed(message="not yet"), 1])

    @task(retries=1)
    def work() -> Any:
        return next(answers)

    with transaction() as outer:
        staged(events, "outer", outer)
        assert work() == 1
    assert events == ["commit outer"]


class Odd:
    """Something that is no transaction of ours, but commits and rolls back like one."""

    def __init__(self, events: Events, commits: Any = True, rolls_back: Any = True) -> None:
        self.events = events
        self.answers = {"commit": commits, "rollback": rolls_back}

    def commit(self) -> bool:
        return self.answer("commit")

    def rollback(self) -> bool:
        return self.answer("rollback")

    def is_committed(self) -> bool:
        return False

    def answer(self, name: str) -> bool:
        self.events.append(name)
        if isinstance(self.answers[name], Exception):
            raise self.answers[name]
        return bool(self.answers[name])


@pytest.mark.contract("TX-61")
@pytest.mark.parametrize("answer", [BoomError(), False])
def test_a_child_that_does_not_commit(answer: Any) -> None:
    """The block around it is rolled back, its other children with it."""
    events: Events = []
    with transaction() as outer:
        with transaction() as inner:
            staged(events, "inner", inner)
        outer.add_child(Odd(events, commits=answer))
    assert outer.is_rolled_back()
    assert events == ["commit inner", "commit", "rollback", "undo inner"]
    assert get_transaction() is None


@pytest.mark.contract("TX-61")
def test_a_child_that_does_not_roll_back() -> None:
    """The rollback answers False, goes on with the others, and the context is as before."""
    events: Events = []
    with transaction() as outer:
        with transaction() as inner:
            staged(events, "inner", inner)
        outer.add_child(Odd(events, rolls_back=BoomError()))
        assert outer.rollback() is False
    assert events == ["rollback", "undo inner"]
    assert get_transaction() is None


@pytest.mark.contract("TX-61")
def test_a_subclass_commits_in_its_own_way() -> None:
    """A child whose class has a `commit` of its own is committed by that."""
    events: Events = []

    class Own(Transaction):
        __slots__ = ()

        def commit(self) -> bool:
            events.append("own")
            return super().commit()

    with transaction(), Own() as inner:
        staged(events, "inner", inner)
    assert inner.is_committed()
    assert events == ["own", "commit inner"]


@pytest.mark.contract("TX-65")
def test_siblings_keep_their_values_apart() -> None:
    """Each rollback hook finds the value of its own task."""
    seen: list[Any] = []

    @task(on_rollback=[lambda txn: seen.append(txn.get("name"))])
    def work(name: str) -> None:
        current = get_transaction()
        assert current is not None
        current.set("name", name)

    with failing():
        work("first")
        work("second")
    assert seen == ["second", "first"]


@pytest.mark.contract("TX-66")
def test_commit_hooks_of_an_earlier_task_do_not_run_when_a_later_one_fails() -> None:
    """Its rollback hooks do."""
    events: Events = []

    @task(on_commit=[hook(events, "commit")], on_rollback=[hook(events, "undo")])
    def first() -> None: ...

    @task
    def second() -> None:
        raise BoomError

    def pipeline() -> None:
        with transaction():
            first()
            second()

    with pytest.raises(BoomError):
        pipeline()
    assert events == ["undo"]


def test_a_hook_may_decide_otherwise() -> None:
    """A rollback in a commit hook is one; a commit in any hook, and a rollback in a rollback hook, do nothing."""
    events: Events = []
    answers: list[bool] = []

    def undo(txn: Transaction) -> None:
        answers.append(txn.rollback())

    def again(txn: Transaction) -> None:
        answers.append(txn.commit())

    with transaction("k", store := DictStore()) as txn:
        txn.stage(1, [hook(events, "undo"), undo], [again, undo, hook(events, "not any more")])
    assert txn.is_rolled_back()
    assert answers == [False, False, True]
    assert events == ["undo"]
    assert store.told == []


@pytest.mark.contract("TX-23", "TX-33")
@pytest.mark.parametrize("kind", ["commit", "rollback"])
def test_an_interrupt_in_a_hook_goes_on_after_the_rollback(kind: str) -> None:
    """Ctrl-C in a hook rolls back, keeps no rollback hook from running, and reaches the caller."""
    events: Events = []
    interrupt = KeyboardInterrupt()
    with transaction(commit_mode="OFF") as txn:
        pass
    with pytest.raises(KeyboardInterrupt) as caught, transaction() as txn:  # noqa: PT012
        if kind == "commit":
            txn.stage(1, [hook(events, "undo")], [hook(events, "bad", interrupt)])
        else:
            txn.stage(1, [hook(events, "undo"), hook(events, "bad", interrupt)])
            txn.rollback()
    assert caught.value is interrupt
    assert events == ["bad", "undo"]
    assert txn.is_rolled_back()
    assert get_transaction() is None


# Sync and async


@pytest.mark.contract("TX-42", "V-9")
def test_an_async_transaction_refuses_a_plain_with() -> None:
    """It says what to write instead."""
    with pytest.raises(NotImplementedError, match="async with"), AsyncTransaction():
        pytest.fail("entered")
    assert get_transaction() is None


async def nest(outer: str, inner: str, events: Events, fails: bool) -> None:
    """A block of one kind in a block of the other, with hooks of both kinds."""

    def told(name: str) -> list[Any]:
        async def later(txn: Any) -> None:
            await asyncio.sleep(0)
            events.append(f"{name} async")

        return [hook(events, f"{name} sync"), later]

    async def inside() -> None:
        if inner == "sync":
            with transaction() as txn:
                txn.stage(1, told("undo inner"), told("commit inner"))
        else:
            async with atransaction() as other:
                other.stage(1, told("undo inner"), told("commit inner"))

    if outer == "sync":
        with transaction() as txn:
            txn.stage(1, told("undo outer"), told("commit outer"))
            await inside()
            if fails:
                raise BoomError
    else:
        async with atransaction() as other:
            other.stage(1, told("undo outer"), told("commit outer"))
            await inside()
            if fails:
                raise BoomError


@pytest.mark.contract("TX-42", "V-9", "TX-34")
@pytest.mark.parametrize("inner", ["sync", "async"])
@pytest.mark.parametrize("outer", ["sync", "async"])
def test_sync_and_async_nest_in_each_other(outer: str, inner: str) -> None:
    """Commits and rollbacks cross the border, hooks of both kinds run, in the order that there would be without."""
    events: Events = []
    asyncio.run(nest(outer, inner, events, fails=False))
    assert events == ["commit inner sync", "commit inner async", "commit outer sync", "commit outer async"]
    events.clear()
    with pytest.raises(BoomError):
        asyncio.run(nest(outer, inner, events, fails=True))
    assert events == ["undo outer async", "undo outer sync", "undo inner async", "undo inner sync"]


@pytest.mark.contract("TX-42", "V-9", "TX-14", "TX-68")
def test_an_async_transaction_awaits_its_store() -> None:
    """Reading, writing, committing and rolling back by hand are awaited, and use the async methods of the store."""
    store = DictStore()

    async def main() -> None:
        async with atransaction("k", store) as txn:
            txn.stage(1)
            assert await txn.commit() is True
            assert await txn.rollback() is False
        assert await txn.read() == 1
        async with atransaction("k", store) as hit:
            assert hit.is_committed()
        async with atransaction("other") as undone:
            assert await undone.rollback() is True

    asyncio.run(main())
    assert store.told == ["async", "write k", "async", "read k"]


def test_a_cancellation_rolls_back_and_goes_on() -> None:
    """Of the block, and of a hook that waits: async rollback hooks still run to their end."""
    events: Events = []

    async def undo(txn: Any) -> None:
        await asyncio.sleep(0)
        events.append("undo")

    async def main(in_hook: bool) -> None:
        waits = asyncio.Event()

        async def wait(txn: Any = None) -> None:
            waits.set()
            await asyncio.Event().wait()

        async def block() -> None:
            async with atransaction() as txn:
                txn.stage(1, [undo], [wait])
                if not in_hook:
                    await wait()

        running = asyncio.create_task(block())
        await waits.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    for in_hook in (False, True):
        events.clear()
        asyncio.run(main(in_hook))
        assert events == ["undo"]
