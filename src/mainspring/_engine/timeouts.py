"""Time limits for blocks of code.

Sync, main thread    an alarm signal, which also interrupts blocking calls
Sync, other threads  an exception sent into the thread, which a blocking call delays until it returns
Async                a cancellation by the event loop, told from foreign ones by ``asyncio.timeout``

A limit is passed on by its own marker, never recognised by the type of an exception: user code may raise
``TimeoutError`` for reasons of its own.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

__all__ = ["AsyncTimeout", "SyncTimeout", "comes_from_outside"]


def comes_from_outside(error: BaseException, own: object) -> bool:
    """True if a limit further out than ``own`` has expired and ``error`` is on its way there."""
    limit = getattr(error, "limit", None)
    return isinstance(limit, _Timeout) and limit.active and limit is not own


_SOON = 0.001
"""Seconds until an alarm that came at the wrong moment rings again."""


class _Timeout:
    """A limit of ``seconds`` for one block; expiry leaves the block as a ``kind`` of error."""

    __slots__ = ("_deadline", "active", "error", "kind", "seconds")

    def __init__(self, seconds: float, kind: type[TimeoutError]) -> None:
        self.seconds = seconds
        self.kind = kind
        self.error: TimeoutError | None = None
        self.active = False
        self._deadline = 0.0

    def expire(self) -> TimeoutError:
        """Note that the limit has expired and return the error that says so."""
        error = self.error = self.kind(f"The run timed out after {self.seconds} second(s).")
        error.limit = self  # type: ignore[attr-defined]
        return error


class SyncTimeout(_Timeout):
    """A limit for a block of sync code, usable in any thread; ``error`` tells whether it has expired."""

    __slots__ = ("_guard",)
    _guard: _Alarm | _Injector

    def __enter__(self) -> Self:
        self._deadline = time.monotonic() + self.seconds
        self._guard = _Alarm(self) if _Alarm.is_usable() else _Injector(self)
        self.active = True
        self._guard.arm(self._deadline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        try:
            self.end()
        except self.kind as expiry:
            raise expiry from None

    def end(self) -> None:
        """Stop watching for good: what follows is not the user's code. An expiry that it swallowed counts."""
        self._guard.disarm()
        if self._guard.fired:
            raise self.error or self.expire()

    def suspend(self) -> None:
        """Stop watching while a generator is suspended; time goes on."""
        self._guard.disarm()

    def resume(self) -> None:
        """Watch again; a deadline that has passed meanwhile is raised at once."""
        if self._guard.fired or time.monotonic() >= self._deadline:
            self._guard.fired = True
            raise self.error or self.expire()
        self._guard.arm(self._deadline)


class AsyncTimeout(_Timeout):
    """A limit for a block of async code; ``error`` tells whether it has expired."""

    __slots__ = ("_limit",)
    _limit: Any

    async def __aenter__(self) -> Self:
        import asyncio  # whoever awaits has it already

        self._limit = asyncio.timeout(self.seconds)
        await self._limit.__aenter__()
        self.active = True
        self._deadline = self._limit.when()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        if self.error is not None and not self._limit.expired():
            self._limit.reschedule(None)
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self.expire() from None

    def end(self) -> None:
        """Stop watching for good: what follows is not the user's code. An expiry that it swallowed counts."""
        if self._limit.expired():
            raise self.error or self.expire()
        self._limit.reschedule(None)

    def suspend(self) -> None:
        """Stop watching while a generator is suspended; time goes on."""
        self._limit.reschedule(None)

    def resume(self) -> None:
        """Watch again; a deadline that has passed meanwhile is raised at once."""
        import asyncio  # whoever awaits has it already

        if asyncio.get_running_loop().time() >= self._deadline:
            raise self.expire()
        self._limit.reschedule(self._deadline)


