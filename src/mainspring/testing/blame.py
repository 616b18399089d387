"""What the deaths that a flow does not survive have in common: the task that was done once more.

Whether a task may be done twice is for its author to see to. What can be seen from outside is which tasks were called
again after a death, in the rounds that failed and in those that did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mainspring.testing.lives import Called, Entry

__all__ = ["Culprit", "Repeated", "culprit_of", "repeated_in"]


class Repeated(NamedTuple):
    """A task run whose function was called in more than one life.

    Args:
        task: The name of the task.
        run: The name of the task run.
        place: File and line of its function.
        was_done: The function had returned before the death; else it was under way.
    """

    task: str
    run: str
    place: str
    was_done: bool


class Culprit(NamedTuple):
    """The task that explains the failures best.

    Args:
        task: Its name.
        place: File and line of its function.
        failed: In so many of the rounds that failed it was done once more.
        held: In so many of the others.
    """

    task: str
    place: str
    failed: int
    held: int


class _Round(Protocol):
    @property
    def repeated(self) -> Sequence[Repeated]: ...
    @property
    def has_failed(self) -> bool: ...


def repeated_in(diary: Sequence[Entry], undisturbed: Sequence[Entry]) -> list[Repeated]:
    """The task runs that were called in one life and again in a later one.

    Args:
        diary: What happened in all lives.
        undisturbed: What happens in the one life of a flow that nobody kills, in which a task may be retried.
    """
    calls = [entry for entry in diary if isinstance(entry, Called)]
    usual = Counter((entry.call, entry.is_done) for entry in undisturbed if isinstance(entry, Called))
    counts = Counter((entry.call, entry.is_done) for entry in calls)
    lives: dict[str, set[int]] = {}
    for entry in calls:
        lives.setdefault(entry.call, set()).add(entry.life)
    latest = {entry.call: entry for entry in calls}
    return [
        Repeated(entry.task, entry.run, entry.place, counts[call, True] > usual[call, True])
        for call, entry in latest.items()
        if len(lives[call]) > 1 and counts[call, False] > usual[call, False]
    ]


def culprit_of(rounds: Sequence[_Round]) -> Culprit | None:
    """The task that was done once more where the flow failed, and as little as possible where it held.

    None if no task was done once more in more than half of the rounds that failed.
    """
    failed, held = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    failures = 0
    for each in rounds:
        failures += each.has_failed
        counts = failed if each.has_failed else held
        # That a task which was under way was called again and all was well says nothing: it had done nothing yet.
        counts.update({(one.task, one.place) for one in each.repeated if one.was_done or each.has_failed})
    if not failed:
        return None
    (task, place), count = max(failed.items(), key=lambda item: (item[1], -held[item[0]]))
    return Culprit(task, place, count, held[task, place]) if 2 * count > failures else None
