"""For code inside of a run that would go on for long: how much time is left, and whether it was told to stop.

All of it is cheap enough to be asked in a loop, and safe to be called from any thread with the run's context.
"""

from __future__ import annotations

from mainspring.context import TaskRunContext, current_scope
from mainspring.exceptions import RunCancelled

__all__ = ["is_cancelled", "raise_if_cancelled", "remaining_time"]


def remaining_time() -> float | None:
    """Seconds that the active run has left, 0.0 if it has none; None if nothing limits it, and outside of runs.

    That is what is left of the ``timeout_seconds`` of its attempt and of every run around it, in this and other
    processes, and of its ``retry_timeout_seconds``.
    """
    scope = current_scope()
    return None if scope is None else scope.remaining()


def is_cancelled() -> bool:
    """Whether the active run was told to stop: it, or one around it, was cancelled or given up, or its runner is left.

    False outside of runs.
    """
    return _reason() is not None


def raise_if_cancelled() -> None:
    """Leave the run here if it was told to stop.

    Raises:
        RunCancelled: It was.
    """
    reason = _reason()
    if reason is not None:
        raise RunCancelled(reason)


def _reason() -> str | None:
    scope = current_scope()
    stop = None if scope is None else scope.stopped()
    if stop is not None:
        return stop.reason
    context = TaskRunContext.get()
    run = None if context is None else context.task_run
    while context is not None:
        event = context.cancel_event
        if event is not None and event.is_set():
            return f"The task runner cancelled {run!r}, or a run around it."
        context = context.outer
    return None
