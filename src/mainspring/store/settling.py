"""Settling a dead owner: what becomes of its runs, slots and locks, in one transaction."""

from __future__ import annotations

import sqlite3

from mainspring import clock
from mainspring._core.transitions import Move, enter, next_state
from mainspring.runs import FlowRun, TaskRun
from mainspring.store import locks, queries, slots
from mainspring.store.owners import DeadOwner, Identity
from mainspring.store.protocol import Change
from mainspring.store.writing import write_changes

__all__ = ["settle"]


def settle(db: sqlite3.Connection, owner: DeadOwner, now: int, by: Identity) -> list[TaskRun | FlowRun]:
    """Crash what a dead owner left unfinished, and free what it held, unless another process has done so by now."""
    db.execute("BEGIN IMMEDIATE")
    try:
        runs: list[TaskRun | FlowRun] = []
        if owner.end(db, now, by):
            slots.drop_slots_of_owner(db, owner.id)
            locks.drop_locks_of_owner(db, owner.id)
            runs = queries.unfinished_runs(db, owner.id)
            at = clock.current().now()
            changes = [_crash(run, at, owner.message) for run in runs]
            write_changes(db.cursor(), changes, None)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return runs


def _crash(run: TaskRun | FlowRun, at: int, message: str) -> Change:
    state = next_state(run, Move.CRASH, at, message)
    run.claim(state)
    change = Change(run, [state], run.recorded)
    enter(run, state)
    run.recorded = state.key
    return change
