"""SIGTERM while a flow runs: an exception in the main thread, so that the flow can end in order."""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from types import FrameType
from typing import Any, Self

from mainspring._imports import loaded
from mainspring.exceptions import TerminationSignal

__all__ = ["SigtermCapture", "cause_of_end"]

# What `signal` is made of, which makes enums of it: that takes a millisecond at once, and more than all else in here
# each time. Python itself has imported it.
_signal: Any = sys.modules.get("_signal") or import_module("signal")
_handler_of, _set_handler = _signal.getsignal, _signal.signal
_SIGTERM = int(_signal.SIGTERM)


class SigtermCapture:
    """A block in which SIGTERM raises `TerminationSignal`; after it the signal is handed on.

    After the block the previous handler is back in place, and if the signal has come it is sent again, so the
    process ends the way its sender expects. Does nothing outside of the main thread and inside another such
    block, whose handler is in place already. May be entered again after it was left, and left twice.
    """

    __slots__ = ("_is_active", "_previous")

    def __init__(self) -> None:
        self._is_active = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        is_main = threading.get_ident() == threading.main_thread().ident
        if is_main and _handler_of(_SIGTERM) is not _interrupt:
            _received.clear()
            self._previous = _set_handler(_SIGTERM, _interrupt)
            self._is_active = True
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_active:
            return
        self._is_active = False
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
