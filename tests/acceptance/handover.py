"""How soon a slot goes from one holder to the next when many wait for it, and what waiting costs meanwhile.

::

    python -m tests.acceptance.handover
    python -m tests.acceptance.handover --page docs/explanation/many-machines.md

Times are by the clock that all processes of a machine share: from the moment at which a holder begins to give a slot
back to the moment at which the next one has it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from mainspring.concurrency.sync import concurrency
from tests.acceptance.machines import DATABASES, Place, place_in
from tests.acceptance.pages import circumstances, milliseconds, percentile, put, table
from tests.acceptance.programs import SHARED, told, wait_for_line
from tests.deaths.processes import until

__all__ = ["DENIED", "Handovers", "measure", "measure_kills"]

MODULE = "tests.acceptance.handover"
DENIED = "SELECT count(*) FROM slots WHERE acquired IS NULL"


class Handovers(NamedTuple):
    """What was seen of many who waited.

    Args:
        seconds: How long each handover took.
        waiters: How many waited.
        statements: How many statements they sent to the database, for each second in which nothing happened.
    """

    seconds: list[float]
    waiters: int
    statements: float

    @property
    def statements_of_waiter(self) -> float:
        """Statements for each of them and each second."""
        return self.statements / self.waiters


# The processes


class Counting:
    """Counts the statements that this process sends to databases of any kind."""

    def __init__(self) -> None:
        self.count = 0

    def _count(self, *_: object) -> None:
        self.count += 1

    def begin(self) -> None:
        """Count those of all connections that are made from now on."""
        count = self._count

        class CountedCursor(psycopg.RawCursor[Any]):
            def execute(self, *args: Any, **options: Any) -> Any:
                count()
                return super().execute(*args, **options)

        connect = sqlite3.connect

        def counted(*args: Any, **options: Any) -> sqlite3.Connection:
            db = connect(*args, **options)
            db.set_trace_callback(count)
            return db

        sqlite3.connect = counted  # type: ignore[assignment]
        psycopg.RawCursor = CountedCursor  # type: ignore[misc]


def wait(threads: str, holds: str) -> None:
    """Have threads that wait for the slot, and hold it until there is the second line if asked for.

    The lines of the input are marks: between the first two nothing happens, and the slot is given back at the second.
    """
    counting = Counting()
    counting.begin()
    times: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    def take() -> None:
        try:
            with concurrency(SHARED):
                acquired = time.monotonic_ns()
                times.append((acquired, time.monotonic_ns()))
        except BaseException as error:  # told by the main thread
            errors.append(error)

    def hold() -> None:
        with concurrency(SHARED):
            acquired = time.monotonic_ns()
            told("inside")
            released.wait()
            times.append((acquired, time.monotonic_ns()))

    released = threading.Event()
    all_threads = [threading.Thread(target=take) for _ in range(int(threads))]
    if int(holds):
        holder = threading.Thread(target=hold)
        holder.start()
        wait_for_line()
        all_threads.append(holder)
    for thread in all_threads:
        if not thread.is_alive():
            thread.start()
    wait_for_line()
    before = counting.count
    wait_for_line()
    told("statements", counting.count - before)
    wait_for_line()
    released.set()
    for thread in all_threads:
        thread.join()
    if errors:
        raise errors[0]
    told("times", json.dumps(times))


# Watching them


def measure(kind: str, processes: int, threads: int, quiet_seconds: float) -> Handovers:
    """Let threads of processes wait for a slot that somebody else holds, and see it go from one to the next.

    Args:
        kind: The database.
        processes: How many processes. The one that holds the slot first is another one, unless there is just one.
        threads: How many threads there are in each.
        quiet_seconds: For how long nothing happens before the slot is given back.
    """
    is_alone = processes == 1
    with place_in(kind) as place, ExitStack() as stack:
        place.run("limit", SHARED, 1)

        def start(count: int, holds: int) -> Any:
            return stack.enter_context(place.start("wait", count, holds, module=MODULE))

        holder = start(threads if is_alone else 0, 1)
        holder.facts("inside")
        holder.go_on()
        programs = [holder] if is_alone else [start(threads, 0) for _ in range(processes)]
        waiters = processes * threads
        until(lambda: place.rows(DENIED) == [(waiters,)], "the waiting of all")
        time.sleep(1)  # so that what they do when they begin to wait is over
        for program in programs:
            program.go_on()
        began = time.monotonic()
        time.sleep(quiet_seconds)
        for program in programs:
            program.go_on()
        counts = [int(program.facts("statements")[0]) for program in programs]
        passed = time.monotonic() - began
        if not is_alone:
            holder.go_on()
            holder.go_on()
        for program in {holder, *programs}:
            program.go_on()
        times: list[tuple[int, int]] = []
        for program in {holder, *programs}:
            times += json.loads(program.end(300)[-1].removeprefix("times "))
        times.sort()
        assert len(times) == waiters + 1
        gaps = [(after[0] - before[1]) / 1e9 for before, after in pairwise(times)]
        return Handovers(gaps, waiters, sum(counts) / passed)


def measure_kills(kind: str, rounds: int) -> list[float]:
    """Kill the holder of a slot, again and again: for how many seconds somebody on the same host waits then."""
    seconds: list[float] = []
    with place_in(kind) as place:
        place.run("limit", SHARED, 1)
        for _ in range(rounds):
            seconds.append(_kill_one(place))
    return seconds


def _kill_one(place: Place) -> float:
    with place.start("hold", 1) as holder:
        holder.facts("inside")
        with place.start("hold", 1) as waiter:
            until(lambda: place.rows(DENIED) == [(1,)], "the waiting")
            time.sleep(0.3)  # so that it waits by then as it would after minutes
            killed = time.monotonic_ns()
            holder.kill()
            (acquired,) = waiter.facts("inside")
            waiter.end()
    return (int(acquired) - killed) / 1e9


def main() -> None:
    form = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    form.add_argument("--waiters", type=int, default=200)
    form.add_argument("--processes", type=int, default=10)
    form.add_argument("--quiet-seconds", type=float, default=10)
    form.add_argument("--kills", type=int, default=10)
    form.add_argument("--database", choices=DATABASES, action="append")
    form.add_argument("--page", type=Path, help="put the table into this page, in place of the one there")
    options = form.parse_args()
    rows: list[list[str]] = []
    kills: list[list[str]] = []
    for kind in options.database or DATABASES:
        for processes in (1, options.processes):
            seen = measure(kind, processes, options.waiters // processes, options.quiet_seconds)
            where = "one process" if processes == 1 else f"{processes} processes"
            rows.append(
                [
                    f"{kind}, {seen.waiters} threads of {where}",
                    milliseconds(statistics.median(seen.seconds)),
                    milliseconds(percentile(seen.seconds, 0.99)),
                    milliseconds(max(seen.seconds)),
                    f"{seen.statements_of_waiter:.2f}",
                ]
            )
            print(rows[-1], file=sys.stderr, flush=True)
        times = measure_kills(kind, options.kills)
        kills.append([kind, milliseconds(statistics.median(times)), milliseconds(max(times))])
        print(kills[-1], file=sys.stderr, flush=True)
    head = ["who waits", "handover, median", "99 %", "longest", "statements of each waiter per second"]
    text = f"{table(head, rows)}\n\n{table(['holder was killed', 'free after, median', 'longest'], kills)}"
    print(text)
    if options.page is not None:
        put(options.page, "handover", f"{circumstances()}\n\n{text}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["wait"]:
        wait(*sys.argv[2:])
    else:
        main()
