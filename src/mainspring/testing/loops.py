"""Event loops in a world: their waits are those of strands."""

from __future__ import annotations

import selectors
from typing import Any

from mainspring.testing.locks import active_world
from mainspring.testing.worlds import NANOSECONDS, Strand

__all__ = ["WorldSelector", "wake_loop"]

_RealSelector = selectors.DefaultSelector


class WorldSelector(_RealSelector):
    """A selector whose waits are those of a strand; what files have to say is seen when it looks."""

    def __init__(self) -> None:
        super().__init__()
        self._strand: Strand | None = None
        self._is_woken = False

    def select(self, timeout: float | None = None) -> Any:
        """As that of ``selectors.BaseSelector``."""
        world = active_world()
        me = None if world is None else world.me()
        if world is None or me is None:
            return super().select(timeout)
        events = super().select(0)
        if events or self._is_woken or (timeout is not None and timeout <= 0):
            self._is_woken = False
            world.pause()
            world.deliver()
            return events
        self._strand = me
        world.park(
            None if timeout is None else world.now + max(1, round(timeout * NANOSECONDS)),
            "waits in an event loop",
        )
        self._strand, self._is_woken = None, False
        world.deliver()
        return super().select(0)

    def wake(self) -> None:
        """Let a wait end, or the next one not begin. Safe to call from any strand."""
        self._is_woken = True
        world, strand = active_world(), self._strand
        if world is not None and strand is not None:
            world.unpark(strand)


def wake_loop(loop: Any) -> None:
    """What ``call_soon_threadsafe`` does so that the loop sees the call."""
    selector = loop._selector
    if isinstance(selector, WorldSelector):
        selector.wake()
    csock = loop._csock
    if csock is not None and not (isinstance(selector, WorldSelector) and active_world()):
        try:
            csock.send(b"\0")
        except OSError:
            return
