"""Telling runs to stop, making those stop that do not ask, and waiting in a way that hears of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from mainspring import clock
from mainspring._cancel_scopes import CancelScope, Stop, StopKind, inside, live
from mainspring._core.transitions import Move, next_state
from mainspring._engine.deadlines import call_at
from mainspring.exceptions import IllegalTransition

__all__ = ["asleep", "interrupt_all", "sleep", "stop_run"]

AGAIN = 0.25
"""Seconds after which what was interrupted and goes on is interrupted again: it may have swallowed the exception."""


def stop_run(key: bytes, stop: Stop) -> bool:
    """Tell a run of this process to stop, with all inside of it. Does not wait for that.

    A run that is cancelled shows it at once, as Cancelling. What runs inside of it is interrupted, again and again
    until it has ended.

    Args:
        key: The id of the run.
        stop: Why.

    Returns:
        False if no such run goes on here.
    """
    scope = live.get(key)
    if scope is None:
        return False
    if scope.stop(stop) and stop.kind is StopKind.CANCELLED:
        _show_cancelling(scope, stop)
    _press(key, stop)
    return True


def interrupt_all(scopes: Iterable[CancelScope]) -> None:
    """Interrupt the code that runs in some scopes, once in each thread and each asyncio task.

    It is the outermost scope that is interrupted: the exception passes all the others on its way.
    """
    outermost: list[CancelScope] = []
    for scope in sorted(scopes, key=lambda each: sum(1 for _ in each.around())):
        if not any(each.is_same_place(scope) for each in outermost):
            outermost.append(scope)
            scope.interrupt()


def sleep(scope: CancelScope, seconds: float) -> None:
    """Block the calling thread by the current clock, or until the scope is told to stop."""
    current = clock.current()
    if not isinstance(current, clock.SystemClock):
        current.sleep(seconds)
        return
    stopped = threading.Event()
    with scope.calling(lambda _: stopped.set()):
        stopped.wait(min(seconds, threading.TIMEOUT_MAX))


async def asleep(scope: CancelScope, seconds: float) -> None:
    """`sleep` for async code: an asyncio task is cancelled by whoever tells its scope to stop."""
    scope.open()
    try:
        await clock.current().asleep(seconds)
    finally:
        scope.close()


def _press(key: bytes, stop: Stop) -> None:
    """Interrupt what runs inside of a run, now and again after a while, until there is nothing left."""
    scope = live.get(key)
    if scope is None:
        return
    scope.stop(stop)  # its next attempt may just have begun
    interrupt_all(inside(scope))
    call_at(time.monotonic() + AGAIN, lambda: _press(key, stop))


def _show_cancelling(scope: CancelScope, stop: Stop) -> None:
    run = scope.engine.run
    try:
        state = next_state(run, Move.STOP, clock.current().now(), stop.reason)
    except IllegalTransition:  # it is over, or about to be
        return
    scope.engine.show(state)
