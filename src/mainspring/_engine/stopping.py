"""Telling runs to stop, making those stop that do not ask, and waiting in a way that hears of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from mainspring import clock
from mainspring._cancel_scopes import CancelScope, Stop, StopKind, inside, live
from mainspring._core.transitions import Move, next_state
from mainspring._engine.deadlines import call_at
from mainspring._interruption import wait_in_pieces
from mainspring.exceptions import IllegalTransition
from mainspring.futures.turns import paused

__all__ = ["asleep", "await_inside", "interrupt_all", "sleep", "stop_run", "wait_inside"]

AGAIN = 0.25
"""Seconds after which what was interrupted and goes on is interrupted again: it may have swallowed the exception."""

FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.05
"""Seconds between two looks whether anything goes on inside of a run."""


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
    if scope.stop(stop):  # else it is under way
        if stop.kind is StopKind.CANCELLED:
            _show_cancelling(scope, stop)
        _press(key, stop)
    return True


def interrupt_all(scopes: Iterable[CancelScope]) -> None:
    """Interrupt the code that runs in some scopes, once in each thread and each asyncio task.

    It is the innermost scope that is interrupted, for it knows whether code of a user's or of ours is at work; on its
    way the exception passes those around.
    """
    awake = [scope for scope in scopes if not scope.is_suspended]
    passed: set[CancelScope] = set()
    for scope in awake:
        for around in scope.around():
            is_passed = around.asyncio_task is None or scope.asyncio_task in {None, around.asyncio_task}
            if around is not scope and around.thread == scope.thread and is_passed:
                passed.add(around)
    for scope in awake:
        if scope not in passed:
            scope.interrupt()


def sleep(scope: CancelScope, seconds: float) -> None:
    """Block the calling thread by the current clock, or until the scope is told to stop."""
    current = clock.current()
    if not isinstance(current, clock.SystemClock):
        current.sleep(seconds)
        return
    stopped = threading.Event()
    with scope.calling(lambda _: stopped.set()):
        wait_in_pieces(stopped.wait, seconds)


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


def wait_inside(scope: CancelScope) -> None:
    """Block the calling thread until nothing goes on inside of a scope."""
    pause = FIRST_PAUSE
    with paused():
        while _is_at_work_inside(scope):
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


async def await_inside(scope: CancelScope) -> None:
    """`wait_inside` without blocking the event loop."""
    import asyncio  # whoever awaits has it already

    pause = FIRST_PAUSE
    with paused():
        while _is_at_work_inside(scope):
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _is_at_work_inside(scope: CancelScope) -> bool:
    """Whether anything goes on inside of a scope, other than in the asyncio task, or the thread, that asks.

    What the latter has begun cannot end as long as it does not go on.
    """
    for each in inside(scope):
        is_here = each.thread == scope.thread and scope.asyncio_task in {None, each.asyncio_task}
        if each is not scope and not is_here and each.is_at_work():
            return True
    return False


def _show_cancelling(scope: CancelScope, stop: Stop) -> None:
    engine = scope.engine
    if engine is None:  # it is over
        return
    try:
        state = next_state(engine.run, Move.STOP, clock.current().now(), stop.reason)
    except IllegalTransition:  # it is over, or about to be
        return
    engine.show(state)
