"""The one thread of a process that knows what is due when. It is started by the first who wants to be called."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from itertools import count

from mainspring import _forks

_logger = logging.getLogger("mainspring.deadlines")

__all__ = ["DueCall", "call_at"]

FEW = 64
"""Calls that were called off and are left in the queue until their time, at least."""

_AWAKE = float("-inf")
_NEVER = float("inf")


class DueCall:
    """A call that will be made, unless it is called off."""

    __slots__ = ("_queue", "call")

    def __init__(self, queue: _Queue, call: Callable[[], object]) -> None:
        self._queue = queue
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """See to it that the call is not made, if it has not begun. May be called twice, from any thread."""
        if self.call is not None:
            self.call = None
            if self._queue is _queue:  # else we are in a forked child, and the lock may be held for ever
                self._queue.forget_one()


class _Queue:
    """What is due, soonest first. Its lock is held for moments, and never while a call is made.

    The thread sleeps until the next time that it knows of, even if that was called off meanwhile. So of many short
    runs with the same limit, none has to wake it: what comes later is due later.
    """

    def __init__(self) -> None:
        self._due = threading.Condition(threading.Lock())
        self._calls: list[tuple[float, int, DueCall]] = []
        self._numbers = count()
        self._called_off = 0
        self._wakes_at = _AWAKE
        self._thread: threading.Thread | None = None

    def add(self, when: float, call: Callable[[], object]) -> DueCall:
        due = DueCall(self, call)
        with self._due:
            heapq.heappush(self._calls, (when, next(self._numbers), due))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mainspring-deadlines", daemon=True)
                self._thread.start()
            elif when < self._wakes_at:
                self._wakes_at = when
                self._due.notify()
        return due

    def forget_one(self) -> None:
        with self._due:
            self._called_off += 1
            if self._called_off > max(FEW, len(self._calls) // 2):
                self._calls = [each for each in self._calls if each[2].call is not None]
                heapq.heapify(self._calls)
                self._called_off = 0

    def _work(self) -> None:
        while True:
            with self._due:
                call = self._next()
            if call is not None:
                try:
                    call()
                except Exception:  # the deadlines of everybody else depend on this thread
                    _logger.exception("What was due could not be done")
                del call  # it leads to an engine and all that its run was given

    def _next(self) -> Callable[[], object] | None:
        """The call that is due now, after waiting for a change if there is none."""
        when, left = _NEVER, None
        if self._calls:
            when = self._calls[0][0]
            left = when - time.monotonic()
        if left is None or left > 0:
            self._wakes_at = when
            self._due.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
            self._wakes_at = _AWAKE
            return None
        due = heapq.heappop(self._calls)[2]
        call, due.call = due.call, None
        if call is None:
            self._called_off -= 1
        return call


def call_at(when: float, call: Callable[[], object]) -> DueCall:
    """Have ``call`` made by the thread of the deadlines: it has to be quick and must not raise.

    Args:
        when: A time of the monotonic clock.
        call: What is called.

    Raises:
        RuntimeError: The system does not give a thread.
    """
    return _queue.add(when, call)


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: the thread, and what it would call, are the parent's."""
    global _queue
    _queue = _Queue()


_queue = _Queue()
