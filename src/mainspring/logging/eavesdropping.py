"""Listening to a logger for the length of a block."""

from __future__ import annotations

import logging
from typing import Self

from mainspring.logging.console import ensure_output

__all__ = ["LogEavesdropper"]


class LogEavesdropper(logging.Handler):
    """Collects the lines of a logger and those below it inside a ``with`` block.

    Lines look like ``[INFO]: message``. Those below the levels of the loggers themselves are not made and
    cannot be collected; if ``level`` is lower than that of the named logger, the logger passes on
    lines from ``level`` on inside the block. Lines of all threads are collected. It may be used for several
    blocks one after the other; each starts with nothing.

    Args:
        name: The logger's full name, for example "mainspring.task_runs".
        level: The lowest level that is collected; by default whatever the logger passes on.
    """

    def __init__(self, name: str, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("[%(levelname)s]: %(message)s"))
        self.eavesdrop_on = name
        self._lines: list[str] = []
        self._level_before = logging.NOTSET

    def text(self) -> str:
        """The lines collected so far, also after the block."""
        return "\n".join(self._lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Collect one record."""
        try:
            self._lines.append(self.format(record))
        except Exception:  # logging must never break the code that logs: the standard library's rule
            self.handleError(record)

    def __enter__(self) -> Self:
        ensure_output()  # which would take this handler for the program's own if it came later
        self._lines = []
        logger = logging.getLogger(self.eavesdrop_on)
        self._level_before = logger.level
        if self.level != logging.NOTSET and self.level < logger.getEffectiveLevel():
            logger.setLevel(self.level)
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger(self.eavesdrop_on)
        logger.removeHandler(self)
        logger.setLevel(self._level_before)
