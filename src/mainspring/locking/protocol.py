"""What a lock manager offers, who holds a lock by default, and what locks are for: isolation levels."""

from __future__ import annotations

import os
import threading
from enum import Enum
from typing import Protocol, runtime_checkable

from mainspring._imports import loaded
from mainspring.exceptions import LockNotHeld

__all__ = ["IsolationLevel", "LockManager", "default_holder"]


class IsolationLevel(str, Enum):
    """What a transaction allows others to do with its key: everything, or nothing until it has ended."""

    READ_COMMITTED = "READ_COMMITTED"
    SERIALIZABLE = "SERIALIZABLE"


@runtime_checkable
class LockManager(Protocol):
    """Locks on keys, each held by one holder at a time.

    A holder is any text; whoever uses the same text is the same holder. Nothing is counted: a holder may
    acquire its lock again, and a single release frees it. All methods are safe to use from any thread.
    Timeouts are seconds; None is no limit, and 0 is one attempt without waiting.
    """

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Take the lock on ``key``; blocks the calling thread while another holder has it.

        Args:
            key: What is locked.
            holder: Who is to hold the lock.
            acquire_timeout: How long to wait for it.
            hold_timeout: After how many seconds the lock frees itself, counted from this call's success; a
                repeated acquisition by the same holder counts anew.

        Returns:
            True once ``holder`` holds the lock, False if it was not free in time.
        """
        ...

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Async `acquire_lock`; suspends the calling task. A cancelled call leaves no lock behind."""
        ...

    def release_lock(self, key: str, holder: str) -> None:
        """Free the lock on ``key``. Does not wait for anybody.

        Raises:
            LockNotHeld: ``holder`` does not hold it, or not any more.
        """
        ...

    def is_locked(self, key: str) -> bool:
        """Whether anybody holds the lock on ``key``."""
        ...

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether ``holder`` holds the lock on ``key``."""
        ...

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock on ``key``, without taking it; False if that took too long."""
        ...

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Async `wait_for_lock`."""
        ...


def default_holder() -> str:
    """Who the caller is: its host, process and thread, and its asyncio task if it is in one."""
    thread = threading.current_thread()
    parts = [os.uname().nodename, str(os.getpid()), str(thread.ident), thread.name]
    asyncio = loaded("asyncio")  # who has not loaded it is in no task
    if asyncio is not None and asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None:
            parts.append(f"{task.get_name()}-{id(task)}")
    return ":".join(parts)


def not_held(key: str, holder: str) -> LockNotHeld:
    """The error of a release by somebody who does not hold the lock."""
    return LockNotHeld(
        f"No lock held by {holder} on key {key!r}: it was never taken by this holder, is released already,"
        " or has run out of its hold timeout."
    )
