"""Pauses in the database, inside a transaction that the caller has begun, or read."""

from __future__ import annotations

import base64

from mainspring.store.pauses import Holder, PauseRecord, SuspensionRequest
from mainspring.store.sql.rows import Row, tidied
from mainspring.store.sql.statements import Cursor

__all__ = [
    "answer",
    "close",
    "drop_suspension",
    "holder",
    "open_pause",
    "open_pauses",
    "pause",
    "refuse",
    "request_suspension",
    "suspension",
]

_PICKLED = "pickled:"
_COLUMNS = 'flow_run_id, key, root_id, requested, expires, suspends, "schema", type, answered, input, problem, closed'
_OPEN = (
    'INSERT INTO pauses (flow_run_id, key, root_id, requested, expires, suspends, "schema", type)'
    " VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (flow_run_id, key) DO UPDATE SET root_id = excluded.root_id,"
    " requested = excluded.requested, expires = excluded.expires, suspends = excluded.suspends,"
    ' "schema" = excluded."schema", type = excluded.type, closed = NULL WHERE pauses.answered IS NULL'
)
_ONE = " WHERE flow_run_id = ? AND key = ?"
_ANSWER = (
    f"UPDATE pauses SET answered = ?, input = ?, problem = NULL{_ONE}"  # noqa: S608 - constants
    " AND answered IS NULL AND closed IS NULL"
)
_REFUSE = f"UPDATE pauses SET answered = NULL, input = NULL, problem = ?{_ONE}"  # noqa: S608
_CLOSE = f"UPDATE pauses SET closed = ?{_ONE} AND answered IS NULL"  # noqa: S608
_SELECT = f"SELECT {_COLUMNS} FROM pauses"  # noqa: S608
_SELECT_OPEN = (
    f"{_SELECT} WHERE (root_id = ? OR flow_run_id = ?) AND answered IS NULL AND closed IS NULL"
    " ORDER BY requested, flow_run_id, key"
)
_SUSPEND = (
    "INSERT INTO suspensions VALUES (?,?,?) ON CONFLICT (flow_run_id) DO UPDATE SET"
    " requested = excluded.requested, expires = excluded.expires"
)
_HOLDER = "SELECT r.owner_id, o.ended FROM flow_runs r LEFT JOIN owners o ON o.id = r.owner_id WHERE r.id = ?"


def open_pause(db: Cursor, owner: int | None, given: PauseRecord) -> PauseRecord:
    """See `PauseRows.open_pause`."""
    row = (
        given.flow_run_key,
        given.key,
        given.root_key,
        given.requested,
        given.expires,
        int(given.suspends),
        given.schema,
        given.type,
    )
    db.execute(_OPEN, tidied(row))
    found = db.execute(f"{_SELECT}{_ONE}", tidied((given.flow_run_key, given.key))).fetchone()
    return _record(found)


def answer(
    db: Cursor, owner: int | None, run_key: bytes, key: str, now: int, content: str | bytes | None
) -> bool:
    """See `PauseRows.answer_pause`."""
    return db.execute(_ANSWER, tidied((now, _as_text(content), run_key, key))).rowcount == 1


def refuse(db: Cursor, owner: int | None, run_key: bytes, key: str, problem: str) -> None:
    """See `PauseRows.refuse_answer`."""
    _ = db.execute(
        _REFUSE, tidied((problem, run_key, key))
    ).rowcount  # asked, so that this is never done twice


def close(db: Cursor, owner: int | None, run_key: bytes, key: str, now: int) -> bool:
    """See `PauseRows.close_pause`."""
    return db.execute(_CLOSE, tidied((now, run_key, key))).rowcount == 1


def pause(db: Cursor, run_key: bytes, key: str) -> PauseRecord | None:
    """See `PauseRows.read_pause`."""
    row = db.execute(f"{_SELECT}{_ONE}", tidied((run_key, key))).fetchone()
    return None if row is None else _record(row)


def open_pauses(db: Cursor, run_key: bytes) -> list[PauseRecord]:
    """See `PauseRows.read_open_pauses`."""
    return [_record(row) for row in db.execute(_SELECT_OPEN, (run_key, run_key)).fetchall()]


def request_suspension(db: Cursor, owner: int | None, request: SuspensionRequest) -> None:
    """See `PauseRows.request_suspension`."""
    row = request.flow_run_key, request.requested, request.expires
    db.execute(_SUSPEND, row)


def suspension(db: Cursor, run_key: bytes) -> SuspensionRequest | None:
    """See `PauseRows.read_suspension`."""
    row = db.execute("SELECT * FROM suspensions WHERE flow_run_id = ?", (run_key,)).fetchone()
    return None if row is None else SuspensionRequest(*row)


def drop_suspension(db: Cursor, owner: int | None, run_key: bytes) -> None:
    """See `PauseRows.drop_suspension`."""
    _ = db.execute("DELETE FROM suspensions WHERE flow_run_id = ?", (run_key,)).rowcount  # as above


def holder(db: Cursor, owner: int | None, run_key: bytes) -> Holder:
    """See `PauseRows.read_holder`; what has no owner is in memory."""
    row = db.execute(_HOLDER, (run_key,)).fetchone()
    if row is None:
        return "nobody"
    found, ended = row
    if found is None or found == owner:
        return "us"
    return "others" if ended is None else "nobody"


def _as_text(content: str | bytes | None) -> str | None:
    """The answer for a column of texts: JSON as it is, which never begins like what is pickled."""
    return _PICKLED + base64.b85encode(content).decode() if isinstance(content, bytes) else content


def _from_column(content: str | bytes | None) -> str | bytes | None:
    if isinstance(content, str) and content.startswith(_PICKLED):
        return base64.b85decode(content.removeprefix(_PICKLED))
    return content  # bytes: an earlier version has written it


def _record(row: Row) -> PauseRecord:
    run_key, key, root_key, requested, expires, suspends, schema, kind, *rest = row
    answered, content, problem, closed = rest
    return PauseRecord(
        flow_run_key=run_key,
        key=key,
        root_key=root_key,
        requested=requested,
        expires=expires,
        suspends=bool(suspends),
        schema=schema,
        type=kind,
        answered=answered,
        input=_from_column(content),
        problem=problem,
        closed=closed,
    )
