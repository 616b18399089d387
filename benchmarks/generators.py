"""Generators as tasks: a run of one value, and each value of a long run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

from benchmarks.cases import Case, Family, Turn, within
from mainspring import flow, task


@task
def values(count: int) -> Iterator[int]:
    """A generator task."""
    yield from range(count)


@task
async def values_async(count: int) -> AsyncIterator[int]:
    """An async generator task."""
    for number in range(count):
        yield number


def exhaust(count: int) -> None:
    """Take all values."""
    for _ in values(count):
        pass


async def exhaust_async(count: int) -> None:
    """Take all values."""
    async for _ in values_async(count):
        pass


@flow
async def run_async(turn: Turn) -> float:
    """Seconds per run of an async generator task that yields once."""
    return await turn.per_await(lambda: exhaust_async(1))


@flow
async def value_async(turn: Turn) -> float:
    """Seconds per value of one."""
    start = time.perf_counter()
    await exhaust_async(turn.calls)
    return (time.perf_counter() - start) / turn.calls


FAMILY = Family(
    (
        Case("generator task of one value", lambda turn: within(lambda: turn.per_call(lambda: exhaust(1)))),
        Case("value of a generator task", lambda turn: within(lambda: turn.for_all(exhaust))),
        Case("async generator task of one value", lambda turn: asyncio.run(run_async(turn))),
        Case("value of an async generator task", lambda turn: asyncio.run(value_async(turn))),
    )
)
