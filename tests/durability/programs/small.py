"""A small flow with everything that can be left half done: a block that is committed, and one that is rolled back."""

from __future__ import annotations

from mainspring import flow, task
from mainspring.cache_policies import INPUTS
from mainspring.context import TaskRunContext
from mainspring.transactions import transaction
from tests.durability.journal import note_step
from tests.durability.programs.hooks import BoomError, commit_step, name_block, undo_step


@task
def plain(name: str) -> str:
    note_step(name)
    return name


@task(on_rollback=[undo_step], on_commit=[commit_step])
def grouped(name: str) -> str:
    note_step(name)
    return name


@task(cache_policy=INPUTS, on_rollback=[undo_step], on_commit=[commit_step])
def cached(name: str) -> str:
    note_step(name)
    return name


@task(retries=1, on_rollback=[undo_step], on_commit=[commit_step])
def shaky(name: str) -> str:
    context = TaskRunContext.get()
    assert context is not None
    if context.task_run.run_count == 1:
        raise ConnectionError(name)
    note_step(name)
    return name


@task
def broken() -> None:
    raise BoomError


@flow
def part(name: str) -> str:
    return grouped(name)


@flow(persist_result=True)
def main() -> list[str]:
    values = [plain("first")]
    with transaction() as order:
        name_block(order, "order")
        values.append(grouped("order-a"))
        with transaction() as inner:
            name_block(inner, "order-inner")
            values += [cached("order-b"), shaky("order-c")]
    values += [cached("order-b"), part("part")]
    try:
        with transaction() as failing:
            name_block(failing, "failing")
            values.append(grouped("failing-a"))
            with transaction() as inner:
                name_block(inner, "failing-inner")
                values.append(cached("failing-b"))
            broken()
    except BoomError:
        values.append("caught")
    return [*values, plain("last")]


KEPT = ["first", "order-a", "order-b", "order-c", "part", "last"]
COMMITTED_BLOCKS = ["order", "order-inner"]
COMMIT_HOOKS = ["order-a", "order-b", "order-c", "part"]
ROLLED_BACK = ["failing-a", "failing-b"]
ROLLED_BACK_BLOCKS = ["failing", "failing-inner"]
ASKED_AGAIN = ["order-b"]
UNDO_ORDERS = [
    ["failing", "failing-inner", "failing-b", "failing-a"],
    ["order", "order-inner", "order-c", "order-b", "order-a"],
    ["part"],
]
VALUE = [
    "first",
    "order-a",
    "order-b",
    "order-c",
    "order-b",
    "part",
    "failing-a",
    "failing-b",
    "caught",
    "last",
]
