"""Waiting for many futures at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from mainspring import clock
from mainspring._core.circles import Needs
from mainspring.futures.base import RunFuture
from mainspring.futures.turns import Wait, ablock, block

__all__ = ["DoneAndNotDoneFutures", "Watch", "countdown", "wait", "wait_async"]


class DoneAndNotDoneFutures(NamedTuple):
    """What `wait` found."""

    done: set[RunFuture[Any]]
    not_done: set[RunFuture[Any]]


class Watch(Wait):
    """Notes which of some futures are done, and wakes whoever waits for that. One thread or coroutine waits at a time.

    Args:
        futures: The futures; duplicates count once.
        stops_at_failure: Wake also when the run of one did not complete; ``failed`` is the first such.
    """

    __slots__ = (
        "_lock",
        "_needed",
        "_notes",
        "_stops_at_failure",
        "_wake",
        "arrived",
        "count",
        "failed",
        "pending",
        "total",
    )

    def __init__(self, futures: Iterable[RunFuture[Any]] = (), stops_at_failure: bool = False) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._notes = self._note  # once, as there may be many futures
        self._stops_at_failure = stops_at_failure
        self._wake: Callable[[], object] | None = None
        self._needed = 0
        self.failed: RunFuture[Any] | None = None
        self.pending: set[RunFuture[Any]] = set()
        self.arrived: deque[RunFuture[Any]] = (
            deque()
        )  # in order of completion; whoever waits may take them out
        self.count = 0  # of those that have arrived
        self.total = 0
        for future in set(futures):
            self.add(future)

    def add(self, future: RunFuture[Any]) -> None:
        """Watch one more future."""
        self.total += 1
        self.pending.add(future)
        future.add_done_callback(self._notes)

    def needs(self) -> Needs:
        """See `Wait.needs`."""
        pending = [future for future in list(self.pending) if not future.is_done()]
        waits_for_all = self._needed - self.count >= len(pending) and not self._stops_at_failure
        return Needs(pending, any_of=not waits_for_all)

    def wait(self, count: int, timeout: float | None = None) -> bool:
        """Block until so many futures have arrived, or one has failed if that counts.

        Args:
            count: How many in all.
            timeout: Wait at most so many seconds.

        Returns:
            False if the time is over.

        Raises:
            DeadlockError: What is waited for waits for the caller.
        """
        lock = threading.Lock()
        lock.acquire()
        try:
            return self._is_ready(count, lock.release) or block(lock, timeout, self) or self._give_up()
        except BaseException:
            self._give_up()
            raise

    async def wait_async(self, count: int, timeout: float | None = None) -> bool:
        """`wait` without blocking the event loop."""
        import asyncio  # whoever awaits has it already

        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        try:
            return (
                self._is_ready(count, partial(_wake_in_loop, loop, woken))
                or await ablock(woken, timeout, self)
                or self._give_up()
            )
        except BaseException:
            self._give_up()
            raise

    def _is_ready(self, count: int, wake: Callable[[], object]) -> bool:
        """Whether there is nothing to wait for; if there is, ``wake`` is called in time."""
        with self._lock:
            self._needed = count
            if self.count >= count or self.failed is not None:
                return True
            self._wake = wake
            return False

    def _give_up(self) -> bool:
        """Have nobody woken any more; true if that was just about to happen."""
        with self._lock:
            gave_up, self._wake = self._wake is not None, None
        return not gave_up

    def close(self) -> None:
        """Let go of the futures that have not arrived."""
        for future in list(self.pending):
            future.remove_done_callback(self._notes)
        self.pending.clear()

    def _note(self, future: RunFuture[Any]) -> None:
        failed = self._stops_at_failure and self.failed is None and not future.state.is_completed()
        wake = None
        with self._lock:
            self.pending.discard(future)
            self.arrived.append(future)
            self.count += 1
            if failed and self.failed is None:
                self.failed = future
            if self._wake is not None and (self.count >= self._needed or self.failed is not None):
                wake, self._wake = self._wake, None
        if wake is not None:
            wake()


def _wake_in_loop(loop: Any, woken: Any) -> None:
    try:
        loop.call_soon_threadsafe(_settle, woken)
    except RuntimeError:  # the loop is closed: nobody waits any more
        pass


def _settle(woken: Any) -> None:
    if not woken.done():
        woken.set_result(None)


def wait(futures: Iterable[RunFuture[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """Block until all futures are done or ``timeout`` seconds have passed; tells which are.

    Raises:
        DeadlockError: What is waited for waits for the caller.
    """
    distinct = set(futures)
    left = countdown(timeout)
    for future in distinct:
        if not future.is_done():
            future.wait(left())
    return _sorted_out(distinct)


async def wait_async(
    futures: Iterable[RunFuture[Any]], timeout: float | None = None
) -> DoneAndNotDoneFutures:
    """`wait` without blocking the event loop."""
    distinct = set(futures)
    left = countdown(timeout)
    for future in distinct:
        if not future.is_done():
            await future.wait_async(left())
    return _sorted_out(distinct)


def _sorted_out(futures: set[RunFuture[Any]]) -> DoneAndNotDoneFutures:
    done = {future for future in futures if future.is_done()}
    return DoneAndNotDoneFutures(done, futures - done)


def countdown(timeout: float | None) -> Callable[[], float | None]:
    """The seconds that are left, whenever it is called; None if there is no limit."""
    if timeout is None:
        return lambda: None
    now = clock.current().monotonic
    end = now() + timeout
    return lambda: max(0.0, end - now())
