"""Locks in a database: the statements behind `RunStore.take_lock` and its kin, as functions of a cursor.

A lock is a row. It goes when it is released, or when the process that took it ends or is found dead. A row whose time
is over counts as none, and is replaced by the next holder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainspring._imports import modules_on_use
from mainspring.store.sql.statements import Cursor

if TYPE_CHECKING:
    from mainspring.store import protocol
    from mainspring.store.protocol import HeldLock
else:
    protocol = modules_on_use("mainspring.store", "protocol")

__all__ = ["read", "release", "take"]

_FIND = (
    "SELECT k.holder, k.expires, k.owner_id, o.host, o.pid FROM locks AS k LEFT JOIN owners AS o ON o.id = k.owner_id"
    " WHERE k.key = ? AND (k.expires IS NULL OR k.expires > ?)"
)
_TAKE = (  # in one statement, as others may do the same at this moment
    "INSERT INTO locks (key, holder, acquired, expires, owner_id) VALUES (?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET"
    " holder = excluded.holder, acquired = excluded.acquired, expires = excluded.expires, owner_id = excluded.owner_id"
    " WHERE locks.holder = excluded.holder OR locks.expires <= excluded.acquired"
)
_RELEASE = "DELETE FROM locks WHERE key = ? AND holder = ? AND (expires IS NULL OR expires > ?)"

_IN_DIGITS = "\x01"  # begins no text that is shown to people


def take(
    db: Cursor, owner: int | None, key: str, holder: str, now: int, expires: int | None
) -> HeldLock | None:
    """See `RunStore.take_lock`."""
    row = _column(key), _column(holder), now, expires, owner
    while not db.execute(_TAKE, row).rowcount:
        held = read(db, key, now, owner)
        if held is not None:  # else it was released between the two
            return held
    return None


def release(db: Cursor, owner: int | None, key: str, holder: str, now: int) -> bool:
    """See `RunStore.release_lock`."""
    return db.execute(_RELEASE, (_column(key), _column(holder), now)).rowcount == 1


def read(db: Cursor, key: str, now: int, owner: int | None) -> HeldLock | None:
    """See `RunStore.read_lock`; ``owner`` is the calling process."""
    row = db.execute(_FIND, (_column(key), now)).fetchone()
    if row is None:
        return None
    holder, expires, owner_of_lock, host, pid = row
    return protocol.HeldLock(_text(holder), expires, owner_of_lock == owner, host, pid)


def _column(text: str) -> str:
    """The text; its bytes as digits if it has code points that databases have no text for (lone surrogates, NUL)."""
    if text.isascii() and "\0" not in text:
        return text
    content = text.encode("utf-8", "surrogatepass")
    is_text = "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)
    return text if is_text else _IN_DIGITS + content.hex()


def _text(column: str) -> str:
    if column.startswith(_IN_DIGITS):
        return bytes.fromhex(column.removeprefix(_IN_DIGITS)).decode("utf-8", "surrogatepass")
    return column
