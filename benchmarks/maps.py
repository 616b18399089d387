"""Maps on the thread runner: over a list, over an iterator, and over elements whose results are there."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cases import Case, Family, Turn, step, within, within_keeping
from benchmarks.measuring import answer
from mainspring import task
from mainspring.cache_policies import INPUTS, TASK_SOURCE

cached = task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)(answer)


def mapped(count: int) -> None:
    """All results at once."""
    step.map(range(count)).result()


def streamed(count: int) -> None:
    """Results one by one, over an iterator."""
    for _ in step.map(iter(range(count))).results():
        pass


def found(count: int) -> None:
    """All results were kept by the map before."""
    cached.map(range(count)).result()


def cached_map(turn: Turn) -> float:
    """Seconds per element of a map whose results are all there."""

    def twice() -> float:
        found(turn.calls)
        return turn.for_all(found)

    return within_keeping(twice)


def taken(work: Callable[[int], object]) -> Callable[[Turn], float]:
    """Takes a turn of some maps in a flow run."""
    return lambda turn: within(lambda: turn.for_all(work))


FAMILY = Family(
    (
        Case("map", taken(mapped), 5),
        Case("map, relaxed", taken(mapped), None, "relaxed"),
        Case("map over an iterator, streamed", taken(streamed)),
        Case("cached map", cached_map),
    )
)
