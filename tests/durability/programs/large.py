"""A larger flow: deep nests, a map of fifty on two threads, keys that are locked, results that go into files."""

from __future__ import annotations

import hashlib

from mainspring import flow, task
from mainspring.cache_policies import INPUTS, NO_CACHE
from mainspring.context import TaskRunContext
from mainspring.store_locks import StoreLockManager
from mainspring.task_runners import ThreadPoolTaskRunner
from mainspring.transactions import transaction
from tests.durability.journal import note_step
from tests.durability.programs.hooks import BoomError, commit_step, name_block, undo_step

LARGE = 120_000
ELEMENTS = 50
ONCE = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=StoreLockManager())


def text_of(name: str) -> str:
    """More than is kept inside of a database, and different for each name."""
    return (hashlib.sha256(name.encode()).hexdigest() * (LARGE // 64 + 1))[:LARGE]


@task
def element(number: int) -> int:
    note_step(f"element-{number}")
    return number


@task(on_rollback=[undo_step], on_commit=[commit_step])
def grouped(name: str) -> str:
    note_step(name)
    return name


@task(cache_policy=NO_CACHE, on_rollback=[undo_step], on_commit=[commit_step])
def without_key(name: str) -> str:
    note_step(name)
    return name


@task(cache_policy=INPUTS, on_rollback=[undo_step], on_commit=[commit_step])
def cached(name: str) -> str:
    note_step(name)
    return name


@task(cache_policy=ONCE, on_rollback=[undo_step], on_commit=[commit_step])
def locked(name: str) -> str:
    note_step(name)
    return name


@task(on_rollback=[undo_step], on_commit=[commit_step])
def large(name: str) -> str:
    note_step(name)
    return text_of(name)


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
def part(name: str) -> list[str]:
    with transaction() as block:
        name_block(block, name)
        return [grouped(f"{name}-a"), large(f"{name}-b")[:8], cached(f"{name}-c")]


@flow(persist_result=True, task_runner=ThreadPoolTaskRunner(max_workers=2))
def main() -> list[str]:
    values = [cached("cached"), locked("locked"), large("large")[:8], shaky("shaky")]
    values.append(str(sum(element.map(range(ELEMENTS)).result())))
    with transaction() as order:
        name_block(order, "order")
        values += [grouped("order-a"), locked("order-b")]
        with transaction() as inner:
            name_block(inner, "order-inner")
            values += [large("order-c")[:8], without_key("order-d")]
            with transaction() as innermost:
                name_block(innermost, "order-innermost")
                values += [cached("order-e"), shaky("order-f")]
        values += grouped.map([f"order-map-{number}" for number in range(4)]).result()
    values += part("part")
    try:
        with transaction() as failing:
            name_block(failing, "failing")
            values += [grouped("failing-a"), large("failing-b")[:8]]
            with transaction() as inner:
                name_block(inner, "failing-inner")
                values += [locked("failing-c"), cached("failing-d")]
            values += without_key.map([f"failing-map-{number}" for number in range(3)]).result()
            broken()
    except BoomError:
        values.append("caught")
    return [*values, locked("locked"), cached("order-e"), grouped("last")]


_ORDER = [f"order-{letter}" for letter in "abcdef"]
_ORDER_MAP = [f"order-map-{number}" for number in range(4)]
_FAILING_MAP = [f"failing-map-{number}" for number in range(3)]
_PART = ["part-a", "part-b", "part-c"]

COMMIT_HOOKS = ["cached", "locked", "large", "shaky", *_ORDER, *_ORDER_MAP, *_PART, "last"]
KEPT = [*(f"element-{number}" for number in range(ELEMENTS)), *COMMIT_HOOKS]
COMMITTED_BLOCKS = ["order", "order-inner", "order-innermost", "part"]
ROLLED_BACK = [*(f"failing-{letter}" for letter in "abcd"), *_FAILING_MAP]
ROLLED_BACK_BLOCKS = ["failing", "failing-inner"]
ASKED_AGAIN = ["order-e"]
# What ran on threads is undone in the reverse order of its end, which is not known.
UNDO_ORDERS = [
    ["failing", "failing-inner", "failing-d", "failing-c", "failing-b", "failing-a"],
    [
        "order",
        "order-inner",
        "order-innermost",
        "order-f",
        "order-e",
        "order-d",
        "order-c",
        "order-b",
        "order-a",
    ],
    ["part", "part-c", "part-b", "part-a"],
]
VALUE = [
    *("cached", "locked", text_of("large")[:8], "shaky", str(sum(range(ELEMENTS)))),
    *("order-a", "order-b", text_of("order-c")[:8], "order-d", "order-e", "order-f", *_ORDER_MAP),
    *("part-a", text_of("part-b")[:8], "part-c"),
    *("failing-a", text_of("failing-b")[:8], "failing-c", "failing-d", *_FAILING_MAP),
    *("caught", "locked", "order-e", "last"),
]
