"""Requests to cancel runs in a database: the contract, and the statements behind it, as functions of a cursor."""

from __future__ import annotations

from typing import Protocol

import msgspec

from mainspring.store.statements import Cursor

__all__ = ["CancellationRequest", "CancellationRows", "drop", "read", "request"]


class CancellationRequest(msgspec.Struct, frozen=True):
    """Somebody wants a run to be cancelled.

    Args:
        run_key: The run.
        reason: Why, for people.
    """

    run_key: bytes
    reason: str


class CancellationRows(Protocol):
    """The part of a run store that keeps requests to cancel runs. Methods raise `StoreError` as the others do."""

    def request_cancellation(self, request: CancellationRequest, now: int) -> bool:
        """Ask the process in which an unfinished run goes on to cancel it; the first request counts.

        Requests for runs that are over meanwhile are forgotten.

        Returns:
            False, with nothing changed, if the run goes on in no process that is known to live, or is over.
        """
        ...

    def read_cancellations(self) -> list[CancellationRequest]:
        """What is asked of this process."""
        ...

    def drop_cancellation(self, run_key: bytes) -> None:
        """Forget a request."""
        ...


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
