"""Bells between processes that share a file: each process that listens has a named pipe beside its owner's lock."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from mainspring.store.bells import Bell

__all__ = ["PipeBell"]

_SUFFIX = ".bell"
_READ_BYTES = 65_536
_MUCH = 2_048  # bytes; the smallest pipe has no room for another ring when so much is in it
_END = b"\0"


class PipeBell(Bell):
    """The bell of a store in a file.

    A pipe goes with its process's ownership. One that is left over, because its process was killed, has no reader, and
    whoever finds that out removes it. Where the file system has no pipes, nothing is heard.

    Args:
        folder: Where the pipes are.
        own_key: Gives the key of the owner that this process is; may have to write to the store.
    """

    def __init__(self, folder: Path, own_key: Callable[[], str]) -> None:
        super().__init__()
        self._folder = folder
        self._own_key = own_key
        self._pipe: Path | None = None
        self._fd = -1
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def _send(self, message: str, to: list[str] | None) -> None:
        if to is None:
            try:
                names = [each.name for each in os.scandir(self._folder) if each.name.endswith(_SUFFIX)]
            except FileNotFoundError:
                return
        else:
            names = [f"{key}{_SUFFIX}" for key in to]
        for name in sorted(names):  # the system has them in any order
            pipe = self._folder / name
            if pipe != self._pipe:
                _write(pipe, message.encode("ascii") + b"\n")

    def _attend(self) -> None:
        if self._thread is not None:
            return
        pipe = self._folder / f"{self._own_key()}{_SUFFIX}"
        with self._lock:
            if self._pipe is not None or self._is_closed:
                return
            unready = pipe.with_suffix(".unready")  # whoever finds a pipe without a reader removes it
            try:
                os.mkfifo(unready, 0o666)
                # Open for writing, too: else reading would end whenever a writer goes.
                self._fd = os.open(unready, os.O_RDWR)
                unready.rename(pipe)
            except OSError:
                self.reaches_others = False
                return
            self._pipe = pipe
            self._thread = threading.Thread(target=self._hear, name="mainspring-bell", daemon=True)
            self._thread.start()

    def _hear(self) -> None:
        fd = self._fd
        pending = b""
        while True:
            content = os.read(fd, _READ_BYTES)
            if _END in content:
                return
            *lines, pending = (pending + content).split(b"\n")
            for line in dict.fromkeys(lines):  # the same several times is once
                self._tell(line.decode("ascii", "replace"))
            if len(content) >= _MUCH:
                self._tell_of_gap()  # there may have been no room for more

    def close(self) -> None:
        """See `Bell.close`."""
        with self._lock:
            self._is_closed = True
            pipe, thread, fd = self._pipe, self._thread, self._fd
            self._pipe = self._thread = None
        if thread is None or pipe is None:
            return
        pipe.unlink(missing_ok=True)
        os.write(fd, _END)
        if thread is not threading.current_thread():
            thread.join()
            self._fd = -1
            os.close(fd)

    def abandon(self) -> None:
        """See `Bell.abandon`: the pipe is the parent's."""
        super().abandon()
        if self._fd >= 0:
            os.close(self._fd)
        self._pipe = self._thread = None
        self._fd = -1
        self.reaches_others = True


def _write(pipe: Path, line: bytes) -> None:
    try:
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads it
            pipe.unlink(missing_ok=True)
        return
    try:
        os.write(fd, line)  # short enough to arrive as a whole, between the lines of others
    except OSError:
        pass  # there is enough in it for the reader to wake up, or nobody reads it any more
    finally:
        os.close(fd)
