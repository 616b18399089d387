"""The paths whose work is counted. A path calls what it is given with work that can be repeated, once it is inside.

Most are counted until a call has returned. What is left to be done later is counted by those that close the recorder.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

from mainspring import flow, task
from mainspring.cache_policies import INPUTS, NO_CACHE, TASK_SOURCE
from mainspring.recording import close_recorders
from mainspring.task_runners import ThreadPoolTaskRunner

__all__ = ["PATHS", "Measure"]


class Measure(Protocol):
    """Counts work, which does something as often as it is told; or only what doing it more often adds to that."""

    def __call__(self, work: Callable[[int], Any], *, only_more: bool = False) -> None: ...


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


def watch(*_: object) -> None: ...


hooked = task(on_running=[watch], on_completion=[watch])(answer)


@task
def steps() -> Generator[int]:
    yield from range(3)


@flow
def empty() -> None: ...


@flow
async def empty_async() -> None: ...


def repeat(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()


@flow
def within(measure: Measure, call: Callable[[], object]) -> None:
    measure(lambda count: repeat(call, count))


@flow
def flow_of(call: Callable[[], object], count: int) -> None:
    repeat(call, count)


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


def async_flows(measure: Measure) -> None:
    async def repeat(count: int) -> None:
        for _ in range(count):
            await empty_async()

    with asyncio.Runner() as runner:
        measure(lambda count: runner.run(repeat(count)))


def until_closed(measure: Measure, call: Callable[[], object]) -> None:
    """All that is done for a call until the program ends, whatever thread does it."""

    def run(count: int) -> None:
        flow_of(call, count)
        close_recorders()

    measure(run, only_more=True)


PATHS: dict[str, Callable[[Measure], object]] = {
    "inline task": lambda measure: within(measure, lambda: plain(1)),
    "inline async task": lambda measure: within_async(measure, lambda: plain_async(1)),
    "submitted task": lambda measure: with_runner(measure, submit_and_collect),
    "mapped task": lambda measure: with_runner(measure, lambda count: plain.map(range(count)).result()),
    "mapped kept result": lambda measure: with_runner(measure, lambda count: kept.map(range(count)).result()),
    "kept result": lambda measure: within(measure, lambda: kept(1)),
    "cache hit": lambda measure: within(measure, lambda: cached(1)),
    "retried task": lambda measure: within(measure, retried),
    "task with hooks": lambda measure: within(measure, lambda: hooked(1)),
    "generator of three values": lambda measure: within(measure, lambda: list(steps())),
    "empty flow run": lambda measure: measure(empty_flows),
    "empty async flow run": async_flows,
    "empty subflow run": lambda measure: within(measure, empty),
    "inline task until closed": lambda measure: until_closed(measure, lambda: plain(1)),
    "kept result until closed": lambda measure: until_closed(measure, lambda: kept(1)),
}
