"""Work that has its turn in a pool, and what becomes of the turn while the work waits for other work.

A pool with a limit has so many turns to give. Work that waits for other work lends its turn, so that the other work
can be done: no number of tasks that wait for tasks uses up a pool. What is left is work that waits for itself in a
circle. A wait that lasts looks for one, and ends in an error that names the members.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mainspring._imports import modules_on_use
from mainspring._interruption import wait_in_pieces
from mainspring.exceptions import DeadlockError

if TYPE_CHECKING:
    from mainspring._core import circles
    from mainspring._core.circles import Needs
else:
    circles = modules_on_use("mainspring._core", "circles")

__all__ = ["Ends", "Pool", "Turn", "Wait", "ablock", "active_turn", "as_main", "block", "by_thread", "paused"]

FIRST_LOOK = 0.5
"""Seconds after which a wait looks for a circle that it is in; then after twice as long each time."""

LAST_LOOK = 30.0
"""The most seconds between two looks."""

CONFIRMATION = 0.02
"""Seconds between finding a circle and believing it: nobody in a real one moves meanwhile."""


class Pool(Protocol):
    """What gives turns."""

    def lend(self, turn: Turn) -> None:
        """Let others have the turn of work that begins to wait."""

    def give_back(self, turn: Turn, resume: Callable[[], object] | None = None) -> bool:
        """Give the turn back to work that has waited.

        Args:
            turn: The turn.
            resume: Called when there is a turn, if there is none at once. Without it the work has its turn back
                now, even if that is one too many.

        Returns:
            False if ``resume`` will be called.
        """
        ...

    def give_up(self, turn: Turn, rest: Callable[[], object] | None) -> None:
        """Take the turn from work whose thread does not come back, and have the rest of it done by another thread."""
        ...

    def give_back_now(self, turn: Turn, resume: Callable[[], object]) -> None:
        """Do not wait any longer for ``resume`` to be called."""


class Wait:
    """What some work waits for; a node in the graph of who waits for whom."""

    __slots__ = ("number",)
    may_fail = True  # whether an error can be raised where the wait is

    def __init__(self) -> None:
        self.number = 0  # newer waits have higher ones

    def begin(self) -> None:
        """Note that the work begins to wait."""
        self.number = next(_numbers)

    def needs(self) -> Needs:
        """What has to be over before the work goes on; nothing if it is about to."""
        raise NotImplementedError


class Ends(Wait):
    """A wait for the end of work that has begun.

    Args:
        turns: Its turns.
    """

    __slots__ = ("turns",)
    may_fail = False

    def __init__(self, turns: Sequence[Turn]) -> None:
        super().__init__()
        self.turns = turns

    def needs(self) -> Needs:
        """See `Wait.needs`."""
        return circles.Needs([turn for turn in self.turns if not turn.is_over])


class Turn(msgspec.Struct, eq=False):
    """One piece of work, from its beginning to its end. Also a node in the graph of who waits for whom.

    Args:
        pool: Whose turn it is.
    """

    pool: Pool
    thread: int = msgspec.field(default_factory=threading.get_ident)
    label: Callable[[], str] | None = None  # what people call the work
    rest: Callable[[], object] | None = None  # called when the thread has nothing else to do
    main: object = None  # the asyncio task with which an async function ends
    wait: Wait | None = None  # what the work as a whole waits for
    waiting: int = 0  # coroutines and threads of the work that wait; guarded by the lock of the pool
    goes_on: bool = False  # the part of a series, elsewhere: it will be ended by hand
    is_over: bool = False
    is_given_up: bool = False  # its thread does not come back in time, and others do without it
    work: Any = None  # what has the turn, if it can be gone on with by another thread

    def needs(self) -> Needs:
        """What has to be over before the work goes on; nothing if it is not known to wait."""
        wait = self.wait
        return circles.Needs() if wait is None or self.is_over else circles.Needs([wait])


active_turn: ContextVar[Turn | None] = ContextVar("mainspring_turn", default=None)
"""The turn of the calling code, None outside of pools."""

_main_waits: ContextVar[Turn | None] = ContextVar("mainspring_main_waits", default=None)
"""In a thread for which what some work ends with waits: the turn of that work."""

_numbers = count(1)


@contextmanager
def paused(wait: Wait | None = None) -> Generator[None]:
    """Lend the turn of the calling code inside the block, in which it does nothing but wait.

    After the block it goes on at once, also if that is more work at a time than the pool has turns.

    Args:
        wait: What it waits for, if that is other work.
    """
    turn = active_turn.get()
    if turn is None or turn.is_over:
        yield
        return
    before = turn.wait
    is_told = wait is not None and (turn.thread == threading.get_ident() or _main_waits.get() is turn)
    if is_told:
        assert wait is not None
        wait.begin()
        turn.wait = wait
    turn.pool.lend(turn)
    try:
        yield
    finally:
        turn.pool.give_back(turn)
        if is_told:  # else others of the work may have begun or ended to wait meanwhile
            turn.wait = before


def block(lock: threading.Lock, timeout: float | None, wait: Wait) -> bool:
    """Block the calling thread until a lock is free, and lend its turn meanwhile; False after ``timeout`` seconds.

    A wait without a time limit goes on only when the pool has a turn for it.

    Args:
        lock: Held now; whoever ends the wait releases it.
        timeout: Wait at most so many seconds.
        wait: What is waited for.

    Raises:
        DeadlockError: What is waited for waits for the calling code.
    """
    turn = active_turn.get()
    if turn is None or turn.is_over:
        return _acquire(lock, timeout)
    if timeout is not None:  # no circle, as it ends by itself
        if timeout <= 0:
            return lock.acquire(blocking=False)
        with paused():
            return _acquire(lock, timeout)
    if turn.thread != threading.get_ident():  # a thread that the work has started, which may do without it
        with paused():
            return lock.acquire()
    wait.begin()
    before, turn.wait = turn.wait, wait
    turn.pool.lend(turn)
    try:
        look = FIRST_LOOK
        while not lock.acquire(timeout=look):
            if circle := _circle(turn, wait):
                time.sleep(CONFIRMATION)
                if _circle(turn, wait) == circle and not lock.acquire(blocking=False):
                    raise DeadlockError(_told(circle))
            look = min(2 * look, LAST_LOOK)
    except BaseException:
        turn.pool.give_back(turn)
        raise
    finally:
        turn.wait = before
    back = threading.Lock()
    back.acquire()
    if not turn.pool.give_back(turn, back.release):
        try:
            back.acquire()
        except BaseException:
            turn.pool.give_back_now(turn, back.release)
            raise
    return True


async def ablock(woken: Any, timeout: float | None, wait: Wait) -> bool:
    """`block` for a coroutine, which waits for a future of its event loop.

    It has its turn back at once: to wait for one would hold up what else goes on in the loop.

    Raises:
        DeadlockError: What is waited for waits for the calling code.
    """
    import asyncio  # whoever awaits has it already

    turn = active_turn.get()
    if turn is None or turn.is_over:
        return bool((await asyncio.wait([woken], timeout=timeout))[0])
    is_main = timeout is None and asyncio.current_task() is turn.main
    if is_main:
        wait.begin()
        turn.wait = wait
    turn.pool.lend(turn)
    try:
        if not is_main:
            return bool((await asyncio.wait([woken], timeout=timeout))[0])
        look = FIRST_LOOK
        while not (await asyncio.wait([woken], timeout=look))[0]:
            if circle := _circle(turn, wait):
                await asyncio.sleep(CONFIRMATION)
                if _circle(turn, wait) == circle and not woken.done():
                    raise DeadlockError(_told(circle))
            look = min(2 * look, LAST_LOOK)
        return True
    finally:
        turn.pool.give_back(turn)
        if is_main:
            turn.wait = None


async def as_main(awaitable: Any) -> Any:
    """Await what the calling work ends with."""
    import asyncio  # whoever awaits has it already

    turn = active_turn.get()
    if turn is None:
        return await awaitable
    before, turn.main = turn.main, asyncio.current_task()
    try:
        return await awaitable
    finally:
        turn.main = before


async def by_thread(call: Callable[[], object]) -> None:
    """Have a thread make a call that blocks. What that waits for, the work waits for if it ends with the caller."""
    import asyncio  # whoever awaits has it already

    turn = active_turn.get()
    is_main = turn is not None and asyncio.current_task() is turn.main
    token = _main_waits.set(turn if is_main else None)
    try:
        await asyncio.to_thread(call)
    finally:
        _main_waits.reset(token)


def _acquire(lock: threading.Lock, timeout: float | None) -> bool:
    return wait_in_pieces(lambda seconds: lock.acquire(timeout=-1 if seconds is None else seconds), timeout)


def _circle(turn: Turn, wait: Wait) -> list[Any]:
    """The circle that a turn is in, if it is for this wait to end it: of all in there it is the newest that can."""
    circle: list[Any] = circles.find_circle(turn, lambda node: node.needs())
    waits = [node for node in circle if isinstance(node, Wait) and node.may_fail]
    return circle if waits and max(waits, key=lambda each: each.number) is wait else []


def _told(circle: list[Any]) -> str:
    labels = [getattr(node, "label", None) for node in circle]  # only what people know has one
    names = [label() for label in labels if label is not None] or ["some work"]
    members = [
        name for name, before in zip(names, [names[-1], *names], strict=False) if name != before
    ] or names[:1]
    chain = ", which waits for ".join([*members[1:], members[0]]) if len(members) > 1 else "itself"
    return (
        f"Waiting in a circle, which would never end: {members[0]} waits for {chain}. One of them must not wait for"
        f" the result of the others: pass results on as arguments instead."
    )
