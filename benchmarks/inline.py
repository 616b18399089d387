"""A task that is called and waited for, at each level of durability, and what may come with it."""

from __future__ import annotations

import asyncio

from benchmarks.cases import Case, Family, Turn, tracked, within
from mainspring import flow, task


@task
async def tracked_async() -> None:
    """A trivial async task."""


@task(tags=["nightly", "etl"])
def tagged() -> None:
    """A task whose tags have no limits."""


@task(timeout_seconds=60)
def limited() -> None:
    """A task with a time limit that it keeps."""


outcomes = iter([True, False] * 10_000_000)


@task(retries=1)
def retried() -> None:
    """A task whose first attempt fails, each time."""
    if next(outcomes):
        raise ConnectionError("once")


@flow
async def within_async(turn: Turn) -> float:
    """Seconds per recorded call of an async task."""
    return await turn.per_await(tracked_async)


def inline(turn: Turn) -> float:
    """Seconds per recorded call of a sync task."""
    return within(lambda: turn.per_call(tracked))


def inline_async(turn: Turn) -> float:
    """Seconds per recorded call of an async task."""
    return asyncio.run(within_async(turn))


FAMILY = Family(
    (
        Case("inline task, process", inline, 4),
        Case("inline async task, process", inline_async, 4),
        Case("inline task, relaxed", inline, 2.5, "relaxed"),
        Case("inline async task, relaxed", inline_async, 2.5, "relaxed"),
        Case("inline task, journal", inline, None, "journal"),
        Case("inline async task, journal", inline_async, None, "journal"),
        Case("inline task, disk", inline, None, "disk"),
        Case("inline async task, disk", inline_async, None, "disk"),
        Case("inline task with tags", lambda turn: within(lambda: turn.per_call(tagged))),
        Case("inline task with a time limit", lambda turn: within(lambda: turn.per_call(limited))),
        Case("inline task that is retried once", lambda turn: within(lambda: turn.per_call(retried))),
    )
)
