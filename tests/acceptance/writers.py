"""Many processes hammer one store with tasks, limits, rate limits and locks, and what they say is compared.

::

    python -m tests.acceptance.writers --seconds 30 --processes 16
    python -m tests.acceptance.writers --page docs/explanation/many-machines.md

Each process notes in one file, before anybody else can know, that it has got slots, and that it is about to give them
back. So the lines of the file are an order in which no limit may be exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from mainspring import task
from mainspring._events.subscriptions import subscribe
from mainspring.concurrency.sync import concurrency, rate_limit
from mainspring.events import Event
from mainspring.runtime import task_run
from mainspring.store_locks import StoreLockManager
from tests.acceptance.machines import DATABASES, Place, place_in
from tests.acceptance.pages import circumstances, milliseconds, percentile, put, table
from tests.acceptance.programs import append, told, wait_for_line

__all__ = ["LIMITS", "Outcome", "hammer"]

MODULE = "tests.acceptance.writers"

LIMITS = {"one": 1, "two": 2, "three": 3, "tag:few": 2, "lock-1": 1, "lock-2": 1}
"""How many may hold what at a time; the last two are locks."""

NAMES = ["one", "two", "three"]
PACE_SLOTS = 20
PACE_DECAY = 50.0

STATES = "SELECT run_id, position, name FROM states ORDER BY run_id, position"
LEFT = "SELECT (SELECT count(*) FROM slots), (SELECT count(*) FROM locks)"


class Outcome(NamedTuple):
    """What was seen of it.

    Args:
        seconds: How long they were at work.
        acquired: How often each process has got slots.
        waits: For how many seconds they waited for them.
        locked: How often each process has got a lock.
        paced: How often rate limits let somebody go on.
        tasks: How many tasks were run.
        most: The most slots of each limit that were held at a time, as the processes noted.
        most_told: The same as events tell.
        problems: What should not be.
    """

    seconds: float
    acquired: list[int]
    waits: list[float]
    locked: list[int]
    paced: int
    tasks: int
    most: dict[str, int]
    most_told: dict[str, int]
    problems: list[str]


# What each process does


@task
def plain(number: int) -> tuple[int, str]:
    return number, str(task_run.id)


@task(tags=["few"])
def tagged(number: int) -> tuple[int, str]:
    append("journal", "tag:few +1")
    time.sleep(0.0005)
    append("journal", "tag:few -1")
    return number, str(task_run.id)


def listen(event: Event) -> None:
    append(
        f"events-{os.getpid()}",
        f"{event.occurred.timestamp():.6f} {event.resource['mainspring.resource.name']}"
        f" {'+' if event.event.endswith('acquired') else '-'}{event.resource['slots-acquired']}",
    )


class Work:
    """The work of one process."""

    def __init__(self, number: int) -> None:
        self._dice = random.Random(number)
        self._number = 0
        self._locks = StoreLockManager()
        self.waits: list[float] = []
        self.tasks: list[str] = []
        self.locked = 0
        self.paced = 0

    def step(self) -> None:
        """Do one thing, whichever comes up."""
        self._number += 1
        (work,) = self._dice.choices(
            [self._hold, self._lock, self._go_on, self._run, self._run_tagged], [5, 2, 1, 2, 2]
        )
        work()

    def _hold(self) -> None:
        names = self._dice.sample(NAMES, self._dice.randint(1, len(NAMES)))
        slots = self._dice.randint(1, min(LIMITS[name] for name in names))
        began = time.monotonic()
        with concurrency(names, slots):
            self.waits.append(time.monotonic() - began)
            append("journal", " ".join(f"{name} +{slots}" for name in names))
            time.sleep(0.0005)
            append("journal", " ".join(f"{name} -{slots}" for name in names))

    def _lock(self) -> None:
        key = self._dice.choice(["lock-1", "lock-2"])
        self._locks.acquire_lock(key, str(os.getpid()))
        append("journal", f"{key} +1")
        append("journal", f"{key} -1")
        self._locks.release_lock(key, str(os.getpid()))
        self.locked += 1

    def _go_on(self) -> None:
        rate_limit("pace")
        self.paced += 1

    def _run(self) -> None:
        self._note(plain(self._number))

    def _run_tagged(self) -> None:
        began = time.monotonic()
        value = tagged(self._number)
        self.waits.append(time.monotonic() - began)
        self._note(value)

    def _note(self, value: tuple[int, str]) -> None:
        number, run_id = value
        assert number == self._number
        self.tasks.append(run_id)


def work(seconds: str, number: str) -> None:
    work = Work(int(number))
    told("ready")
    wait_for_line()
    with subscribe(listen, "mainspring.concurrency-limit."):
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            work.step()
    told("done", json.dumps([work.waits, work.tasks, work.locked, work.paced]))


# What is made of it


def hammer(kind: str, processes: int, seconds: float, hosts: int = 1) -> Outcome:
    """Let so many processes work for a while on a database.

    Args:
        kind: Which database.
        processes: How many.
        seconds: For how long.
        hosts: On how many hosts they are, as far as they know.
    """
    with place_in(kind) as place:
        for name, slots in LIMITS.items():
            place.run("limit", name, slots)
        place.run("limit", "pace", PACE_SLOTS, PACE_DECAY)
        with ExitStack() as stack:
            programs = [
                stack.enter_context(
                    place.start("work", seconds, number, module=MODULE, HOST_ID=f"host-{number % hosts}")
                )
                for number in range(processes)
            ]
            for program in programs:
                program.facts("ready")
            began = time.monotonic()
            for program in programs:
                program.go_on()
            lines = [program.end(seconds + 120)[-1] for program in programs]
            passed = time.monotonic() - began
        said = [json.loads(line.removeprefix("done ")) for line in lines]
        return outcome(place, said, passed)


def outcome(place: Place, said: list[Any], seconds: float) -> Outcome:
    waits = [wait for each in said for wait in each[0]]
    returned = [run_id for each in said for run_id in each[1]]
    paced = sum(each[3] for each in said)
    most = most_held(line.split() for line in place.lines("journal"))
    told = sorted(
        (float(moment), slots[0] == "+", name, slots)
        for path in place.folder.glob("events-*")
        for moment, name, slots in (line.split() for line in path.read_text().splitlines())
    )
    most_told = most_held([name, slots] for _, _, name, slots in told if name in LIMITS)
    problems = [
        f"{count} slots of {name} were held at a time, of {LIMITS[name]}"
        for name, count in most.items()
        if count > LIMITS[name]
    ]
    if paced > PACE_SLOTS + PACE_DECAY * seconds + 1:
        problems.append(f"{paced} went on in {seconds:.1f} seconds")
    problems += wrong_history(place, returned)
    if place.rows(LEFT) != [(0, 0)]:
        problems.append(f"slots and locks are left: {place.rows(LEFT)}")
    return Outcome(
        seconds,
        [len(each[0]) for each in said],
        waits,
        [each[2] for each in said],
        paced,
        len(returned),
        most,
        most_told,
        problems,
    )


def most_held(lines: Any) -> dict[str, int]:
    """The most that was held of each name; each line has names with what was taken or is given back."""
    held: Counter[str] = Counter()
    most: dict[str, int] = {}
    for words in lines:
        for name, slots in zip(words[::2], words[1::2], strict=True):
            held[name] += int(slots)
            most[name] = max(most.get(name, 0), held[name])
    assert not any(held.values()), held
    return most


def wrong_history(place: Place, returned: list[str]) -> list[str]:
    """What is wrong with the history, where each task that returned is to be there once, Completed."""
    states: dict[str, list[str]] = {}
    for run_id, position, name in place.rows(STATES):
        names = states.setdefault(str(UUID(bytes=bytes(run_id))), [])
        names.append(name if position == len(names) + 1 else f"{name} at {position}")
    (count,) = place.rows("SELECT count(*) FROM task_runs WHERE state_name = 'Completed'")[0]
    problems = []
    if len(set(returned)) != len(returned) or set(returned) != set(states) or count != len(returned):
        problems.append(f"{len(returned)} tasks returned, {len(states)} have states, {count} are Completed")
    odd = {tuple(names) for names in states.values()} - {("Pending", "Running", "Completed")}
    if odd:
        problems.append(f"states of tasks are {odd}")
    return problems


def main() -> int:
    form = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    form.add_argument("--seconds", type=float, default=30)
    form.add_argument("--processes", type=int, default=16)
    form.add_argument("--hosts", type=int, default=1, help="on PostgreSQL: how many hosts they are on")
    form.add_argument("--database", choices=DATABASES, action="append")
    form.add_argument("--page", type=Path, help="put the table into this page, in place of the one there")
    options = form.parse_args()
    rows = []
    problems: list[str] = []
    for kind in options.database or DATABASES:
        hosts = options.hosts if kind == "postgresql" else 1
        seen = hammer(kind, options.processes, options.seconds, hosts)
        print(kind, seen._replace(waits=[]), file=sys.stderr)
        problems += [f"{kind}: {problem}" for problem in seen.problems]
        if max(seen.acquired) > 2 * min(seen.acquired):
            problems.append(f"{kind}: unfair: {min(seen.acquired)} to {max(seen.acquired)} acquisitions")
        rows.append(
            [
                kind,
                f"{sum(seen.acquired) / seen.seconds:,.0f}",
                milliseconds(statistics.median(seen.waits)),
                milliseconds(percentile(seen.waits, 0.99)),
                f"{min(seen.acquired):,} to {max(seen.acquired):,}",
                f"{sum(seen.locked) / seen.seconds:,.0f}",
                f"{seen.tasks / seen.seconds:,.0f}",
            ]
        )
    head = [
        "database",
        "slots taken per second",
        "wait, median",
        "99 %",
        "by each process",
        "locks per s",
        "tasks per s",
    ]
    text = table(head, rows)
    print(f"{text}\n\n{chr(10).join(problems) or 'nothing lost, no limit exceeded'}")
    if options.page is not None and not problems:
        about = f"{options.processes} processes for {options.seconds:.0f} seconds; {circumstances()}"
        put(options.page, "writers", f"{about}\n\n{text}")
    return int(bool(problems))


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        from tests.acceptance import writers  # so that the tasks are those of a module

        writers.work(*sys.argv[2:])
    else:
        sys.exit(main())
