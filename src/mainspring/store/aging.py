"""What is old in a run store and may go: the contract, and the statements behind it, as functions of a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from mainspring.store.statements import Cursor

__all__ = [
    "AgingRows",
    "Ended",
    "OldResult",
    "delete_remains",
    "delete_results",
    "ended_runs",
    "files",
    "places_elsewhere",
    "results_without_runs",
    "unused_owners",
]


class Ended(msgspec.Struct, frozen=True):
    """Which runs are old: flow runs that are no subflows, and task runs outside of flows, that are over.

    Args:
        before: They ended before this time, in microseconds since the epoch.
        states: Types or names of their states, in any case; None for all.
        keep: Leave out the newest so many runs of each flow and of each task.
    """

    before: int
    states: Sequence[str] | None = None
    keep: int = 0


class OldResult(msgspec.Struct, frozen=True):
    """A result whose run is not there any more.

    Args:
        key: What it is kept under.
        created: When it was kept.
        content: The record as text; None if it is in a file.
        file: The path of that file.
    """

    key: str
    created: int
    content: str | None
    file: str | None


class AgingRows(Protocol):
    """The part of a run store that finds and deletes what is old. Methods raise `StoreError` as the others do."""

    def find_ended_runs(self, which: Ended) -> list[bytes]:
        """The keys of runs that are old, oldest first.

        Left out are those with a transaction that was never decided, or whose hooks were not all called. Those whose
        deletion was interrupted are among them.
        """
        ...

    def read_results_without_runs(self, before: int, after: str, limit: int) -> list[OldResult]:
        """Results that were kept before a time and whose run is gone, or which are of none.

        Parameters of runs are left out: they go with their runs.

        Args:
            before: The time.
            after: Only keys that come after this one, in the order of the answer.
            limit: At most so many.
        """
        ...

    def delete_old_results(self, results: Sequence[OldResult]) -> int:
        """Delete results unless they were replaced since, and return how many were deleted."""
        ...

    def read_files(self) -> set[str]:
        """The paths of all files that rows lead to, unused ones included."""
        ...

    def read_places_elsewhere(self) -> list[str]:
        """What states say about where their results are, for those which are not in the run store: JSON objects."""
        ...

    def delete_remains(self, before: int) -> None:
        """Delete what is of no run: processes that ended before a time, and log lines and events from before it."""
        ...


_OLD = (
    "(r.state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED') OR r.state_name = 'NotReady')"
    " AND coalesce(r.end_time, r.updated) < ?"
    " AND NOT EXISTS (SELECT 1 FROM staged AS s WHERE s.root_id = r.id)"
    " AND NOT EXISTS (SELECT 1 FROM settlements AS s WHERE s.root_id = r.id)"
)
_PLACES = (  # newest first within the flow or task
    "SELECT n.id FROM (SELECT id, row_number() OVER (PARTITION BY {1} ORDER BY id DESC) AS place FROM {0}"
    " WHERE {2} IS NULL) AS n WHERE n.place > ?"
)
_TABLES = (("flow_runs", "flow_name", "parent_task_run_id"), ("task_runs", "task_key", "flow_run_id"))
_HALF_DELETED = (
    "SELECT DISTINCT t.flow_run_id FROM task_runs AS t WHERE t.flow_run_id IS NOT NULL AND t.updated < ?"
    " AND NOT EXISTS (SELECT 1 FROM flow_runs AS f WHERE f.id = t.flow_run_id)"
)
_WITHOUT_RUNS = (
    "SELECT r.key, r.created, r.content, r.file FROM results AS r WHERE r.created < ? AND r.key > ?"
    " AND NOT r.key LIKE 'parameters/%'"
    " AND NOT EXISTS (SELECT 1 FROM task_runs AS t WHERE t.id = r.run_id)"
    " AND NOT EXISTS (SELECT 1 FROM flow_runs AS f WHERE f.id = r.run_id) ORDER BY r.key LIMIT ?"
)
_FILES = (
    "SELECT file FROM results WHERE file IS NOT NULL UNION SELECT file FROM staged WHERE file IS NOT NULL"
    " UNION SELECT file FROM unused_files"
)
_ELSEWHERE = (
    'SELECT data FROM states WHERE data IS NOT NULL AND NOT data LIKE \'{"storage_key":"history://%\''
)
_UNUSED_OWNERS = (
    "SELECT id FROM owners WHERE ended < ?"
    " AND id NOT IN (SELECT owner_id FROM flow_runs WHERE owner_id IS NOT NULL)"
    " AND id NOT IN (SELECT owner_id FROM task_runs WHERE owner_id IS NOT NULL)"
    " AND id NOT IN (SELECT owner_id FROM slots WHERE owner_id IS NOT NULL)"
    " AND id NOT IN (SELECT owner_id FROM locks WHERE owner_id IS NOT NULL)"
)
_DROP_EVENTS = "DELETE FROM events WHERE occurred < ? AND flow_run_id IS NULL AND task_run_id IS NULL"
_DROP_LINES = "DELETE FROM logs WHERE flow_run_id IS NULL AND task_run_id IS NULL AND timestamp < ?"


def ended_runs(db: Cursor, which: Ended) -> list[bytes]:
    """See `AgingRows.find_ended_runs`."""
    keys: list[bytes] = []
    for table, of, inside in _TABLES:
        query = f"SELECT r.id FROM {table} AS r WHERE r.{inside} IS NULL AND {_OLD}"  # noqa: S608 - constants
        values: list[int | str] = [which.before]
        if which.states is not None:
            marks = ", ".join("?" for _ in which.states) or "NULL"
            query += f" AND (lower(r.state_type) IN ({marks}) OR lower(r.state_name) IN ({marks}))"
            values += [state.lower() for state in which.states] * 2
        if which.keep:
            query += f" AND r.id IN ({_PLACES.format(table, of, inside)})"
            values.append(which.keep)
        keys += [key for (key,) in db.execute(query, values).fetchall()]
    if which.states is None:
        keys += [key for (key,) in db.execute(_HALF_DELETED, (which.before,)).fetchall()]
    return sorted(keys)


def results_without_runs(db: Cursor, before: int, after: str, limit: int) -> list[OldResult]:
    """See `AgingRows.read_results_without_runs`."""
    return [OldResult(*row) for row in db.execute(_WITHOUT_RUNS, (before, after, limit)).fetchall()]


def delete_results(db: Cursor, results: Sequence[OldResult]) -> int:
    """See `AgingRows.delete_old_results`."""
    query = "DELETE FROM results WHERE key = ? AND created = ?"
    return sum(db.execute(query, (result.key, result.created)).rowcount for result in results)


def files(db: Cursor) -> set[str]:
    """See `AgingRows.read_files`."""
    return {file for (file,) in db.execute(_FILES).fetchall()}


def places_elsewhere(db: Cursor) -> list[str]:
    """See `AgingRows.read_places_elsewhere`."""
    return [data for (data,) in db.execute(_ELSEWHERE).fetchall()]


def unused_owners(db: Cursor, before: int) -> list[int]:
    """The processes that ended before a time and that no row names. None will: they write nothing any more."""
    return [owner for (owner,) in db.execute(_UNUSED_OWNERS, (before,)).fetchall()]


def delete_remains(db: Cursor, before: int, owners: Sequence[int]) -> None:
    """See `AgingRows.delete_remains`; ``owners`` are the processes, found before, as that takes a look at all runs."""
    db.executemany("DELETE FROM owners WHERE id = ?", [(owner,) for owner in owners])
    db.execute(_DROP_LINES, (before,))
    db.execute(_DROP_EVENTS, (before,))
