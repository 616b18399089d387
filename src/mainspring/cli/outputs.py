"""Standard output and error that take all that they are given, also if Python was told not to buffer them.

With ``python -u`` or PYTHONUNBUFFERED, as in many containers, a text is written by a single call of the system, and
what that does not take is lost without a word: when the process was stopped while a pipe was full, for example.
"""

from __future__ import annotations

import io
import sys
from typing import Any

__all__ = ["write_whole"]


class _WholeFile(io.FileIO):
    """A file whose writes end when all is written."""

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        length = len(left)
        while left:
            count = super().write(left)
            if count is None:  # somebody has told the file not to block
                from select import select  # hardly anybody does

                select((), (self,), ())
            else:
                left = left[count:]
        return length


def write_whole() -> None:
    """Have what is written to standard output and error be written whole, and at once if that was so before."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(getattr(stream, "buffer", None), io.FileIO):
            continue
        whole = io.TextIOWrapper(
            _WholeFile(stream.fileno(), "w", closefd=False),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=True,
        )
        setattr(sys, name, whole)
