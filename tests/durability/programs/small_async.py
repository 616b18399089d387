"""The twin of `small` in async code: tasks, blocks, hooks and subflow are awaited."""

from __future__ import annotations

import asyncio

from mainspring import flow, task
from mainspring.cache_policies import INPUTS
from mainspring.context import TaskRunContext
from mainspring.transactions import AsyncTransaction, Transaction, atransaction
from tests.durability.journal import note_hook, note_step, stage_names
from tests.durability.programs.hooks import BoomError
from tests.durability.programs.small import (
    ASKED_AGAIN,
    COMMIT_HOOKS,
    COMMITTED_BLOCKS,
    KEPT,
    ROLLED_BACK,
    ROLLED_BACK_BLOCKS,
    UNDO_ORDERS,
    VALUE,
)

__all__ = [
    "ASKED_AGAIN",
    "COMMITTED_BLOCKS",
    "COMMIT_HOOKS",
    "KEPT",
    "ROLLED_BACK",
    "ROLLED_BACK_BLOCKS",
    "UNDO_ORDERS",
    "VALUE",
    "main",
]


async def undo_step(txn: Transaction) -> None:
    await asyncio.sleep(0)
    note_hook("undo", txn)


async def commit_step(txn: Transaction) -> None:
    await asyncio.sleep(0)
    note_hook("commit", txn)


async def undo_block(txn: Transaction) -> None:
    await asyncio.sleep(0)
    note_hook("undo", txn)


async def commit_block(txn: Transaction) -> None:
    await asyncio.sleep(0)
    note_hook("commit", txn)


def name_block(txn: AsyncTransaction, name: str) -> None:
    stage_names(txn, name)
    txn.stage(None, on_rollback_hooks=[undo_block], on_commit_hooks=[commit_block])


@task
async def plain(name: str) -> str:
    note_step(name)
    return name


@task(on_rollback=[undo_step], on_commit=[commit_step])
async def grouped(name: str) -> str:
    note_step(name)
    return name


@task(cache_policy=INPUTS, on_rollback=[undo_step], on_commit=[commit_step])
async def cached(name: str) -> str:
    note_step(name)
    return name


@task(retries=1, on_rollback=[undo_step], on_commit=[commit_step])
async def shaky(name: str) -> str:
    context = TaskRunContext.get()
    assert context is not None
    if context.task_run.run_count == 1:
        raise ConnectionError(name)
    note_step(name)
    return name


@task
async def broken() -> None:
    raise BoomError


@flow
async def part(name: str) -> str:
    return await grouped(name)


@flow(persist_result=True)
async def main() -> list[str]:
    values = [await plain("first")]
    async with atransaction() as order:
        name_block(order, "order")
        values.append(await grouped("order-a"))
        async with atransaction() as inner:
            name_block(inner, "order-inner")
            values += [await cached("order-b"), await shaky("order-c")]
    values += [await cached("order-b"), await part("part")]
    try:
        async with atransaction() as failing:
            name_block(failing, "failing")
            values.append(await grouped("failing-a"))
            async with atransaction() as inner:
                name_block(inner, "failing-inner")
                values.append(await cached("failing-b"))
            await broken()
    except BoomError:
        values.append("caught")
    return [*values, await plain("last")]
