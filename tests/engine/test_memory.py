"""A finished task leaves nothing in memory but what its caller holds."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from mainspring import flow, task
from mainspring.task_runners import ThreadPoolTaskRunner

FEW, MANY = 1_000, 3_000
MOST = 500
"""Bytes for each of the tasks in between; one whose record were kept would take more than a thousand."""


@task
def nothing(number: int) -> None: ...


def inline(count: int) -> None:
    for number in range(count):
        nothing(number)


def submitted(count: int) -> None:
    for future in [nothing.submit(number) for number in range(count)]:
        future.wait()


def mapped(count: int) -> None:
    nothing.map(range(count)).wait()


@pytest.fixture
def counted_bytes() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def held_after(run: Callable[[int], None], count: int, most: int) -> int:
    """The bytes that are held more than before when so many tasks are over, once it is no more than ``most``."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    run(count)
    deadline = time.monotonic() + 20
    while True:  # threads need a moment to let go of what they did last
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        if held <= most or time.monotonic() > deadline:
            return held
        time.sleep(0.05)


@pytest.mark.usefixtures("counted_bytes")
@pytest.mark.parametrize("run", [inline, submitted, mapped])
def test_memory_does_not_grow_with_finished_tasks(run: Callable[[int], None]) -> None:
    """When three times as many tasks have run, and no future of them is left, no more memory is held."""
    held: list[int] = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
    def whole() -> None:
        run(100)  # what is made once is there from then on
        few = held_after(run, FEW, MOST * FEW)
        held.append(held_after(run, MANY, max(few, 0) + MOST * (MANY - FEW)) - max(few, 0))

    whole()
    assert held[0] < MOST * (MANY - FEW)
