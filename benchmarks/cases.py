"""One path that is measured, and the turns that it takes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.measuring import answer, nothing, seconds_of, yardstick
from mainspring import flow, task

__all__ = ["YARDSTICK", "Case", "Family", "Turn", "fresh", "step", "tracked", "within", "within_keeping"]

Measured = TypeVar("Measured")

fresh = itertools.count()
"""Arguments that were never there."""


class Turn(NamedTuple):
    """What a case has to do in one round.

    Attributes:
        calls: How many calls to time.
        home: The home of mainspring, which is the same in all rounds.
    """

    calls: int
    home: Path

    def per_call(self, call: Callable[[], object]) -> float:
        """Seconds per call."""

        def repeat() -> None:
            for _ in range(self.calls):
                call()

        return seconds_of(repeat) / self.calls

    async def per_await(self, call: Callable[[], Awaitable[object]]) -> float:
        """Seconds per call of what has to be awaited."""
        start = time.perf_counter()
        for _ in range(self.calls):
            await call()
        return (time.perf_counter() - start) / self.calls

    def for_all(self, work: Callable[[int], object]) -> float:
        """Seconds per call of work that makes as many calls as it is told."""
        return seconds_of(lambda: work(self.calls)) / self.calls


class Case(NamedTuple):
    """One path.

    Attributes:
        name: What to call it.
        take: Takes one turn: times its calls and returns the seconds per call.
        budget: What a call may cost, in units of the family.
        durability: The level of durability.
        share: Each turn has a ``share``-th part of the usual calls, for paths that take long.
        at_most: The most calls in a turn.
    """

    name: str
    take: Callable[[Turn], float]
    budget: float | None = None
    durability: str = "process"
    share: int = 1
    at_most: int | None = None


YARDSTICK = Case("yardstick: thread pool submit", lambda turn: yardstick(turn.calls))


class Family(NamedTuple):
    """Cases that are measured together.

    Attributes:
        cases: Their paths.
        unit: What they are multiples of, by its name in the table and how it is measured.
        around: Entered around each round, in the folder of the family: for what settings cannot say.
    """

    cases: tuple[Case, ...]
    unit: Case = YARDSTICK
    around: Callable[[Path], AbstractContextManager[object]] = lambda _: nullcontext()


tracked = task(nothing)
"""`nothing` as a task."""

step = task(answer)
"""`answer` as a task."""


@flow
def within(measure: Callable[[], Measured]) -> Measured:
    """What is measured in a flow run."""
    return measure()


@flow(persist_result=True)
def within_keeping(measure: Callable[[], Measured]) -> Measured:
    """What is measured in a flow run that keeps results."""
    return measure()
