"""SIGTERM while a flow runs: an exception in the main thread, so that the flow can end in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from mainspring.exceptions import TerminationSignal

__all__ = ["capture_sigterm"]


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


_received: list[int] = []


def _interrupt(number: int, _: FrameType | None) -> None:
    _received.append(number)
    raise TerminationSignal(number)
