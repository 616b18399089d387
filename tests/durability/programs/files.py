"""A flow whose results are too large for the database, or are kept in a folder of their own."""

from __future__ import annotations

import hashlib
import os

from mainspring import flow, task
from mainspring.cache_policies import INPUTS
from mainspring.transactions import transaction
from tests.durability.journal import note_step
from tests.durability.programs.hooks import BoomError, commit_step, name_block, undo_step

LARGE = 120_000


def text_of(name: str) -> str:
    """More than is kept inside of a database, and different for each name."""
    return (hashlib.sha256(name.encode()).hexdigest() * (LARGE // 64 + 1))[:LARGE]


@task(on_rollback=[undo_step], on_commit=[commit_step])
def large(name: str) -> str:
    note_step(name)
    return text_of(name)


@task(cache_policy=INPUTS, on_rollback=[undo_step], on_commit=[commit_step])
def elsewhere(name: str) -> str:
    note_step(name)
    return name


@task
def broken() -> None:
    raise BoomError


@flow(persist_result=True)
def main() -> list[str]:
    in_folder = elsewhere.with_options(result_storage=os.environ["MAINSPRING_HOME"] + "/elsewhere")
    values = [large("first")[:8], in_folder("second")]
    with transaction() as order:
        name_block(order, "order")
        values += [large("order-a")[:8], in_folder("order-b"), large("order-c")[:8]]
    try:
        with transaction() as failing:
            name_block(failing, "failing")
            values += [large("failing-a")[:8], in_folder("failing-b")]
            broken()
    except BoomError:
        values.append("caught")
    return [*values, in_folder("second"), large("last")[:8]]


COMMIT_HOOKS = ["first", "second", "order-a", "order-b", "order-c", "last"]
KEPT = COMMIT_HOOKS
COMMITTED_BLOCKS = ["order"]
ROLLED_BACK = ["failing-a", "failing-b"]
ROLLED_BACK_BLOCKS = ["failing"]
UNDO_ORDERS = [["failing", "failing-b", "failing-a"], ["order", "order-c", "order-b", "order-a"]]
VALUE = [
    *(text_of("first")[:8], "second"),
    *(text_of("order-a")[:8], "order-b", text_of("order-c")[:8]),
    *(text_of("failing-a")[:8], "failing-b", "caught", "second", text_of("last")[:8]),
]
FILES = {"home/elsewhere": 2}  # of what is kept, and none of what was rolled back
