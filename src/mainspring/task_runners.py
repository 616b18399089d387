"""Task runners: where submitted tasks run."""

from __future__ import annotations

import concurrent.futures
import contextvars
import logging
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from mainspring import _portal, identifiers
from mainspring._engine.mapping import common_upstreams, split_parameters
from mainspring.futures import ConcurrentFuture, Future, FutureList
from mainspring.logging import get_logger
from mainspring.runs import RunInput
from mainspring.states import State
from mainspring.task_engine import run_task

__all__ = ["ConcurrentTaskRunner", "TaskRunner", "ThreadPoolTaskRunner"]

F = TypeVar("F", bound=Future[Any])
Dependencies = dict[str, list[RunInput]]


class TaskRunner(ABC, Generic[F]):
    """Runs submitted tasks; started by ``with``, and startable again after it was left."""

    def __init__(self) -> None:
        self._started = False
        self.logger = get_logger(f"task_runner.{self.name}")

    @property
    def name(self) -> str:
        """The class name in lower case without "taskrunner"."""
        return type(self).__name__.lower().replace("taskrunner", "")

    @abstractmethod
    def duplicate(self) -> TaskRunner[F]:
        """An equal runner that is not started."""

    @abstractmethod
    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        dependencies: Dependencies | None = None,
    ) -> F:
        """Start one task run without waiting for anything.

        Args:
            task: The task.
            parameters: Its arguments by name, complete with defaults.
            wait_for: Futures and states that must be there first.
            dependencies: Further inputs of the run, for tracking.

        Raises:
            RuntimeError: The runner is not started.
        """

    def map(
        self, task: Any, parameters: dict[str, Any], wait_for: Iterable[Any] | None = None
    ) -> FutureList[Any]:
        """Start one task run per element of the iterables among the parameters.

        Args:
            task: The task.
            parameters: Its arguments by name, without defaults.
            wait_for: Futures and states that must be there first.

        Raises:
            RuntimeError: The runner is not started.
            MappingMissingIterable: There is nothing to map over.
            MappingLengthMismatch: The iterables have different lengths.
        """
        self._require_started()
        children = split_parameters(task.arguments, parameters)
        dependencies = common_upstreams(task.arguments, parameters)
        return FutureList([self.submit(task, child, wait_for, dependencies) for child in children])

    def cancel_all(self) -> None:
        """Cancel what has not begun, as far as the runner can."""

    def _require_started(self) -> None:
        if not self._started:
            raise RuntimeError(f"The task runner {self!r} is not started. Use it as a `with` block.")

    def __enter__(self) -> TaskRunner[F]:
        if self._started:
            raise RuntimeError(f"The task runner {self!r} is already started.")
        self._started = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started = False


class ThreadPoolTaskRunner(TaskRunner[ConcurrentFuture[Any]]):
    """Runs tasks on threads of this process, in copies of the submitter's context.

    Leaving the block cancels what has not begun and waits for what has.

    Args:
        max_workers: The most threads at a time; without a limit, tasks that wait for tasks cannot
            use up the pool.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"`max_workers` must be at least 1; got {max_workers}.")
        super().__init__()
        self.max_workers = sys.maxsize if max_workers is None else max_workers
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._cancelled = threading.Event()

    def duplicate(self) -> ThreadPoolTaskRunner:
        """See `TaskRunner.duplicate`."""
        return type(self)(None if self.max_workers == sys.maxsize else self.max_workers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ThreadPoolTaskRunner):
            return NotImplemented
        return self.max_workers == other.max_workers

    __hash__ = None  # type: ignore[assignment]

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        dependencies: Dependencies | None = None,
    ) -> ConcurrentFuture[Any]:
        """See `TaskRunner.submit`."""
        self._require_started()
        assert self._pool is not None
        key = identifiers.new_id()
        if self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug("Submitting a run of task %r to the thread pool", task.name)
        context = {"cancel_event": self._cancelled}
        run_id = UUID(bytes=key)
        copied = contextvars.copy_context()
        return ConcurrentFuture(
            key,
            self._pool.submit(copied.run, _run, task, run_id, parameters, wait_for, dependencies, context),
        )

    def cancel_all(self) -> None:
        """See `TaskRunner.cancel_all`; a task whose function has begun is not interrupted."""
        self._cancelled.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        super().__enter__()
        self._cancelled = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(self.max_workers, "mainspring-task")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        self._cancelled.set()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        super().__exit__(kind, error, trace)

    def __repr__(self) -> str:
        limit = "" if self.max_workers == sys.maxsize else f"max_workers={self.max_workers}"
        return f"ThreadPoolTaskRunner({limit})"


ConcurrentTaskRunner = ThreadPoolTaskRunner


def _run(
    task: Any,
    run_id: UUID,
    parameters: dict[str, Any],
    wait_for: Iterable[Any] | None,
    dependencies: Dependencies | None,
    context: dict[str, Any],
) -> State:
    """Run a task of any kind to its end in the calling thread; generators are collected (G-16)."""
    if not task.isgenerator:
        state = run_task(task, run_id, None, parameters, wait_for, "state", dependencies, context)
        return _portal.finish(state)  # type: ignore[no-any-return]
    run = task.create_local_run(run_id, parameters, wait_for, dependencies)
    steps = run_task(task, None, run, parameters, wait_for, context=context)
    try:
        values = _portal.run(_collect(steps)) if task.isasync else list(steps)
    except Exception:  # it is the run's outcome: recorded, and what the future gives
        return run.state  # type: ignore[no-any-return]
    run.state.keep(values)
    return run.state  # type: ignore[no-any-return]


async def _collect(steps: Any) -> list[Any]:
    return [value async for value in steps]
