"""Where submitted runs are before a cluster has them: in line, waiting for inputs, or held back by others of a map."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import Any

from mainspring._clusters.assignments import Assignment, Place, Series
from mainspring.futures import RunFuture

__all__ = ["Line", "Taken"]

Taken = Assignment | tuple[Series, int]
"""What is taken from the line: a run, or the number of one in a series, which is still to be prepared."""


class Line:
    """Runs in the order in which they are sent. Safe to use from any thread.

    Args:
        owner: See `Assignment`.

    Attributes:
        changed: Its lock is around everything here. Notified when there is something to send, or less to wait for.
        is_closed: No run is taken any more.
    """

    def __init__(self, owner: object) -> None:
        self.changed = threading.Condition()
        self.is_closed = False
        self._owner = owner
        self._queue: deque[Assignment | Series] = deque()
        self._parked: set[Assignment] = set()  # those whose inputs are not there
        self._full: set[Series] = set()  # those of which as much is under way as may be
        self._sent: set[Assignment] = set()

    # Into the line

    def put(self, assignment: Assignment) -> bool:
        """Have a run sent as soon as what it waits for is there; False if it is too late for that."""
        inputs = self.awaited(assignment)
        with self.changed:
            if self.is_closed:
                return False
            if not inputs:
                self._enqueue(assignment)
                return True
            self._await(assignment, inputs)
        self._count_all(assignment, inputs)
        return True

    def put_series(self, series: Series) -> bool:
        """Have many runs sent one after the other; False if it is too late for that."""
        with self.changed:
            if self.is_closed:
                return False
            self._queue.append(series)
            self.changed.notify_all()
        return True

    def park(self, assignment: Assignment) -> None:
        """Wait for all inputs before a run is sent, again or for the first time."""
        assignment.ticket = None
        inputs = [future for future in assignment.inputs if not future.is_done()]
        with self.changed:
            self._await(assignment, inputs)
        self._count_all(assignment, inputs)

    def awaited(self, assignment: Assignment) -> list[RunFuture[Any]]:
        """What keeps a run from being sent: inputs that are not over, and do not go before it to the same cluster."""
        return [
            future
            for future in assignment.inputs
            if not future.is_done() and (assignment.needs_values or self.assignment_of(future) is None)
        ]

    def assignment_of(self, future: RunFuture[Any]) -> Assignment | None:
        """The run of a future that is on its way to this cluster, or there, and that does not wait itself."""
        work = getattr(getattr(future, "wrapped_future", None), "work", None)
        if type(work) is not Assignment or work.owner is not self._owner:  # of another runner
            return None
        if work.lot.session.unreached is not None:  # what it comes to goes through here
            return None
        return work if work.place is Place.SENT or work.place is Place.QUEUED else None

    # Out of it

    @property
    def first(self) -> Assignment | Series | None:
        """What is sent next; None if there is nothing."""
        return self._queue[0] if self._queue else None

    def waiting(self) -> int:
        """How many runs there are to be sent that may go together with the first one, about."""
        first = self._queue[0]
        parts = min(first.left, first.at_once) if isinstance(first, Series) else 1
        return len(self._queue) - 1 + parts  # a series behind it counts as one: it may be of another task

    def take(self, size: int) -> list[Taken]:
        """The first one, and others that go together with it, so many at most; the lock is held."""
        lot = self._queue[0].lot
        taken: list[Taken] = []
        together: set[Assignment] = set()
        while self._queue and len(taken) < size:
            work = self._queue[0]
            if work.lot is not lot:
                break
            if isinstance(work, Series):
                taken.append((work, work.take()))
                if not work.left:
                    self._queue.popleft()
                elif work.under_way >= work.at_once:
                    self._queue.popleft()
                    self._full.add(work)
                continue
            if together and any(self.assignment_of(future) in together for future in work.inputs):
                break
            self._queue.popleft()
            together.add(work)
            taken.append(work)
        return taken

    def note_sent(self, assignments: list[Assignment]) -> None:
        """Note that a parcel has them; the lock is held."""
        for assignment in assignments:
            self._move(assignment, Place.SENT)

    def sent(self) -> list[Assignment]:
        """The runs that were sent and have not come back."""
        with self.changed:
            return list(self._sent)

    def has_sent(self) -> bool:
        """Whether there are any; the lock is held."""
        return bool(self._sent)

    def end(self, assignment: Assignment) -> bool:
        """Note that a run is settled; False if that was known."""
        with self.changed:
            if assignment.place is Place.OVER:
                return False
            self._move(assignment, Place.OVER)
            self.changed.notify_all()
        return True

    def end_part(self, series: Series) -> None:
        """Note that a run of a series is no longer under way."""
        with self.changed:
            series.under_way -= 1
            if series in self._full:
                self._full.discard(series)
                self._queue.appendleft(series)
                self.changed.notify_all()

    def close(self) -> list[Assignment | Series]:
        """Take no more runs, and return what was not sent."""
        with self.changed:
            self.is_closed = True
            waiting = [*self._queue, *self._parked, *self._full]
            self._queue.clear()
            self._parked.clear()
            self._full.clear()
            self.changed.notify_all()
        return waiting

    def is_empty(self) -> bool:
        """Whether no run is here, or with the cluster; the lock is held."""
        return not (self._sent or self._queue or self._parked)

    # The lock is held

    def _enqueue(self, assignment: Assignment) -> None:
        self._move(assignment, Place.QUEUED)
        self._queue.append(assignment)
        self.changed.notify_all()

    def _move(self, assignment: Assignment, place: Place) -> None:
        (self._parked if assignment.place is Place.PARKED else self._sent).discard(assignment)
        assignment.place = place
        if place is Place.PARKED:
            self._parked.add(assignment)
        elif place is Place.SENT:
            self._sent.add(assignment)

    def _await(self, assignment: Assignment, inputs: list[RunFuture[Any]]) -> None:
        assignment.missing = len(inputs) + 1  # one for whoever calls `_count_all`
        self._move(assignment, Place.PARKED)

    # It is not

    def _count_all(self, assignment: Assignment, inputs: list[RunFuture[Any]]) -> None:
        """Have the run go on when all of these are there."""
        count = partial(self._count, assignment)
        for future in inputs:
            future.add_done_callback(count)
        count(None)

    def _count(self, assignment: Assignment, _: object) -> None:
        with self.changed:
            assignment.missing -= 1
            if not assignment.missing and assignment.place is Place.PARKED:
                self._enqueue(assignment)
