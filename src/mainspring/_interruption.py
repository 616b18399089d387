"""Raising an exception in another thread, and seeing to it that one which comes too late does no harm."""

from __future__ import annotations

import threading

__all__ = ["Interruption", "interrupt", "take_back"]


class Interruption(BaseException):
    """Raised in a thread on behalf of another one; whoever sent it knows why."""


def interrupt(thread: int, kind: type[BaseException] = Interruption) -> None:
    """Raise ``kind`` in a thread at its next bytecode, in place of what is on its way there."""
    import ctypes  # few programs need it

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def take_back() -> None:
    """See to it that no interruption is on its way to the calling thread any more.

    The interpreter can be told to drop it, but then goes on looking for it for ever: every loop of the process is
    slower, and a thread with a profiler or a debugger stands still. So another one is sent, and met here.
    """
    try:
        interrupt(threading.get_ident())
        while True:
            pass
    except Interruption:
        pass
