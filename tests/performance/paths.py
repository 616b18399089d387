"""The paths whose work is counted. A path calls what it is given with work that can be repeated, once it is inside."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from mainspring import flow, task
from mainspring.cache_policies import INPUTS, NO_CACHE, TASK_SOURCE
from mainspring.task_runners import ThreadPoolTaskRunner

__all__ = ["PATHS", "Measure"]

Measure = Callable[[Callable[[int], Any]], Any]
"""Counts work, which does something as often as it is told."""

attempts = itertools.count()


def answer(x: int) -> dict[str, int]:
    return {"answer": x}


plain = task(answer)
kept = task(persist_result=True, cache_policy=NO_CACHE)(answer)
cached = task(persist_result=True, cache_policy=INPUTS + TASK_SOURCE)(answer)


@task
async def plain_async(x: int) -> dict[str, int]:
    return {"answer": x}


@task(retries=1)
def retried() -> None:
    if next(attempts) % 2 == 0:
        raise ConnectionError("once")


@flow
def empty() -> None: ...


@flow
def within(measure: Measure, call: Callable[[], object]) -> None:
    def repeat(count: int) -> None:
        for _ in range(count):
            call()

    measure(repeat)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
def with_runner(measure: Measure, work: Callable[[int], object]) -> None:
    """One thread: what several do for each other depends on which comes first."""
    measure(work)


@flow
def within_async(measure: Measure, call: Callable[[], Awaitable[object]]) -> None:
    async def repeat(count: int) -> None:
        for _ in range(count):
            await call()

    with asyncio.Runner() as runner:
        measure(lambda count: runner.run(repeat(count)))


def submit_and_collect(count: int) -> None:
    for future in [plain.submit(number) for number in range(count)]:
        future.result()


def empty_flows(count: int) -> None:
    for _ in range(count):
        empty()


PATHS: dict[str, Callable[[Measure], object]] = {
    "inline task": lambda measure: within(measure, lambda: plain(1)),
    "inline async task": lambda measure: within_async(measure, lambda: plain_async(1)),
    "submitted task": lambda measure: with_runner(measure, submit_and_collect),
    "mapped task": lambda measure: with_runner(measure, lambda count: plain.map(range(count)).result()),
    "kept result": lambda measure: within(measure, lambda: kept(1)),
    "cache hit": lambda measure: within(measure, lambda: cached(1)),
    "retried task": lambda measure: within(measure, retried),
    "empty flow run": lambda measure: measure(empty_flows),
}
