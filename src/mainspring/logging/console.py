"""Log lines on standard error, for programs that have set up no logging of their own."""

from __future__ import annotations

import logging
import os
import sys
import threading

from mainspring import _forks
from mainspring.settings import get_current_settings

__all__ = ["RUN_LOGGERS", "TELLS_AGAIN", "TELLS_FAILURE", "ConsoleHandler", "ensure_output", "forget_levels"]

RUN_LOGGERS = ("mainspring.task_runs", "mainspring.flow_runs")

# Marks on lines that engines write, for handlers that tell how runs end in their own way.
TELLS_FAILURE = {"tells": "failure"}  # why a run failed
TELLS_AGAIN = {"tells": "again"}  # the state of a run of which that was told

_COLOURS = ((logging.ERROR, "31"), (logging.WARNING, "33"), (logging.INFO, "32"), (logging.NOTSET, "2"))
_COLOURED = "\x1b[{}m{}\x1b[0m"

_ready = False
_getting_ready = threading.RLock()
_forks.remake_in_child(globals(), _getting_ready=threading.RLock)


class ConsoleHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is when a line comes, so that redirection works.

    On a terminal levels have colours, unless the setting ``logging.colors`` or the variable ``NO_COLOR`` forbids it.
    Of each failure it tells once: the line that only names the final state is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_RunFormatter("%(asctime)s | %(shown_level)s | %(run)s - %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line."""
        if getattr(record, "tells", None) == "again":
            return
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # logging must never break the code that logs: the standard library's rule
            self.handleError(record)


def _level(record: logging.LogRecord) -> str:
    text = f"{record.levelname:<7}"
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    if not get_current_settings().logging.colors:
        return text
    return _COLOURED.format(next(code for level, code in _COLOURS if record.levelno >= level), text)


class _RunFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        run = getattr(record, "task_run_name", None) or getattr(record, "flow_run_name", None)
        record.shown_level = _level(record)
        record.run = record.name if run is None else repr(run)
        return super().format(record)


def ensure_output() -> None:
    """Make sure that lines of run loggers go somewhere, once per process.

    Run loggers pass on what the setting ``logging.level`` says. A console handler is added only if
    neither the program nor anybody else has given any handler to the loggers that would get the lines.
    """
    global _ready
    if _ready:
        return
    with _getting_ready:  # whoever logs meanwhile has to wait, or its line would go nowhere
        if _ready:
            return
        level = get_current_settings().logging.level
        for name in RUN_LOGGERS:
            logger = logging.getLogger(name)
            if logger.level == logging.NOTSET:
                logger.setLevel(level)
        package = logging.getLogger("mainspring")
        if not package.hasHandlers():
            package.addHandler(ConsoleHandler())
        _ready = True


def forget_levels() -> None:
    """Let run loggers take the level again that the settings say, with the next line."""
    global _ready
    with _getting_ready:
        for name in RUN_LOGGERS:
            logging.getLogger(name).setLevel(logging.NOTSET)
        _ready = False
