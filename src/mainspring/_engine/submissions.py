"""Submitted runs on their way to a thread: those whose inputs are not there yet wait without one."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from functools import partial
from typing import Any

from mainspring._core.traverse import is_atomic
from mainspring._engine.inputs import find_unfinished
from mainspring._engine.workers import WorkerPool
from mainspring.futures import RunFuture
from mainspring.states import State

__all__ = ["Submission", "Submissions", "unfinished_inputs"]


def unfinished_inputs(parameters: Mapping[str, Any], wait_for: Iterable[Any] | None) -> list[RunFuture[Any]]:
    """The futures that a run with these inputs has to wait for."""
    if wait_for is None and is_atomic(parameters.values()):
        return []
    try:
        return find_unfinished((parameters, wait_for))
    except Exception:  # a value that cannot be walked: the run itself meets it again, and records it
        return []


class Submission:
    """One call to be made in some thread, in a copy of the context in which the submission is made.

    Args:
        function: What is called; comes to the final state of a run.
        arguments: Its arguments.
    """

    __slots__ = ("_call", "future", "missing")

    def __init__(self, function: Callable[..., State], *arguments: Any) -> None:
        call: Any = partial(contextvars.copy_context().run, function, *arguments)
        self._call: Callable[[], State] | None = call
        self.future: futures.Future[State] = futures.Future()
        self.missing = 0

    def __call__(self) -> None:
        """Make the call, unless it was cancelled, and settle the future."""
        call, self._call = self._call, None  # callbacks on other futures hold on to this object
        if call is None or not self.future.set_running_or_notify_cancel():
            return
        try:
            state = call()
        except BaseException as error:  # belongs to whoever asks for the result
            self.future.set_exception(error)
            del call  # the traceback leads here: without this, it would keep the arguments alive
        else:
            self.future.set_result(state)

    def cancel(self) -> None:
        """Settle the future of a call that will not be made, for every kind of waiting for it."""
        self._call = None
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()


class Submissions:
    """Hands submissions to a pool as soon as their inputs are there. Safe to use from any thread."""

    __slots__ = ("_closed", "_lock", "_waiting", "pool")

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self._lock = threading.Lock()
        self._waiting: set[Submission] = set()
        self._closed = False

    def add(self, submission: Submission, inputs: list[RunFuture[Any]]) -> bool:
        """Have the call made when all inputs are done; False if it is too late for that.

        Args:
            submission: The call.
            inputs: Futures that were not done a moment ago.
        """
        if not inputs:
            return self.pool.put(submission)
        submission.missing = len(inputs) + 1  # one for this method, so that nothing begins before its end
        with self._lock:
            if self._closed:
                return False
            self._waiting.add(submission)
        count = partial(self._count, submission)
        for future in inputs:
            future.add_done_callback(count)
        count(None)
        return True

    def cancel(self) -> None:
        """Cancel what has not begun, and take no more."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, set()
        for work in (*self.pool.close(), *waiting):
            assert isinstance(work, Submission)
            work.cancel()

    def _count(self, submission: Submission, _: object) -> None:
        """Note that one more input is done; the last one brings the call on its way."""
        with self._lock:
            submission.missing -= 1
            if submission.missing or submission not in self._waiting:
                return
            self._waiting.discard(submission)
        if not self.pool.put(submission):
            submission.cancel()
