"""Stepping out of a run while its generator is suspended, so that the consumer's code is not inside of it."""

from __future__ import annotations

from typing import Any

from mainspring.context import TaskRunContext
from mainspring.transactions import BaseTransaction

__all__ = ["Suspension"]


class Suspension:
    """A block in which a run's context, transaction and time limit do not hold (W-16).

    The consumer may have moved on to other contexts between two steps, so everything is set by value: on the way
    out to what the consumer had, on the way back to what the run had, and what the consumer has by then is
    what it finds again at the end.

    Args:
        engine: The engine of the generator task.
        transaction: The transaction of the attempt.
    """

    __slots__ = ("context", "engine", "inner", "transaction")

    def __init__(self, engine: Any, transaction: BaseTransaction) -> None:
        self.engine = engine
        self.transaction = transaction

    def __enter__(self) -> None:
        self.context = TaskRunContext.get()
        self.inner = BaseTransaction.activate(self.transaction.outer)
        TaskRunContext.activate(self.engine._context.outer)
        if self.engine._limit is not None:
            self.engine._limit.suspend()

    def __exit__(self, *_: object) -> None:
        self.engine._context.outer = TaskRunContext.activate(self.context)
        self.transaction.outer = BaseTransaction.activate(self.inner)
        if self.engine._limit is not None:
            self.engine._limit.resume()
