"""Settling a dead owner: what becomes of its runs, slots and locks."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring import clock
from mainspring._core.transitions import Move, enter, next_state
from mainspring.runs import FlowRun, TaskRun
from mainspring.store.protocol import Change
from mainspring.store.sql import queries
from mainspring.store.sql.journaling import Page, replay
from mainspring.store.sql.owners import DeadOwner, Identity, drop_holdings
from mainspring.store.sql.statements import Cursor
from mainspring.store.sql.writing import write_changes

__all__ = ["settle"]


def settle(
    db: Cursor, owner: DeadOwner, now: int, by: Identity, pages: Sequence[Page] = ()
) -> list[TaskRun | FlowRun]:
    """Crash what a dead owner left unfinished, and free what it held, unless another process has done so by now.

    What it has noted in the pages of its journal counts as written by it.
    """
    if not owner.end(db, now, by):
        return []
    if pages:
        replay(db, pages, owner.id, now)
    drop_holdings(db, owner.id)
    runs = queries.unfinished_runs(db, owner.id)
    at = clock.current().now()
    write_changes(db, [_crash(run, at, owner.message) for run in runs], None, now)
    return runs


def _crash(run: TaskRun | FlowRun, at: int, message: str) -> Change:
    state = next_state(run, Move.CRASH, at, message)
    run.claim(state)
    change = Change(run, [state], run.recorded)
    enter(run, state)
    run.recorded = state.key
    return change
