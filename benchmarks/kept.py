"""Tasks whose results stay: as rows of the history, or as files if they are large."""

from __future__ import annotations

import asyncio
import random

from benchmarks.cases import Case, Family, Turn, fresh, step, within_keeping
from benchmarks.logs import silence
from benchmarks.measuring import answer
from mainspring import flow, task
from mainspring.cache_policies import NO_CACHE
from mainspring.transactions import transaction

IN_TRANSACTION = 10
LARGE = random.Random(0).randbytes(50_000)

kept = task(persist_result=True, cache_policy=NO_CACHE)(answer)


@task(persist_result=True, cache_policy=NO_CACHE)
async def kept_async(x: int) -> dict[str, int]:
    """`answer` as an async task."""
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
async def calls_async(turn: Turn) -> float:
    """Seconds per call of an async task."""
    return await turn.per_await(lambda: kept_async(1))


def in_transaction() -> None:
    """Results that are kept together."""
    with transaction():
        for number in range(IN_TRANSACTION):
            kept(number)


def small(turn: Turn) -> float:
    """Seconds per task with a small result."""
    return within_keeping(lambda: turn.per_call(lambda: kept(1)))


def steps(turn: Turn) -> float:
    """Seconds per step of a flow run that can be resumed."""
    return within_keeping(lambda: turn.per_call(lambda: step(next(fresh))))


FAMILY = Family(
    (
        Case("kept result", small, 5),
        Case("kept result, async", lambda turn: asyncio.run(calls_async(turn)), 5),
        Case("kept result, disk", small, None, "disk", share=2),
        Case("step of a flow that can be resumed", steps),
        Case(
            "kept result of 50 kB", lambda turn: within_keeping(lambda: turn.per_call(kept_large)), share=10
        ),
        Case(
            "kept exception",
            lambda turn: within_keeping(lambda: turn.per_call(lambda: failing(return_state=True))),
            share=4,
        ),
        Case(
            f"transaction of {IN_TRANSACTION} kept results",
            lambda turn: within_keeping(lambda: turn.per_call(in_transaction)),
            share=10,
        ),
    ),
    around=silence,
)
