"""What ends the wait for a worker early: a time, or another thread that wants the call to end."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from mainspring._cancel_scopes import CancelScope, Stop, StopKind
from mainspring._processes.channel import Channel

__all__ = ["GRACE", "SLACK", "Leash", "WaitOver"]

GRACE = 0.3
"""Seconds that a call has to end in order after it was told to."""

SLACK = 0.025
"""Seconds after a limit in which what goes on in a worker may end by itself."""

_LOOK_UP = 1.0  # seconds after which a worker from which nothing comes is looked at


class WaitOver(Exception):  # noqa: N818 - is no error, but says that nobody waits any more
    """Whoever holds the leash waits no longer: the worker is to be killed."""


class Worker(Protocol):
    """The worker at the other end of a leash."""

    wake_fd: int

    def interrupt(self, reason: str) -> None:
        """Tell it to end its call."""
        ...

    def is_alive(self) -> bool:
        """Whether the process is there."""
        ...

    def settle_down(self) -> None:
        """Forget that it was to look up."""
        ...

    def strike(self) -> None:
        """Send the signal that ends it at once."""
        ...


class Leash:
    """How long one call of a worker may take.

    Used by the thread that waits; `pull` and `cut` by any other.

    Args:
        deadline: Until when, by ``time.monotonic()``; None if there is no limit.

    Attributes:
        limit: The same for what goes on inside of the call, as the worker tells it; and what it tells besides.
        stop: Why the call has to end, if it was told to.
    """

    __slots__ = ("_lock", "_wake", "deadline", "facts", "is_sending", "is_told", "limit", "stop", "worker")

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.limit: float | None = None
        self.facts: Any = None
        self.stop: Stop | None = None
        self.is_told = False
        self.is_sending = False
        self.worker: Worker | None = None
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None

    @classmethod
    def of(cls, scope: CancelScope | None, slack: float) -> Leash:
        """The leash of a call in a scope; it ends the call ``slack`` seconds after the deadline of that."""
        return cls(None if scope is None or scope.deadline is None else scope.deadline + slack)

    # For other threads

    def pull(self, stop: Stop) -> None:
        """Have the call end: in order, if it does so within `GRACE`. May be called twice, and when it is over."""
        with self._lock:
            if self.stop is None:
                self.stop = stop
            if self._wake is not None:
                self._wake()

    def cut(self, strike: bool = True) -> None:
        """Have the call end at once, and its worker with it. The same as `pull` for whoever waits."""
        with self._lock:
            if strike and self.worker is not None:
                self.worker.strike()
        self.pull(Stop(StopKind.GIVEN_UP, "Nobody waits for the call any more."))

    # For the thread that waits

    def pulled_by(self, scope: CancelScope | None) -> AbstractContextManager[None]:
        """The block in which the call ends if a scope, or one around it, is told to stop."""
        return nullcontext() if scope is None else scope.calling(self.pull)

    def held_by(self, wake: Callable[[], object] | None, worker: Worker | None = None) -> None:
        """Say what wakes this thread where it waits now, None if it does not; and which worker works for it."""
        with self._lock:
            self._wake, self.worker = wake, worker

    def remaining(self) -> float | None:
        """Seconds that are left, None if there is no limit.

        Raises:
            WaitOver: There are none.
        """
        stop = self.stop
        if stop is not None and not self.is_told:
            if stop.kind is not StopKind.CANCELLED or self.worker is None:
                raise WaitOver
            if not self.is_sending:  # not in the middle of a frame
                self.is_told = True
                end = time.monotonic() + GRACE
                self.deadline = end if self.deadline is None else min(end, self.deadline)
                self.worker.interrupt(stop.reason)
        limit = None if self.limit is None else self.limit + SLACK
        ends = [end for end in (self.deadline, limit) if end is not None]
        if not ends:
            return None
        left = min(ends) - time.monotonic()
        if left <= 0:
            raise WaitOver
        return left

    def wait(self, channel: Channel, events: int) -> None:
        """Wait until a channel is ready.

        Raises:
            WaitOver: That is enough.
            EOFError: The worker is gone, although somebody else, such as a fork of it, holds its end.
        """
        worker = self.worker
        assert worker is not None
        fd, wake_fd = channel.fileno(), worker.wake_fd
        if fd < 0 or wake_fd < 0:  # another thread has closed it, which has ended the process
            raise EOFError
        poller = select.poll()
        poller.register(fd, events)
        poller.register(wake_fd, select.POLLIN)
        while True:
            left = self.remaining()
            wait = _LOOK_UP if left is None else min(left, _LOOK_UP)
            ready = dict(poller.poll(wait * 1_000))
            if fd in ready or ready.get(wake_fd, 0) & select.POLLNVAL:
                return
            if ready:
                worker.settle_down()
            elif wait == _LOOK_UP and not worker.is_alive():
                raise EOFError
