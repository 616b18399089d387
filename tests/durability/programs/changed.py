"""A flow that asks for other steps when it is gone on with: ``ASKED`` says for which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from mainspring import flow, task
from mainspring.transactions import transaction
from tests.durability.journal import note_step, stage_names
from tests.durability.programs.hooks import commit_block, commit_step, undo_block, undo_step


@task(on_rollback=[undo_step], on_commit=[commit_step])
def grouped(name: str) -> str:
    note_step(name)
    return name


@flow(persist_result=True)
def main() -> str:
    asked = os.environ.get("ASKED", "new")
    with transaction() as order:
        stage_names(order, "order")
        order.stage(None, on_rollback_hooks=[undo_block], on_commit_hooks=[commit_block])
        grouped(f"order-{asked}-a")
        grouped(f"order-{asked}-b")
    grouped("last")
    return "done"


VALUE = "done"
_OLD = ["order-old-a", "order-old-b"]
_NEW = ["order-new-a", "order-new-b"]
_FACTS = {"committed_blocks": ["order"], "undo_orders": [_OLD[::-1]]}


def plans(processes: int) -> Iterator[dict[str, Any]]:
    """What it may come to: what is not asked for again is committed if that had been decided, else undone."""
    if processes == 1:
        for block in (_OLD, _NEW):
            yield _FACTS | {"kept": [*block, "last"], "commit_hooks": [*block, "last"]}
        return
    kept = [*_OLD, *_NEW, "last"]
    yield _FACTS | {"kept": kept, "commit_hooks": kept}
    kept = [*_NEW, "last"]
    yield _FACTS | {"kept": kept, "commit_hooks": kept, "rolled_back": _OLD}
