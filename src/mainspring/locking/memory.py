"""Locks for the threads and asyncio tasks of one process.

One mutex guards the table of locks. Each lock keeps its holder and those who wait for it. Whoever finds a lock
taken leaves a way to be woken in the same step, under the mutex, so no release is missed; a release wakes all
who wait, and the first to come takes the lock. A lock is never taken but under the mutex: there is one holder.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Generator
from typing import Any, Self

from mainspring import clock
from mainspring.locking.protocol import not_held
from mainspring.locking.waiting import Wake, await_steps, wait_steps

__all__ = ["MemoryLockManager"]

_LONGEST_PAUSE = 0.5  # seconds; an exception for a waiting thread is delivered between two pauses
_FOREVER = float("inf")


class _Lock:
    """Who holds a key, until when on the monotonic clock, and how to wake those who wait for it."""

    __slots__ = ("expires", "holder", "waiters")

    def __init__(self, holder: str, expires: float) -> None:
        self.holder = holder
        self.expires = expires
        self.waiters: dict[Wake, None] = {}  # in the order in which they came


class MemoryLockManager:
    """Locks in memory; there is one such manager in a process, whoever constructs it.

    A forked child begins with the locks that its parent held then. Pickling takes no locks along: what is
    unpickled is the manager of the process it is unpickled in. See `LockManager` for the methods.
    """

    __slots__ = ("_locks", "_mutex")
    _instance: Self | None = None
    _locks: dict[str, _Lock]
    _mutex: threading.Lock

    def __new__(cls) -> Self:
        """The one manager of this process."""
        if cls._instance is None:  # once, while this module is imported
            manager = super().__new__(cls)
            manager._locks = {}
            manager._mutex = threading.Lock()
            os.register_at_fork(
                before=manager._mutex.acquire,
                after_in_parent=manager._mutex.release,
                after_in_child=manager._forget_waiters,
            )
            cls._instance = manager
        return cls._instance

    def __reduce__(self) -> tuple[Any, ...]:
        held = [key for key in list(self._locks) if self.is_locked(key)]
        if held:
            warnings.warn(
                f"A MemoryLockManager is pickled while locks are held on {held!r}: another process does not see"
                " them. Use a FileSystemLockManager for locks over processes.",
                stacklevel=2,
            )
        return MemoryLockManager, ()

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        if self._try(key, holder, hold_timeout) <= 0:
            return True
        return wait_steps(lambda wake: self._tries(key, holder, acquire_timeout, hold_timeout, wake))

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        if self._try(key, holder, hold_timeout) <= 0:
            return True
        return await await_steps(lambda wake: self._tries(key, holder, acquire_timeout, hold_timeout, wake))

    def release_lock(self, key: str, holder: str) -> None:
        with self._mutex:
            lock = self._held(key)
            if lock is None or lock.holder != holder:
                raise not_held(key, holder)
            del self._locks[key]
        for wake in lock.waiters:
            wake()

    def is_locked(self, key: str) -> bool:
        with self._mutex:
            return self._held(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        with self._mutex:
            lock = self._held(key)
            return lock is not None and lock.holder == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        return wait_steps(lambda wake: self._tries(key, None, timeout, None, wake))

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        return await await_steps(lambda wake: self._tries(key, None, timeout, None, wake))

    # Inside

    def _held(self, key: str) -> _Lock | None:
        """The lock on a key, unless it has expired. Called under the mutex."""
        lock = self._locks.get(key)
        if lock is None or (lock.expires != _FOREVER and lock.expires <= clock.current().monotonic()):
            return None
        return lock

    def _try(
        self, key: str, holder: str | None, hold_timeout: float | None, wake: Wake | None = None
    ) -> float:
        """Take the lock if it is free, or say for how many seconds it will not be.

        Args:
            key: What is locked.
            holder: Who is to hold it; None only looks.
            hold_timeout: Seconds after which it is to free itself.
            wake: To be called once the lock is released, if it is not free.

        Returns:
            0 if the lock was free, else the seconds until it frees itself, perhaps infinite.
        """
        with self._mutex:
            lock = self._held(key)
            if lock is not None and lock.holder != holder:
                if wake is not None:
                    lock.waiters[wake] = None
                return _FOREVER if lock.expires == _FOREVER else lock.expires - clock.current().monotonic()
            if holder is not None:
                expires = _FOREVER if hold_timeout is None else clock.current().monotonic() + hold_timeout
                before = self._locks.get(key)
                self._locks[key] = lock = _Lock(holder, expires)
                if before is not None:  # an expired one: who waits for it will wait for this one
                    lock.waiters = before.waiters
            return 0

    def _tries(
        self, key: str, holder: str | None, timeout: float | None, hold_timeout: float | None, wake: Wake
    ) -> Generator[float, bool, bool]:
        """Try until the lock is free; yields how long to wait for ``wake``, and is sent whether it came."""
        left = _FOREVER if timeout is None else timeout
        try:
            while True:
                locked_for = self._try(key, holder, hold_timeout, wake)
                if locked_for <= 0:
                    return True
                if left <= 0:
                    return False
                pause = min(left, locked_for, _LONGEST_PAUSE)
                before = clock.current().monotonic()
                woken = yield pause
                passed = clock.current().monotonic() - before
                left -= passed if woken else max(passed, pause)  # a clock may stand still while we wait
        finally:
            with self._mutex:
                lock = self._locks.get(key)
                if lock is not None:
                    lock.waiters.pop(wake, None)

    def _forget_waiters(self) -> None:
        """In a forked child: the threads and loops that wait are the parent's. Frees the mutex."""
        for lock in self._locks.values():
            lock.waiters = {}
        self._mutex.release()


MemoryLockManager()
