"""Changing in a database what is recorded about runs and flows from outside of any run."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring import clock
from mainspring.runs import RecordedFlow
from mainspring.store.encoding import to_json, well_formed
from mainspring.store.protocol import Amendment, Change
from mainspring.store.sql.filters import flow_id
from mainspring.store.sql.statements import Cursor
from mainspring.store.sql.writing import write_changes

__all__ = ["amend", "write_flow", "write_unowned"]

NOBODY = 0
"""The owner of runs that were made from outside: one that has ended, so nobody waits for it or finds it dead."""

_NOBODY = (
    "INSERT INTO owners (id, key, host, pid, started, ended) VALUES (?, 'nobody', '', 0, 0, 0)"
    " ON CONFLICT (id) DO NOTHING"
)
_FLOW = "INSERT INTO flows (id, name, created) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING"
_CREATED = (
    "SELECT min(created) FROM (SELECT created FROM flows WHERE id = ?"
    " UNION ALL SELECT created FROM flow_runs WHERE flow_name = ?) AS f"
)


def write_unowned(db: Cursor, changes: Sequence[Change]) -> list[Change]:
    """See `RunStore.write_unowned`."""
    now = clock.current().now()
    new = [change for change in changes if change.follows is None]
    known = [change for change in changes if change.follows is not None]
    refused: list[Change] = []
    if new:
        db.execute(_NOBODY, (NOBODY,))
        refused += write_changes(db, new, NOBODY, now, tidy=True, careful=True)
    return refused + (write_changes(db, known, None, now, tidy=True) if known else [])


def amend(db: Cursor, key: bytes, amendment: Amendment) -> bool:
    """See `RunStore.amend_run`."""
    common: dict[str, object] = {}
    if amendment.name is not None:
        common["name"] = well_formed(amendment.name)
        common["renamed"] = 1
    if amendment.tags is not None:
        common["tags"] = to_json(sorted(set(map(well_formed, amendment.tags))))
    of_flows = dict(common)
    if amendment.flow_version is not None:
        of_flows["flow_version"] = well_formed(amendment.flow_version)
    if amendment.parameters is not None:
        of_flows["parameters"] = to_json(amendment.parameters)
    return _update(db, "flow_runs", key, of_flows) or _update(db, "task_runs", key, common)


def _update(db: Cursor, table: str, key: bytes, columns: dict[str, object]) -> bool:
    if not columns:
        found = db.execute(f"SELECT 1 FROM {table} WHERE id = ?", (key,)).fetchone()  # noqa: S608 - a constant
        return found is not None
    assignments = ", ".join(f"{name} = ?" for name in columns)
    changed = db.execute(f"UPDATE {table} SET {assignments} WHERE id = ?", (*columns.values(), key))  # noqa: S608
    return changed.rowcount == 1


def write_flow(db: Cursor, name: str, now: int) -> RecordedFlow:
    """See `RunStore.write_flow`."""
    name = well_formed(name)
    key = flow_id(name)
    db.execute(_FLOW, (key.bytes, name, now))
    (created,) = db.execute(_CREATED, (key.bytes, name)).fetchone()
    return RecordedFlow(id=key, name=name, created=clock.to_datetime(created))
