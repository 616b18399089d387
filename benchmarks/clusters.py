"""What tasks on Dask and Ray cost, beside bare ``client.submit`` and bare ``ray.remote`` on the same cluster.

Bare calls and tasks take turns, in the same process and with the same two workers; each figure is the median of the
rounds, as a multiple of the bare calls of the same round. Each round of ours is a flow run of its own, whose task
runner knows nothing of the tasks yet. In the end the rows in the database are counted.

Memory is measured in processes of its own: by how much the peak of the program is higher after many mapped tasks.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.command import main_alone, options_for
from benchmarks.many import FIRST, MEGABYTE, ROOT, completed_rows, peak_memory
from benchmarks.measuring import Figure, Meter, Unmeasurable
from mainspring import flow, task
from mainspring._clusters import pace
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings

MANY = 100_000
"""Tasks for which memory is measured."""

LARGE = 1 << 20
"""Bytes of a result that is handed on."""

WORKERS = 2
CLUSTERS = ("Dask", "Ray")


def plus_one(x: int) -> int:
    """A trivial function."""
    return x + 1


def block(number: int) -> bytes:
    """Makes a large result, another one each time."""
    return number.to_bytes(4, "big") * (LARGE // 4)


def size(content: bytes) -> int:
    """Takes one."""
    return len(content)


PLUS_ONE, BLOCK, SIZE = task(plus_one), task(block), task(size)


class Calls(NamedTuple):
    """The ways to call functions elsewhere: bare, or as tasks.

    Attributes:
        submit: Submits a call of one of the functions, and gives a future of it.
        collect: Gives what futures come to, all at once as far as that is possible.
        map: Calls `plus_one` with each of these, and gives the results.
    """

    submit: Callable[[Callable[..., Any], Any], Any]
    collect: Callable[[list[Any]], list[Any]]
    map: Callable[[range], list[Any]]


def submit_all(calls: Calls, count: int) -> None:
    """All are submitted before the first is collected."""
    results = calls.collect([calls.submit(plus_one, number) for number in range(count)])
    assert results == list(range(1, count + 1))


def one_by_one(calls: Calls, count: int) -> None:
    """Each is collected before the next one is submitted."""
    for number in range(count):
        assert calls.collect([calls.submit(plus_one, number)]) == [number + 1]


def map_all(calls: Calls, count: int) -> None:
    """A map over numbers."""
    assert calls.map(range(count)) == list(range(1, count + 1))


def chain(calls: Calls, count: int) -> None:
    """Each gets the future of the one before."""
    future: Any = 0
    for _ in range(count):
        future = calls.submit(plus_one, future)
    assert calls.collect([future]) == [count]


def hand_on(calls: Calls, count: int) -> None:
    """Large results that others get."""
    sizes = calls.collect([calls.submit(size, calls.submit(block, number)) for number in range(count)])
    assert sizes == [LARGE] * count


class Way(NamedTuple):
    """What is measured: how, how often, how many rows that gives for each time, and what it may cost."""

    name: str
    work: Callable[[Calls, int], None]
    tasks: int
    rows: int = 1
    budget: float | None = None
    alone: bool = False


MAP = "map of 10,000"
PATHS = (
    Way("submit and collect", submit_all, 2_000, budget=1.3),
    Way("submit and collect, one in each parcel", submit_all, 2_000, budget=1.3, alone=True),
    Way("round trip", one_by_one, 100),
    Way(MAP, map_all, 10_000, budget=0.5),
    Way("chain of 200", chain, 200),
    Way("1 MB handed on", hand_on, 20, rows=2),
)


class Measured(NamedTuple):
    """What the rounds of one path took, in seconds per task."""

    name: str
    ours: list[float]
    bare: list[float]
    budget: float | None


# Clusters

Setup = Callable[[ExitStack], "tuple[Calls, Callable[[], Any]]"]


def on_dask(stack: ExitStack) -> tuple[Calls, Callable[[], Any]]:
    """Bare calls on a cluster of two worker processes, and what makes task runners there."""
    import distributed

    from mainspring.integrations.dask import DaskTaskRunner

    open_it: Any = distributed.LocalCluster
    cluster = stack.enter_context(open_it(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None))
    make_client: Any = distributed.Client
    client = stack.enter_context(make_client(cluster, set_as_default=False))
    calls = Calls(
        partial(client.submit, pure=False),
        client.gather,
        lambda numbers: client.gather(client.map(plus_one, numbers, pure=False)),
    )
    return calls, lambda: DaskTaskRunner(cluster)


def on_ray(stack: ExitStack) -> tuple[Calls, Callable[[], Any]]:
    """The same on Ray."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    from mainspring.integrations.ray import RayTaskRunner

    start: Any = ray.init
    start(num_cpus=WORKERS, include_dashboard=False, logging_level=logging.ERROR)
    stack.callback(ray.shutdown)
    make_remote: Any = ray.remote
    remote = {function: make_remote(function) for function in (plus_one, block, size)}
    calls = Calls(
        lambda function, argument: remote[function].remote(argument),
        ray.get,
        lambda numbers: ray.get([remote[plus_one].remote(number) for number in numbers]),
    )
    return calls, RayTaskRunner


