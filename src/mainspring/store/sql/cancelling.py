"""Requests to cancel runs in a database: the statements behind `CancellationRows`, as functions of a cursor."""

from __future__ import annotations

from mainspring.store.cancellations import CancellationRequest
from mainspring.store.sql.statements import Cursor

__all__ = ["drop", "read", "request"]

# Without an owner, as in memory, there is but one process.
_IS_THERE = (
    "SELECT EXISTS (SELECT 1 FROM {0} AS r LEFT JOIN owners AS o ON o.id = r.owner_id"
    " WHERE r.id = ? AND r.state_type NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
    " AND (r.owner_id IS NULL OR o.ended IS NULL))"
)
_FORGET = (
    "DELETE FROM cancellations WHERE NOT EXISTS (SELECT 1 FROM flow_runs AS f WHERE f.id = cancellations.run_id"
    " AND f.state_type NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED'))"
    " AND NOT EXISTS (SELECT 1 FROM task_runs AS t WHERE t.id = cancellations.run_id"
    " AND t.state_type NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED'))"
)
_ASK = "INSERT INTO cancellations VALUES (?,?,?) ON CONFLICT (run_id) DO NOTHING"
_OURS = (
    "SELECT c.run_id, c.reason FROM cancellations AS c WHERE EXISTS (SELECT 1 FROM flow_runs AS f WHERE f.id = c.run_id"
    " AND f.owner_id = ?) OR EXISTS (SELECT 1 FROM task_runs AS t WHERE t.id = c.run_id AND t.owner_id = ?)"
    " ORDER BY c.requested"
)
_ALL = "SELECT run_id, reason FROM cancellations ORDER BY requested"


def request(db: Cursor, owner: int | None, asked: CancellationRequest, now: int) -> bool:
    """See `CancellationRows.request_cancellation`."""
    db.execute(_FORGET)
    for table in ("flow_runs", "task_runs"):
        (is_there,) = db.execute(_IS_THERE.format(table), (asked.run_key,)).fetchone()
        if is_there:
            db.execute(_ASK, (asked.run_key, now, asked.reason))
            return True
    return False


def read(db: Cursor, owner: int | None) -> list[CancellationRequest]:
    """See `CancellationRows.read_cancellations`."""
    found = db.execute(_ALL) if owner is None else db.execute(_OURS, (owner, owner))
    return [CancellationRequest(*row) for row in found.fetchall()]


def drop(db: Cursor, owner: int | None, run_key: bytes) -> None:
    """See `CancellationRows.drop_cancellation`."""
    # asked, so that this is never done twice
    _ = db.execute("DELETE FROM cancellations WHERE run_id = ?", (run_key,)).rowcount
