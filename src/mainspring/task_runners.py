"""Task runners: where submitted tasks run."""

from __future__ import annotations

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
from mainspring._engine.steps import submitted_step
from mainspring._engine.submissions import Submission, Submissions, unfinished_inputs
from mainspring._engine.workers import WorkerPool
from mainspring.futures import ConcurrentFuture, Future, FutureList
from mainspring.logging import engine_logs, get_logger, get_run_logger_or
from mainspring.runs import RunInput
from mainspring.settings import get_current_settings
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

    A run whose inputs are not there yet waits without a thread. Threads are reused, and so is the event loop that
    each keeps for async tasks. Leaving the block cancels what has not begun and waits for what has.

    Args:
        max_workers: The most threads at a time. When omitted, the setting
            ``tasks.runner.thread_pool_max_workers``; when that is unset too there is no limit, so tasks that wait
            for tasks cannot use up the pool.

    Raises:
        ValueError: ``max_workers`` is less than 1.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"`max_workers` must be at least 1; got {max_workers}.")
        super().__init__()
        self._given = max_workers
        self._pool: WorkerPool | None = None
        self._submissions: Submissions | None = None
        self._context: dict[str, Any] = {}
        self._has_warned = False

    @property
    def max_workers(self) -> int:
        """The most threads at a time; ``sys.maxsize`` if there is no limit."""
        return self._given or get_current_settings().tasks.runner.thread_pool_max_workers or sys.maxsize

    def duplicate(self) -> Self:
        """See `TaskRunner.duplicate`."""
        return type(self)(self._given)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ThreadPoolTaskRunner):
            return NotImplemented
        return self._given == other._given

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        """A runner is pickled as a runner that is not started (TR-32)."""
        return {**vars(self), "_started": False, "_pool": None, "_submissions": None, "_context": {}}

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
        assert self._submissions is not None
        if engine_logs(logging.DEBUG):
            get_run_logger_or(self.logger.name).debug("Submitting a run of task %r to a thread", task.name)
        if self._pool.limit != sys.maxsize:
            self._warn_of_deadlock(task)
        key = identifiers.new_id()
        run_id = UUID(bytes=key)
        missing = unfinished_inputs(parameters, wait_for)
        step = None if missing else submitted_step(task, parameters)
        context = self._context if step is None else {**self._context, "step": step}
        submission = Submission(_run, task, run_id, parameters, wait_for, dependencies, context)
        if not self._submissions.add(submission, missing):
            raise RuntimeError(
                f"The task runner {self!r} takes no more runs: it was cancelled, or its flow has ended. Task"
                f" {task.name!r} was not submitted."
            )
        return ConcurrentFuture(key, submission.future)

    def cancel_all(self) -> None:
        """See `TaskRunner.cancel_all`; a task whose function has begun is not interrupted."""
        if self._submissions is not None:
            self._context["cancel_event"].set()
            self._submissions.cancel()

    def _warn_of_deadlock(self, task: Any) -> None:
        """Say, once, that a task on the last thread submits another, which it may be about to wait for (TR-32)."""
        if self._has_warned or self._pool is None or not self._pool.is_used_up_by_caller():
            return
        self._has_warned = True
        self.logger.warning(
            "A task submitted a run of %r while all %s threads of %r are in use. If they wait for what they"
            " submit, they wait for ever. Use more workers, or call the task directly.",
            task.name,
            self._pool.limit,
            self,
        )

    def __enter__(self) -> Self:
        super().__enter__()
        self._context = {"cancel_event": threading.Event()}
        self._pool = WorkerPool(self.max_workers, "mainspring-task", _portal.close)
        self._submissions = Submissions(self._pool)
        self._has_warned = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.cancel_all()
            if self._pool is not None:
                self._pool.join()
        finally:
            self._pool = self._submissions = None
            super().__exit__(kind, error, trace)

    def __repr__(self) -> str:
        limit = "" if self._given is None else f"max_workers={self._given}"
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
