"""Pipes in a world: whoever waits for one of them parks, and looks again when something was written to any.

Only pipes are treated like this, and what is asked of ``select.poll``. All else that may be read from, such as sockets
and terminals, is read as ever, with no other strand running.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from typing import Any

from mainspring.testing.locks import active_world
from mainspring.testing.worlds import Strand, World

__all__ = ["Poller", "read", "write"]

_real_read, _real_write, _real_poll = os.read, os.write, select.poll
_readers: list[Strand] = []

_LISTENERS = {"mainspring-bell", "mainspring-deaths"}
"""Threads that wait for whatever other processes may say, for as long as these live: time passes meanwhile."""


def _await_change(world: World, me: Strand, deadline: int | None, look: Callable[[], bool]) -> None:
    me.look = look
    _readers.append(me)
    try:
        if not look():  # another strand may have written meanwhile
            world.park(deadline, "waits for a pipe")
    finally:
        me.look = None
        _readers.remove(me)


def _waits_outside(world: World, me: Strand) -> bool:
    """Whether it waits for another process, as it seems, and may do so while other strands run."""
    return world.is_parallel and me.name not in _LISTENERS


def read(fd: int, size: int, /) -> bytes:
    """As ``os.read``."""
    world = active_world()
    me = None if world is None else world.me()
    if (
        world is not None
        and me is not None
        and not _waits_outside(world, me)
        and stat.S_ISFIFO(os.fstat(fd).st_mode)
        and os.get_blocking(fd)
    ):
        while not _is_ready(fd):
            _await_change(world, me, None, lambda: _is_ready(fd))
    return _real_read(fd, size)


def write(fd: int, content: Any, /) -> int:
    """As ``os.write``."""
    written = _real_write(fd, content)
    world = active_world()
    if world is not None and _readers:
        for strand in list(_readers):
            world.unpark(strand)
    return written


def _is_ready(fd: int) -> bool:
    poller = _real_poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


class Poller:
    """As what ``select.poll`` returns."""

    def __init__(self) -> None:
        self._real = _real_poll()
        self.register = self._real.register
        self.unregister = self._real.unregister
        self.modify = self._real.modify

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """As that of the original; the timeout is in milliseconds."""
        world = active_world()
        me = None if world is None else world.me()
        if world is None or me is None:
            return self._real.poll(timeout)
        if _waits_outside(world, me):
            return self._poll_outside(world, timeout)
        forever = timeout is None or timeout < 0
        deadline = None if forever else world.after((timeout or 0) / 1000)
        while True:
            ready = self._real.poll(0)
            if ready or (deadline is not None and world.now >= deadline):
                return ready
            _await_change(world, me, deadline, lambda: bool(self._real.poll(0)))

    def _poll_outside(self, world: World, timeout: float | None) -> list[tuple[int, int]]:
        """Wait in real time, and let as much pass in the world."""
        ready = self._real.poll(timeout)
        if not ready and timeout is not None and timeout > 0:
            world.sleep(timeout / 1000)
        return ready
