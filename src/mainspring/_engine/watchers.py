"""What ends a block of sync code at its deadline: an alarm in the main thread, an exception sent to any other.

Only `mainspring._engine.timeouts` uses them.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, ClassVar, Protocol

from mainspring._engine.deadlines import DueCall, call_at
from mainspring._interruption import interrupt, loses_exceptions, take_back

__all__ = ["Alarm", "Injector"]

_SOON = 0.001
"""Seconds until an alarm that came at the wrong moment rings again."""


AGAIN = 0.01
"""Seconds until an alarm that nobody has answered rings again.

One that comes in the moment before a call blocks does not wake it, and its handler would run at the end of the call.
"""


class Limit(Protocol):
    """The limit that a watcher is there for."""

    kind: type[TimeoutError]

    def expire(self) -> TimeoutError:
        """Note that the limit has expired and return the error that says so."""
        ...


class Alarm:
    """Watches a block of the main thread by SIGALRM. Blocks may nest: the timer follows the next deadline.

    An alarm may ring between any two bytecodes, in the enter and exit of the blocks themselves too. While the
    list changes it only leaves a note, and whatever it ends is taken off the list at once, with all inside of it.
    """

    _armed: ClassVar[list[Alarm]] = []  # the outermost block first
    _changing: ClassVar[bool] = False
    _missed: ClassVar[bool] = False
    _previous: ClassVar[Any] = signal.SIG_DFL

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self.deadline = 0.0
        self.fired = False

    @classmethod
    def is_usable(cls) -> bool:
        """True in the main thread, where there are alarms, as long as nobody else handles them."""
        return (
            threading.current_thread() is threading.main_thread()
            and hasattr(signal, "SIGALRM")
            and signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, signal.SIG_IGN, Alarm._ring)
        )

    def arm(self, deadline: float) -> None:
        """Watch the block until ``deadline``, a time of the monotonic clock."""
        self.deadline = deadline
        Alarm._changing = True
        try:
            if not Alarm._armed:
                Alarm._previous = signal.signal(signal.SIGALRM, Alarm._ring)
            Alarm._armed.append(self)
            Alarm._set_timer()
        finally:
            Alarm._end_of_change(self)

    def disarm(self) -> None:
        """Stop watching this block and those inside of it."""
        if self not in Alarm._armed:
            return
        Alarm._changing = True
        try:
            del Alarm._armed[Alarm._armed.index(self) :]
            was_left = Alarm._set_timer()
            if not Alarm._armed:
                # Ignoring drops an alarm that is on its way to another thread: the default would end the process. A
                # timer that has rung rings again so soon that little can be left; with more than that, it never has.
                if was_left <= 2 * AGAIN:
                    signal.signal(signal.SIGALRM, signal.SIG_IGN)
                signal.signal(signal.SIGALRM, Alarm._previous)
        finally:
            Alarm._end_of_change(None)

    @staticmethod
    def _set_timer() -> float:
        """Set the timer to the next deadline, and tell how many seconds were left until it would have rung."""
        deadlines = [alarm.deadline for alarm in Alarm._armed]
        left = max(min(deadlines) - time.monotonic(), 1e-6) if deadlines else 0
        return signal.setitimer(signal.ITIMER_REAL, left, AGAIN)[0]

    @staticmethod
    def _end_of_change(armed: Alarm | None) -> None:
        """Make up for an alarm that rang meanwhile; the one just ``armed`` has to wait for its block to begin."""
        Alarm._changing = False
        if Alarm._missed:
            Alarm._missed = False
            Alarm._end_overdue(armed)
            if Alarm._armed:
                signal.setitimer(signal.ITIMER_REAL, _SOON, AGAIN)

    @staticmethod
    def _end_overdue(exempt: Alarm | None) -> None:
        now = time.monotonic()
        for alarm in Alarm._armed:
            if now >= alarm.deadline and alarm is not exempt:
                alarm.fired = True
                alarm.disarm()
                raise alarm._limit.expire()

    @staticmethod
    def _ring(_: int, frame: FrameType | None) -> None:
        if Alarm._changing:
            Alarm._missed = True
            return
        if loses_exceptions(frame):
            signal.setitimer(signal.ITIMER_REAL, _SOON, AGAIN)
            return
        Alarm._end_overdue(None)
        Alarm._set_timer()


class Injector:
    """Watches a block of another thread and sends an exception into it at the deadline."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._due: DueCall | None = None
        self.fired = False

    def arm(self, deadline: float) -> None:
        """Watch the block until ``deadline``, a time of the monotonic clock."""
        self._due = call_at(deadline, self._fire)

    def disarm(self) -> None:
        """Stop watching the block, and take back an exception that has not reached it yet."""
        with self._lock:
            due, self._due = self._due, None
            if due is not None:
                due.cancel()
            if self.fired:
                take_back()  # if it was not delivered yet: it must not go off outside of the block

    def _fire(self) -> None:
        with self._lock:
            if self._due is not None:
                self.fired = True
                interrupt(self._thread, self._limit.kind)