class _Alarm:
    """Watches a block of the main thread by SIGALRM. Blocks may nest: the timer follows the next deadline.

    An alarm may ring between any two bytecodes, in the enter and exit of the blocks themselves too. While the
    list changes it only leaves a note, and whatever it ends is taken off the list at once, with all inside of it.
    """

    _armed: ClassVar[list[_Alarm]] = []  # the outermost block first
    _changing: ClassVar[bool] = False
    _missed: ClassVar[bool] = False
    _previous: ClassVar[Any] = signal.SIG_DFL

    def __init__(self, timeout: SyncTimeout) -> None:
        self._timeout = timeout
        self.deadline = 0.0
        self.fired = False

    @classmethod
    def is_usable(cls) -> bool:
        """True in the main thread, as long as nobody else handles alarms."""
        return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGALRM) in (
            signal.SIG_DFL,
            signal.SIG_IGN,
            _Alarm._ring,
        )

    def arm(self, deadline: float) -> None:
        self.deadline = deadline
        _Alarm._changing = True
        try:
            if not _Alarm._armed:
                _Alarm._previous = signal.signal(signal.SIGALRM, _Alarm._ring)
            _Alarm._armed.append(self)
            _Alarm._set_timer()
        finally:
            _Alarm._end_of_change(self)

    def disarm(self) -> None:
        """Stop watching this block and those inside of it."""
        if self not in _Alarm._armed:
            return
        _Alarm._changing = True
        try:
            del _Alarm._armed[_Alarm._armed.index(self) :]
            _Alarm._set_timer()
            if not _Alarm._armed:
                # Ignoring drops an alarm that is on its way to another thread: the default would end the process.
                signal.signal(signal.SIGALRM, signal.SIG_IGN)
                signal.signal(signal.SIGALRM, _Alarm._previous)
        finally:
            _Alarm._end_of_change(None)

    @staticmethod
    def _set_timer() -> None:
        deadlines = [alarm.deadline for alarm in _Alarm._armed]
        left = max(min(deadlines) - time.monotonic(), 1e-6) if deadlines else 0
        signal.setitimer(signal.ITIMER_REAL, left)

    @staticmethod
    def _end_of_change(armed: _Alarm | None) -> None:
        """Make up for an alarm that rang meanwhile; the one just ``armed`` has to wait for its block to begin."""
        _Alarm._changing = False
        if _Alarm._missed:
            _Alarm._missed = False
            _Alarm._end_overdue(armed)
            if _Alarm._armed:
                signal.setitimer(signal.ITIMER_REAL, _SOON)

    @staticmethod
    def _end_overdue(exempt: _Alarm | None) -> None:
        now = time.monotonic()
        for alarm in _Alarm._armed:
            if now >= alarm.deadline and alarm is not exempt:
                alarm.fired = True
                alarm.disarm()
                raise alarm._timeout.expire()

    @staticmethod
    def _ring(_: int, __: FrameType | None) -> None:
        if _Alarm._changing:
            _Alarm._missed = True
            return
        _Alarm._end_overdue(None)
        _Alarm._set_timer()


class _Injector:
    """Watches a block of another thread and sends an exception into it at the deadline."""

    def __init__(self, timeout: SyncTimeout) -> None:
        self._timeout = timeout
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.fired = False

    def arm(self, deadline: float) -> None:
        self._timer = threading.Timer(max(deadline - time.monotonic(), 0), self._fire)
        self._timer.daemon = True
        self._timer.start()

    def disarm(self) -> None:
        with self._lock:
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            if self.fired:
                _send(self._thread, None)  # not delivered yet: it must not go off outside of the block

    def _fire(self) -> None:
        with self._lock:
            if self._timer is not None:
                self.fired = True
                _send(self._thread, self._timeout.kind)


def _send(thread: int, kind: type[BaseException] | None) -> None:
    """Raise ``kind`` in another thread at its next bytecode, or take back what was not delivered."""
    import ctypes  # only limits outside of the main thread need it

    target = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), target)
