"""The lock of a world, of which the standard library makes all else that threads wait for: conditions, events, queues.

The operations are those of ``threading.Lock``. What another strand raises in this one comes out where the lock is not
held: before it is asked for, and after it is given back.
"""

from __future__ import annotations

from _thread import allocate_lock as real_lock
from time import sleep as real_sleep
from typing import Any

from mainspring.testing.worlds import Strand, World

__all__ = ["Lock", "active_world", "enter_world", "leave_world"]

_world: World | None = None
_OUTSIDERS_PAUSE = 0.001
_outsiders = real_lock()  # where no world has a mutex


def active_world() -> World | None:
    """The world that this process is in; None for none."""
    return _world


def enter_world(world: World) -> None:
    """Have all locks be of this world from now on."""
    global _world
    _world = world


def leave_world() -> None:
    """End that. Locks that were made meanwhile may still be used; they then wait by looking now and then."""
    global _world
    _world = None


class Lock:
    """As ``threading.Lock``, for the strands of the active world; threads that are none look now and then."""

    __slots__ = ("__weakref__", "_is_held", "_waiting")

    def __init__(self) -> None:
        self._is_held = False
        self._waiting: list[Strand] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As that of ``threading.Lock``."""
        if timeout != -1:
            if not blocking:
                raise ValueError("can't specify a timeout for a non-blocking call")
            if timeout < 0:
                raise ValueError("timeout value must be a non-negative number")
        world = _world
        me = None if world is None else world.me()
        if world is None or me is None:
            return self._acquire_outside(blocking, timeout)
        if blocking:
            world.pause()
            if me.pending is not None:
                world.deliver()
        with world.mutex:
            if not self._is_held:
                self._is_held = True
                return True
            if not blocking:
                return False
            self._waiting.append(me)
        return self._wait(world, me, None if timeout < 0 else world.after(timeout))

    def _wait(self, world: World, me: Strand, deadline: int | None) -> bool:
        try:
            while True:
                world.park(deadline, "waits for a lock")
                with world.mutex:
                    if not self._is_held:
                        self._is_held = True
                        return True
                    if deadline is not None and world.now >= deadline:
                        return False
                    if me not in self._waiting:
                        self._waiting.append(me)
        except BaseException:  # raised out of the wait: if it was to have the lock, the next one is
            with world.mutex:
                if me not in self._waiting and not self._is_held and self._waiting:
                    world.unpark(self._waiting.pop(0))
            raise
        finally:
            with world.mutex:
                if me in self._waiting:
                    self._waiting.remove(me)

    def _acquire_outside(self, blocking: bool, timeout: float) -> bool:
        world = _world
        mutex = _outsiders if world is None else world.mutex
        left = float("inf") if timeout < 0 else timeout
        while True:
            with mutex:
                if not self._is_held:
                    self._is_held = True
                    return True
            if not blocking or left <= 0:
                return False
            real_sleep(_OUTSIDERS_PAUSE)
            left -= _OUTSIDERS_PAUSE

    def release(self) -> None:
        """As that of ``threading.Lock``."""
        world = _world
        if not self._is_held:
            raise RuntimeError("release unlocked lock")
        if world is None:
            self._is_held = False
            return
        with world.mutex:
            self._is_held = False
            following = self._waiting.pop(world.choose(len(self._waiting))) if self._waiting else None
        if following is not None:
            world.unpark(following)
        me = world.me()
        if me is not None:
            world.pause()
            if me.pending is not None:
                world.deliver()

    def locked(self) -> bool:
        """As that of ``threading.Lock``."""
        return self._is_held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a lock")

    acquire_lock = acquire
    release_lock = release
    locked_lock = locked
