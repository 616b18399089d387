"""Who waits for slots in this process.

The order of service is kept by the run store, for all processes. This is about not wasting time: who gives slots back
wakes those here whose turn it may be, and so do the bell of the store, for releases in other processes, and the end of
a process of this host that held slots. Being woken is a hint that may get lost, so who is in front looks at the store
now and then all the same; the others are woken when they are in front.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from mainspring import _forks, clock
from mainspring._interruption import wait_in_pieces
from mainspring.context import stoppable
from mainspring.locking.deaths import forget_deaths, on_death
from mainspring.store.bells import SLOTS
from mainspring.store.limits import LimitStore
from mainspring.store.protocol import RunStore

__all__ = ["AsyncWaiter", "SyncWaiter", "may_look_for_the_dead", "wake"]

LOOK_FOR_DEAD_SECONDS = 0.25
"""Waiters of a process ask so often at most whether holders have died."""


class _Queues:
    """The waiters for the limits of one store."""

    def __init__(self) -> None:
        self.of_name: dict[str, dict[_Waiter, None]] = {}  # in the order in which they have joined
        self.looked_for_dead = float("-inf")

    def hear(self, name: str) -> None:
        """Another process has given back slots of a limit, or of some limit: wake those in front."""
        with _lock:
            queues = list(self.of_name.values()) if not name else [self.of_name.get(name, {})]
            for waiter in dict.fromkeys(min(queue, key=_place) for queue in queues if queue):
                waiter.wake()

    def mourn(self) -> None:
        """A process that held slots has ended: whoever is in front looks for the dead at once."""
        self.looked_for_dead = float("-inf")
        self.hear("")


_queues: WeakKeyDictionary[LimitStore, _Queues] = WeakKeyDictionary()
_lock = threading.Lock()


class _Waiter:
    """Somebody who waits, from `join` to `leave`. Leaving twice does no harm.

    Args:
        store: Where the limits are.
        names: The limits.
        slots: How many slots of each are wanted.
        place: Its place in the queue that all processes share: whoever has the least here is in front here.
    """

    __slots__ = ("_queues", "_store", "names", "place", "slots", "woken")

    def __init__(self, store: RunStore, names: list[str], slots: int, place: int) -> None:
        with _lock:
            self._queues = _queues.setdefault(store, _Queues())
        self._store = store
        self.names = names
        self.slots = slots
        self.place = place
        self.woken = False

    def is_first(self) -> bool:
        """True if nobody in this process came before for one of the limits."""
        with _lock:
            queues = (self._queues.of_name.get(name) for name in self.names)
            return any(not queue or min(queue, key=_place) is self for queue in queues)

    def wake(self) -> None:
        """Have another look, now."""
        raise NotImplementedError

    def join(self) -> None:
        """Be woken from now on."""
        with _lock:
            for name in self.names:
                self._queues.of_name.setdefault(name, {})[self] = None

    def listen(self) -> None:
        """Hear of releases in other processes from now on. May have to ask the store."""
        self._store.bell.listen(SLOTS, self._queues.hear)

    def watch_rivals(self) -> None:
        """Be woken by the end of processes of this host that have what is waited for."""
        on_death(self._store.read_rivals(self.names), self._queues.mourn)

    def leave(self) -> None:
        """Be woken no more, and wake who is next."""
        with _lock:
            for name in self.names:
                queue = self._queues.of_name.get(name)
                if queue is not None:
                    queue.pop(self, None)
                    if queue:  # one may be in front now, and there may be room for more than one
                        min(queue, key=_place).wake()
                    else:
                        del self._queues.of_name[name]
            nobody_waits = not self._queues.of_name
        if nobody_waits:
            forget_deaths(self._queues.mourn)


def _place(waiter: _Waiter) -> int:
    return waiter.place


class SyncWaiter(_Waiter):
    """A thread that waits."""

    __slots__ = ("_event",)

    def __init__(self, store: RunStore, names: list[str], slots: int, place: int) -> None:
        super().__init__(store, names, slots, place)
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
                wait_in_pieces(self._event.wait, seconds)
        else:  # a replaced clock is to know of every wait
            time.sleep(seconds)
        self._event.clear()


class AsyncWaiter(_Waiter):
    """An asyncio task that waits."""

    __slots__ = ("_event", "_loop")

    def __init__(self, store: RunStore, names: list[str], slots: int, place: int) -> None:
        super().__init__(store, names, slots, place)
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
            for waiter in sorted(queues.of_name.get(name, ()), key=_place):
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


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: the parent's threads and tasks wait there, not here."""
    global _lock
    _lock = threading.Lock()
    _queues.clear()
