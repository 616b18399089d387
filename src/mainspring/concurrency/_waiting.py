"""Who waits for slots in this process.

The order of service is kept by the run store, for all processes. This is about not wasting time: who gives slots back
wakes those here whose turn it may be. Everybody else looks at the store now and then, those in front often, since a
slot may also be given back by another process, by decay or by death. So being woken is a hint that may get lost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from mainspring import clock
from mainspring.context import stoppable
from mainspring.store.limits import LimitStore

__all__ = ["AsyncWaiter", "SyncWaiter", "may_look_for_the_dead", "wake"]

LOOK_FOR_DEAD_SECONDS = 0.25
"""Waiters of a process ask so often at most whether holders have died."""


class _Queues:
    """The waiters for the limits of one store, each limit's in their order of arrival."""

    def __init__(self) -> None:
        self.of_name: dict[str, dict[_Waiter, None]] = {}
        self.looked_for_dead = float("-inf")


_queues: WeakKeyDictionary[LimitStore, _Queues] = WeakKeyDictionary()
_lock = threading.Lock()


class _Waiter:
    """Somebody who waits, from `join` to `leave`. Leaving twice does no harm."""

    __slots__ = ("_queues", "names", "slots", "woken")

    def __init__(self, store: LimitStore, names: list[str], slots: int) -> None:
        with _lock:
            self._queues = _queues.setdefault(store, _Queues())
        self.names = names
        self.slots = slots
        self.woken = False

    def is_first(self) -> bool:
        """True if nobody in this process came before for one of the limits."""
        with _lock:
            return any(next(iter(self._queues.of_name.get(name, ())), self) is self for name in self.names)

    def wake(self) -> None:
        """Have another look, now."""
        raise NotImplementedError

    def join(self) -> None:
        """Be woken from now on."""
        with _lock:
            for name in self.names:
                self._queues.of_name.setdefault(name, {})[self] = None

    def leave(self) -> None:
        """Be woken no more, and wake who is next."""
        with _lock:
            for name in self.names:
                queue = self._queues.of_name.get(name)
                if queue is not None:
                    queue.pop(self, None)
                    if queue:
                        next(
                            iter(queue)
                        ).wake()  # may be in front now, and there may be room for more than one
                    else:
                        del self._queues.of_name[name]


class SyncWaiter(_Waiter):
    """A thread that waits."""

    __slots__ = ("_event",)

    def __init__(self, store: LimitStore, names: list[str], slots: int) -> None:
        super().__init__(store, names, slots)
        self._event = threading.Event()

    def wake(self) -> None:
        """See `_Waiter.wake`."""
        self.woken = True
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Return when woken, or after so many seconds of the current clock."""
        time = clock.current()
        if isinstance(time, clock.SystemClock):
            with stoppable(self._event.set):
                self._event.wait(seconds)
        else:  # a replaced clock is to know of every wait
            time.sleep(seconds)
        self._event.clear()


class AsyncWaiter(_Waiter):
    """An asyncio task that waits."""

    __slots__ = ("_event", "_loop")

    def __init__(self, store: LimitStore, names: list[str], slots: int) -> None:
        super().__init__(store, names, slots)
        import asyncio  # whoever awaits has it already

        self._loop: Any = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """See `_Waiter.wake`."""
        self.woken = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # its loop was closed, so nobody waits there
            pass

    async def wait(self, seconds: float) -> None:
        """Return when woken, or after so many seconds of the current clock."""
        import asyncio

        time = clock.current()
        if isinstance(time, clock.SystemClock):
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                pass
        else:  # a replaced clock is to know of every wait
            await time.asleep(seconds)
        self._event.clear()


def wake(store: LimitStore, names: Iterable[str], slots: int | None) -> None:
    """Wake those whose turn it may be, since slots of these limits were given back.

    Args:
        store: Where the limits are.
        names: The limits.
        slots: How many slots of each; None if everybody should have a look.
    """
    queues = _queues.get(store)
    if queues is None or not queues.of_name:
        return
    with _lock:
        for name in names:
            left = slots
            for waiter in queues.of_name.get(name, ()):
                waiter.wake()
                if (
                    left is not None and len(waiter.names) == 1
                ):  # others may find another limit of theirs full
                    left -= waiter.slots
                    if left <= 0:
                        break


def may_look_for_the_dead(store: LimitStore) -> bool:
    """True at most every `LOOK_FOR_DEAD_SECONDS`: the caller is to do it then."""
    now = clock.current().monotonic()
    with _lock:
        queues = _queues.setdefault(store, _Queues())
        if 0 <= now - queues.looked_for_dead < LOOK_FOR_DEAD_SECONDS:
            return False
        queues.looked_for_dead = now
    return True


def _forget_inherited() -> None:
    """In a forked child: the parent's threads and tasks wait there, not here."""
    global _lock
    _lock = threading.Lock()
    _queues.clear()


os.register_at_fork(after_in_child=_forget_inherited)
