"""What runs need when they are told to stop: waits that end then, and clearing up that does not."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from mainspring._cancel_scopes import CancelScope, StopKind
from mainspring.context.runs import FlowRunContext, TaskRunContext, current_scope
from mainspring.exceptions import RunCancelled

__all__ = ["shielded", "stoppable"]


@contextmanager
def stoppable(wake: Callable[[], object]) -> Generator[None]:
    """Around a wait of the active run: it is stoppable if the run is told to stop, and leaves the run then.

    An interruption alone reaches a thread only when its wait is over.

    Args:
        wake: Ends the wait. Called in any thread, maybe more than once; it has to be quick.

    Raises:
        RunCancelled: The run was told to stop.
    """
    scope = current_scope()
    if scope is None:
        yield
        return
    with scope.calling(lambda _: wake()):
        yield
    stop = scope.stopped()
    if (
        stop is not None and stop.kind is not StopKind.GIVEN_UP
    ):  # of that the thread learns where its function ends
        raise RunCancelled(stop.reason)


class Shield:
    """Around what clears up after a run that was told to stop: nothing interrupts it, and it may call tasks."""

    __slots__ = ("_context", "_open_scope")

    def __init__(self) -> None:
        self._context: FlowRunContext | TaskRunContext | None = None
        self._open_scope: CancelScope | None = None  # which is closed meanwhile

    def __enter__(self) -> None:
        context = TaskRunContext.get() or FlowRunContext.get()
        scope = None if context is None else context.scope
        if context is None or scope is None:
            return
        # A copy: what was submitted before, and has not begun, is in the same context, and stopped.
        apart = context.model_copy()
        apart.scope = CancelScope(None)
        apart.outer = getattr(context, "outer", None)
        if scope.is_open_here():
            scope.close()
            self._open_scope = scope
        self._context = context
        _activate(apart)

    def __exit__(self, *_: object) -> None:
        context = self._context
        if context is not None:
            _activate(context)
        if self._open_scope is not None:
            self._open_scope.open()


def _activate(context: FlowRunContext | TaskRunContext) -> None:
    if isinstance(context, TaskRunContext):
        TaskRunContext.activate(context)
    else:
        FlowRunContext.activate(context)


def shielded() -> Shield:
    """A `Shield`: there is one around each hook."""
    return Shield()
