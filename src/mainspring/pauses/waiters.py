"""Who waits in this process for an answer, so that they are woken at once when it is given here."""

from __future__ import annotations

import threading
from typing import Any

from mainspring._interruption import wait_in_pieces
from mainspring.context import stoppable

__all__ = ["Waiter", "hear", "waiter_of"]

_waiters: dict[bytes, Waiter] = {}


class Waiter:
    """One thread or asyncio task that waits for its flow run to be resumed. Safe to wake from any thread.

    Args:
        run_key: The flow run.
    """

    __slots__ = ("_loop", "_woken", "_woken_in_loop", "run_key", "thread")

    def __init__(self, run_key: bytes) -> None:
        self.run_key = run_key
        self.thread = threading.get_ident()
        self._woken = threading.Event()
        self._loop: Any = None
        self._woken_in_loop: Any = None
        _waiters[run_key] = self

    def wait(self, seconds: float) -> bool:
        """Block until woken, or for some seconds; False after these.

        Raises:
            RunCancelled: The run was told to stop.
        """
        with stoppable(self._woken.set):
            is_woken = wait_in_pieces(self._woken.wait, seconds)
        self._woken.clear()
        return is_woken

    async def wait_async(self, seconds: float) -> bool:
        """`wait` without blocking the event loop."""
        import asyncio  # whoever awaits has it already

        if self._loop is None:
            self._woken_in_loop = asyncio.Event()
            self._loop = asyncio.get_running_loop()
        if not self._woken.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._woken_in_loop.wait()
            except TimeoutError:
                return False
        self._woken.clear()
        self._woken_in_loop.clear()
        return True

    def wake(self) -> None:
        """Let it look again."""
        self._woken.set()
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._woken_in_loop.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

    def is_in_this_thread(self) -> bool:
        """Whether it can do nothing as long as the calling code does not return to its event loop."""
        return self.thread == threading.get_ident()

    def close(self) -> None:
        """Wait no more."""
        _waiters.pop(self.run_key, None)


def hear(name: str) -> None:
    """Another process has answered a flow run, which ``name`` is the id of, or some flow run: let it look."""
    key = bytes.fromhex(name)
    for waiter in [_waiters.get(key)] if key else list(_waiters.values()):
        if waiter is not None:
            waiter.wake()


def waiter_of(run_key: bytes) -> Waiter | None:
    """Who waits here in a flow run, if somebody does."""
    return _waiters.get(run_key)
