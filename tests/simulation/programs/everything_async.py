"""The same for asyncio: tasks side by side, a timeout, a limit, a transaction, a subflow and a generator."""

from __future__ import annotations

import asyncio
import random

from mainspring import Transaction, flow, task
from mainspring.client import open_client
from mainspring.concurrency.asyncio import concurrency
from mainspring.runtime import task_run
from mainspring.testing.traces import Trace
from mainspring.transactions import atransaction

trace = Trace()


@trace.hook
async def on_completion(task, run, state):
    await asyncio.sleep(0.01)


@trace.hook
async def undo(txn: Transaction) -> None:
    await asyncio.sleep(0.01)


@task(retries=5, retry_delay_seconds=5, timeout_seconds=2)
@trace.function
async def slow(number: int) -> int:
    """Is too slow now and then, but not each time."""
    is_slow = random.random() < 0.15 and task_run.run_count < 3
    await asyncio.sleep(10 if is_slow else random.random())
    return number


@task(persist_result=True, on_completion=[on_completion])
@trace.function
async def book(number: int) -> int:
    async with concurrency("connection", occupy=1):
        await asyncio.sleep(0.2)
    return number


@task
@trace.function
async def rows(count: int):
    for number in range(count):
        await asyncio.sleep(0.01)
        yield number


book.on_rollback(undo)


@flow(persist_result=True)
@trace.function
async def part(count: int) -> int:
    return sum(await asyncio.gather(*(slow(number) for number in range(count))))


@flow(persist_result=True, on_completion=[on_completion], task_runner="threads")
@trace.function
async def main() -> int:
    with open_client() as client:
        client.create_or_update_concurrency_limit("connection", 1)
    async with atransaction("outer"):
        total = await book(1)
        async with atransaction("inner"):
            total += await book(2)
    total += sum(await asyncio.gather(book(3), book(4), part(3)))
    futures = [slow.submit(number) for number in range(3)]
    async for number in rows(3):
        total += number
    return total + sum([await future for future in futures])
