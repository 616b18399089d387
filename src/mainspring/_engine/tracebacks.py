"""Tracebacks that show the user's code: the frames in between are ours and say nothing about the failure."""

from __future__ import annotations

from types import FrameType, TracebackType
from typing import Any

from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.settings import get_current_settings

__all__ = ["first_report", "hide_own_frames", "is_own"]

_PACKAGE = __name__.partition(".")[0]


def hide_own_frames(error: BaseException) -> None:
    """Take the frames of this package out of an exception's traceback, unless the debug setting is on.

    This also lets go of the engine that the frames refer to. A traceback of nothing but our own frames is
    left alone: then the failure is ours.
    """
    if get_current_settings().debug_mode:
        return
    entries: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        if not is_own(entry.tb_frame):
            entries.append(entry)
        entry = entry.tb_next
    if not entries:
        return
    kept: TracebackType | None = None
    for entry in reversed(entries):
        kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.with_traceback(kept)  # an assignment would ask the exception, which may be frozen


def first_report(error: BaseException) -> bool:
    """True if none of the runs inside the active one has reported ``error``, which counts as reported now.

    An exception that passes through several runs is shown in full for the innermost one only.
    """
    active = [context for context in (TaskRunContext.get(), FlowRunContext.get()) if context is not None]
    if any(context.reported is error for context in active):
        return False
    for innermost in active:
        context: Any = innermost
        while context is not None:
            context.reported = error
            context = context.outer
    return True


def is_own(frame: FrameType) -> bool:
    """Whether the code is of this package."""
    module: str = frame.f_globals.get("__name__", "")
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.")
