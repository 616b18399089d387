"""Log lines of runs on standard error while ``mainspring run`` reports progress there."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime

from mainspring.cli.failures import describe_failure

__all__ = ["show_run_logs"]

_LEVEL_COLOURS = ((logging.ERROR, "31"), (logging.WARNING, "33"))


@contextmanager
def show_run_logs(colour: bool, catch_up: Callable[[], None]) -> Generator[None]:
    """Write what runs log to ``sys.stderr`` in the block, unless the program has handlers of its own.

    Args:
        colour: Whether to use the colours of terminals.
        catch_up: Called before each line, so that what the report knows already comes first.
    """
    logger = logging.getLogger("mainspring")
    if logger.hasHandlers():
        yield
        return
    handler = RunLogHandler(colour, catch_up)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class RunLogHandler(logging.Handler):
    """Time, run and message on a line; exceptions without our own frames.

    In a forked child it writes text and touches nothing that a lock of the parent protects.
    """

    def __init__(self, colour: bool, catch_up: Callable[[], None]) -> None:
        super().__init__()
        self._colour = colour
        self._catch_up = catch_up
        self._pid = os.getpid()
        self.addFilter(_is_news)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        try:
            if os.getpid() == self._pid:
                self._catch_up()
            sys.stderr.write(self._line(record))
            sys.stderr.flush()
        except Exception:  # logging must never stop the program
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        at = f"{datetime.fromtimestamp(record.created).astimezone():%H:%M:%S}"
        name = getattr(record, "task_run_name", None) or getattr(record, "flow_run_name", None)
        parts = [self._paint(at, "2"), self._paint(name or record.name, "36"), record.getMessage()]
        if record.levelno >= logging.WARNING:
            code = next(code for level, code in _LEVEL_COLOURS if record.levelno >= level)
            parts.insert(2, self._paint(record.levelname, code))
        text = "  ".join(parts)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += "".join(f"\n    {line}" for line in describe_failure(error).plain.split("\n"))
        return f"{text}\n"

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _is_news(record: logging.LogRecord) -> bool:
    """The report tells in one line by itself what engines log about failures."""
    return not hasattr(record, "tells")
