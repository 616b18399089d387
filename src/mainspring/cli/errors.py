"""What a user sees when a command cannot do its work: one line that says why, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.exceptions import EntrypointError, MainspringError, ParameterTypeError

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["BAD_INPUT", "FAILED", "INTERRUPTED", "TERMINATED", "catch_errors", "report_error"]

FAILED = 1
"""The run did not complete."""

BAD_INPUT = 2
"""What was asked for cannot be done: wrong usage, a missing file, a database that cannot be used."""

INTERRUPTED = 130
"""Ctrl-C, as shells count: 128 and the number of the signal."""

TERMINATED = 143
"""SIGTERM, likewise."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_OURS = f"{Path(__file__).parent.parent}{os.sep}"


@contextmanager
def catch_errors() -> Generator[None]:
    """Turn what comes out of the block into a message and an exit code.

    Anything but our own errors, Ctrl-C and a closed pipe is a bug, and shown as Python shows it.
    """
    excepthook = sys.excepthook
    try:
        with _plain_warnings(), _quiet_pipes():
            yield
    except MainspringError as error:
        report_error(error)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:
        sys.excepthook = excepthook  # the command line library has put its own there
        raise


def report_error(error: MainspringError) -> None:
    """Print the one line about ``error``; a file that raised while it was loaded shows where.

    Of parameters that do not fit, there is a line for each.
    """
    text = str(error)
    lines = text.splitlines() if isinstance(error, ParameterTypeError) else [text]
    message = "\n".join(" ".join(line.split()) for line in lines)
    sys.stderr.write(f"Error: {message}\n")
    if isinstance(error, EntrypointError) and error.__cause__ is not None:
        # Loaded here, as it is on the way to an error only.
        from mainspring.cli.failures import describe_failure
        from mainspring.cli.rendering import open_console

        open_console(sys.stderr).print(describe_failure(error.__cause__), soft_wrap=True)


@contextmanager
def _quiet_pipes() -> Generator[None]:
    """Leave without a word when the reader of our output has gone, as with ``| head``."""
    try:
        try:
            yield
        finally:
            _flush_errors()
            sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)  # what is still buffered would raise again while Python shuts down
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _discard(sys.stdout)
        sys.stderr.write(f"Error: The output cannot be written: {error.strerror}.\n")
        sys.exit(BAD_INPUT)


@contextmanager
def _plain_warnings() -> Generator[None]:
    """Show a warning that mainspring gives about itself as one line, without the place in its code."""
    as_before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if filename.startswith(_OURS):
            sys.stderr.write(f"Warning: {' '.join(str(message).split())}\n")
        else:
            as_before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = as_before


def _flush_errors() -> None:
    """Nobody need read standard error: what cannot be written there is no reason to end with another code."""
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())
