"""Ending a block whose lease was lost, from the background thread.

In a thread of its own the block gets an exception at its next bytecode, so a call that blocks delays it until it
returns. In an asyncio task the task is cancelled, and the cancellation becomes the error when the block is left.
"""

from __future__ import annotations

import threading
from typing import Any

from mainspring._imports import loaded
from mainspring._interruption import Interruption, interrupt, take_back
from mainspring.exceptions import ConcurrencyLeaseLost

__all__ = ["TaskInterrupt", "ThreadInterrupt", "interrupt_here"]


class ThreadInterrupt:
    """Interrupts a block in the thread that made it."""

    __slots__ = ("_fired", "_lock", "_open", "_reason", "_thread")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._open = True
        self._fired = False
        self._reason = ""

    def fire(self, reason: str) -> None:
        """Interrupt the block unless it has been left."""
        with self._lock:
            if self._open and not self._fired:
                self._reason = reason
                self._fired = True
                interrupt(self._thread)

    def close(self, error: BaseException | None) -> ConcurrencyLeaseLost | None:
        """The block is being left with ``error``: interrupt it no more, and take back what was not delivered.

        Returns:
            What to raise instead of ``error``; None if that is to go on.
        """
        try:
            self._shut()
            if self._fired and not isinstance(error, Interruption):
                take_back()
        except Interruption:  # it was under way
            self._shut()
        if self._fired and (error is None or isinstance(error, Interruption)):
            return ConcurrencyLeaseLost(self._reason)
        return None

    def _shut(self) -> None:
        with self._lock:
            self._open = False


class TaskInterrupt:
    """Interrupts a block in the asyncio task that made it."""

    __slots__ = ("_fired", "_loop", "_open", "_reason", "_task")

    def __init__(self, task: Any) -> None:
        self._task = task
        self._loop = task.get_loop()
        self._open = True
        self._fired = False
        self._reason = ""

    def fire(self, reason: str) -> None:
        """Interrupt the block unless it has been left."""
        self._reason = reason
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop was closed, and the block with it
            pass

    def _cancel(self) -> None:
        if self._open and not self._fired:
            self._fired = True
            self._task.cancel(self._reason)

    def close(self, error: BaseException | None) -> ConcurrencyLeaseLost | None:
        """The block is being left with ``error``: interrupt it no more.

        Returns:
            What to raise instead of ``error``; None if that is to go on.
        """
        self._open = False
        if not self._fired:
            return None
        is_cancelled_elsewhere = self._task.uncancel() > 0
        if isinstance(error, Exception) or (error is not None and is_cancelled_elsewhere):
            return None
        return ConcurrencyLeaseLost(self._reason)


def interrupt_here() -> ThreadInterrupt | TaskInterrupt:
    """An interrupt for the block that the caller is about to enter."""
    asyncio = loaded("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None:
            return TaskInterrupt(task)
    return ThreadInterrupt()
