"""A flow without blocks of transactions: plain, cached and retried tasks, a subflow, and results."""

from __future__ import annotations

from mainspring import flow, task
from mainspring.cache_policies import INPUTS, NO_CACHE
from mainspring.context import TaskRunContext
from tests.durability.journal import note_step


@task
def plain(name: str) -> str:
    note_step(name)
    return name


@task(cache_policy=NO_CACHE)
def without_key(name: str) -> str:
    note_step(name)
    return name


@task(cache_policy=INPUTS)
def cached(name: str) -> str:
    note_step(name)
    return name


@task(retries=1)
def shaky(name: str) -> str:
    context = TaskRunContext.get()
    assert context is not None
    if context.task_run.run_count == 1:
        raise ConnectionError(name)
    note_step(name)
    return name


@flow
def part(name: str) -> list[str]:
    return [plain(f"{name}-plain"), without_key(f"{name}-without-key")]


@flow(persist_result=True)
def main() -> list[str]:
    values = [plain("first"), cached("cached"), cached("cached"), without_key("third")]
    values += part("part")
    values += [shaky("shaky"), plain("last")]
    return values


KEPT = ["first", "cached", "third", "part-plain", "part-without-key", "shaky", "last"]
VALUE = ["first", "cached", "cached", "third", "part-plain", "part-without-key", "shaky", "last"]
