"""What is old in a database and may go: the statements behind `AgingRows`, as functions of a cursor."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.store.aging import Ended, OldResult
from mainspring.store.sql.statements import Cursor

__all__ = [
    "delete_remains",
    "delete_results",
    "ended_runs",
    "files",
    "places_elsewhere",
    "results_without_runs",
    "unused_owners",
]

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
