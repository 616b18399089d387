"""Stepping out of a run while its generator is suspended, so that the consumer's code is not inside of it."""

from __future__ import annotations

from typing import Any, Self

from mainspring._engine.signals import SignalCapture
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.transactions import BaseTransaction

__all__ = ["FlowSteps", "FlowSuspension", "Suspension"]


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
        engine = self.engine
        self.inner = BaseTransaction.activate(self.transaction.outer)
        self.context = TaskRunContext.activate(engine._context.outer)
        engine._cancel_scope.suspend()
        if engine._limit is not None:
            engine._limit.suspend()

    def __exit__(self, *_: object) -> None:
        engine = self.engine
        engine._context.outer = TaskRunContext.activate(self.context)
        self.transaction.outer = BaseTransaction.activate(self.inner)
        engine._cancel_scope.resume(engine.asyncio_task())
        if engine._limit is not None:
            engine._limit.resume()


class FlowSteps:
    """Around the run of a generator flow: what holds for its steps, besides the contexts that engines enter.

    SIGTERM is captured during steps. The transaction in which the run began is the one around it until its end, and
    the one that the consumer has by then is active again after it.

    Args:
        engine: The engine of the flow.
    """

    __slots__ = ("capture", "engine", "outer")

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.capture = SignalCapture()
        self.outer: BaseTransaction | None = None

    def __enter__(self) -> Self:
        self.outer = BaseTransaction.current()
        self.capture.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        BaseTransaction.activate(self.outer)
        self.capture.__exit__()


class FlowSuspension:
    """`Suspension` for the generator of a flow.

    Args:
        steps: What is around the run.
    """

    __slots__ = ("flow_run", "inner", "steps", "task_run")

    def __init__(self, steps: FlowSteps) -> None:
        self.steps = steps

    def __enter__(self) -> None:
        steps, engine = self.steps, self.steps.engine
        # First, as a signal that has come is handed on now, and whatever that raises belongs to the run.
        steps.capture.__exit__()
        self.task_run = TaskRunContext.activate(engine._outer.task_run)
        self.flow_run = FlowRunContext.activate(engine._context.outer)
        self.inner = BaseTransaction.activate(steps.outer)
        engine._cancel_scope.suspend()
        if engine._limit is not None:
            engine._limit.suspend()

    def __exit__(self, *_: object) -> None:
        steps, engine = self.steps, self.steps.engine
        engine._outer.task_run = TaskRunContext.activate(self.task_run)
        engine._context.outer = FlowRunContext.activate(self.flow_run)
        steps.outer = BaseTransaction.activate(self.inner)
        engine._cancel_scope.resume(engine.asyncio_task())
        if engine._limit is not None:
            engine._limit.resume()
        steps.capture.__enter__()
