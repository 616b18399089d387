"""How many bytes a finished task leaves: in the database, and in the memory of the process that ran it.

Each way to run tasks is measured in a process of its own, in a flow whose tasks have one parameter and return nothing.
The database counts after its log was copied into it, with all indexes. Memory is what Python holds for more tasks when
no future of them is left, while their flow goes on.
"""

from __future__ import annotations

import argparse
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

from mainspring import flow, task
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings
from mainspring.task_runners import ThreadPoolTaskRunner

__all__ = ["Size", "measure_elsewhere", "measure_here"]

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
        [sys.executable, __file__, "--one", way, "--tasks", str(count)],
        env={name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{way} could not be measured:\n{done.stderr}")
    return Size(**json.loads(done.stdout))


def as_table(sizes: list[Size]) -> str:
    """The sizes for the documentation."""
    lines = [
        f"| way | database (budget {DATABASE_BUDGET}) | memory (budget {MEMORY_BUDGET:,}) | largest |",
        "|---|--:|--:|---|",
    ]
    for size in sizes:
        largest = ", ".join(f"{name} {of:.0f}" for name, of in size.tables.items())
        lines.append(f"| {size.way} | {size.database:.0f} | {size.memory:.0f} | {largest} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--page", type=Path, help="write the table into this page, in place of the one there")
    parser.add_argument("--tasks", type=int, default=TASKS, help="how many tasks are measured")
    parser.add_argument("--one", choices=WAYS, help="measure this way only, here")
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            print(json.dumps(measure_here(options.one, options.tasks, Path(folder))._asdict()))
        return
    sizes = [measure_elsewhere(way, options.tasks) for way in WAYS]
    if options.page:
        write_into(options.page, as_table(sizes))
    else:
        print(json.dumps([size._asdict() for size in sizes], indent=2) if options.json else as_table(sizes))


def write_into(page: Path, table: str) -> None:
    """Put the table between the two comments of the page that name it."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition("<!-- sizes -->\n")
    _, end, after = rest.partition("<!-- end of sizes -->")
    if not end:
        raise SystemExit(
            f"{page} has no place for this table: put <!-- sizes --> and <!-- end of sizes --> there."
        )
    page.write_text(f"{before}{begin}\n{table}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
