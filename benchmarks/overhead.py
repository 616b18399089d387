"""What mainspring costs per call, as multiples of a thread pool's submit measured in the same run.

Run it with ``make bench``, or ``python benchmarks/overhead.py --json`` for programs. Each figure is the best of five
rounds; the garbage collector runs as it pleases. The yardstick is the time per call of submitting 2,000 trivial
functions to ``ThreadPoolExecutor(8)`` and collecting them all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mainspring import flow, task
from mainspring.cache_policies import INPUTS, NO_CACHE
from mainspring.events import subscribe
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings

ROUNDS = 5
CALLS = 2_000
SCRIPTS = 10

FIRST_SCRIPT = """
from mainspring import flow, task

@task
def double(x):
    return 2 * x

@flow
def first():
    return double(21)

assert first() == 42
"""


class Figure(NamedTuple):
    """One measured path: seconds per call, what they are a multiple of, and the budget in these multiples."""

    path: str
    seconds: float
    unit: float
    budget: float | None

    @property
    def multiple(self) -> float:
        return self.seconds / self.unit


def nothing() -> None:
    """The function whose call is the floor."""


@task
def tracked() -> None:
    """The same as a task."""


@task
async def tracked_async() -> None:
    """The same as an async task."""


@task(persist_result=True, cache_policy=NO_CACHE)
def kept() -> dict[str, int]:
    """A task whose small result is kept, each time under a key of its own."""
    return {"answer": 42}


@task(persist_result=True, cache_policy=INPUTS)
def cached(x: int) -> dict[str, int]:
    """A task that is answered from what was kept, from the second call on."""
    return {"answer": x}


@task(tags=["nightly", "etl"])
def tagged() -> None:
    """A task whose tags have no limits."""


@flow
def empty() -> None:
    """A flow run without tasks."""


@flow
def inline() -> float:
    """Seconds per recorded call of a sync task."""
    return best(lambda: [tracked() for _ in range(CALLS)]) / CALLS


@flow
async def inline_async() -> float:
    """Seconds per recorded call of an async task."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            await tracked_async()
        rounds.append(time.perf_counter() - start)
    return min(rounds) / CALLS


@flow
def with_kept_result() -> float:
    """Seconds per recorded call of a sync task whose result is kept."""
    return best(lambda: [kept() for _ in range(CALLS)]) / CALLS


@flow
def with_cache_hit() -> float:
    """Seconds per recorded call of a sync task whose result is there already."""
    cached(42)
    return best(lambda: [cached(42) for _ in range(CALLS)]) / CALLS


@flow
def with_tags() -> float:
    """Seconds per recorded call of a sync task with tags."""
    return best(lambda: [tagged() for _ in range(CALLS)]) / CALLS


def with_subscriber() -> float:
    """Seconds per recorded call of a sync task while somebody takes the events of task runs."""
    with subscribe(lambda _: None, prefix="mainspring.task-run."):
        return inline()


@flow
def submitted() -> float:
    """Seconds per task submitted to the thread runner and collected."""

    def submit_and_collect() -> None:
        for future in [tracked.submit() for _ in range(CALLS)]:
            future.result()

    return best(submit_and_collect) / CALLS


def call_bare() -> None:
    """The floor, as often as everything else."""
    for _ in range(CALLS):
        nothing()


def yardstick() -> float:
    """Seconds per trivial call submitted to a fresh thread pool and collected."""
    rounds = []
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(8) as pool:
            start = time.perf_counter()
            for future in [pool.submit(nothing) for _ in range(CALLS)]:
                future.result()
            rounds.append(time.perf_counter() - start)
    return min(rounds) / CALLS


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - start)
    return min(rounds)


def interpreter(code: str, home: Path) -> float:
    """Seconds of the fastest of some interpreters that start, run ``code`` in an empty home, and end."""
    rounds = []
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code
    for number in range(SCRIPTS):
        environment["MAINSPRING_HOME"] = str(home / f"{len(code)}-{number}")
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        rounds.append(time.perf_counter() - start)
    return min(rounds)


def measure(home: Path) -> list[Figure]:
    """All figures, each measured in this process and this run."""
    unit = yardstick()
    figures = [
        Figure("yardstick: thread pool submit", unit, unit, None),
        Figure("floor: bare call", best(call_bare) / CALLS, unit, None),
    ]
    for durability, budget in (("process", 4), ("disk", None), ("relaxed", 2.5)):
        with temporary_settings({"home": home / durability, "durability": durability}):
            figures += [
                Figure(f"inline task, {durability}", inline(), unit, budget),
                Figure(f"inline async task, {durability}", asyncio.run(inline_async()), unit, budget),
            ]
    with temporary_settings({"home": home / "process", "durability": "process"}):
        figures += [
            Figure("submitted task, process", submitted(), unit, 5),
            Figure("kept result, process", with_kept_result(), unit, 5),
            Figure("cache hit, process", with_cache_hit(), unit, 3),
            Figure("tags without limits, process", with_tags(), unit, None),
            Figure("event subscriber, process", with_subscriber(), unit, None),
            Figure("empty flow run, process", best(lambda: [empty() for _ in range(200)]) / 200, unit, 25),
        ]
    close_recorders()
    bare = interpreter("pass", home)
    return [
        *figures,
        Figure("bare interpreter start", bare, bare, None),
        Figure("import mainspring", interpreter("import mainspring", home), bare, 3),
        Figure("first script, database created", interpreter(FIRST_SCRIPT, home), bare, 10),
    ]


def show(figures: list[Figure]) -> None:
    """The figures as a table; budgets are those of the design."""
    print(f"{'path':34} {'time':>12} {'multiple':>9} {'budget':>7}")
    for figure in figures:
        budget = "" if figure.budget is None else f"{figure.budget:g}"
        print(f"{figure.path:34} {figure.seconds * 1e6:9.1f} us {figure.multiple:9.2f} {budget:>7}")


def main() -> None:
    """Measure and print, as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    if options.json:
        rows = [{**figure._asdict(), "multiple": figure.multiple} for figure in figures]
        print(json.dumps(rows, indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
