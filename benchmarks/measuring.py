"""How everything here is measured and shown; nothing but the standard library, so that peers are measured by it, too.

The yardstick is the time per call of submitting 2,000 trivial functions to ``ThreadPoolExecutor(8)`` and collecting
them all. Each figure is the fastest of some rounds, in multiples of something measured in the same run; the garbage
collector runs as it pleases.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

__all__ = ["Figure", "Meter", "Report", "answer", "main", "nothing"]


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
    """

    path: str
    seconds: float | None
    unit: float
    budget: float | None = None
    problem: str | None = None
    growth: float | None = None
    spread: tuple[float, float] | None = None

    @property
    def multiple(self) -> float | None:
        return None if self.seconds is None else self.seconds / self.unit


class Report(NamedTuple):
    """Figures of one run, and when and with what they were measured."""

    figures: list[Figure]
    circumstances: str

    def as_json(self) -> str:
        rows = [{**figure._asdict(), "multiple": figure.multiple} for figure in self.figures]
        return json.dumps({"circumstances": self.circumstances, "figures": rows}, indent=2)

    def as_table(self) -> str:
        width = max(len(figure.path) for figure in self.figures)
        rows = [self._head(), *map(self._row, self.figures)]
        widths = (-width, 12, *((14, 13) if self._has_spread() else ()), 7, 13, 9)
        lines = [
            " ".join(
                f"{cell:{'<' if size < 0 else '>'}{abs(size)}}"
                for cell, size in zip(row, widths, strict=False)
            )
            for row in rows
        ]
        return "\n".join([self.circumstances, *(line.rstrip() for line in lines), *self._problems()])

    def as_markdown(self) -> str:
        head = self._head()
        rows = [head, ("---", *("--:" for _ in head[1:])), *map(self._row, self.figures)]
        lines = [f"| {' | '.join(row)} |" if row[0] != "---" else f"|{'|'.join(row)}|" for row in rows]
        return "\n".join([self.circumstances, "", *lines, *(f"\n{problem}" for problem in self._problems())])

    def _head(self) -> tuple[str, ...]:
        spread = ("of all rounds", "of") if self._has_spread() else ()
        memory = ("memory",) if self._has_memory() else ()
        return ("path", "multiple", *spread, "budget", "time", *memory)

    def _row(self, figure: Figure) -> tuple[str, ...]:
        path, multiple, budget, taken = _cells(figure)
        spread: tuple[str, ...] = ()
        if self._has_spread():
            rounds = "" if figure.spread is None else f"{figure.spread[0]:.2f} to {figure.spread[1]:.2f}"
            spread = (rounds, "" if figure.seconds is None else _microseconds(figure.unit))
        growth = "" if figure.growth is None else f"+{figure.growth:.1f} MB"
        memory = (growth,) if self._has_memory() else ()
        return (path, multiple, *spread, budget, taken, *memory)

    def _has_memory(self) -> bool:
        return any(figure.growth is not None for figure in self.figures)

    def _has_spread(self) -> bool:
        return any(figure.spread is not None for figure in self.figures)

    def _problems(self) -> list[str]:
        return [f"Not measured: {figure.path}. {figure.problem}" for figure in self.figures if figure.problem]


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    """Path, multiple, budget and time as texts."""
    budget = "" if figure.budget is None else f"{figure.budget:g}"
    if figure.seconds is None or figure.multiple is None:
        return figure.path, "not measured", budget, ""
    return figure.path, f"{figure.multiple:.2f}", budget, _microseconds(figure.seconds)


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} us"


class Meter(NamedTuple):
    """Takes times: the fastest of ``rounds``, each of ``calls`` where a single one is too quick for the clock."""

    rounds: int = 5
    calls: int = 2_000

    def best(self, work: Callable[[], object]) -> float:
        """Seconds of the fastest round."""
        return self.by_turns(work)[0]

    def by_turns(self, *works: Callable[[], object]) -> list[float]:
        """Seconds of the fastest round of each; they take turns, so that a slow moment of the machine hits all."""
        rounds = [[_seconds(work) for work in works] for _ in range(self.rounds)]
        return [min(of_one) for of_one in zip(*rounds, strict=True)]

    def per_call(self, call: Callable[[], object]) -> float:
        """Seconds per call in the fastest round."""

        def repeat() -> None:
            for _ in range(self.calls):
                call()

        return self.best(repeat) / self.calls

    async def per_await(self, call: Callable[[], Awaitable[object]]) -> float:
        """`per_call` for what has to be awaited."""
        rounds = []
        for _ in range(self.rounds):
            start = time.perf_counter()
            for _ in range(self.calls):
                await call()
            rounds.append(time.perf_counter() - start)
        return min(rounds) / self.calls

    def yardstick(self) -> float:
        """Seconds per trivial call submitted to a thread pool and collected."""
        with ThreadPoolExecutor(8) as pool:

            def submit_and_collect() -> None:
                for future in [pool.submit(nothing) for _ in range(self.calls)]:
                    future.result()

            return self.best(submit_and_collect) / self.calls


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def nothing() -> None:
    """The function whose call is the floor."""


def answer(x: int) -> dict[str, int]:
    """The function whose small result is kept, by us and by our peers."""
    return {"answer": x}


def main(measure: Callable[[Meter, Path], list[Figure]], description: str | None, name: str) -> None:
    """The command line of a benchmark: measure in an empty directory and print.

    Args:
        measure: Takes the figures.
        description: What it measures, in the first line.
        name: Names its table in a page: the lines between ``<!-- name -->`` and ``<!-- end of name -->``.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    form.add_argument("--page", type=Path, help="write that table into this page, in place of the one there")
    parser.add_argument(
        "--rounds", type=int, default=Meter().rounds, help="of how many rounds the fastest counts"
    )
    parser.add_argument("--folder", type=Path, help="measure in this new directory, and leave it there")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    options = parser.parse_args()
    meter = Meter(1, 20) if options.quick else Meter(options.rounds)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        report = Report(measure(meter, options.folder or Path(folder)), _circumstances())
    if options.page:
        _write_into(options.page, name, report.as_markdown())
    elif options.markdown:
        print(report.as_markdown())
    else:
        print(report.as_json() if options.json else report.as_table())


def _circumstances() -> str:
    """When, and with what."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    )


def _write_into(page: Path, name: str, table: str) -> None:
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no place for this table: put {begin.strip()} and {end} there.")
    page.write_text(f"{before}{begin}\n{table}\n\n{end}{after}", encoding="utf-8")
