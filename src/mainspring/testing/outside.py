"""What a simulated flow takes from outside, which no seed decides: named where that can be seen.

Time, chance, threads and locks of the standard library are those of the world, whoever uses them. What is left are
clocks that cannot be replaced, as those of ``datetime``, and whatever leaves the process.
"""

from __future__ import annotations

import multiprocessing.util
import sys
import sysconfig
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from mainspring.exceptions import MainspringError

__all__ = ["OutsideWorldError", "watch"]

_REFUSED = {
    "os.fork": "starts a process",
    "os.forkpty": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.spawn": "starts a process",
    "os.system": "starts a process",
    "subprocess.Popen": "starts a process",
}
_NAMED = {
    "socket.connect": "talks to another process by a socket",
    "socket.sendto": "talks to another process by a socket",
    "socket.getaddrinfo": "asks for the address of a host",
}
_CLOCKS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "localtime"),
    ("time", "gmtime"),
    ("time", "ctime"),
    ("time", "asctime"),
    ("time", "clock_gettime"),
    ("time", "clock_gettime_ns"),
}
_STANDARD = (sysconfig.get_path("stdlib"), "<frozen")


class OutsideWorldError(MainspringError):
    """A simulated flow did what no seed can decide: the message says what, and where."""


def watch(
    found: Callable[[str], object], refused: Callable[[OutsideWorldError], object], names_calls: bool
) -> None:
    """Begin to look, for as long as the process lives; in the calling thread and in those that begin later.

    Args:
        found: Is told what was found, with file and line.
        refused: Is told what was refused, as those who are told by the error may make another one of it.
        names_calls: Whether to look at each call of a function in C, too: clocks are only found like this.
    """

    def refuse(what: str, caller: FrameType) -> NoReturn:
        error = OutsideWorldError(
            f"{_place(caller)} {what}, which a simulation has no power over. Replace the task by a fake, with"
            " `mainspring.testing.override`, or run it without isolation and on threads."
        )
        refused(error)
        raise error

    def hear(event: str, args: tuple[Any, ...]) -> None:
        del args
        if event in _REFUSED:
            refuse(_REFUSED[event], sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
        if event in _NAMED:
            caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            found(f"{_place(caller)} {_NAMED[event]}: no seed decides what comes back")

    def look(frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call":
            return
        owner = getattr(function, "__self__", None)
        kind = getattr(owner, "__name__", "")
        if (kind, function.__name__) in _CLOCKS and _is_of_user(frame):
            found(
                f"{_place(frame)} reads the real clock by {kind}.{function.__name__}(): no seed decides what it"
                " says. Take time.time(), which does as it should."
            )

    def spawn(*args: Any) -> NoReturn:
        del args
        refuse("starts a process", sys._getframe(1))  # pyright: ignore[reportPrivateUsage]

    sys.addaudithook(hear)
    multiprocessing.util.spawnv_passfds = spawn  # type: ignore[assignment]  # of which audit hooks do not hear
    if names_calls:
        threading.setprofile(look)
        sys.setprofile(look)


def _is_of_user(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith(_STANDARD) and not frame.f_globals.get("__name__", "").startswith(
        "mainspring."
    )


def _place(frame: FrameType | None) -> str:
    """The line of the user's code from which something came."""
    while frame is not None and frame.f_back is not None:
        if _is_of_user(frame):
            break
        frame = frame.f_back
    assert frame is not None
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
