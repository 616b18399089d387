"""The part of a result store that keeps runs with the same key out of each other's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring import points
from mainspring.exceptions import ConfigurationError, LockedByAnother
from mainspring.locking.protocol import IsolationLevel, default_holder

if TYPE_CHECKING:
    from mainspring.locking.protocol import LockManager

__all__ = ["LockedKeys"]

_READ_COMMITTED = IsolationLevel.READ_COMMITTED


class LockedKeys:
    """Locks on keys, through a lock manager if there is one.

    In all methods, the holder is who holds the lock: any text. When it is left out, it is the calling thread or asyncio
    task. Timeouts are seconds; None is no limit.
    """

    __slots__ = ()
    lock_manager: LockManager | None

    def supports_isolation_level(self, level: IsolationLevel) -> bool:
        """Whether transactions of this level can be had: ``SERIALIZABLE`` needs a lock manager.

        Raises:
            ValueError: There is no such level.
        """
        return (
            level is _READ_COMMITTED
            or IsolationLevel(level) is _READ_COMMITTED
            or self.lock_manager is not None
        )

    def acquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Lock a key; waits while another holder has it.

        Returns:
            True once it is held, False if it was not free in time.

        Raises:
            ConfigurationError: There is no lock manager; so in all methods below.
        """
        if points.observer is not None:
            points.observer("lock.take", key)
        is_taken = self._manager("locked").acquire_lock(key, holder or default_holder(), timeout)
        if points.observer is not None:
            points.observer("lock.taken", key)
        return is_taken

    async def aacquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """`acquire_lock` for async code."""
        if points.observer is not None:
            points.observer("lock.take", key)
        is_taken = await self._manager("locked").aacquire_lock(key, holder or default_holder(), timeout)
        if points.observer is not None:
            points.observer("lock.taken", key)
        return is_taken

    def release_lock(self, key: str, holder: str | None = None) -> None:
        """Free a key.

        Raises:
            LockNotHeld: The holder does not hold it.
        """
        if points.observer is not None:
            points.observer("lock.release", key)
        self._manager("released").release_lock(key, holder or default_holder())
        if points.observer is not None:
            points.observer("lock.released", key)

    def is_locked(self, key: str) -> bool:
        """Whether anybody holds the key."""
        return self._manager("looked at").is_locked(key)

    def is_lock_holder(self, key: str, holder: str | None = None) -> bool:
        """Whether the holder holds the key."""
        return self._manager("looked at").is_lock_holder(key, holder or default_holder())

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the key, without taking it; False if that took too long."""
        return self._manager("waited for").wait_for_lock(key, timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """`wait_for_lock` for async code."""
        return await self._manager("waited for").await_for_lock(key, timeout)

    def _manager(self, done: str) -> LockManager:
        if self.lock_manager is None:
            raise ConfigurationError(
                f"No key can be {done}: the result store has no lock manager. Give it one, or set one on the"
                " task's cache policy with `configure(lock_manager=...)`."
            )
        return self.lock_manager

    def _may_read(self, key: str, holder: str | None) -> bool:
        """False while somebody else is writing under the key."""
        manager = self.lock_manager
        return manager is None or manager.is_lock_holder(key, holder or default_holder())

    def _check_write(self, key: Any, holder: str | None) -> None:
        manager = self.lock_manager
        if manager is None or not manager.is_locked(key):
            return
        writer = holder or default_holder()
        if not manager.is_lock_holder(key, writer):
            raise LockedByAnother(
                f"Cannot write the result under key {key!r} as {writer}: it is locked by another holder. Acquire the"
                " lock first, or wait until it is free."
            )
