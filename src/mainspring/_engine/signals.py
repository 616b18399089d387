"""Signals while a flow runs in the main thread, so that it can be ended in order.

SIGTERM  ends it, by an exception in the main thread
SIGURG   ends blocking calls of what is cancelled, see `mainspring._interruption.interrupt_thread`, in a program without
         Python's handler of SIGINT: it handles Ctrl-C itself, or ignores it, as all do that a shell has started in the
         background. Hardly anybody else uses this signal, and programs that a flow starts ignore it.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from types import FrameType
from typing import Any, Self

from mainspring._imports import loaded
from mainspring._interruption import strike
from mainspring.exceptions import TerminationSignal

__all__ = ["SignalCapture", "cause_of_end"]

# What `signal` is made of, which makes enums of it: that takes a millisecond at once, and more than all else in here
# each time. Python itself has imported it.
_signal: Any = sys.modules.get("_signal") or import_module("signal")
_handler_of, _set_handler = _signal.getsignal, _signal.signal
_SIGTERM, _SIGINT, _SIGURG = int(_signal.SIGTERM), int(_signal.SIGINT), int(_signal.SIGURG)
_DEFAULT = int(_signal.SIG_DFL)


class SignalCapture:
    """A block in which SIGTERM raises `TerminationSignal`, and is handed on afterwards; cancellations have one, too.

    After the block the previous handler is back in place, and if SIGTERM has come it is sent again, so the
    process ends the way its sender expects. Does nothing outside of the main thread and inside another such
    block, whose handler is in place already. May be entered again after it was left, and left twice.
    """

    __slots__ = ("_is_active", "_previous", "_strikes")

    def __init__(self) -> None:
        self._is_active = False
        self._previous: Any = None
        self._strikes = False

    def __enter__(self) -> Self:
        is_main = threading.get_ident() == threading.main_thread().ident
        if is_main and _handler_of(_SIGTERM) is not _interrupt:
            _received.clear()
            self._previous = _set_handler(_SIGTERM, _interrupt)
            self._is_active = True
            if _handler_of(_SIGINT) is not _signal.default_int_handler and _handler_of(_SIGURG) == _DEFAULT:
                _set_handler(_SIGURG, strike)
                self._strikes = True
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_active:
            return
        self._is_active = False
        if self._strikes:
            self._strikes = False
            _set_handler(_SIGURG, _DEFAULT)
        _set_handler(_SIGTERM, self._previous)
        if _received:  # noted by the handler: an event loop turns the exception into a cancellation
            os.kill(os.getpid(), _received.pop())


def cause_of_end(error: BaseException) -> BaseException:
    """What really ended a run: SIGTERM reaches the code in an event loop as a cancellation."""
    asyncio = loaded("asyncio")  # a cancellation can only exist where it was imported
    if _received and asyncio is not None and isinstance(error, asyncio.CancelledError):
        return TerminationSignal(_received[-1])
    return error


_received: list[int] = []


def _interrupt(number: int, _: FrameType | None) -> None:
    _received.append(number)
    raise TerminationSignal(number)
