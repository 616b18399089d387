"""Noticing from inside of a run that somebody has cancelled it, for code that would go on for long otherwise."""

from __future__ import annotations

from mainspring.context import TaskRunContext
from mainspring.exceptions import RunCancelled

__all__ = ["is_cancelled", "raise_if_cancelled"]


def is_cancelled() -> bool:
    """Whether the active task run, or one around it in this thread, was cancelled by whoever runs it.

    False outside of task runs. Cheap enough to be asked in a loop. Safe to call from any thread with the run's context.
    """
    context = TaskRunContext.get()
    while context is not None:
        event = context.cancel_event
        if event is not None and event.is_set():
            return True
        context = context.outer
    return False


def raise_if_cancelled() -> None:
    """Leave the run here if it was cancelled, which ends it as crashed (X-11).

    Raises:
        RunCancelled: It was cancelled.
    """
    if is_cancelled():
        context = TaskRunContext.get()
        run = None if context is None else context.task_run
        raise RunCancelled(f"The task runner cancelled {run!r}, or a run around it.")
