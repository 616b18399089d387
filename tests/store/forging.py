"""Changing what a run store holds, to see that what cannot have happened is noticed."""

from __future__ import annotations

from typing import Any

from mainspring.recording.current import current_recorder
from mainspring.store.protocol import RunStore

__all__ = ["forge", "unfold"]

_TABLES = ("task_runs", "flow_runs")


def forge(*statements: str, store: RunStore | None = None) -> None:
    """Change what a store holds, whichever database it is in.

    Args:
        statements: What to do, each to at least one row. All states are in ``state_rows`` then.
        store: The store; None for that of the current settings.
    """
    if store is None:
        recorder = current_recorder()
        recorder.flush()
        store = recorder.store

    def work(db: Any) -> None:
        unfold(db)
        for statement in statements:
            assert db.execute(statement).rowcount, f"nothing is forged by {statement}"

    store._change(work)  # type: ignore[attr-defined]


def unfold(db: Any) -> None:
    """Give the states of all runs rows of their own, as later states have them: there each can be changed.

    Args:
        db: A connection or a cursor.
    """
    for table in _TABLES:
        db.execute(
            "INSERT INTO state_rows SELECT * FROM states WHERE run_id IN"
            f" (SELECT id FROM {table} WHERE pending_id IS NOT NULL)"
        )
        db.execute(
            f"UPDATE {table} SET pending_id = NULL, running_id = NULL, message = NULL, details = NULL, data = NULL"
            " WHERE pending_id IS NOT NULL"
        )
