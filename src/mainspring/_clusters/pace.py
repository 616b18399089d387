"""How many runs of a task go to the cluster together: as many as are over in a moment, once it is known that they are.

To hand out one piece of work costs a cluster more than a short task takes. But runs that go together are made one
after the other, and what they come to is known when all of them are over.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["Pace"]

TOGETHER_SECONDS = 0.03
"""How long the runs of one parcel take together, about."""

LONG_SECONDS = 0.05
"""A task with a run like that is not known to be short."""

MOST = 256
"""Runs in one parcel, at most."""

KNOWN_AFTER = 3
"""Runs that have to be over before anything is known."""

FORGETS = 0.2
"""How much a run counts in the average; and how fast a long one is forgotten."""

COST_SECONDS = 0.0003
"""What a run costs the worker besides its function, about."""

SHARES = 2
"""Parcels that each slot of the cluster should get of what waits, so that none is without work at the end."""

AHEAD = 3
"""Parcels for each slot of the cluster that are enough to do."""

UNKNOWN_SECONDS = 0.2
"""How long after its first parcel others of a task are held back to learn something of it. Then as many again may go,
and so on: a cluster that is slow to begin does not get all of a map in pieces, and one that grows sees that it must."""

SHORT_SECONDS = 0.1
"""How long after a parcel of a short task the next one is held back to grow, at most."""


class _Known:
    __slots__ = ("average", "count", "first", "latest", "longest", "parcels")

    def __init__(self) -> None:
        self.count = 0
        self.average = 0.0
        self.longest = 0.0
        self.first: float | None = None
        self.latest = 0.0
        self.parcels = 0

    @property
    def is_new(self) -> bool:
        return self.count < KNOWN_AFTER


class Pace:
    """How long the runs of tasks take. Used under a lock."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()

    def _of(self, task: Any) -> _Known:
        known = self._known.get(task)
        if known is None:
            known = self._known[task] = _Known()
        return known

    def sent(self, task: Any, now: float) -> None:
        """Note that a parcel with runs of a task is on its way, and when it was sent, in monotonic seconds."""
        known = self._of(task)
        known.latest = now
        known.parcels += 1
        if known.first is None:
            known.first = now

    def hold(self, task: Any, unanswered: int, slots: int, now: float) -> float:
        """For how many seconds the next parcel with runs of a task is to be held back, unless an answer comes.

        Args:
            task: The task.
            unanswered: How many parcels are on the cluster, of whatever task.
            slots: How many it works on at a time.
            now: The time, in monotonic seconds.
        """
        known = self._known.get(task)
        if known is None or known.first is None or known.longest > LONG_SECONDS or unanswered < AHEAD * slots:
            return 0.0
        until = known.latest + SHORT_SECONDS
        if known.is_new:
            periods = int((now - known.first) / UNKNOWN_SECONDS)
            if known.parcels < AHEAD * slots << min(periods, 64):
                return 0.0
            until = known.first + (periods + 1) * UNKNOWN_SECONDS
        return max(0.0, until - now)

    def note(self, task: Any, seconds: float) -> None:
        """Note how long a run has taken."""
        known = self._of(task)
        known.count += 1
        share = max(FORGETS, 1 / known.count)
        known.average += share * (seconds - known.average)
        known.longest = max(seconds, known.longest * (1 - FORGETS / 4))

    def is_short(self, task: Any) -> bool:
        """Whether runs of a task are known to be over in a moment."""
        known = self._known.get(task)
        return known is not None and not known.is_new and known.longest <= LONG_SECONDS

    def size(self, task: Any, waiting: int, slots: int) -> int:
        """How many runs of a task go together.

        Args:
            task: The task.
            waiting: How many runs wait to be sent.
            slots: How many parcels the cluster works on at a time.
        """
        if not self.is_short(task):
            return 1
        known = self._known[task]
        fitting = int(TOGETHER_SECONDS / (known.average + COST_SECONDS))
        fair = -(-waiting // (SHARES * slots))
        return max(1, min(fitting, fair, MOST))
