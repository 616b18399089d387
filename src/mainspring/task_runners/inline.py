"""Tasks where they are submitted, for debugging."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from mainspring import identifiers
from mainspring._engine.steps import with_step
from mainspring.futures import ConcurrentFuture
from mainspring.futures.promises import Promise
from mainspring.task_runners.base import Dependencies, TaskRunner
from mainspring.task_runners.calls import Call

__all__ = ["InlineTaskRunner"]


class InlineTaskRunner(TaskRunner[ConcurrentFuture[Any]]):
    """Runs each task in the thread that submits it, to its end, before ``submit`` returns.

    Nothing runs at the same time as anything else, so a debugger, a profiler and ``print`` show what happens in the
    order of the program. Futures, states, retries and history are as with other runners. An interrupt (Ctrl-C) goes to
    whoever submits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cancelled = threading.Event()

    def duplicate(self) -> Self:
        """See `TaskRunner.duplicate`."""
        return type(self)()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InlineTaskRunner) or NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        """A runner is pickled as a runner that is not started (TR-32)."""
        return {**vars(self), "_started": False, "_cancelled": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _cancelled=threading.Event())

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        dependencies: Dependencies | None = None,
    ) -> ConcurrentFuture[Any]:
        """See `TaskRunner.submit`; this one returns when the run is over."""
        self._require_started()
        if self._cancelled.is_set():
            raise self._refusal(task)
        key, promise = identifiers.new_id(), Promise()
        context = with_step({"cancel_event": self._cancelled}, task, parameters)
        call = Call(task, key, parameters, wait_for, dependencies, context)
        promise.begin()
        try:
            promise.set_result(contextvars.copy_context().run(call.run))
        except BaseException as error:
            promise.set_exception(error)
            raise
        return ConcurrentFuture(key, promise)

    def cancel_all(self) -> None:
        """Take no more runs."""
        self._cancelled.set()

    def __enter__(self) -> Self:
        super().__enter__()
        self._cancelled = threading.Event()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel_all()
        super().__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return "InlineTaskRunner()"
