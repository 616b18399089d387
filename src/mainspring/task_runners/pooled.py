"""What the runners with a pool have in common: each submitted run is carried by a thread of this process."""

from __future__ import annotations

import logging
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from mainspring import identifiers
from mainspring._engine.steps import submitted_step
from mainspring._engine.submissions import Submission, Submissions, unfinished_inputs
from mainspring._engine.workers import WorkerPool
from mainspring.futures import ConcurrentFuture
from mainspring.logging import engine_logs, get_run_logger_or
from mainspring.states import State
from mainspring.task_runners.base import Dependencies, TaskRunner
from mainspring.task_runners.calls import Call

__all__ = ["PooledTaskRunner"]


class PooledTaskRunner(TaskRunner[ConcurrentFuture[Any]]):
    """Runs tasks on a pool of threads, or has these threads see to it that they are run elsewhere.

    A run whose inputs are not there yet waits without a thread. Leaving the block cancels what has not begun and
    waits for what has.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pool: WorkerPool | None = None
        self._submissions: Submissions | None = None
        self._context: dict[str, Any] = {}
        self._has_warned = False

    @property
    @abstractmethod
    def max_workers(self) -> int:
        """The most tasks that run at a time; ``sys.maxsize`` if there is no limit."""

    def _carry(self, call: Call) -> State:
        """Carry a run to its final state; called in a thread of the pool, in the context of the submitter."""
        return call.run()

    def _leave_thread(self) -> None:
        """Tidy up at the end of a thread of the pool; called in it."""

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
            get_run_logger_or(self.logger.name).debug(
                "Submitting a run of task %r to the %s runner", task.name, self.name
            )
        if self._pool.limit != sys.maxsize:
            self._warn_of_deadlock(task)
        key = identifiers.new_id()
        run_id = UUID(bytes=key)
        missing = unfinished_inputs(parameters, wait_for)
        step = None if missing else submitted_step(task, parameters)
        context = self._context if step is None else {**self._context, "step": step}
        submission = Submission(self._carry, Call(task, run_id, parameters, wait_for, dependencies, context))
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
        self._pool = WorkerPool(self.max_workers, f"mainspring-{self.name}", self._leave_thread)
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
