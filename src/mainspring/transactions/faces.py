"""The two kinds of transactions: both do what the steps of `settling` say, one in the calling thread, one awaiting.

The two classes, and the two functions that drive the steps, are one text, once with ``await`` and once without.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from mainspring import points
from mainspring._imports import modules_on_use
from mainspring._portal import afinish, finish
from mainspring.annotations import NotSet
from mainspring.transactions.base import BaseTransaction
from mainspring.transactions.boundaries import abandon, enter_block, leave_block, leave_context
from mainspring.transactions.steps import FACES, Outcome, Steps

if TYPE_CHECKING:
    from mainspring.transactions import settling
else:
    settling = modules_on_use("mainspring.transactions", "settling")

__all__ = ["AsyncTransaction", "Transaction", "adrive", "drive"]


class Transaction(BaseTransaction):
    """A unit of work; use it as a ``with`` block, or better `transaction`.

    Hooks that are coroutine functions, and those of nested async transactions, are run to their end. See
    `BaseTransaction` for the arguments.
    """

    def __enter__(self) -> Self:
        steps = enter_block(self)
        if steps is not None:
            try:
                drive(steps)
            except BaseException:
                abandon(self)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            steps = leave_block(self, error)
            if steps is not None:
                drive(steps)
        finally:
            leave_context(self)

    def commit(self) -> bool:
        """Commit the children in their order, then this transaction: its hooks, then what was staged.

        An error on the way is logged and leads to a rollback of the whole nest. Nothing is written before every
        hook has run and every value could be serialized.

        Returns:
            True if it is now committed by this call, False if it was decided before or had to be rolled back.
        """
        return bool(drive(settling.commit(self)))

    def rollback(self) -> bool:
        """Run the rollback hooks in reverse order, then roll the children back, newest first.

        Every hook runs, also after one that failed.

        Returns:
            True if all of it went well, False if the transaction was decided before or a hook failed.
        """
        return bool(drive(settling.rollback(self)))

    def read(self) -> Any:
        """The record that is kept under the key, whoever wrote it; None without a store or a key."""
        record = settling.read_at_once(self)
        return drive(settling.read(self)) if record is NotSet else record


class AsyncTransaction(BaseTransaction):
    """A unit of work; use it as an ``async with`` block, or better `atransaction`.

    Hooks that are plain functions are called in the event loop, in the context of whoever ends the transaction.
    See `BaseTransaction` for the arguments.
    """

    async def __aenter__(self) -> Self:
        steps = enter_block(self)
        if steps is not None:
            try:
                await adrive(steps)
            except BaseException:
                abandon(self)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            steps = leave_block(self, error)
            if steps is not None:
                await adrive(steps)
        finally:
            leave_context(self)

    async def commit(self) -> bool:
        """See `Transaction.commit`."""
        return bool(await adrive(settling.commit(self)))

    async def rollback(self) -> bool:
        """See `Transaction.rollback`."""
        return bool(await adrive(settling.rollback(self)))

    async def read(self) -> Any:
        """See `Transaction.read`."""
        record = settling.read_at_once(self)
        return await adrive(settling.read(self)) if record is NotSet else record

    def __enter__(self) -> NoReturn:
        raise NotImplementedError("An AsyncTransaction is entered with `async with`.")

    def __exit__(self, *_: object) -> NoReturn:
        raise NotImplementedError("An AsyncTransaction is left by `async with`.")


FACES.update(each for kind in (Transaction, AsyncTransaction) for each in (kind.commit, kind.rollback))


def drive(steps: Steps) -> Any:
    """Carry the steps out in the calling thread, and return what they come to."""
    outcome: Any = None
    while True:
        try:
            call = steps.send(outcome)
        except StopIteration as end:
            return end.value
        try:
            if points.observer is not None:
                points.observer("transaction.call", call)
            outcome = Outcome(finish(call.make()))
            if points.observer is not None:
                points.observer("transaction.returned", call)
        except BaseException as error:  # the steps decide what it means
            outcome = Outcome(None, error)


async def adrive(steps: Steps) -> Any:
    """Carry the steps out in the calling asyncio task, and return what they come to."""
    outcome: Any = None
    while True:
        try:
            call = steps.send(outcome)
        except StopIteration as end:
            return end.value
        try:
            if points.observer is not None:
                points.observer("transaction.call", call)
            outcome = Outcome(await afinish(call.amake()))
            if points.observer is not None:
                points.observer("transaction.returned", call)
        except BaseException as error:  # the steps decide what it means
            outcome = Outcome(None, error)
