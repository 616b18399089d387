"""Signals and the alarm clock of the main thread, in virtual time."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import Any

from mainspring.testing.jumping import ALARM, JumpingWorld

__all__ = ["Signals"]

_Handler = Callable[[int, Any], object]

_real_signal, _real_getsignal = signal.signal, signal.getsignal
_real_setitimer, _real_getitimer = signal.setitimer, signal.getitimer
_real_alarm, _real_pthread_kill = signal.alarm, signal.pthread_kill
_TAKEN = {
    name: getattr(signal, name)
    for name in ("signal", "getsignal", "setitimer", "getitimer", "alarm", "pthread_kill")
}


class Signals:
    """What stands in for ``signal``: handlers wait while the world's mutex is held, and the alarm clock is the world's.

    SIGALRM in the block has nothing to do with the real one, which others may use meanwhile for limits of their own.
    Made and used in the main thread.

    Args:
        world: The world.
    """

    def __init__(self, world: JumpingWorld) -> None:
        self._world = world
        self._handlers: dict[int, _Handler] = {}
        self._alarm: Any = signal.SIG_DFL
        world.mutex.handlers = self._handlers

    def begin(self) -> None:
        """Take over the handlers that there are, and the functions that set others."""
        for number in signal.valid_signals():
            handler = _real_getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                _real_signal(number, self._hear)
        if _real_getitimer(signal.ITIMER_REAL)[0] == 0:
            self._set_alarm_handler(self._handlers.get(signal.SIGALRM, _real_getsignal(signal.SIGALRM)))
        for name in _TAKEN:
            setattr(signal, name, getattr(self, name))

    def give_back(self) -> None:
        """Undo that. Handlers of other signals than SIGALRM that were set meanwhile stay."""
        for name, real in _TAKEN.items():
            setattr(signal, name, real)
        for number, handler in self._handlers.items():
            if number != ALARM and _real_getsignal(number) == self._hear:
                _real_signal(number, handler)

    def _hear(self, number: int, frame: Any) -> None:
        if self._world.mutex.depth:
            self._world.mutex.put_off.append(number)
        elif (handler := self._handlers.get(number)) is not None:
            handler(number, frame)

    def _set_alarm_handler(self, handler: Any) -> None:
        self._alarm = handler
        if callable(handler):
            self._handlers[ALARM] = handler
        else:
            self._handlers.pop(ALARM, None)

    def signal(self, number: int, handler: Any, /) -> Any:
        """As ``signal.signal``."""
        before = self.getsignal(number)
        if number == signal.SIGALRM:
            self._set_alarm_handler(handler)
        elif callable(handler):
            _real_signal(number, self._hear)
            self._handlers[number] = handler
        else:
            _real_signal(number, handler)
            self._handlers.pop(number, None)
        return before

    def getsignal(self, number: int, /) -> Any:
        """As ``signal.getsignal``."""
        if number == signal.SIGALRM:
            return self._alarm
        handler = _real_getsignal(number)
        return self._handlers.get(number) if handler == self._hear else handler

    def setitimer(self, which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]:
        """As ``signal.setitimer``: the real timer is one of the world, if a thread of it asks."""
        if which != signal.ITIMER_REAL or self._world.me() is None:
            return _real_setitimer(which, seconds, interval)
        return self._world.set_alarm(seconds, interval)

    def getitimer(self, which: int, /) -> tuple[float, float]:
        """As ``signal.getitimer``."""
        if which != signal.ITIMER_REAL or self._world.me() is None:
            return _real_getitimer(which)
        return self._world.read_alarm()

    def alarm(self, seconds: int, /) -> int:
        """As ``signal.alarm``."""
        if self._world.me() is None:
            return _real_alarm(seconds)
        return math.ceil(self._world.set_alarm(seconds, 0)[0])

    def pthread_kill(self, thread: int, number: int, /) -> None:
        """As ``signal.pthread_kill``; a thread that waits goes on, as it has a handler to call."""
        _real_pthread_kill(thread, number)
        self._world.rouse(thread)
