"""Standard output and error while a live display is on the terminal: what is written appears above it, whole."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

__all__ = ["GuardedStream", "guard_streams"]


class GuardedStream:
    """Stands in for a text stream. Safe to use from any thread.

    Outside of `divert` it only passes on. Inside, whole lines go to ``write_line``, those of two threads
    never mixed, and the beginning of a line that is not finished is kept in `unfinished` to be shown.

    Args:
        stream: The stream it stands in for, which everything else is asked of.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._write_line: Callable[[str], None] | None = None
        self._lock = threading.RLock()
        self._begun: dict[int, str] = {}

    @property
    def unfinished(self) -> list[str]:
        """The lines that were begun and not ended, one per thread at most."""
        return [text for text in list(self._begun.values()) if text]

    def write(self, text: str) -> int:
        """See `io.TextIOBase.write`."""
        if self._write_line is None:
            return self._stream.write(text)
        with self._lock:
            write_line, thread = self._write_line, threading.get_ident()
            if write_line is None:
                return self._stream.write(text)
            *lines, rest = (self._begun.pop(thread, "") + text).split("\n")
            if rest:
                self._begun[thread] = rest.rpartition("\r")[2]  # as a terminal shows it
        for line in lines:
            write_line(line.removesuffix("\r").rpartition("\r")[2])
        return len(text)

    def writelines(self, lines: Any) -> None:
        """See `io.TextIOBase.writelines`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """See `io.TextIOBase.flush`; a line that is not finished is shown anyway."""
        if self._write_line is None:
            self._stream.flush()

    @contextmanager
    def divert(self, write_line: Callable[[str], None]) -> Generator[None]:
        """Give whole lines to ``write_line`` inside the block."""
        self._write_line = write_line
        try:
            yield
        finally:
            with self._lock:
                self._write_line = None
                for rest in self.unfinished:
                    self._stream.write(f"{rest}\n")
                self._begun.clear()

    def release(self) -> None:
        """Only pass on from here, in a forked child: its parent has the terminal."""
        self._write_line = None
        self._lock = threading.RLock()
        self._begun.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guard_streams() -> Generator[list[GuardedStream]]:
    """Put guards in the place of ``sys.stdout``, if it is a terminal, and ``sys.stderr`` inside the block.

    Early, so that log handlers which keep a stream from when they were made keep a guard.
    """
    before = sys.stdout, sys.stderr
    error = GuardedStream(sys.stderr)
    guards = [error]
    sys.stderr = error
    if sys.stdout.isatty():
        output = GuardedStream(sys.stdout)
        guards.append(output)
        sys.stdout = output
    for guard in guards:
        os.register_at_fork(after_in_child=guard.release)
    try:
        yield guards
    finally:
        sys.stdout, sys.stderr = before
