"""Threads that work off a queue: as many as it takes to keep it moving, and no more.

A thread for each piece of work makes short ones slow, because the threads fight for the interpreter. A few threads
make long ones wait, and those that wait for each other wait for ever. So a pool begins with a few threads, and a
watcher, which there is only if work has to queue, adds more whenever the queue stands still. Work that blocks gets
its thread within milliseconds, at any depth, and in any number up to the limit.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["WorkerPool"]

EAGER = 4
"""Threads that are started without waiting for the queue to stand still."""

STALL = 0.002
"""Seconds after which a queue that has not moved gets more threads."""

BUSY = 0.5
"""The share of one processor from which on more threads would only take time from those there are."""

MOST = 64
"""Threads that are started at once; meanwhile the pool is closed to everybody else."""

Work = Callable[[], object]


class WorkerPool:
    """Runs callables on its threads, begun in the order in which they came. Safe to use from any thread.

    Of the idle threads the one that became so last takes the next piece of work. The threads are daemons, so a
    pool that nobody closes does not keep the process alive.

    Args:
        limit: The most threads at a time.
        name: What the names of the threads begin with.
        at_end: Called in each thread when it ends.
    """

    def __init__(self, limit: int, name: str, at_end: Callable[[], object]) -> None:
        self.limit = limit
        self._name = name
        self._at_end = at_end
        self._lock = threading.Lock()  # held for moments, around everything below
        self._queue: deque[Work] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle: list[Any] = []  # for each thread that waits for work, the lock it waits for
        self._coming = 0  # threads that were started or woken and have not taken anything yet
        self._turns = 0  # how often a thread was done with a piece of work
        self._closed = False
        self._watcher: threading.Thread | None = None
        self._is_watched = False
        self._stir = threading.Condition(self._lock)  # wakes the watcher

    def put(self, work: Work) -> bool:
        """Queue a piece of work, which has to keep its exceptions to itself; False if the pool is closed.

        Raises:
            RuntimeError: The system does not give a single thread.
        """
        wake = None
        with self._lock:
            if self._closed:
                return False
            if self._idle and not self._queue:
                wake = self._idle.pop()
                self._coming += 1
            self._queue.append(work)
            if wake is None and not self._is_watched:
                self._engage()
        if wake is not None:
            wake.release()
        return True

    def is_used_up_by_caller(self) -> bool:
        """True if the calling thread is the pool's, all others are at work too, and there will be no more."""
        with self._lock:
            mine = threading.current_thread() in self._threads
            return mine and not self._idle and len(self._threads) >= self.limit

    def close(self) -> list[Work]:
        """Take no more work, and return what no thread has begun. Does not wait for what has."""
        with self._lock:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
            idle, self._idle = self._idle, []
            self._stir.notify_all()
        for wake in idle:
            wake.release()
        return left

    def join(self) -> None:
        """After `close`: wait until the threads have ended. One of them may call it, too."""
        me = threading.current_thread()
        for thread in (self._watcher, *self._threads):
            if thread is not None and thread is not me:
                thread.join()

    # Threads; the lock is held in the first three

    def _engage(self) -> None:
        """Have queued work noticed that no thread was woken for."""
        if len(self._threads) < min(self.limit, EAGER):
            self._start()
        elif self._idle or len(self._threads) < self.limit:
            self._is_watched = True
            if self._watcher is None:
                name = f"{self._name}-watcher"
                watcher = threading.Thread(target=self._keep_moving, name=name, daemon=True)
                try:
                    watcher.start()
                except RuntimeError:  # see `_start`
                    self.limit = len(self._threads)
                    self._is_watched = False
                else:
                    self._watcher = watcher
            else:
                self._stir.notify()

    def _start(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads to give: those there are have to do
            if not number:
                self._queue.clear()
                raise
            self.limit = number
        else:
            self._threads.add(thread)
            self._coming += 1

    def _add(self, wanted: int) -> bool:
        """Put up to ``wanted`` more threads to work; False if there is nothing left to watch."""
        room = min(len(self._queue) - self._coming, self.limit - len(self._threads) + len(self._idle))
        if room <= 0:
            return False
        for _ in range(min(wanted, room)):
            if self._idle:
                self._idle.pop().release()
                self._coming += 1
            else:
                self._start()
        return True

    def _work(self) -> None:
        wake = threading.Lock()
        wake.acquire()
        work: Work | None = None
        try:
            while True:
                with self._lock:
                    if work is None:
                        self._coming -= 1
                    else:
                        self._turns += 1
                        work = None
                    if self._queue:
                        work = self._queue.popleft()
                    elif self._closed:
                        return
                    else:
                        self._idle.append(wake)
                if work is None:
                    wake.acquire()
                else:
                    work()
        finally:
            self._at_end()

    def _keep_moving(self) -> None:
        """Add a thread at a time while the processor has time to spare, and ever more while nothing moves."""
        burst, turns = 1, 0
        with self._lock:
            while not self._closed:
                if not self._is_watched:
                    self._stir.wait()
                    burst, turns = 1, self._turns
                    continue
                began, used = time.monotonic(), time.process_time()
                self._stir.wait(STALL)
                is_busy = time.process_time() - used > BUSY * (time.monotonic() - began)
                if self._turns != turns:
                    burst, turns = 1, self._turns
                    self._is_watched = self._add(0 if is_busy else 1)
                elif is_busy:
                    self._is_watched = self._add(1)
                else:
                    self._is_watched = self._add(burst)
                    burst = min(burst * 2, MOST)
