"""Event loops in a world: their waits are those of strands."""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from typing import Any

from mainspring.testing.locks import active_world
from mainspring.testing.worlds import Strand, World

__all__ = ["BorrowedSelector", "LoopWaits", "WorldSelector", "wake_loop"]

_RealSelector = selectors.DefaultSelector
_real_poll = getattr(select, "poll", None)

_GRACE = 0.05
"""Real seconds for which sockets of a loop may say something before virtual time passes."""


class LoopWaits:
    """How a loop waits in a world."""

    _strand: Strand | None = None
    _is_woken = False
    _asks_outside = False

    def wait_in(
        self, world: World, me: Strand, look: Callable[[float | None], Any], timeout: float | None
    ) -> Any:
        """Wait as a strand does.

        Args:
            world: The active world.
            me: The calling strand.
            look: The real wait.
            timeout: Seconds; None for no limit.
        """
        events = look(0)
        if not events and self._has_files() and not self._is_woken and (timeout is None or timeout > 0):
            events = self._ask_outside(world, look)
        if events or self._is_woken or (timeout is not None and timeout <= 0):
            self._is_woken = False
            world.pause()
            world.deliver()
            return events
        self._strand = me
        if self._is_woken:  # by a thread that runs beside this one
            self._strand, self._is_woken = None, False
            return look(0)
        if self._has_files():
            me.look = self._is_ready
        try:
            world.park(None if timeout is None else world.after(timeout), "waits in an event loop")
        finally:
            me.look = None
            self._strand, self._is_woken = None, False
        world.deliver()
        return look(0)

    def _has_files(self) -> bool:
        """Whether there is anything besides the loop's own pipe."""
        raise NotImplementedError

    def _number(self) -> int:
        """The file that tells whether others have something to say; -1 if there is none."""
        raise NotImplementedError

    def _ask_outside(self, world: World, look: Callable[[float | None], Any]) -> Any:
        if not world.is_parallel:
            return []
        self._asks_outside = True
        try:
            return [] if self._is_woken else look(_GRACE)
        finally:
            self._asks_outside = False

    def _is_ready(self) -> bool:
        number = self._number()
        if number < 0 or _real_poll is None:
            return False
        poller = _real_poll()
        poller.register(number, select.POLLIN)
        return bool(poller.poll(0))

    def wake(self) -> bool:
        """Let a wait end, or the next one not begin. Safe to call from any strand.

        Returns:
            Whether the loop must be woken by its pipe, as it waits for what is outside of the world.
        """
        self._is_woken = True
        world, strand = active_world(), self._strand
        if world is not None and strand is not None:
            world.unpark(strand)
        return self._asks_outside


class WorldSelector(LoopWaits, _RealSelector):
    """A selector whose waits are those of a strand; what files have to say is seen when it looks."""

    def select(self, timeout: float | None = None) -> Any:
        """As that of ``selectors.BaseSelector``."""
        world = active_world()
        me = None if world is None else world.me()
        if world is None or me is None:
            return super().select(timeout)
        return self.wait_in(world, me, super().select, timeout)

    def _has_files(self) -> bool:
        return len(self.get_map()) > 1

    def _number(self) -> int:
        return self.fileno() if hasattr(self, "fileno") else -1


class BorrowedSelector(LoopWaits):
    """Stands in for the selector of a loop that was there before the world.

    Args:
        selector: That of the loop.
    """

    def __init__(self, selector: Any) -> None:
        self.real = selector

    def select(self, timeout: float | None = None) -> Any:
        """As that of ``selectors.BaseSelector``."""
        world = active_world()
        me = None if world is None else world.me()
        if world is None or me is None:
            return self.real.select(timeout)
        return self.wait_in(world, me, self.real.select, timeout)

    def _has_files(self) -> bool:
        return len(self.real.get_map()) > 1

    def _number(self) -> int:
        return self.real.fileno() if hasattr(self.real, "fileno") else -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def wake_loop(loop: Any) -> None:
    """What ``call_soon_threadsafe`` does so that the loop sees the call."""
    selector = loop._selector
    if isinstance(selector, LoopWaits) and not selector.wake() and active_world() is not None:
        return
    csock = loop._csock
    if csock is not None:
        try:
            csock.send(b"\0")
        except OSError:
            return
