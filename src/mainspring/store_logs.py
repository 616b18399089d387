"""The lines of run loggers, on their way to the run store."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mainspring import clock
from mainspring.context import FlowRunContext, TaskRunContext, current_scope
from mainspring.settings import get_current_settings
from mainspring.store.changes import LogEntry

__all__ = ["ExtraLogHandler", "RunLogHandler"]


class RunLogHandler(logging.Handler):
    """Keeps the lines of run loggers in the run store of the context that writes them.

    A line with the extra attribute ``send_to_api`` set to False is left out; the settings ``logging.to_api`` say
    whether any are kept, and how much of each. What an attempt writes after it was given up is left out, too.

    Args:
        keep: What takes the lines.
    """

    def __init__(self, keep: Callable[[LogEntry], None]) -> None:
        super().__init__()
        self._keep = keep

    def emit(self, record: logging.LogRecord) -> None:
        settings = get_current_settings().logging.to_api
        if not settings.enabled or not getattr(record, "send_to_api", True):
            return
        scope = current_scope()
        if scope is not None and scope.is_given_up():
            return
        try:
            message = self.format(record)
            if len(message) > settings.max_log_size:
                cut = len(message) - settings.max_log_size
                message = f"{message[: settings.max_log_size]}... ({cut} characters cut)"
            entry = LogEntry(
                at=clock.current().now(),
                level=record.levelno,
                logger=record.name,
                message=message,
                flow_run_key=_key(getattr(record, "flow_run_id", None)),
                task_run_key=_key(getattr(record, "task_run_id", None)),
            )
            self._keep(entry)
        except Exception:  # logging must never break the code that logs: the standard library's rule
            self.handleError(record)


class ExtraLogHandler(RunLogHandler):
    """Keeps the lines of other loggers with the run in which they are written; those outside of runs belong to none."""

    def emit(self, record: logging.LogRecord) -> None:
        task_run, flow_run = TaskRunContext.get(), FlowRunContext.get()
        if (task_run is None and flow_run is None) or record.name.startswith("mainspring."):
            return
        if getattr(record, "is_kept", False):  # by a logger below the one that has this handler, too
            return
        record.is_kept = True
        if task_run is not None:
            run = task_run.task_run
            record.task_run_id = str(run.id)
            record.flow_run_id = None if run.flow_run_id is None else str(run.flow_run_id)
        elif flow_run is not None:
            record.flow_run_id = str(getattr(flow_run.flow_run, "id", "<unknown>"))
        super().emit(record)


def _key(run_id: str | None) -> bytes | None:
    return bytes.fromhex(run_id.replace("-", "")) if run_id and "<" not in run_id else None
