"""Locks for all processes that share a run store.

A lock is a row of the store, so it is taken and released in a transaction of the database: there is one holder, over
all threads and processes. The row names the process that took the lock. When that dies, the lock is found to be free,
as its runs are found to have crashed.

Whoever waits is woken by a release in the same process, by the bell of the store for those in other processes, and by
the end of a holder on this host. All of these are hints that may get lost, so it looks now and then all the same.

This is no part of `mainspring.locking`, which knows nothing of run stores and is loaded without one.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any
from weakref import WeakKeyDictionary

from mainspring import _forks, clock
from mainspring.clock import MICROSECONDS
from mainspring.exceptions import ConfigurationError, StoreError
from mainspring.locking.deaths import forget_deaths, on_death
from mainspring.locking.protocol import not_held
from mainspring.locking.waiting import Wake, await_steps, wait_steps
from mainspring.recording import current_recorder
from mainspring.store.bells import LOCKS
from mainspring.store.protocol import HeldLock, RunStore

__all__ = ["StoreLockManager"]

_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05  # while another process holds the lock that cannot be heard
_LOOK_PAUSE = 0.25  # while one does that can
_LONGEST_PAUSE_AT_HOME = 0.5  # while this one does, whose release wakes whoever waits
_LOOK_FOR_DEAD_SECONDS = 0.25
_FOREVER = float("inf")

_waiters: WeakKeyDictionary[RunStore, _Waiting] = WeakKeyDictionary()
_left_over: WeakKeyDictionary[RunStore, set[tuple[str, str]]] = WeakKeyDictionary()
"""Locks of this process whose holders could not release them, by key and holder."""

_mutex = threading.Lock()


class StoreLockManager:
    """Locks in the run store. See `mainspring.locking.protocol.LockManager` for the methods.

    A lock is freed by its release, by its hold timeout, and by the end of the process that took it: at once for
    processes on the same host, whatever the death was. Times are wall times, so hosts that share a store need clocks
    that agree about hold timeouts. An acquisition costs as much as a small commit. Async methods wait as asyncio tasks
    do; the looks at the database between the waits are made in place, as recording is.

    Managers of the same store are equal. Pickling takes no locks along.

    Args:
        store: The run store; None for the one that settings name where a lock is used, which is opened then.
    """

    __slots__ = ("_store",)

    def __init__(self, store: RunStore | None = None) -> None:
        self._store = store

    @property
    def store(self) -> RunStore:
        """The run store that keeps the locks.

        Raises:
            StoreError: It cannot be opened.
        """
        return current_recorder().store if self._store is None else self._store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreLockManager) and other._store is self._store

    def __hash__(self) -> int:
        return hash((StoreLockManager, id(self._store)))

    def __repr__(self) -> str:
        return f"StoreLockManager({'' if self._store is None else repr(self._store)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._store is not None:
            raise ConfigurationError(
                f"{self!r} cannot be sent to another process, because an open run store cannot. Use"
                " StoreLockManager() without a store: it uses the one of the process it is in."
            )
        return StoreLockManager, ()

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        store = self.store
        if _take(store, key, holder, hold_timeout) is None:
            return True
        return wait_steps(lambda wake: _tries(store, key, holder, acquire_timeout, hold_timeout, wake))

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        store = self.store
        if _take(store, key, holder, hold_timeout) is None:
            return True
        return await await_steps(lambda wake: _tries(store, key, holder, acquire_timeout, hold_timeout, wake))

    def release_lock(self, key: str, holder: str) -> None:
        store = self.store
        try:
            if not store.release_lock(key, holder, clock.current().now()):
                raise not_held(key, holder)
        except StoreError:
            with _mutex:  # nobody holds it any more: whoever waits for it here releases it first
                _left_over.setdefault(store, set()).add((key, holder))
            raise
        with _mutex:
            waiting = list(_waiters.get(store, _Waiting()).get(key, ()))
        for wake in waiting:
            wake()

    def is_locked(self, key: str) -> bool:
        return _held(self.store, key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        lock = _held(self.store, key)
        return lock is not None and lock.holder == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        store = self.store
        return wait_steps(lambda wake: _tries(store, key, None, timeout, None, wake))

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        store = self.store
        return await await_steps(lambda wake: _tries(store, key, None, timeout, None, wake))


def _take(store: RunStore, key: str, holder: str, hold_timeout: float | None) -> HeldLock | None:
    """Take the lock if it is free; else the lock that somebody else holds."""
    now = clock.current().now()
    expires = None if hold_timeout is None else now + round(hold_timeout * MICROSECONDS)
    held = store.take_lock(key, holder, now, expires)
    left = _left_over.get(store)
    if held is None and left:
        with _mutex:
            left.discard((key, holder))  # now it is held
    return held


def _held(store: RunStore, key: str, looks_for_dead: bool = True) -> HeldLock | None:
    """The lock on a key, if its holder is alive, as far as that is asked."""
    lock = store.read_lock(key, clock.current().now())
    if lock is None or lock.is_ours or not looks_for_dead:
        return lock
    store.settle_dead_owners()
    return store.read_lock(key, clock.current().now())


def _tries(
    store: RunStore,
    key: str,
    holder: str | None,
    timeout: float | None,
    hold_timeout: float | None,
    wake: Wake,
) -> Generator[float, bool, bool]:
    """Try until the lock is free: `mainspring.locking.waiting` says how. Without a holder, only look."""
    left = _FOREVER if timeout is None else timeout
    has_died = threading.Event()

    def mourn() -> None:
        has_died.set()
        wake()

    poll = _SHORTEST_PAUSE
    looked = -_FOREVER  # for the dead, which costs more than a look at the lock
    _join(store, key, wake)  # before the first look, so that no release is missed
    try:
        while True:
            before = clock.current().monotonic()
            looks_for_dead = before - looked >= _LOOK_FOR_DEAD_SECONDS or has_died.is_set()
            has_died.clear()
            lock = _held(store, key, looks_for_dead)
            if looks_for_dead:
                looked = before
            if lock is not None and lock.is_ours and _released_left_over(store, key, lock.holder):
                continue
            if lock is None or lock.holder == holder:
                lock = None if holder is None else _take(store, key, holder, hold_timeout)
                if lock is None:
                    return True
            if left <= 0:
                return False
            if lock.is_ours:
                poll = _LONGEST_PAUSE_AT_HOME
            elif store.bell.reaches_others:
                poll = _LOOK_PAUSE
                if lock.pid is not None and lock.host == store.host:
                    on_death([lock.pid], mourn)
            else:
                poll = min(1.5 * poll, _LONGEST_PAUSE)
            pause = min(left, poll, _free_in(lock))
            woken = yield pause
            passed = clock.current().monotonic() - before
            left -= passed if woken else max(passed, pause)  # a clock may stand still while we wait
    finally:
        _leave(store, key, wake)
        forget_deaths(mourn)


def _released_left_over(store: RunStore, key: str, holder: str) -> bool:
    """Release a lock that its holder could not release; False if it is held, or that still does not work."""
    left = _left_over.get(store)
    if not left or (key, holder) not in left:
        return False
    try:
        store.release_lock(key, holder, clock.current().now())
    except StoreError:
        return False  # to be tried again at the next look
    with _mutex:
        left.discard((key, holder))
    return True


def _free_in(lock: HeldLock) -> float:
    """Seconds until a lock frees itself."""
    if lock.expires is None:
        return _FOREVER
    return max(_SHORTEST_PAUSE, (lock.expires - clock.current().now()) / MICROSECONDS)


def _join(store: RunStore, key: str, wake: Wake) -> None:
    with _mutex:
        waiting = _waiters.setdefault(store, _Waiting())
        waiting.setdefault(key, {})[wake] = None
    store.bell.listen(LOCKS, waiting.hear)


class _Waiting(dict[str, dict[Wake, None]]):
    """Who waits for which lock of a store, in the order in which they came."""

    def hear(self, key: str) -> None:
        """Another process has released the lock on a key, or some lock."""
        with _mutex:
            woken = (
                list(self.get(key, ())) if key else [wake for waiting in self.values() for wake in waiting]
            )
        for wake in woken:
            wake()


def _leave(store: RunStore, key: str, wake: Wake) -> None:
    with _mutex:
        waiting = _waiters.get(store, _Waiting())
        of_key = waiting.get(key, {})
        of_key.pop(wake, None)
        if not of_key:
            waiting.pop(key, None)


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: the threads and loops that wait are the parent's."""
    global _mutex
    _mutex = threading.Lock()
    _waiters.clear()
    _left_over.clear()
