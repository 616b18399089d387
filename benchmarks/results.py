"""What it costs to keep results, to find them again and to go on with a run, in multiples of a thread pool's submit.

``make bench`` runs it with the other benchmarks of mainspring alone.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from mainspring import flow, get_client, resume_flow_run, task
from mainspring.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE, CachePolicy
from mainspring.context import get_run_context
from mainspring.filters import ALL
from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.locking.memory import MemoryLockManager
from mainspring.locking.protocol import LockManager
from mainspring.recording import close_recorders
from mainspring.settings import temporary_settings
from mainspring.store_locks import StoreLockManager
from mainspring.transactions import transaction
from measuring import Figure, Meter, answer, main

STEPS = 1_000  # of the flow that is resumed
IN_TRANSACTION = 10
LARGE = random.Random(0).randbytes(50_000)
FOUND = -1  # the argument whose result is there from the second call on

Measured = TypeVar("Measured")

fresh = itertools.count()  # arguments whose result is never there

kept = task(persist_result=True, cache_policy=NO_CACHE)(answer)
cached = task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)(answer)
step = task(answer)  # as a flow that keeps results wants it: its key contains the flow run


@task(persist_result=True, cache_policy=NO_CACHE)
async def kept_async(x: int) -> dict[str, int]:
    """`answer` as an async task."""
    return answer(x)


@task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)
async def cached_async(x: int) -> dict[str, int]:
    """`answer` as an async task that is answered from what was kept, from the second call on."""
    return answer(x)


@task(persist_result=True, cache_policy=NO_CACHE)
def kept_large() -> bytes:
    """A task with a result of 50 kB."""
    return LARGE


@task(persist_result=True, cache_policy=NO_CACHE)
def failing() -> None:
    """A task whose exception is kept."""
    raise ValueError("no")


@flow(persist_result=True)
def within(measure: Callable[[], Measured]) -> Measured:
    """What is measured in a flow run that keeps results."""
    return measure()


@flow(persist_result=True)
async def within_async(meter: Meter, call: Callable[[int], Awaitable[object]]) -> float:
    """Seconds per call of an async task, in such a flow run."""
    return await meter.per_await(lambda: call(FOUND))


@flow(persist_result=True)
def breaking(steps: int) -> None:
    """A flow that does its steps and fails at its end, each time."""
    for number in range(steps):
        step(number)
    raise ConnectionError("so near")


def in_transaction() -> None:
    """Ten results that are kept together."""
    with transaction():
        for number in range(IN_TRANSACTION):
            kept(number)


@task
def key(meter: Meter, policy: CachePolicy) -> float:
    """Seconds per cache key."""
    context = get_run_context()
    return meter.per_call(lambda: policy.compute_key(context, {"x": 42}, {}))


def resumed(meter: Meter, steps: int) -> float:
    """Seconds per step of a flow run that is gone on with after all of its steps."""

    def broken() -> UUID:
        found = breaking(steps, return_state=True).state_details.flow_run_id
        assert found is not None
        return found

    runs = [broken() for _ in range(meter.rounds)]
    waiting = iter(runs)
    seconds = meter.best(lambda: resume_flow_run(next(waiting), flow=breaking, return_state=True)) / steps
    found = get_client().read_task_runs(runs, states=["Cached"], limit=ALL)
    assert len(found) == steps * len(runs), "a resumed flow run does nothing twice"
    return seconds


def serializable(meter: Meter, locks: LockManager) -> tuple[float, float]:
    """Seconds per call of a task that locks its key: when it computes, and when it finds its result."""
    once = (INPUTS + TASK_SOURCE).configure(isolation_level="SERIALIZABLE", lock_manager=locks)
    alone = cached.with_options(cache_policy=once)
    return meter.per_call(lambda: alone(next(fresh))), meter.per_call(lambda: alone(FOUND))


def silence() -> None:
    """Let log lines of runs go nowhere but into the history: no terminal is measured."""
    logging.getLogger("mainspring").addHandler(logging.NullHandler())


def locked(meter: Meter, home: Path, unit: float) -> list[Figure]:
    """A key that only one run at a time computes, by what keeps the lock."""
    figures = []
    for kind, locks in (
        ("memory", MemoryLockManager()),
        ("folder", FileSystemLockManager(home / "locks")),
        ("run store", StoreLockManager()),
    ):
        miss, hit = serializable(meter, locks)
        figures += [
            Figure(f"SERIALIZABLE cache miss, locks in {kind}", miss, unit),
            Figure(f"SERIALIZABLE cache hit, locks in {kind}", hit, unit),
        ]
    return figures


def kept_and_found(meter: Meter, home: Path, unit: float) -> list[Figure]:
    """Everything that is measured within a flow run which keeps results."""
    few = meter._replace(calls=max(1, meter.calls // IN_TRANSACTION))
    paths: list[tuple[str, Callable[[], float], float | None]] = [
        ("kept result", lambda: meter.per_call(lambda: kept(FOUND)), 5),
        ("step of a flow that can be resumed", lambda: meter.per_call(lambda: step(next(fresh))), None),
        ("kept result of 50 kB", lambda: few.per_call(kept_large), None),
        ("kept exception", lambda: meter.per_call(lambda: failing(return_state=True)), None),
        (f"transaction of {IN_TRANSACTION} kept results", lambda: few.per_call(in_transaction), None),
        ("cache miss", lambda: meter.per_call(lambda: cached(next(fresh))), None),
        ("cache hit", lambda: meter.per_call(lambda: cached(FOUND)), 3),
        ("key alone, INPUTS", lambda: key(meter, INPUTS), None),
        ("key alone, INPUTS + TASK_SOURCE", lambda: key(meter, INPUTS + TASK_SOURCE), None),
        ("key alone, DEFAULT", lambda: key(meter, DEFAULT), None),
    ]
    figures = [Figure(path, within(measure), unit, budget) for path, measure, budget in paths]
    figures.append(Figure("kept result, async", asyncio.run(within_async(meter, kept_async)), unit, 5))
    figures.append(Figure("cache hit, async", asyncio.run(within_async(meter, cached_async)), unit, 3))
    return figures + within(lambda: locked(meter, home, unit))


def measure(meter: Meter, home: Path) -> list[Figure]:
    """All figures, each measured in this process and this run, at the durability `process` where no other is named."""
    silence()
    unit = meter.yardstick()
    figures = [Figure("yardstick: thread pool submit", unit, unit)]
    with temporary_settings({"home": home / "process", "durability": "process"}):
        figures += kept_and_found(meter, home, unit)
    with temporary_settings({"home": home / "disk", "durability": "disk"}):
        seconds = within(lambda: meter.per_call(lambda: kept(FOUND)))
        figures.append(Figure("kept result, disk", seconds, unit))
    with temporary_settings({"home": home / "resumed", "durability": "process"}):
        steps = min(STEPS, meter.calls)
        figures.append(Figure(f"resume of a flow of {steps} steps, per step", resumed(meter, steps), unit))
    close_recorders()
    return figures


if __name__ == "__main__":
    main(measure, __doc__, "results")
