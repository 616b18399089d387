"""All worker processes that belong together."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable
from importlib import import_module
from weakref import WeakSet

from mainspring._processes.channel import Packed
from mainspring._processes.children import PATIENCE, Child
from mainspring._processes.leashes import Leash
from mainspring._processes.relays import Inbox
from mainspring._processes.serving import Setup
from mainspring.exceptions import WorkerDied, WorkerNotStarted
from mainspring.states.conversion import describe_exception

__all__ = ["Crew", "kill_at_exit", "processors"]

_LOOK_UP = (
    1.0  # seconds after which a thread that waits for a worker looks up, as for a signal that did not wake it
)


class Start:
    """The start of a worker, for whoever has asked for it."""

    __slots__ = ("is_over", "problem")

    def __init__(self) -> None:
        self.is_over = False
        self.problem: WorkerNotStarted | None = None


class Crew:
    """Worker processes: started when needed, kept, and replaced when they die. Safe to use from any thread.

    Args:
        limit: The most processes at a time.
        prepare: Gives the setup, at the first start.
        inbox: Told what happens in processes.
        is_isolated: Each worker leads a process group, a start that fails is tried again with the next call, and at
            the end of the program workers that are idle end in order.

    Attributes:
        is_left: There will be no other workers.
    """

    def __init__(
        self,
        limit: int,
        prepare: Callable[[], tuple[Setup, Packed]],
        inbox: Inbox,
        is_isolated: bool = False,
    ) -> None:
        self.inbox = inbox
        self.is_isolated = is_isolated
        self._limit = limit
        self._prepare = prepare
        self._setup: tuple[Setup, Packed] | None = None
        self._changed = threading.Condition()
        self._all: set[Child] = set()
        self._free: list[Child] = []
        self._newborn: set[Child] = set()
        self._starts: set[Start] = set()  # those under way
        self._started = 0
        self.is_left = False
        self._problem: WorkerNotStarted | None = None
        self._process = os.getpid()
        _crews.add(self)

    def take(self, leash: Leash | None = None) -> Child:
        """A worker that nobody else uses until it is given back or dropped.

        Raises:
            WorkerNotStarted: There is none, and none can be started.
            WaitOver: None was free for as long as the leash allows.
        """
        if leash is None:
            return self._take(None)
        leash.held_by(self._wake)
        try:
            return self._take(leash)
        finally:
            leash.held_by(None)

    def _take(self, leash: Leash | None) -> Child:
        start: Start | None = None
        with self._changed:
            while True:
                while self._free:
                    child = self._free.pop()
                    if child.is_alive():
                        return child
                    self._bury(child)
                problem = self._problem if start is None else self._problem or start.problem
                if problem is not None:
                    raise WorkerNotStarted(str(problem), exit_code=problem.exit_code) from problem.__cause__
                if start is None or start.is_over:
                    start = self._start_soon()
                left = None if leash is None else leash.remaining()
                self._changed.wait(_LOOK_UP if left is None else min(left, _LOOK_UP))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def give_back(self, child: Child) -> None:
        """Let others use a worker."""
        with self._changed:
            self._free.append(child)
            self._changed.notify_all()

    def drop(self, child: Child) -> None:
        """Forget a worker that has died, or will in a moment."""
        with self._changed:
            self._drop(child)

    def death(self, child: Child) -> WorkerDied:
        """The exception that says how a worker died, which was perhaps ended with all others."""
        death = child.death()
        if not self.is_left:
            return death
        return WorkerDied(
            f"Worker process {child.pid} was ended with its task runner, which did not wait for it any longer.",
            exit_code=death.exit_code,
        )

    def cancel(self) -> None:
        """Tell all workers that nothing is to begin any more."""
        with self._changed:
            children = list(self._all)
        for child in children:
            child.cancel()

    def end(self) -> None:
        """End all workers in order; none of them is at work."""
        self._end(self._leave())

    def kill(self) -> None:
        """End all workers at once, whatever they are doing."""
        if os.getpid() == self._process:  # in a fork of the process they are not ours
            for child in self._leave():
                child.kill()

    def close(self) -> None:
        """End the workers that are idle in order, and the others at once."""
        if os.getpid() != self._process:
            return
        with self._changed:
            idle = [child for child in self._free if child.is_alive()]
        for child in self._leave():
            if child not in idle:
                child.kill()
        self._end(idle)

    def _end(self, children: list[Child]) -> None:
        for child in children:
            child.dismiss()
        deadline = time.monotonic() + PATIENCE
        for child in children:
            child.end(deadline, self.inbox)

    def _leave(self) -> list[Child]:
        """Start nothing more, kill what is not ready for work, and return the others."""
        _crews.discard(self)
        with self._changed:
            self.is_left = True
            self._changed.wait_for(lambda: len(self._starts) <= len(self._newborn), PATIENCE)
            children, newborn = list(self._all), list(self._newborn)
            self._all.clear()
            self._free.clear()
            self._problem = self._problem or WorkerNotStarted("The worker processes were ended.")
            self._changed.notify_all()
        for child in newborn:
            child.strike()  # whoever starts it notices
        with self._changed:
            self._changed.wait_for(lambda: not self._starts, PATIENCE)
        return children

    def _bury(self, child: Child) -> None:
        """Forget a worker that has died while it was idle."""
        if self.is_isolated:
            child.strike()  # what it has started
        child.close()
        self._drop(child)

    def _drop(self, child: Child) -> None:
        self._all.discard(child)
        self._changed.notify_all()

    # Starting

    def _start_soon(self) -> Start | None:
        """Have a thread start a worker, if there may be another one; whoever waits may give up, and another use it."""
        if len(self._all) + len(self._starts) >= self._limit:
            return None
        start = Start()
        self._started += 1
        run = contextvars.copy_context().run
        thread = threading.Thread(
            target=run, args=(self._start, self._started, start), name="mainspring-starter", daemon=True
        )
        try:
            self._starts.add(start)
            thread.start()
        except (
            BaseException
        ):  # also a time limit that expires here, which must not leave a start that is none
            self._starts.discard(start)
            raise
        return start

    def _start(self, number: int, start: Start) -> None:
        with self._changed:
            if start not in self._starts:  # whoever has asked for it was interrupted, and it does not count
                return
        child = None
        try:
            with self._changed:
                if self._setup is None:
                    self._setup = self._prepare()
            child = Child.start(number, self.is_isolated)
            with self._changed:
                self._newborn.add(child)
                self._changed.notify_all()
            child.set_up(*self._setup, self.inbox)
        except BaseException as error:  # for whoever waits
            if child is not None:
                child.kill()
            problem = error if isinstance(error, WorkerNotStarted) else None
            if problem is None:
                problem = WorkerNotStarted(f"No worker process can be started: {describe_exception(error)}")
                problem.__cause__ = error
            start.problem = problem
            if not self.is_isolated:  # it would fail each time
                self._problem = self._problem or problem
            child = self._arrive(child, None, start)
        else:
            child = self._arrive(child, child, start)
        if child is not None:
            child.kill()

    def _arrive(self, newborn: Child | None, child: Child | None, start: Start) -> Child | None:
        """Let a worker be used, or whoever waits for it know that there is none; what is returned is not needed."""
        with self._changed:
            self._starts.discard(start)
            if newborn is not None:
                self._newborn.discard(newborn)
            start.is_over = True
            self._changed.notify_all()
            if child is None or self.is_left:
                return child
            self._all.add(child)
            self._free.append(child)
        return None


_crews: WeakSet[Crew] = WeakSet()


_watched: int | None = None  # the process whose end was provided for


def _end_all() -> None:
    """At the end of the program: nobody may be left by a runner that nobody has left."""
    for crew in list(_crews):
        if crew.is_isolated:
            crew.close()
        else:
            crew.kill()


def kill_at_exit() -> None:
    """See that workers end before `multiprocessing` waits for all processes that there are, also in a worker."""
    global _watched
    if _watched == os.getpid():
        return
    _watched = os.getpid()
    import_module("multiprocessing.util").Finalize(None, _end_all, exitpriority=100)


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
