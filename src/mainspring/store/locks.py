"""Locks in a database: the statements behind `RunStore.take_lock` and its kin, as functions of a cursor.

A lock is a row. It goes when it is released, or when the process that took it ends or is found dead. A row whose time
is over counts as none, and is replaced by the next holder.
"""

from __future__ import annotations

import sqlite3

from mainspring.store.protocol import HeldLock

__all__ = ["drop_locks_of_owner", "read", "release", "take"]

_FIND = "SELECT holder, expires, owner_id FROM locks WHERE key = ? AND (expires IS NULL OR expires > ?)"
_TAKE = "INSERT OR REPLACE INTO locks (key, holder, acquired, expires, owner_id) VALUES (?,?,?,?,?)"
_RELEASE = "DELETE FROM locks WHERE key = ? AND holder = ? AND (expires IS NULL OR expires > ?)"

_Db = sqlite3.Cursor | sqlite3.Connection


def take(db: _Db, owner: int | None, key: str, holder: str, now: int, expires: int | None) -> HeldLock | None:
    """See `RunStore.take_lock`."""
    held = read(db, key, now, owner)
    if held is not None and held.holder != holder:
        return held
    db.execute(_TAKE, (_column(key), _column(holder), now, expires, owner))
    return None


def release(db: _Db, owner: int | None, key: str, holder: str, now: int) -> bool:
    """See `RunStore.release_lock`."""
    return db.execute(_RELEASE, (_column(key), _column(holder), now)).rowcount == 1


def read(db: _Db, key: str, now: int, owner: int | None) -> HeldLock | None:
    """See `RunStore.read_lock`; ``owner`` is the calling process."""
    row = db.execute(_FIND, (_column(key), now)).fetchone()
    if row is None:
        return None
    holder, expires, owner_of_lock = row
    text = holder if isinstance(holder, str) else holder.decode("utf-8", "surrogatepass")
    return HeldLock(text, expires, owner_of_lock == owner)


def drop_locks_of_owner(db: _Db, owner: int) -> None:
    """Free what a process held: it has ended, or is dead."""
    db.execute("DELETE FROM locks WHERE owner_id = ?", (owner,))


def _column(text: str) -> str | bytes:
    """The text; as bytes if it has code points that the database has no text for (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text
