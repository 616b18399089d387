"""Flow runs in the background: what ``flow.submit`` starts, each on a thread of its own.

A flow run mostly waits, for its tasks and for the world, so there is no limit on how many there are. Those of an
attempt of a flow run end with it, like the tasks that it has submitted. Those that are started outside of flow runs
end with the process, which waits for them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mainspring import _forks, _portal
from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext

if TYPE_CHECKING:
    from mainspring._engine import submissions as handing
    from mainspring._engine import workers
    from mainspring._engine.submissions import Submission, Submissions
    from mainspring._engine.workers import WorkerPool
    from mainspring.futures import RunFuture
else:
    handing, workers = modules_on_use("mainspring._engine", "submissions", "workers")

__all__ = ["BackgroundRuns", "background_runs", "wait_for_background_runs"]


class BackgroundRuns:
    """Runs that end with the attempt of a flow run in which they were started. Safe to use from any thread."""

    __slots__ = ("_has_ended", "_lock", "_pool", "_submissions")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for moments, around everything below
        self._pool: WorkerPool | None = None
        self._submissions: Submissions | None = None
        self._has_ended = False

    def add(self, submission: Submission, inputs: list[RunFuture[Any]]) -> bool:
        """Have a run made on a thread when all inputs are done; False if it is too late for that.

        Args:
            submission: The run.
            inputs: Futures that were not done a moment ago.
        """
        with self._lock:
            if self._has_ended:
                return False
            submissions = self._open()
        return submissions.add(submission, inputs)

    def leave(self) -> None:
        """Cancel what has not begun, wait for what has, and take no more."""
        with self._lock:
            self._has_ended = True
        self._close()

    def leave_unused(self) -> bool:
        """Take no more if nothing was added, so that there is nothing to wait for; else False, and nothing is done."""
        with self._lock:
            self._has_ended = self._submissions is None
            return self._has_ended

    def _open(self) -> Submissions:
        """What hands runs to threads, made now if there is none; the lock is held."""
        if self._submissions is None:
            self._pool = workers.WorkerPool(sys.maxsize, "mainspring-flows", _portal.close)
            self._submissions = handing.Submissions(self._pool)
        return self._submissions

    def _close(self) -> None:
        if self._submissions is not None:
            self._submissions.cancel()
        if self._pool is not None:
            self._pool.join()


class _RunsOfProcess(BackgroundRuns):
    """Runs that belong to no other. There are threads only as long as there are runs."""

    __slots__ = ("_is_waited_for", "_unfinished")

    def __init__(self) -> None:
        super().__init__()
        self._unfinished: dict[Submission, None] = {}
        self._is_waited_for = False

    def add(self, submission: Submission, inputs: list[RunFuture[Any]]) -> bool:
        """See `BackgroundRuns.add`."""
        with self._lock:
            if self._has_ended:
                return False
            if not self._is_waited_for:
                try:
                    _at_exit(self.leave)
                except RuntimeError:  # the process is about to end
                    return False
                self._is_waited_for = True
            self._unfinished[submission] = None
            submissions = self._open()
        submission.promise.add_done_callback(lambda _: self._note_end(submission))
        return submissions.add(submission, inputs)

    def leave(self) -> None:
        """Wait for all runs, also for those that wait for their inputs, and take no more."""
        while True:
            with self._lock:
                unfinished = [submission.promise for submission in self._unfinished]
                self._has_ended = not unfinished
            if not unfinished:
                break
            for promise in unfinished:
                over = threading.Event()
                promise.add_done_callback(lambda over: over.set(), over)
                over.wait()
        self._close()

    def wait(self, patience: float) -> int:
        """Wait for all runs that there are, at most so many seconds; how many go on then."""
        end = time.monotonic() + patience
        with self._lock:
            unfinished = [submission.promise for submission in self._unfinished]
        left = 0
        for promise in unfinished:
            over = threading.Event()
            promise.add_done_callback(lambda over: over.set(), over)
            left += not over.wait(max(0.0, end - time.monotonic()))
        return left

    def _note_end(self, submission: Submission) -> None:
        """Let the threads go with the last run."""
        with self._lock:
            self._unfinished.pop(submission, None)
            if self._unfinished:
                return
            submissions, self._submissions = self._submissions, None
        if submissions is not None:
            submissions.cancel()


def background_runs() -> BackgroundRuns:
    """Where a flow runs that is started here: in the attempt of the flow run around, or in the process."""
    around = FlowRunContext.get()
    if around is None or around.background is None:
        return _of_process
    return around.background  # type: ignore[no-any-return]


def wait_for_background_runs(patience: float) -> int:
    """Wait for the flow runs that belong to the process, at most so many seconds; how many go on then."""
    return _of_process.wait(patience)


def _at_exit(function: Callable[[], None]) -> None:
    """Have a function called at the end of the process, before anything that runs may need has gone.

    By `atexit` it would come too late: what is registered there is called when the pools of the standard library,
    which async code needs, take no more work. They register themselves here, when they are imported; whoever does so
    after them is called before them.

    Raises:
        RuntimeError: It is too late for that.
    """
    import_module("concurrent.futures.thread")
    threading._register_atexit(function)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: the threads are the parent's, and so are the runs."""
    global _of_process
    _of_process = _RunsOfProcess()


_of_process = _RunsOfProcess()
