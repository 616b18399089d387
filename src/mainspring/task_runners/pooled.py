"""What the runners with a pool have in common: each submitted run is carried by a thread of this process."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mainspring import _forks, identifiers
from mainspring._engine.steps import with_step
from mainspring._imports import modules_on_use
from mainspring.context import current_scope
from mainspring.task_runners.base import TaskRunner, listed, promised

if TYPE_CHECKING:
    from mainspring._engine import submissions as handing
    from mainspring._engine import workers
    from mainspring._engine.mapping import Children
    from mainspring._engine.submissions import Outcome, Prepared, Submissions
    from mainspring._engine.workers import WorkerPool
    from mainspring.futures import ConcurrentFuture, FutureList, lists, local, promises
    from mainspring.futures.promises import Promise
    from mainspring.task_runners import calls
    from mainspring.task_runners.base import Dependencies
    from mainspring.task_runners.calls import Call
else:
    lists, local, promises = modules_on_use("mainspring.futures", "lists", "local", "promises")
    calls = modules_on_use("mainspring.task_runners", "calls")
    handing, workers = modules_on_use("mainspring._engine", "submissions", "workers")

__all__ = ["PooledTaskRunner"]

_opening = threading.Lock()  # held for moments, when a pool is made and when a runner is left without one
_forks.remake_in_child(globals(), _opening=threading.Lock)


class PooledTaskRunner(TaskRunner["ConcurrentFuture[Any]"]):
    """Runs tasks on a pool of threads, or has these threads see to it that they are run elsewhere.

    A run whose inputs are not there yet waits without a thread. Leaving the block cancels what has not begun and
    waits for what has. The pool is made for the first run, as many flows submit none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._limit = 0
        self._pool: WorkerPool | None = None
        self._submissions: Submissions | None = None
        self._context: dict[str, Any] = {}

    @property
    @abstractmethod
    def max_workers(self) -> int:
        """The most tasks that run at a time; ``sys.maxsize`` if there is no limit."""

    @abstractmethod
    def _carry(self, call: Call) -> Outcome:
        """Carry a run to its final state; called in a thread of the pool, in the context of the submitter."""

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
        submissions = self._submissions or self._open()
        self._tell(task)
        key = identifiers.new_id()
        call, missing, label = self._prepare(key, task, parameters, listed(wait_for), dependencies)
        promise = promises.Promise()
        if not submissions.add(handing.Submission(call, promise, label), missing):
            raise self._refusal(task)
        return local.ConcurrentFuture(key, promise)

    def _submit_each(
        self,
        task: Any,
        children: Children,
        wait_for: Iterable[Any] | None,
        dependencies: Dependencies,
        max_in_flight: int,
    ) -> FutureList[Any]:
        """See `TaskRunner._submit_each`: in the queue the children are one piece, made as threads come free."""
        submissions = self._submissions or self._open()
        if not children.length:
            return lists.FutureList()
        keys, ends, futures = promised(children)

        def prepare(number: int) -> Prepared:
            return self._prepare(keys[number], task, children[number], wait_for, dependencies)

        if submissions.add_series(ends, prepare, max_in_flight) is None:
            raise self._refusal(task)
        return futures

    def _prepare(
        self,
        key: bytes,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None,
        dependencies: Dependencies | None,
    ) -> Prepared:
        """A run that is ready to be carried when its unfinished inputs are there."""
        missing = handing.unfinished_inputs(parameters, wait_for)
        context = self._context if missing else with_step(self._context, task, parameters)
        call = calls.Call(task, key, parameters, wait_for, dependencies, context)
        return partial(self._carry, call), missing, partial(calls.describe_run, task.name, key)

    def take(self, call: Call) -> Promise:
        """Have a call carried whose inputs are there, in a copy of the context that is active here.

        Raises:
            RuntimeError: The runner takes no more runs.
        """
        submissions = self._submissions or self._open()
        promise = promises.Promise()
        label = partial(calls.describe_run, call.task.name, call.run_key)
        if not submissions.add(handing.Submission(partial(self._carry, call), promise, label), []):
            raise self._refusal(call.task)
        return promise

    def cancel_all(self) -> None:
        """See `TaskRunner.cancel_all`; a task whose function has begun is not interrupted."""
        if self._started:
            submissions = self._submissions or self._open()
            self._context["cancel_event"].set()
            submissions.cancel()

    def _open(self) -> Submissions:
        """What hands runs to the pool, both of which are made if they are not there.

        Raises:
            RuntimeError: The runner is not started.
        """
        with _opening:
            self._require_started()
            if self._submissions is None:
                self._context = {"cancel_event": threading.Event()}
                self._pool = workers.WorkerPool(self._limit, f"mainspring-{self.name}", self._leave_thread)
                self._submissions = handing.Submissions(self._pool)
            return self._submissions

    def _leave_without_pool(self) -> bool:
        """Leave the runner at once if it has no pool, which nobody makes from then on; False if it has one."""
        with _opening:
            self._started = self._submissions is not None
            return not self._started

    def __enter__(self) -> Self:
        super().__enter__()
        self._limit = self.max_workers
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leave_without_pool():
            return
        scope = current_scope()
        try:
            self.cancel_all()
            if self._pool is not None:
                with (
                    nullcontext() if scope is None else scope.closed()
                ):  # its threads are told to stop themselves
                    self._pool.join()
        finally:
            self._pool = self._submissions = None
            super().__exit__(kind, error, trace)
