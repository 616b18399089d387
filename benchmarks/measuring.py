"""How everything here is measured; nothing but the standard library, so that peers are measured by it, too.

The yardstick is the time per call of submitting 2,000 trivial functions to ``ThreadPoolExecutor(8)`` and collecting
them all. Each figure is the fastest of some rounds, in multiples of something measured in the same run; the garbage
collector runs as it pleases.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

__all__ = [
    "FULL",
    "Figure",
    "Meter",
    "Unmeasurable",
    "answer",
    "circumstances",
    "nothing",
    "seconds_of",
    "yardstick",
]

FULL = 2_000
"""Calls in a round, unless it has to be quick."""


_LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
"""What the machine did when nothing had been measured yet."""


class Unmeasurable(Exception):  # noqa: N818 - names a situation
    """Something cannot be measured here; the message is the reason."""


class Figure(NamedTuple):
    """One measured path.

    Attributes:
        path: What was measured.
        seconds: Per call; None if it could not be measured.
        unit: The seconds that it is a multiple of.
        budget: How many of these it may cost.
        problem: Why it could not be measured.
        growth: By how many megabytes the peak memory grew, if that was measured.
        spread: The lowest and the highest multiple of all rounds, where these are of interest.
        rounds: The seconds of each round, where there were some.
        details: What else there is to know, for plots and JSON.
        is_size: Whether it is bytes that were measured, and no seconds.
    """

    path: str
    seconds: float | None
    unit: float
    budget: float | None = None
    problem: str | None = None
    growth: float | None = None
    spread: tuple[float, float] | None = None
    rounds: tuple[float, ...] = ()
    details: dict[str, Any] | None = None
    is_size: bool = False

    @property
    def multiple(self) -> float | None:
        return None if self.seconds is None else self.seconds / self.unit

    @property
    def verdict(self) -> str:
        """Whether the budget is ``met`` or the figure is ``over`` it; empty if there is none."""
        if self.budget is None or self.multiple is None:
            return ""
        return "met" if self.multiple <= self.budget else "over"


class Meter(NamedTuple):
    """Takes times: the fastest of ``rounds``, each of ``calls`` where a single one is too quick for the clock."""

    rounds: int = 5
    calls: int = FULL

    @property
    def is_quick(self) -> bool:
        """Whether it is only to be seen that all works."""
        return self.calls < FULL

    def best(self, work: Callable[[], object]) -> float:
        """Seconds of the fastest round."""
        return self.by_turns(work)[0]

    def by_turns(self, *works: Callable[[], object]) -> list[float]:
        """Seconds of the fastest round of each; they take turns, so that a slow moment of the machine hits all."""
        rounds = [[seconds_of(work) for work in works] for _ in range(self.rounds)]
        return [min(of_one) for of_one in zip(*rounds, strict=True)]

    def per_call(self, call: Callable[[], object]) -> float:
        """Seconds per call in the fastest round."""

        def repeat() -> None:
            for _ in range(self.calls):
                call()

        return self.best(repeat) / self.calls

    def yardstick(self) -> float:
        """Seconds per trivial call submitted to a thread pool and collected, in the fastest round."""
        return min(yardstick(self.calls) for _ in range(self.rounds))


def yardstick(calls: int) -> float:
    """Seconds per trivial call submitted to a thread pool, whose threads are there already, and collected."""
    with ThreadPoolExecutor(8) as pool:

        def submit_and_collect() -> None:
            for future in [pool.submit(nothing) for _ in range(calls)]:
                future.result()

        submit_and_collect()
        return seconds_of(submit_and_collect) / calls


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def nothing() -> None:
    """The function whose call is the floor."""


def answer(x: int) -> dict[str, int]:
    """The function whose small result is kept, by us and by our peers."""
    return {"answer": x}


def circumstances() -> str:
    """When, and with what, something is measured, and how busy the machine was before."""
    load = "" if _LOAD is None else f", load {_LOAD:.1f}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{load}"
    )
