"""A flow run with hundreds of runs inside, of all kinds, that go on until somebody cancels it.

Run as ``python -m tests.acceptance.trees THREADS COROUTINES PROCESSES ISOLATED``, in an empty folder. Each task writes
the time to a file of its own, over and over; hooks write a line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from mainspring import flow, task
from mainspring.exceptions import CancelledRun
from mainspring.runtime import flow_run, task_run
from mainspring.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

PERIOD = 0.2
"""Seconds between two signs of life of a task."""


def append(name: str, line: str) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def live_on() -> None:
    """Give a sign of life."""
    append(f"beats/{task_run.id}", str(time.time_ns() // 1000))


def hook(_: object, run: Any, state: Any) -> None:
    append("hooks", f"{run.id} {state.name}")


@task(on_cancellation=[hook])
def thread_task(_: int) -> None:
    while True:
        live_on()
        time.sleep(PERIOD)


@task(on_cancellation=[hook])
async def coroutine_task() -> None:
    while True:
        live_on()
        await asyncio.sleep(PERIOD)


@task(on_cancellation=[hook])
def process_task(_: int) -> None:
    while True:
        live_on()
        time.sleep(PERIOD)


@task(isolation="process", on_cancellation=[hook])
def isolated_task(_: int) -> None:
    """Does not let itself be stopped."""
    while True:
        try:
            live_on()
            time.sleep(PERIOD)
        except BaseException:
            pass


@flow(on_cancellation=[hook])
async def coroutines(count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(coroutine_task())


@flow(task_runner=ProcessPoolTaskRunner(2), on_cancellation=[hook])
def processes(count: int) -> None:
    process_task.map(range(count)).wait()


@flow(task_runner=ThreadPoolTaskRunner(), on_cancellation=[hook])
def isolated(count: int) -> None:
    isolated_task.map(range(count)).wait()


@flow(task_runner=ThreadPoolTaskRunner(), on_cancellation=[hook])
def threads(count: int) -> None:
    thread_task.map(range(count)).wait()


@flow(on_cancellation=[hook])
def tree(thread_count: int, coroutine_count: int, process_count: int, isolated_count: int) -> None:
    print("begun", flow_run.id, flush=True)
    inside = [coroutines.submit(coroutine_count)]
    if process_count:
        inside.append(processes.submit(process_count))
    if isolated_count:
        inside.append(isolated.submit(isolated_count))
    threads(thread_count)
    for future in inside:
        future.wait()


def main() -> None:
    Path("beats").mkdir()
    try:
        tree(*map(int, sys.argv[1:]))
    except CancelledRun as error:
        print("cancelled", error, flush=True)
    print("still there", flush=True)


if __name__ == "__main__":
    from tests.acceptance import trees  # so that the tasks are those of a module that others can import

    trees.main()
