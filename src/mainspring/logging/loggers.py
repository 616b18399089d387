"""Loggers of the package and of runs."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from mainspring import identifiers
from mainspring.context import FlowRunContext, RunContext, TaskRunContext
from mainspring.exceptions import MissingContextError
from mainspring.logging.console import RUN_LOGGERS, ensure_output
from mainspring.logging.masking import hide_secrets
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import get_current_settings

__all__ = [
    "RunLogger",
    "disable_logger",
    "disable_run_logger",
    "engine_logs",
    "flow_run_logger",
    "get_logger",
    "get_run_logger",
    "get_run_logger_or",
    "task_run_logger",
]

_ROOT = "mainspring"
_UNKNOWN = "<unknown>"
_task_runs, _flow_runs = (hide_secrets(logging.getLogger(name)) for name in RUN_LOGGERS)
_LEVELS = logging.getLevelNamesMapping()

hide_secrets(logging.getLogger("mainspring.states"))  # its module is below this one and cannot ask for it


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that adds the names and ids of a run to every line.

    The extras are put together at the first line, so a logger that nobody writes to costs nothing, and a
    line shows the run's name as it is then.
    """

    def __init__(
        self,
        logger: logging.Logger,
        task_run: TaskRun | None,
        task: Any,
        flow_run: FlowRun | UUID | str | None,
        flow: Any,
        more: Mapping[str, Any],
    ) -> None:
        self.logger = logger
        self._subjects = (task_run, task, flow_run, flow)
        self._more = more

    @property
    def extra(self) -> Mapping[str, Any]:  # type: ignore[override]  # put together when asked for
        """What each record carries besides its message."""
        task_run, task, flow_run, flow = self._subjects
        extra: dict[str, Any] = {}
        if task_run is not None:
            around = task_run.flow_run_key
            extra["task_run_id"] = identifiers.to_text(task_run.key)
            extra["task_run_name"] = task_run.name
            extra["task_name"] = getattr(task, "name", _UNKNOWN)
            extra["flow_run_id"] = None if around is None else identifiers.to_text(around)
        elif isinstance(flow_run, FlowRun):
            extra["flow_run_id"] = identifiers.to_text(flow_run.key)
        else:
            extra["flow_run_id"] = _UNKNOWN if flow_run is None else str(flow_run)
        extra["flow_run_name"] = getattr(flow_run, "name", _UNKNOWN)
        extra["flow_name"] = getattr(flow, "name", _UNKNOWN)
        return {**extra, **self._more}

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the run's extras with those of the call, which win."""
        ensure_output()
        kwargs["extra"] = {**self.extra, **(kwargs.get("extra") or {})}
        return msg, kwargs

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the standard library's name
        """Whether a line of this level would be passed on."""
        ensure_output()
        return self.logger.isEnabledFor(level)

    def getChild(self, suffix: str, extra: Mapping[str, Any] | None = None) -> RunLogger:  # noqa: N802
        """A logger below this one with further extras."""
        return RunLogger(
            hide_secrets(self.logger.getChild(suffix)), *self._subjects, {**self._more, **(extra or {})}
        )


def get_logger(name: str | None = None) -> logging.Logger:
    """The package's logger, or the one called ``name`` below it; secrets of settings are masked in its lines."""
    if name is None or name == _ROOT:
        return hide_secrets(logging.getLogger(_ROOT))
    return hide_secrets(logging.getLogger(name if name.startswith(f"{_ROOT}.") else f"{_ROOT}.{name}"))


def get_run_logger(context: RunContext | None = None, **extra: Any) -> RunLogger | logging.Logger:
    """The logger of the run that is active here.

    Args:
        context: Take this run's instead.
        extra: Further attributes for every record.

    Returns:
        The task run's logger if there is a task run, else the flow run's. Outside of any run, while the
        run loggers are disabled, a logger that drops everything, so task functions can be unit tested.

    Raises:
        MissingContextError: There is no active run.
        TypeError: ``context`` is no run context.
    """
    if context is not None and not isinstance(context, RunContext):
        raise TypeError(f"Received unexpected type {type(context).__name__!r} for context.")
    task_context = context if isinstance(context, TaskRunContext) else TaskRunContext.get()
    flow_context = context if isinstance(context, FlowRunContext) else FlowRunContext.get()
    if task_context is not None and not isinstance(context, FlowRunContext):
        return task_run_logger(task_context.task_run, task_context.task, **extra)
    if flow_context is not None:
        return flow_run_logger(flow_context.flow_run, flow_context.flow, **extra)
    if _task_runs.disabled and _flow_runs.disabled:
        null = get_logger("null")
        null.disabled = True
        return null
    raise MissingContextError(
        "There is no active flow or task run context: call get_run_logger() inside of a run."
    )


def get_run_logger_or(name: str) -> RunLogger | logging.Logger:
    """The active run's logger, or the package's logger called ``name`` outside of any run."""
    if TaskRunContext.get() is None and FlowRunContext.get() is None:
        return get_logger(name)
    return get_run_logger()


def task_run_logger(
    task_run: TaskRun,
    task: Any = None,
    flow_run: FlowRun | None = None,
    flow: Any = None,
    **extra: Any,
) -> RunLogger:
    """The logger of a task run; its flow and flow run default to those active here."""
    active = FlowRunContext.get()
    if active is not None:
        flow_run = flow_run or active.flow_run
        flow = flow or active.flow
    return RunLogger(_task_runs, task_run, task, flow_run, flow, extra)


def flow_run_logger(flow_run: FlowRun | UUID | str | None, flow: Any = None, **extra: Any) -> RunLogger:
    """The logger of a flow run, given as its record or, where only that is known, by its id.

    Args:
        flow_run: The run, or its id.
        flow: The flow.
        extra: Further attributes for every record.
    """
    return RunLogger(_flow_runs, None, None, flow_run, flow, extra)


def engine_logs(level: int) -> bool:
    """Whether the engine is to write its own lines of this level: the setting ``logging.internal_level``."""
    return level >= _LEVELS[get_current_settings().logging.internal_level]


@contextmanager
def disable_logger(name: str) -> Generator[None]:
    """Silence a logger inside the block and leave it as it was."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def disable_run_logger() -> Generator[None]:
    """Silence the loggers of all runs inside the block, and let `get_run_logger` work outside of runs."""
    with disable_logger(RUN_LOGGERS[0]), disable_logger(RUN_LOGGERS[1]):
        yield
