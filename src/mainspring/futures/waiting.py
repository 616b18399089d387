"""Waiting for many futures at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from mainspring import clock
from mainspring._core.circles import Needs
from mainspring.context import stoppable
from mainspring.futures.base import RunFuture
from mainspring.futures.turns import Wait, ablock, block

__all__ = ["AllWatch", "DoneAndNotDoneFutures", "Watch", "countdown", "wait", "wait_async"]


class DoneAndNotDoneFutures(NamedTuple):
    """What `wait` found."""

    done: set[RunFuture[Any]]
    not_done: set[RunFuture[Any]]


class Watch:
    """Notes which of some futures are done, and wakes those who wait for that. Safe to use from any thread.

    Args:
        futures: The futures; duplicates count once.
        stops_at_failure: Wake also when the run of one did not complete; ``failed`` is the first such.
    """

    __slots__ = (
        "_lock",
        "_notes",
        "_waiters",
        "arrived",
        "count",
        "failed",
        "pending",
        "stops_at_failure",
        "total",
    )

    def __init__(self, futures: Iterable[RunFuture[Any]] = (), stops_at_failure: bool = False) -> None:
        self._lock = threading.Lock()
        self._notes = self._note  # once, as there may be many futures
        self._waiters: list[_Arrivals] = []
        self.stops_at_failure = stops_at_failure
        self.failed: RunFuture[Any] | None = None
        self.pending: dict[RunFuture[Any], None] = {}  # in the order in which they were given
        # in order of completion; whoever waits may take them out
        self.arrived: deque[RunFuture[Any]] = deque()
        self.count: int = 0  # of those that have arrived
        self.total: int = 0
        for future in dict.fromkeys(futures):
            self.add(future)

    def add(self, future: RunFuture[Any]) -> None:
        """Watch one more future."""
        with self._lock:
            self.total += 1
            self.pending[future] = None
        future.add_done_callback(self._notes)

    def wait(self, count: int, timeout: float | None = None) -> bool:
        """Block until so many futures have arrived, or one has failed if that counts.

        Args:
            count: How many in all.
            timeout: Wait at most so many seconds.

        Returns:
            False if the time is over.

        Raises:
            DeadlockError: What is waited for waits for the caller.
            RunCancelled: The run that waits was told to stop.
        """
        lock = threading.Lock()
        lock.acquire()
        waiter = _Arrivals(self, count, lock.release)

        def wake() -> None:
            if not self._give_up(waiter):
                lock.release()

        try:
            if self._is_ready(waiter):
                return True
            with stoppable(wake):
                return block(lock, timeout, waiter) or self._give_up(waiter)
        except BaseException:
            self._give_up(waiter)
            raise

    async def wait_async(self, count: int, timeout: float | None = None) -> bool:
        """`wait` without blocking the event loop."""
        import asyncio  # whoever awaits has it already

        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        waiter = _Arrivals(self, count, partial(_wake_in_loop, loop, woken))
        try:
            return self._is_ready(waiter) or await ablock(woken, timeout, waiter) or self._give_up(waiter)
        except BaseException:
            self._give_up(waiter)
            raise

    def _is_ready(self, waiter: _Arrivals) -> bool:
        """Whether there is nothing to wait for; if there is, the waiter is woken in time."""
        with self._lock:
            if self.count >= waiter.needed or self.failed is not None:
                return True
            self._waiters.append(waiter)
            return False

    def _give_up(self, waiter: _Arrivals) -> bool:
        """Do not wake somebody any more; true if that was just about to happen."""
        with self._lock:
            if waiter not in self._waiters:
                return True
            self._waiters.remove(waiter)
            return False

    def unfinished(self) -> list[RunFuture[Any]]:
        """The futures that are not done now."""
        return [future for future in list(self.pending) if not future.is_done()]

    def close(self) -> None:
        """Let go of the futures that have not arrived."""
        with self._lock:
            pending = list(self.pending)
            self.pending.clear()
        for future in pending:
            future.remove_done_callback(self._notes)

    def _note(self, future: RunFuture[Any]) -> None:
        failed = self.stops_at_failure and self.failed is None and not future.state.is_completed()
        woken: list[_Arrivals] = []
        with self._lock:
            self.pending.pop(future, None)
            self.arrived.append(future)
            self.count += 1
            if failed and self.failed is None:
                self.failed = future
            if self._waiters:
                everybody = self.failed is not None
                woken = [each for each in self._waiters if everybody or self.count >= each.needed]
                if woken:
                    self._waiters = [each for each in self._waiters if each not in woken]
        for waiter in woken:
            waiter.wake()


class AllWatch(Watch):
    """Wakes those who wait for all of many futures. Of these it looks at one at a time, which costs little.

    The last one comes first: when that is done, so are most of the others. Neither order nor failures are noted.
    """

    __slots__ = ("_last", "_left")

    def __init__(self) -> None:
        super().__init__()
        self._left: list[RunFuture[Any]] = []  # that are not known to be done
        self._last: RunFuture[Any] | None = None  # the one that is looked at

    def add(self, future: RunFuture[Any]) -> None:
        """Watch one more future, in the thread that is going to wait."""
        self.total += 1
        self._left.append(future)

    def _is_ready(self, waiter: _Arrivals) -> bool:
        self._look_at_last()
        return super()._is_ready(waiter)

    def _look_at_last(self) -> None:
        """Have the next one looked at that is not done, or wake whoever waits. One thread at a time comes here."""
        left = self._left
        while left and left[-1].is_done():
            left.pop()
        self._last = left[-1] if left else None
        if self._last is not None:
            self._last.add_done_callback(self._notes)
            return
        with self._lock:
            self.count = self.total
            woken, self._waiters = self._waiters, []
        for waiter in woken:
            waiter.wake()

    def _note(self, future: RunFuture[Any]) -> None:
        if future is self._last:
            self._look_at_last()

    def unfinished(self) -> list[RunFuture[Any]]:
        """See `Watch.unfinished`."""
        return [future for future in list(self._left) if not future.is_done()]

    def close(self) -> None:
        """See `Watch.close`."""
        last, self._last = self._last, None
        if last is not None:
            last.remove_done_callback(self._notes)


class _Arrivals(Wait):
    """The wait of one thread or coroutine for futures that are watched.

    Args:
        watch: What watches them.
        needed: How many have to arrive in all.
        wake: Called when they have.
    """

    __slots__ = ("needed", "wake", "watch")

    def __init__(self, watch: Watch, needed: int, wake: Callable[[], object]) -> None:
        super().__init__()
        self.watch = watch
        self.needed = needed
        self.wake = wake

    def needs(self) -> Needs:
        """See `Wait.needs`."""
        watch = self.watch
        pending = watch.unfinished()
        missing = self.needed - (watch.total - len(pending))
        if missing <= 0:  # it is about to be woken
            return Needs()
        return Needs(pending, any_of=watch.stops_at_failure or missing < len(pending))


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
    watch = Watch(distinct)
    try:
        watch.wait(watch.total, timeout)
    finally:
        watch.close()
    return _sorted_out(distinct)


async def wait_async(
    futures: Iterable[RunFuture[Any]], timeout: float | None = None
) -> DoneAndNotDoneFutures:
    """`wait` without blocking the event loop."""
    distinct = set(futures)
    watch = Watch(distinct)
    try:
        await watch.wait_async(watch.total, timeout)
    finally:
        watch.close()
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
