"""Exceptions raised in another thread: sending them, undoing those that come late, not sleeping through a signal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from mainspring._imports import library_on_use
from mainspring.exceptions import RunCancelled

if TYPE_CHECKING:
    import signal
else:
    signal = library_on_use("signal")

__all__ = [
    "Interruption",
    "interrupt",
    "interrupt_thread",
    "is_leaving",
    "loses_exceptions",
    "strike",
    "take_back",
    "wait_in_pieces",
]

LOOK_UP = 0.5
"""Seconds after which the main thread first looks whether a signal has come while it blocks."""


class Interruption(RunCancelled):
    """Raised in a thread on behalf of another one; whoever sent it knows why."""

    def __str__(self) -> str:
        return super().__str__() or "The run was told to stop."


def interrupt(thread: int, kind: type[BaseException] = Interruption) -> None:
    """Raise ``kind`` in a thread at its next bytecode, in place of what is on its way there."""
    import ctypes  # few programs need it

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def interrupt_thread(thread: int) -> None:
    """Raise an `Interruption` in a thread; in the main thread a ``KeyboardInterrupt``, which ends blocking calls, too.

    The latter takes a signal: that of Ctrl-C or, if the program ignores it or handles it itself, the one that `strike`
    handles in the main thread while a flow runs there. If there is neither, blocking calls end by themselves.
    """
    if thread == threading.main_thread().ident:
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGURG, strike)):
            if signal.getsignal(number) is handler:
                signal.pthread_kill(thread, number)
                return
    interrupt(thread)


def strike(number: int, _: FrameType | None) -> None:
    """What Python does about Ctrl-C, for another signal."""
    raise KeyboardInterrupt


def is_leaving(thread: int) -> bool:
    """Whether a thread is in an ``except`` or ``finally`` block that an interruption has brought it to."""
    found: Any = sys._current_exceptions().get(thread)  # pyright: ignore[reportPrivateUsage] - it is documented
    error: Any = cast(Any, found)[1] if isinstance(found, tuple) else found  # Python 3.11 has a tuple
    met: set[int] = set()
    while error is not None and id(error) not in met:
        if isinstance(error, RunCancelled | KeyboardInterrupt):
            return True
        met.add(id(error))
        error = BaseException.__getattribute__(error, "__context__")
    return False


def loses_exceptions(frame: FrameType | None) -> bool:
    """Whether what is raised in a frame is printed and forgotten: in finalizers and callbacks of weak references.

    They run in the middle of any code, so a signal may strike there. Code of ours that they call counts for itself.
    """
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("mainspring._engine"):
        if frame.f_code.co_name == "__del__" or frame.f_globals.get("__name__") in ("weakref", "_weakrefset"):
            return True
        frame = frame.f_back
    return False


def take_back(sent: threading.Event | None = None) -> None:
    """See to it that no interruption is on its way to the calling thread any more.

    The interpreter can be told to drop it, but then goes on looking for it for ever: every loop of the process is
    slower, and a thread with a profiler or a debugger stands still. So another one is sent, and met here.

    Args:
        sent: Set once the last interruption has been sent.
    """
    while True:
        try:
            if sent is not None:
                sent.wait()
                time.sleep(
                    0
                )  # a signal that was sent to this thread has come once it returns from the system
            interrupt(threading.get_ident())
            while True:
                pass
        except Interruption:
            return
        except KeyboardInterrupt:
            if sent is None:
                raise  # nobody of ours has sent it


def wait_in_pieces(wait: Callable[[float | None], bool], seconds: float | None) -> bool:
    """Block the calling thread; the main one looks up once in a while.

    A signal that comes in the moment before it blocks, or to another thread, does not wake it, and the handler would
    run only at the end of the wait. So it does not wait longer at a time than it has waited before.

    Args:
        wait: Blocks for at most so many seconds, or for ever; True ends the wait.
        seconds: The most to wait; None means for ever.

    Returns:
        What ``wait`` returned last.
    """
    if seconds is not None:
        seconds = min(max(seconds, 0.0), threading.TIMEOUT_MAX)
    if threading.get_ident() != threading.main_thread().ident:
        return wait(seconds)
    start = time.monotonic()
    waited = 0.0
    while True:
        piece = max(waited, LOOK_UP)
        if wait(piece if seconds is None else min(piece, max(seconds - waited, 0.0))):
            return True
        waited = time.monotonic() - start
        if seconds is not None and waited >= seconds:
            return False
