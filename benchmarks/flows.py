"""Flow runs: empty, async, inside of another, in the background, with parameters that are checked."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.cases import Case, Family, Turn, tracked, within
from mainspring import flow

TASKS = 10
ARGUMENTS: tuple[Any, ...] = ("1", ["a", "b"])


@flow
def empty() -> None:
    """A flow run without tasks."""


@flow
async def empty_async() -> None:
    """The same as an async flow."""


@flow
def checked(number: int, words: list[str]) -> None:
    """A flow whose parameters are converted and checked."""


def convert() -> None:
    """A call with what has to be converted."""
    checked(*ARGUMENTS)


@flow
def of_ten() -> None:
    """A flow of ten tasks."""
    for _ in range(TASKS):
        tracked()


def in_background(count: int) -> None:
    """Flow runs that are submitted, and waited for."""
    for future in [empty.submit() for _ in range(count)]:
        future.result()


def asynchronous(turn: Turn) -> float:
    """Seconds per call of an async flow."""

    async def calls() -> float:
        return await turn.per_await(empty_async)

    return asyncio.run(calls())


FAMILY = Family(
    (
        Case("empty flow run", lambda turn: turn.per_call(empty), 25, share=5),
        Case("empty async flow run", asynchronous, share=5),
        Case("empty subflow run", lambda turn: within(lambda: turn.per_call(empty)), share=5),
        Case("empty flow run in the background", lambda turn: turn.for_all(in_background), share=5),
        Case("flow run with checked parameters", lambda turn: turn.per_call(convert), share=5),
        Case(f"flow run of {TASKS} tasks", lambda turn: turn.per_call(of_ten), share=20),
    )
)
