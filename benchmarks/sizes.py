"""How many bytes a finished task leaves: in the database, and in the memory of the process that ran it.

Each way to run tasks is measured in a process of its own, in a flow whose tasks have one parameter and return nothing.
The database counts after its log was copied into it, with all indexes. Memory is what Python holds for more tasks when
no future of them is left, while their flow goes on.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import Figure, Meter, Unmeasurable
from mainspring import flow, task
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings
from mainspring.task_runners import ThreadPoolTaskRunner

__all__ = ["Size", "measure", "measure_elsewhere", "measure_here"]

FIRST = 1_000
"""Tasks that are run before anything is measured."""

TASKS = 20_000
DATABASE_BUDGET = 500
MEMORY_BUDGET = 1_000


@task
def nothing(number: int) -> None:
    """The task."""


def inline(count: int) -> None:
    """Calls, one after the other."""
    for number in range(count):
        nothing(number)


def submitted(count: int) -> None:
    """A future for each, all of them dropped."""
    for future in [nothing.submit(number) for number in range(count)]:
        future.wait()


def mapped(count: int) -> None:
    """One map, whose futures are dropped."""
    nothing.map(range(count)).wait()


WAYS: dict[str, Callable[[int], None]] = {"inline": inline, "submit": submitted, "map": mapped}


class Size(NamedTuple):
    """What one way to run tasks leaves for each.

    Attributes:
        way: How the tasks were run.
        database: Bytes in the database.
        memory: Bytes in memory.
        tables: Bytes by table and index, the largest first; empty where SQLite cannot tell.
    """

    way: str
    database: float
    memory: float
    tables: dict[str, float]


def measure_here(way: str, count: int, home: Path) -> Size:
    """Measure in this process, which has run no task so far."""
    logging.getLogger("mainspring").addHandler(logging.NullHandler())
    run = WAYS[way]
    grown: list[int] = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=8))
    def whole() -> None:
        run(FIRST)
        tracemalloc.start()
        before = held()
        run(count)
        grown.append(held() - before)
        tracemalloc.stop()

    with temporary_settings({"home": home}):
        whole()
        close_recorders()
    tasks = FIRST + count
    with closing(sqlite3.connect(home / "mainspring.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((pages,),) = database.execute("PRAGMA page_count")
        ((size,),) = database.execute("PRAGMA page_size")
        tables = bytes_by_table(database)
    return Size(way, pages * size / tasks, grown[0] / count, {name: of / tasks for name, of in tables})


def held() -> int:
    """The bytes that are held when nothing is left to be done."""
    time.sleep(0.5)  # the recorder has written what it was told, and threads that wait have let go
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def bytes_by_table(database: sqlite3.Connection) -> list[tuple[str, int]]:
    """The largest tables and indexes."""
    statement = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 3"
    try:
        return database.execute(statement).fetchall()
    except sqlite3.OperationalError:  # an SQLite without this table
        return []


def measure_elsewhere(way: str, count: int) -> Size:
    """Measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sizes", way, str(count)],
        cwd=Path(__file__).parents[1],
        env={name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unmeasurable(f"{way}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return Size(**json.loads(done.stdout))


def measure(meter: Meter, home: Path) -> list[Figure]:
    """All figures; sizes are in bytes."""
    del home  # each way has one of its own
    count = TASKS // 100 if meter.is_quick else TASKS
    figures: list[Figure] = []
    for way in WAYS:
        try:
            size = measure_elsewhere(way, count)
        except Unmeasurable as problem:
            figures.append(Figure(f"{way} task", None, 1, problem=str(problem), is_size=True))
            continue
        tables = {name: round(of) for name, of in size.tables.items()}
        for what, of, budget in (
            ("in the database", size.database, DATABASE_BUDGET),
            ("in memory", size.memory, MEMORY_BUDGET),
        ):
            details = {"tables": tables} if what == "in the database" else None
            figures.append(Figure(f"{way} task, {what}", of, 1, budget, details=details, is_size=True))
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        print(json.dumps(measure_here(sys.argv[1], int(sys.argv[2]), Path(folder))._asdict()))
