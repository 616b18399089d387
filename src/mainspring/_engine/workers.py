"""Threads that work off a queue: as many as it takes to keep it moving, and no more.

A thread for each piece of work makes short ones slow, because the threads fight for the interpreter. A few threads
make long ones wait. So a pool begins with a few threads, and a watcher, which there is only if work has to queue, adds
more whenever the queue stands still. Work that blocks gets its thread within milliseconds, at any depth, and in any
number up to the limit.

The limit is one of work that goes on at a time. Work that waits for other work lends its turn (`futures.turns`), so a
pool may have more threads than turns, and is never full of work that waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mainspring.futures.turns import Ends, Turn, active_turn, paused

__all__ = ["Series", "WorkerPool"]

EAGER = 1
"""Threads that are started without waiting for the queue to stand still; those that wait for others do not count."""

SHORT = 4
"""Pieces of work between two looks from which on they are short: more threads would only fight for the interpreter."""

STALL = 0.002
"""Seconds between two looks at the queue: one that has not moved gets more threads."""

QUICK_LOOKS = 8
"""Looks at a queue that stands still which follow each other four times as quickly, and bring one thread each."""

CALM = 5
"""Looks after short work that bring no threads: it is most likely the commit of their history that they wait for."""

PATIENCE = 5
"""Looks after these which bring one thread each; from then on each brings twice as many as the last one."""

BUSY = 0.5
"""The share of one processor from which on more threads would only take time from those there are."""

LOOK_UP = 0.5
"""Seconds after which whoever waits for the end of the threads looks whether a signal has come."""

MOST = 64
"""Threads that are started at once; meanwhile the pool is closed to everybody else."""

Work = Callable[[], object]


class Series:
    """Work in many parts, each of which is made by the thread that is free for it. In a pool's queue it is one piece.

    Its fields are the pool's business.

    Args:
        work: Does the next part; called once for each.
        parts: How many there are.
        at_once: How many are under way at a time, at most.
    """

    __slots__ = ("at_once", "left", "under_way", "work")

    def __init__(self, work: Work, parts: int, at_once: int) -> None:
        self.work = work
        self.left = parts
        self.at_once = at_once
        self.under_way = 0


class WorkerPool:
    """Runs callables on its threads, begun in the order in which they came. Safe to use from any thread.

    Of the idle threads the one that became so last takes the next piece of work. The threads are daemons, so a
    pool that nobody closes does not keep the process alive.

    Args:
        limit: The most work that goes on at a time.
        name: What the names of the threads begin with.
        at_end: Called in each thread when it ends.
        eager: Threads that are started without waiting for the queue to stand still. More than a few are for work that
            is known to do little but wait.
    """

    def __init__(self, limit: int, name: str, at_end: Callable[[], object], eager: int = EAGER) -> None:
        self.limit = limit
        self._eager = eager
        self._name = name
        self._at_end = at_end
        self._lock = threading.Lock()  # held for moments, around everything below
        self._queue: deque[Work | Series] = deque()
        self._queued = 0  # pieces and parts in the queue
        self._parked: dict[Series, None] = {}  # those of which as much is under way as may be
        self._threads: set[threading.Thread] = set()
        self._idle: list[Any] = []  # for each thread that waits for work, the lock it waits for
        self._coming = 0  # threads that were started or woken and have not taken anything yet
        self._at_work: set[Turn] = set()
        self._lent = 0  # turns of work that waits
        self._used = 0  # turns of work that goes on
        self._returning: deque[Callable[[], object]] = (
            deque()
        )  # work that wants to go on, and waits for a turn
        self._spare = 0  # threads that short work can do without
        self._turns = 0  # how often a thread was done with a piece of work
        self._closed = False
        self._watcher: threading.Thread | None = None
        self._is_watched = False
        self._stir = threading.Condition(self._lock)  # wakes the watcher
        self._gone = threading.Condition(self._lock)  # a thread has ended, or was given up

    def put(self, work: Work | Series) -> bool:
        """Queue work, which has to keep its exceptions to itself; False if the pool is closed.

        Raises:
            RuntimeError: The system does not give a single thread.
        """
        with self._lock:
            if self._closed:
                return False
            self._queue.append(work)
            self._queued += work.left if isinstance(work, Series) else 1
            self._see_to_queue()
        return True

    @property
    def at_work(self) -> int:
        """How much work goes on or is queued, without what waits for other work."""
        return self._used + self._queued

    def end_part(self, series: Series) -> None:
        """Note that a part of a series is no longer under way."""
        with self._lock:
            self._end_part(series)

    def close(self) -> list[Work | Series]:
        """Take no more work, and return what no thread has begun. Does not wait for what has."""
        with self._lock:
            self._closed = True
            left = [*self._queue, *self._parked]
            self._queue.clear()
            self._parked.clear()
            self._queued = 0
            idle, self._idle = self._idle, []
            self._coming += len(idle)
            self._stir.notify_all()
        for wake in idle:
            wake.release()
        return left

    def join(self) -> None:
        """After `close`: wait until the threads have ended, apart from those that were given up.

        One of them may call it, too.
        """
        me = threading.current_thread()
        with self._lock:
            wait = Ends([turn for turn in self._at_work if turn.thread != me.ident])
        with paused(wait):
            with self._gone:
                while self._threads - {me}:
                    self._gone.wait(LOOK_UP)
            if self._watcher is not None:
                self._watcher.join()

    # Turns; see `futures.turns.Pool`

    def lend(self, turn: Turn) -> None:
        """Let others have the turn of work that begins to wait."""
        with self._lock:
            turn.waiting += 1
            if turn.waiting == 1 and not turn.is_over:
                self._lent += 1
                self._free_turn()
                if self._queue:
                    self._see_to_queue()

    def give_back(self, turn: Turn, resume: Callable[[], object] | None = None) -> bool:
        """Give the turn back to work that has waited; False if ``resume`` will be called when there is one."""
        with self._lock:
            turn.waiting -= 1
            if turn.waiting or turn.is_over:
                return True
            self._lent -= 1
            if resume is not None and self._used >= self.limit:
                self._returning.append(resume)
                return False
            self._used += 1
            return True

    def give_back_now(self, turn: Turn, resume: Callable[[], object]) -> None:
        """Do not wait any longer for ``resume`` to be called."""
        with self._lock:
            if resume in self._returning:  # else it has just got its turn
                self._returning.remove(resume)
                self._used += 1

    def give_up(self, turn: Turn, rest: Callable[[], object] | None) -> None:
        """Do without the thread that a turn is in: others have the turn, and another thread does the rest first of all.

        Args:
            turn: The turn.
            rest: What is left of the work; None for nothing. It is done also after `close`.

        Raises:
            RuntimeError: The system does not give another thread; the rest is done by those there are.
        """
        with self._lock:
            if turn.is_given_up:
                return
            turn.is_given_up = True
            self._end(turn)
            self._threads = {each for each in self._threads if each.ident != turn.thread}
            if rest is not None:
                self._queue.appendleft(rest)
                self._queued += 1
                self._start()
            else:
                self._see_to_queue()
            self._gone.notify_all()

    # Threads and the queue; the lock is held

    def _end_part(self, series: Series) -> None:
        series.under_way -= 1
        if series in self._parked:
            del self._parked[series]
            self._queue.appendleft(series)
            self._queued += series.left
            self._see_to_queue()

    def _free_turn(self) -> None:
        """Somebody needs a turn no more: work that has waited has the first claim on it."""
        self._used -= 1
        if self._returning and self._used < self.limit:
            self._used += 1
            self._returning.popleft()()

    def _take(self) -> Work | Series | None:
        """The next piece of work, if there is a turn for it."""
        if not self._queue or self._used >= self.limit:
            return None
        work = self._queue[0]
        self._queued -= 1
        if not isinstance(work, Series):
            return self._queue.popleft()
        work.left -= 1
        work.under_way += 1
        if not work.left:
            self._queue.popleft()
        elif work.under_way >= work.at_once:
            self._queue.popleft()
            self._parked[work] = None
            self._queued -= work.left
        return work

    def _see_to_queue(self) -> None:
        """Have queued work noticed by as many threads as it takes at first, as far as there are turns."""
        wanted = min(self._queued, self.limit - self._used) - self._coming
        eager = min(self.limit, self._eager)
        while wanted > 0 and self._idle and (not self._coming or self.limit <= self._eager):
            self._wake()
            wanted -= 1
        while wanted > 0 and len(self._threads) - self._lent < eager:
            self._start()
            wanted -= 1
        if wanted > 0 and not self._is_watched and self.limit > self._eager:
            self._watch()

    def _wake(self) -> None:
        self._coming += 1
        self._idle.pop().release()

    def _watch(self) -> None:
        self._is_watched = True
        if self._watcher is not None:
            self._stir.notify()
            return
        watcher = threading.Thread(target=self._keep_moving, name=f"{self._name}-watcher", daemon=True)
        try:
            watcher.start()
        except RuntimeError:  # see `_start`
            self.limit = len(self._threads)
            self._is_watched = False
        else:
            self._watcher = watcher

    def _start(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads to give: those there are have to do
            if not number:
                self._queue.clear()
                self._queued = 0
                raise
            self.limit = number
        else:
            self._threads.add(thread)
            self._coming += 1

    def _add(self, wanted: int) -> bool:
        """Put up to ``wanted`` more threads to work; False if there is nothing left to watch."""
        turns = self.limit - self._used - self._coming
        room = min(self._queued - self._coming, turns)
        if room <= 0:
            return False
        for _ in range(min(wanted, room)):
            if self._idle:
                self._wake()
            else:
                self._start()
        return True

    def _work(self) -> None:
        wake = threading.Lock()
        wake.acquire()
        turn = Turn(self)
        work: Work | Series | None = None
        rest: Callable[[], object] | None = None
        has_come = True
        try:
            while True:
                with self._lock:
                    retires = False
                    if has_come:
                        self._coming -= 1
                        has_come = False
                    elif work is not None and turn.is_given_up:
                        return
                    elif work is not None:
                        self._end(turn)
                        if isinstance(work, Series) and not turn.goes_on:
                            self._end_part(work)
                        rest = turn.rest or rest
                        retires = self._spare > 0 and self._retires()
                    work = None if retires else self._take()
                    if work is not None:
                        self._used += 1
                        turn = Turn(self)
                        self._at_work.add(turn)
                    elif rest is not None:
                        pass
                    elif self._closed and not self._queue:
                        return
                    else:
                        self._idle.append(wake)
                if work is not None:
                    active_turn.set(turn)
                    if isinstance(work, Series):
                        work.work()
                    else:
                        work()
                elif rest is not None:
                    finish, rest = rest, None
                    finish()
                else:
                    wake.acquire()
                    has_come = True
        finally:
            try:
                self._at_end()
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())
                    self._gone.notify_all()

    def _end(self, turn: Turn) -> None:
        """A piece of work is done."""
        self._turns += 1
        self._at_work.discard(turn)
        turn.is_over = True
        turn.work = (
            None  # which knows its turn: a circle of references would be left to the garbage collector
        )
        if turn.waiting:  # something that the work has started still waits; it has had its turn
            self._lent -= 1
        else:
            self._free_turn()

    def _retires(self) -> bool:
        """Whether the calling thread leaves the queue to the others, of which there are enough."""
        self._spare -= 1
        return self._used > 0 and not self._closed

    def _keep_moving(self) -> None:
        """Add a thread at a time while that may help, and ever more while nothing moves."""
        still, turns = 0, 0
        with self._lock:
            while not self._closed:
                if not self._is_watched:
                    self._stir.wait()
                    still, turns = 0, self._turns
                    continue
                began, used = time.monotonic(), time.process_time()
                self._stir.wait(STALL / 4 if 0 <= still < QUICK_LOOKS else STALL)
                is_busy = time.process_time() - used > BUSY * (time.monotonic() - began)
                moved, turns = self._turns - turns, self._turns
                if moved >= SHORT:
                    still = -CALM
                    self._spare = max(0, self._used - 1)
                    self._is_watched = self._add(0)
                elif moved or still < 0:
                    still = min(still + 1, QUICK_LOOKS)
                    self._is_watched = self._add(0 if is_busy or still < 0 else 1)
                else:
                    still = still if is_busy else still + 1
                    self._is_watched = self._add(min(2 ** max(0, still - QUICK_LOOKS - PATIENCE), MOST))
