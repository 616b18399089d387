"""The one source of time.

Wall time is an integer count of microseconds since the epoch (UTC): exact to add and subtract,
ordered, eight bytes in a database, and turned into a ``datetime`` only when somebody looks.
Durations and deadlines use the monotonic clock, so that a moved wall clock cannot hurt them.

Every module that needs the time asks :func:`current` for the active :class:`Clock`, which a test or a
simulation replaces with :func:`use_clock`.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = [
    "Clock",
    "SystemClock",
    "ago",
    "current",
    "from_datetime",
    "to_datetime",
    "to_timedelta",
    "use_clock",
]

MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FARTHEST = 2**62


class Clock(Protocol):
    """What the engine needs to know about time. Implementations are safe to use from any thread."""

    def now(self) -> int:
        """The wall time, in microseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread; a duration that is not positive returns at once."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Suspend the calling asyncio task; a duration that is not positive yields once."""
        ...


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def now() -> int:
        """See :meth:`Clock.now`."""
        return time.time_ns() // 1000

    @staticmethod
    def sleep(seconds: float) -> None:
        """See :meth:`Clock.sleep`."""
        if seconds > 0:
            time.sleep(seconds)

    @staticmethod
    async def asleep(seconds: float) -> None:
        """See :meth:`Clock.asleep`."""
        import asyncio  # costs more than a whole sync script needs; only async code comes here

        await asyncio.sleep(max(seconds, 0))


_current: ContextVar[Clock] = ContextVar("mainspring_clock", default=SystemClock())  # noqa: B039

current = _current.get
"""The clock of the calling context: the system's, unless :func:`use_clock` says otherwise."""


@contextmanager
def use_clock(clock: Clock) -> Generator[Clock]:
    """Make ``clock`` the current one inside the block, in this context and copies of it."""
    token = _current.set(clock)
    try:
        yield clock
    finally:
        _current.reset(token)


def to_datetime(microseconds: int) -> datetime:
    """The aware UTC datetime of a wall time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_datetime(moment: datetime) -> int:
    """The wall time of a datetime; a naive one is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def ago(duration: timedelta) -> int:
    """The wall time so long ago, or, if no store has numbers for that, the first or last one that they have."""
    return max(-_FARTHEST, min(_FARTHEST, current().now() - duration // _MICROSECOND))


def to_timedelta(microseconds: int) -> timedelta:
    """A duration in microseconds as a timedelta."""
    return timedelta(microseconds=microseconds)
