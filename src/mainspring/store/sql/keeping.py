"""Results and transactions in the database, inside a transaction that the caller has begun."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mainspring.store.results import (
    Attachment,
    CrashHooks,
    KeptResult,
    Leftovers,
    Settlement,
    StagedStep,
    Withdrawal,
)
from mainspring.store.sql.rows import Row, tidied
from mainspring.store.sql.statements import Cursor, insert_rows

__all__ = [
    "abandon_files",
    "advance_settlement",
    "attach",
    "claim_settlement",
    "close_settlement",
    "delete_result",
    "drop_staged",
    "forget_unused_files",
    "keep",
    "open_settlement",
    "read_leftovers",
    "read_result",
    "read_unused_files",
]

_KEY_BYTES = 16
_REPLACE = (
    " ON CONFLICT (key) DO UPDATE SET run_id = excluded.run_id, created = excluded.created,"
    " file = excluded.file, content = excluded.content"
)
_KEEP = f"INSERT INTO results VALUES (?,?,?,?,?){_REPLACE}"  # noqa: S608 - constants
_STAGE = (
    "INSERT INTO staged (run_id, around_id, root_id, earlier_ids, key, is_step, storage, file, content,"
    ' hooks, "values")'
    " VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (run_id) DO NOTHING"
)
_PUBLISH = (
    "INSERT INTO results SELECT key, run_id, ?, file, content FROM staged"  # noqa: S608 - a constant
    f" WHERE run_id = ? AND key IS NOT NULL AND storage IS NULL{_REPLACE}"
)
_ONCE = " ON CONFLICT (file) DO NOTHING"
_UNPUBLISHED_FILE = "INSERT INTO unused_files SELECT file FROM staged WHERE run_id = ? AND file IS NOT NULL"
_SPOOLED_FILE = f"{_UNPUBLISHED_FILE} AND storage IS NOT NULL{_ONCE}"
_ABANDON = (  # unless a call that was interrupted after its commit has written them before
    "INSERT INTO unused_files SELECT CAST(? AS TEXT) WHERE NOT EXISTS (SELECT 1 FROM results WHERE file = ?)"
    " AND NOT EXISTS (SELECT 1 FROM staged WHERE file = ?) ON CONFLICT (file) DO NOTHING"
)
_UNSTAGE = "DELETE FROM staged WHERE run_id = ?"
_SETTLE = (
    "INSERT INTO settlements VALUES (?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET"
    " decision = excluded.decision, begun = excluded.begun, plan = excluded.plan"
)
_IS_TAKEN = (
    "SELECT 1 FROM flow_runs r LEFT JOIN owners o ON o.id = r.owner_id LEFT JOIN owners own ON own.id = ?"
    " WHERE r.id = ? AND (coalesce(o.host, '') <> coalesce(own.host, '')"
    " OR coalesce(o.boot, '') <> coalesce(own.boot, '') OR coalesce(o.pid, 0) <> coalesce(own.pid, 0)"
    " OR o.ended_by IS NOT NULL)"  # we ourselves, and somebody has found us dead
    " /*postgres: FOR SHARE OF r */"
)
_NOTE_HOOKS = (
    "INSERT INTO crash_hooks VALUES (?,?,?) ON CONFLICT (run_id) DO UPDATE SET"
    " entrypoint = excluded.entrypoint, file = excluded.file"
)
_SELECT_STEPS = (
    "SELECT run_id, around_id, root_id, key, is_step, storage, content, file,"
    ' hooks, "values", settlement_id, earlier_ids'
    " FROM staged WHERE root_id = ? ORDER BY id"
)
_SELECT_SETTLEMENTS = (
    "SELECT id, root_id, decision, plan, begun FROM settlements WHERE root_id = ? ORDER BY id"
)


# With the states of a run


def attach(
    db: Cursor,
    owner: int | None,
    attachments: Sequence[Attachment],
    now: int,
    tidy: bool = False,
) -> None:
    """Write what comes with the states of a run.

    Args:
        db: A cursor, in a transaction.
        owner: The id of this process.
        attachments: What to write, in this order.
        now: The time.
        tidy: Replace what UTF-8 cannot hold.
    """
    for each in attachments:
        if isinstance(each, KeptResult):
            keep(db, [each], now, tidy)
        elif isinstance(each, StagedStep):
            if not _is_ours(db, owner, each.root_key):
                abandon_files(db, [each], tidy)
                continue
            row = _staged_row(each)
            db.execute(_STAGE, tidied(row) if tidy else row)
        elif isinstance(each, Withdrawal):
            drop_staged(db, [each.run_key])
            row = each.key, each.run_key
            db.execute("DELETE FROM results WHERE key = ? AND run_id = ?", tidied(row) if tidy else row)
        elif isinstance(each, CrashHooks):
            _note_crash_hooks(db, each)


def _note_crash_hooks(db: Cursor, note: CrashHooks) -> None:
    if note.is_over:
        db.execute("DELETE FROM crash_hooks WHERE run_id = ?", (note.run_key,))
    else:
        db.execute(_NOTE_HOOKS, (note.run_key, note.entrypoint, note.file))


def keep(db: Cursor, results: Iterable[KeptResult], now: int, tidy: bool = False) -> None:
    """Write results that come with no run; the arguments are those of `attach`."""
    rows: list[Row] = [(each.key, each.run_key, now, each.file, each.content) for each in results]
    insert_rows(db, _KEEP, list(map(tidied, rows)) if tidy else rows)


def abandon_files(db: Cursor, attachments: Sequence[Attachment], tidy: bool = False) -> None:
    """Note the files of what is not attached, as nothing leads to them; arguments as for `attach`."""
    for each in attachments:
        file = each.file if isinstance(each, KeptResult | StagedStep) else None
        if file is not None:
            row: Row = (file, file, file)
            db.execute(_ABANDON, tidied(row) if tidy else row)


def _staged_row(step: StagedStep) -> Row:
    return (
        step.run_key,
        step.around_key,
        step.root_key,
        b"".join(step.earlier_keys) or None,
        step.key,
        int(step.is_step),
        step.storage,
        step.file,
        step.content,
        step.hooks,
        step.values,
    )


# By themselves


def open_settlement(db: Cursor, owner: int | None, settlement: Settlement, run_keys: Sequence[bytes]) -> bool:
    """See `ResultRows.open_settlement`."""
    if not _is_ours(db, owner, settlement.root_key) or not _are_staged(db, run_keys, settlement.key):
        return False
    row = settlement.key, settlement.root_key, settlement.decision, settlement.begun, settlement.plan
    db.execute(_SETTLE, row)
    rows = [(settlement.key, key) for key in run_keys]
    db.executemany("UPDATE staged SET settlement_id = ? WHERE run_id = ?", rows)
    return True


def advance_settlement(db: Cursor, owner: int | None, key: bytes, begun: int) -> bool:
    """See `ResultRows.advance_settlement`."""
    if not _has_settlement(db, owner, key):
        return False
    return db.execute("UPDATE settlements SET begun = ? WHERE id = ?", (begun, key)).rowcount == 1


def claim_settlement(db: Cursor, owner: int | None, key: bytes, new_key: bytes) -> bool:
    """See `ResultRows.claim_settlement`."""
    if not _has_settlement(db, owner, key):
        return False
    if not db.execute("UPDATE settlements SET id = ? WHERE id = ?", (new_key, key)).rowcount:
        return False  # another thread was first
    db.execute("UPDATE staged SET settlement_id = ? WHERE settlement_id = ?", (new_key, key))
    return True


def close_settlement(
    db: Cursor,
    owner: int | None,
    key: bytes | None,
    publish: Sequence[bytes],
    drop: Sequence[bytes],
    results: Sequence[KeptResult],
    now: int,
) -> bool:
    """See `ResultRows.close_settlement`."""
    if key is not None and not _has_settlement(db, owner, key):
        return False
    if not _are_staged(db, publish, key):
        return False
    if key is not None:
        if not db.execute("DELETE FROM settlements WHERE id = ?", (key,)).rowcount:
            return False
    elif not all(_is_ours(db, owner, root_key) for root_key in _roots_of(db, publish)):
        return False
    for run_key in publish:
        db.execute(_PUBLISH, (now, run_key))
        db.execute(_SPOOLED_FILE, (run_key,))
        db.execute(_UNSTAGE, (run_key,))
    drop_staged(db, drop)
    keep(db, results, now)
    return True


def _is_ours(db: Cursor, owner: int | None, root_key: bytes) -> bool:
    """Whether no other process than this one has written the newest state of a flow run: it goes on with it then."""
    return db.execute(_IS_TAKEN, (owner, root_key)).fetchone() is None


def _has_settlement(db: Cursor, owner: int | None, key: bytes) -> bool:
    """Whether there is a settlement, of a flow run that is ours."""
    found = db.execute("SELECT root_id FROM settlements WHERE id = ?", (key,)).fetchone()
    return found is not None and _is_ours(db, owner, *found)


def _roots_of(db: Cursor, run_keys: Sequence[bytes]) -> set[bytes]:
    query = "SELECT root_id FROM staged WHERE run_id = ?"
    return {root_key for key in run_keys for (root_key,) in db.execute(query, (key,)).fetchall()}


def _are_staged(db: Cursor, run_keys: Sequence[bytes], settlement_key: bytes | None) -> bool:
    """Whether runs are staged, and nobody but a settlement is about to decide about them."""
    query = (
        "SELECT 1 FROM staged WHERE run_id = ? AND (settlement_id IS NULL OR settlement_id = ?)"
        " /*postgres: FOR UPDATE */"
    )
    return all(db.execute(query, (key, settlement_key)).fetchone() is not None for key in run_keys)


def drop_staged(db: Cursor, run_keys: Sequence[bytes]) -> None:
    """Forget staged runs; the files of their results are unused from then on."""
    rows = [(key,) for key in run_keys]
    db.executemany(_UNPUBLISHED_FILE + _ONCE, rows)
    db.executemany(_UNSTAGE, rows)


def delete_result(db: Cursor, owner: int | None, key: str) -> bool:
    """See `ResultRows.delete_result`."""
    try:
        return db.execute("DELETE FROM results WHERE key = ?", (key,)).rowcount > 0
    except UnicodeError:  # nothing is kept under a key that is no text to the database
        return False


def forget_unused_files(db: Cursor, owner: int | None, files: Sequence[str]) -> None:
    """See `ResultRows.forget_unused_files`."""
    db.executemany("DELETE FROM unused_files WHERE file = ?", [(file,) for file in files])


# Reading


def read_result(db: Cursor, key: str) -> KeptResult | None:
    """See `ResultRows.read_result`."""
    try:
        rows = db.execute("SELECT content, file, run_id FROM results WHERE key = ?", (key,)).fetchall()
    except UnicodeError:  # as above
        return None
    return KeptResult(key, *rows[0]) if rows else None


def read_leftovers(db: Cursor, root_key: bytes) -> Leftovers:
    """See `ResultRows.read_leftovers`."""
    settlements = db.execute(_SELECT_SETTLEMENTS, (root_key,)).fetchall()
    steps = db.execute(_SELECT_STEPS, (root_key,)).fetchall()
    return Leftovers([Settlement(*row) for row in settlements], [_step(row) for row in steps])


def _step(row: Row) -> StagedStep:
    joined: bytes = row[-1] or b""
    earlier = tuple(joined[start : start + _KEY_BYTES] for start in range(0, len(joined), _KEY_BYTES))
    fields: Row = (*row[:-1], earlier)
    return StagedStep(*fields)


def read_unused_files(db: Cursor) -> list[str]:
    """See `ResultRows.read_unused_files`."""
    return [file for (file,) in db.execute("SELECT file FROM unused_files").fetchall()]