SETUPS: dict[str, Setup] = dict(zip(CLUSTERS, (on_dask, on_ray), strict=True))

AS_TASKS: dict[Any, Any] = {plus_one: PLUS_ONE, block: BLOCK, size: SIZE}
OURS = Calls(
    lambda function, argument: AS_TASKS[function].submit(argument),
    lambda futures: [future.result() for future in futures],
    lambda numbers: PLUS_ONE.map(numbers).result(),
)


@flow
def timed(work: Callable[[Calls, int], None], count: int) -> float:
    """Seconds of tasks, without what the flow and its runner take to begin and to end."""
    return seconds(work, OURS, count)


def seconds(work: Callable[[Calls, int], None], calls: Calls, count: int) -> float:
    """Seconds that work takes."""
    start = time.perf_counter()
    work(calls, count)
    return time.perf_counter() - start


@contextmanager
def one_in_each_parcel() -> Iterator[None]:
    """Inside the block no task is known to be short, so no two go to the cluster together."""
    known_after, pace.KNOWN_AFTER = pace.KNOWN_AFTER, sys.maxsize
    try:
        yield
    finally:
        pace.KNOWN_AFTER = known_after


def measure_here(cluster: str, meter: Meter) -> list[Measured]:
    """Measure all paths on one cluster in this process."""
    logging.getLogger("mainspring").addHandler(logging.NullHandler())
    is_quick = meter.is_quick
    found, expected = [], 0
    with ExitStack() as stack:
        bare, make_runner = SETUPS[cluster](stack)
        for name, work, full, rows, budget, is_alone in PATHS:
            count = min(full, meter.calls) if is_quick else full
            ours_took, bare_took = [], []
            for number in range(-1, meter.rounds):  # the first one is for what is new
                with one_in_each_parcel() if is_alone else ExitStack():
                    mine = timed.with_options(task_runner=make_runner())(work, count)
                theirs = seconds(work, bare, count)
                expected += rows * count
                if number >= 0:
                    ours_took.append(mine / count)
                    bare_took.append(theirs / count)
            found.append(Measured(name, ours_took, bare_took, budget))
    check_rows(expected)
    return found


def check_rows(expected: int) -> None:
    """Make sure that nothing was measured that is not recorded."""
    close_recorders()
    if (found := completed_rows()) != expected:
        raise SystemExit(f"{found} of {expected} task runs are on disk as completed")


def memory_here(cluster: str, count: int) -> tuple[float, int]:
    """Seconds per task of many mapped ones, and by how many bytes the peak memory of this process grows after some."""
    logging.getLogger("mainspring").addHandler(logging.NullHandler())
    with ExitStack() as stack:
        _, make_runner = SETUPS[cluster](stack)
        timed.with_options(task_runner=make_runner())(map_all, FIRST)
        peak = peak_memory()
        taken = timed.with_options(task_runner=make_runner())(map_all, count)
        growth = peak_memory() - peak
    check_rows(FIRST + count)
    return taken / count, growth


def elsewhere(*arguments: object) -> Any:
    """What another process with this program finds out.

    Raises:
        Unmeasurable: It fails.
    """
    command = [sys.executable, "-m", "benchmarks.clusters", "--one", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise Unmeasurable((done.stderr.strip().splitlines() or ["It has told nothing."])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def measure(clusters: tuple[str, ...], meter: Meter, home: Path) -> list[Figure]:
    """All figures, those of each cluster in processes of its own."""
    figures: list[Figure] = []
    for cluster in clusters:
        try:
            figures += measure_one(cluster, meter, home)
        except Unmeasurable as problem:
            figures.append(Figure(cluster, None, 1.0, problem=str(problem)))
    return figures


def measure_one(cluster: str, meter: Meter, home: Path) -> list[Figure]:
    """The figures of one cluster."""
    figures = []
    for name, ours, bare, budget in elsewhere("time", cluster, meter.rounds, meter.calls, home / cluster):
        ratios = sorted(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
        unit = median(bare)
        spread = ratios[0], ratios[-1]
        figures.append(Figure(f"{cluster}: {name}", median(ratios) * unit, unit, budget, spread=spread))
        if name == MAP:
            unit_of_map = unit
    many = meter.calls if meter.is_quick else MANY
    taken, growth = elsewhere("memory", cluster, many, home / f"{cluster}-{many}")
    figures.append(Figure(f"{cluster}: map of {many:,}", taken, unit_of_map, growth=growth / MEGABYTE))
    return figures


def _one(kind: str, cluster: str, *arguments: str) -> None:
    *numbers, home = arguments
    with temporary_settings({"home": Path(home), "durability": "process"}):
        if kind == "time":
            rounds, calls = map(int, numbers)
            found: Any = [list(each) for each in measure_here(cluster, Meter(rounds, calls))]
        else:
            found = memory_here(cluster, int(numbers[0]))
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        parser = options_for(__doc__)
        parser.add_argument("--cluster", choices=CLUSTERS, help="measure one of them alone")
        options = parser.parse_args()
        clusters = (options.cluster,) if options.cluster else CLUSTERS
        main_alone(partial(measure, clusters), "clusters", options)
