"""What many tasks in one flow run cost: time for each, and memory for all. With a plot of both.

Each figure is taken in a process of its own, which first runs 1,000 tasks: what is told of memory is by how much the
peak is higher after many more. In the end the process counts the rows that are on disk.
"""

from __future__ import annotations

import json
import logging
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import Figure, Meter
from mainspring import flow, task
from mainspring.recording import close_recorders
from mainspring.settings import get_current_settings, temporary_settings

ROOT = Path(__file__).parents[1]

FIRST = 1_000
"""Tasks that are run before anything is measured."""

MEGABYTE = 1 << 20
POINTS = 40
"""Points of a curve."""


@task
def nothing(number: int) -> None:
    """The task: all that is measured is what is around it."""


@flow
def mapped(count: int) -> None:
    """All futures in one list, which are kept until the last one is done."""
    nothing.map(range(count)).wait()


@flow
def streamed(count: int) -> None:
    """Results one by one, over an iterator."""
    for _ in nothing.map(iter(range(count))).results():
        pass


@flow
def submitted(count: int) -> None:
    """A future for each, submitted in a loop."""
    for future in [nothing.submit(number) for number in range(count)]:
        future.wait()


@flow
def inline(count: int) -> None:
    """Calls, one after the other."""
    for number in range(count):
        nothing(number)


WAYS: dict[str, tuple[Callable[[int], object], tuple[int, ...]]] = {
    "map": (mapped, (10_000, 100_000)),
    "map over an iterator, streamed": (streamed, (10_000, 100_000)),
    "submit": (submitted, (10_000, 100_000)),
    "inline": (inline, (10_000, 100_000, 1_000_000)),
}


class Measured(NamedTuple):
    """What one process has found out.

    Attributes:
        way: How the tasks were run.
        tasks: How many.
        seconds: Per task.
        unit: The yardstick in that process.
        growth: By how many bytes the peak memory grew.
        curve: While it ran: seconds from the beginning, and the bytes in memory.
    """

    way: str
    tasks: int
    seconds: float
    unit: float
    growth: int
    curve: list[tuple[float, int]]


def measure_here(way: str, count: int, meter: Meter) -> Measured:
    """Measure in this process, which has run no task so far."""
    logging.getLogger("mainspring").addHandler(logging.NullHandler())
    unit = meter.yardstick()
    run = WAYS[way][0]
    run(min(FIRST, count))
    peak, curve = peak_memory(), [(0.0, memory())]
    start = time.perf_counter()
    with sampling(curve, start):
        run(count)
    seconds = (time.perf_counter() - start) / count
    close_recorders()
    expected = count + min(FIRST, count)
    if (found := completed_rows()) != expected:
        raise SystemExit(f"{found} of {expected} task runs are on disk as completed")
    return Measured(way, count, seconds, unit, peak_memory() - peak, curve)


class sampling:  # noqa: N801 - reads as a block
    """Inside the block, notes the memory in use, ever less often, so that there are some dozens of points."""

    def __init__(self, curve: list[tuple[float, int]], start: float) -> None:
        import threading

        self._curve, self._start = curve, start
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._note()

    def _note(self) -> None:
        self._curve.append((time.perf_counter() - self._start, memory()))

    def _sample(self) -> None:
        pause = 0.02
        while not self._over.wait(pause):
            self._note()
            if len(self._curve) > 2 * POINTS:
                del self._curve[1::2]
                pause *= 2


def memory() -> int:
    """The bytes that this process has in memory now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux
        return peak_memory()
    return pages * resource.getpagesize()


def peak_memory() -> int:
    """The most bytes that this process has had in memory."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024


def completed_rows() -> int:
    """Task runs that are completed, as another program finds them in the database."""
    path = get_current_settings().run_store_url.removeprefix("sqlite:///")
    database = sqlite3.connect(path)
    try:
        ((count,),) = database.execute("SELECT count(*) FROM task_runs WHERE state_type = 'COMPLETED'")
    finally:
        database.close()
    return int(count)


def measure_elsewhere(way: str, count: int, meter: Meter, home: Path) -> Measured:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.many", way, str(count), str(meter.rounds), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{way} of {count} tasks could not be measured:\n{done.stderr}")
    return Measured(**json.loads(done.stdout))


def measure(meter: Meter, home: Path) -> list[Figure]:
    """All figures, each measured in a process of its own."""
    found = [
        measure_elsewhere(way, count, meter, home / f"{way}-{count}".replace(" ", "-"))
        for way, (_, counts) in WAYS.items()
        for count in ((meter.calls,) if meter.is_quick else counts)
    ]
    unit = min(each.unit for each in found)
    figures = [Figure("yardstick: thread pool submit", unit, unit)]
    for each in found:
        budget = 5 if each.way in ("map", "submit") else 4 if each.way == "inline" else None
        path = f"{each.way}, {each.tasks:,} tasks"
        growth, details = each.growth / MEGABYTE, each._asdict()
        figures.append(Figure(path, each.seconds, each.unit, budget, growth=growth, details=details))
    return figures


def plot(figures: Sequence[Figure], plt: Any, path: Path) -> None:
    """Draw how memory grows with the tasks that are done, and what a task costs, with the module that draws."""
    found = [Measured(**figure.details) for figure in figures if figure.details]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    colours = dict(zip(WAYS, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
    for way in WAYS:
        of_way = [each for each in found if each.way == way]
        longest = of_way[-1]
        total = longest.curve[-1][0]
        done = [FIRST + at / total * longest.tasks for at, _ in longest.curve]
        grown = [(used - longest.curve[0][1]) / MEGABYTE for _, used in longest.curve]
        left.plot(done, grown, color=colours[way], label=way)
        right.plot(
            [each.tasks for each in of_way],
            [each.seconds / each.unit for each in of_way],
            marker="o",
            color=colours[way],
        )
    left.set(
        xscale="log",
        xlabel="tasks",
        ylabel="megabytes more than after 1,000",
        ylim=(min(left.get_ylim()[0], 0), 65),
    )
    left.axhline(60, color="grey", linestyle=":", linewidth=1)
    right.set(xscale="log", xlabel="tasks", ylabel="time per task, in yardsticks", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(WAYS), frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def main(way: str, count: str, rounds: str, home: str) -> None:
    """Measure one way in this process and print what is found out."""
    with temporary_settings({"home": Path(home), "durability": "process"}):
        measured = measure_here(way, int(count), Meter(int(rounds), min(Meter().calls, int(count))))
    print(json.dumps(measured._asdict()))


if __name__ == "__main__":
    main(*sys.argv[1:])
