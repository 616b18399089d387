"""SIGTERM while a flow runs: an exception in the main thread, so that the flow can end in order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from mainspring.exceptions import TerminationSignal

__all__ = ["capture_sigterm", "cause_of_end"]


@contextmanager
def capture_sigterm() -> Generator[None]:
    """Raise `TerminationSignal` in the block when SIGTERM comes, then hand the signal on.

    After the block the previous handler is back in place, and if the signal has come it is sent again, so the
    process ends the way its sender expects. Does nothing outside of the main thread and inside another such
    block, whose handler is in place already.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is _interrupt
    ):
        yield
        return
    _received.clear()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        if _received:  # noted by the handler: an event loop turns the exception into a cancellation
            os.kill(os.getpid(), _received.pop())


def cause_of_end(error: BaseException) -> BaseException:
    """What really ended a run: SIGTERM reaches the code in an event loop as a cancellation."""
    asyncio = sys.modules.get("asyncio")  # a cancellation can only exist where it was imported
    if _received and asyncio is not None and isinstance(error, asyncio.CancelledError):
        return TerminationSignal(_received[-1])
    return error


_received: list[int] = []


def _interrupt(number: int, _: FrameType | None) -> None:
    _received.append(number)
    raise TerminationSignal(number)
