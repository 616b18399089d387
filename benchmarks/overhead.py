"""What mainspring costs per call, as multiples of a thread pool's submit measured in the same run.

``make bench`` runs it with the other benchmarks of mainspring alone.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mainspring import flow, task
from mainspring.events import subscribe
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings
from measuring import Figure, Meter, main, nothing

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


@task
def tracked() -> None:
    """`nothing` as a task."""


@task
async def tracked_async() -> None:
    """The same as an async task."""


@task(tags=["nightly", "etl"])
def tagged() -> None:
    """A task whose tags have no limits."""


@task(isolation="process")
def isolated() -> None:
    """`nothing` in a process of its own."""


@flow
def empty() -> None:
    """A flow run without tasks."""


@flow
def inline(meter: Meter) -> float:
    """Seconds per recorded call of a sync task."""
    return meter.per_call(tracked)


@flow
async def inline_async(meter: Meter) -> float:
    """Seconds per recorded call of an async task."""
    return await meter.per_await(tracked_async)


@flow
def with_tags(meter: Meter) -> float:
    """Seconds per recorded call of a sync task with tags."""
    return meter.per_call(tagged)


@flow
def in_a_process(meter: Meter) -> float:
    """Seconds per recorded call of a sync task whose function is called in a process that is there already."""
    isolated()
    return meter.per_call(isolated)


def with_subscriber(meter: Meter) -> float:
    """Seconds per recorded call of a sync task while somebody takes the events of task runs."""
    with subscribe(lambda _: None, prefix="mainspring.task-run."):
        return inline(meter)


@flow
def submitted(meter: Meter) -> float:
    """Seconds per task submitted to the thread runner and collected."""

    def submit_and_collect() -> None:
        for future in [tracked.submit() for _ in range(meter.calls)]:
            future.result()

    return meter.best(submit_and_collect) / meter.calls


def commit(meter: Meter, path: Path) -> float:
    """Seconds per SQLite commit of one row to a write-ahead log, without waiting for the drive."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, text TEXT)")
    insert = "INSERT INTO rows (text) VALUES ('as long as the row of a task run is, or not much shorter than that')"
    seconds = meter.per_call(lambda: database.execute(insert))
    database.close()
    return seconds


def interpreter(meter: Meter, code: str, home: Path) -> float:
    """Seconds of the fastest of some interpreters that start, run ``code`` in an empty home, and end."""
    homes = iter(home / f"{len(code)}-{number}" for number in range(2 * meter.rounds))
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code

    def start() -> None:
        environment["MAINSPRING_HOME"] = str(next(homes))
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    return meter._replace(rounds=2 * meter.rounds).best(start)


def per_durability(meter: Meter, home: Path, unit: float) -> list[Figure]:
    """A task at each level of durability."""
    figures = []
    for durability, budget in (("process", 4), ("disk", None), ("relaxed", 2.5)):
        with temporary_settings({"home": home / durability, "durability": durability}):
            figures += [
                Figure(f"inline task, {durability}", inline(meter), unit, budget),
                Figure(f"inline async task, {durability}", asyncio.run(inline_async(meter)), unit, budget),
            ]
    return figures


def per_way(meter: Meter, home: Path, unit: float) -> list[Figure]:
    """A task in each way to call it, and a flow."""
    few = meter._replace(calls=max(1, meter.calls // 10))
    paths: list[tuple[str, Callable[[], float], float | None]] = [
        ("submitted task, process", lambda: submitted(meter), 5),
        ("tags without limits, process", lambda: with_tags(meter), None),
        ("event subscriber, process", lambda: with_subscriber(meter), None),
        ("isolated task, process", lambda: in_a_process(few), None),
        ("empty flow run, process", lambda: few.per_call(empty), 25),
    ]
    with temporary_settings({"home": home / "process", "durability": "process"}):
        return [Figure(path, measure(), unit, budget) for path, measure, budget in paths]


def starts(meter: Meter, home: Path) -> list[Figure]:
    """What it takes to begin, in starts of a bare interpreter."""
    bare = interpreter(meter, "pass", home)
    return [
        Figure("bare interpreter start", bare, bare),
        Figure("import mainspring", interpreter(meter, "import mainspring", home), bare, 3),
        Figure("first script, database created", interpreter(meter, FIRST_SCRIPT, home), bare, 10),
    ]


def measure(meter: Meter, home: Path) -> list[Figure]:
    """All figures, each measured in this process and this run."""
    unit = meter.yardstick()
    figures = [
        Figure("yardstick: thread pool submit", unit, unit),
        Figure("floor: bare call", meter.per_call(nothing), unit),
        Figure("floor: SQLite commit of one row", commit(meter, home / "rows.db"), unit),
        *per_durability(meter, home, unit),
        *per_way(meter, home, unit),
    ]
    close_recorders()
    return [*figures, *starts(meter, home)]


if __name__ == "__main__":
    main(measure, __doc__, "overhead")
