"""What journals hold: rows that are not in the database yet, as bytes and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from mainspring import clock
from mainspring.store.protocol import CacheKey, Change, LogEntry
from mainspring.store.results import KeptResult
from mainspring.store.sql.event_rows import Places, note_states
from mainspring.store.sql.keeping import abandon_files, keep
from mainspring.store.sql.rows import (
    INSERT_CACHE_KEY,
    INSERT_LOG,
    INSERT_STATE,
    TASK_RUNS,
    Row,
    cache_key_row,
    log_row,
)
from mainspring.store.sql.statements import Cursor, insert_rows
from mainspring.store.sql.writing import is_behind, rows_of

__all__ = ["Page", "encode_entry", "replay", "settle_page", "settled_pages"]

_FLOW_RUN_ID, _ATTEMPT = 1, 12
"""Where a row of `TASK_RUNS` has the flow run, and which attempt of it."""

Page = tuple[int, Sequence[bytes]]
"""The number of a page, and its entries."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

_SETTLED = "SELECT settled_page FROM owners WHERE id = ?"
_SETTLED_BY_KEY = "SELECT key, settled_page FROM owners WHERE key = ? AND ended IS NULL"
_SETTLE = "UPDATE owners SET settled_page = ? WHERE id = ?"
_IS_THERE = "SELECT 1 FROM task_runs WHERE id = ?"


def encode_entry(
    changes: Collection[Change], logs: Sequence[LogEntry], cache_keys: Sequence[CacheKey], owner: int
) -> bytes:
    """One entry. What is made of the changes is kept with them, to be written later.

    Raises:
        ValueError, TypeError, OverflowError: It holds what cannot be put into bytes, such as half of a surrogate pair.
    """
    runs: list[Any] = []
    keys = [cache_key_row(each) for each in cache_keys]
    for change in changes:
        change.rows = rows = rows_of(change, owner)
        runs.append((rows.run, rows.states, rows.length, change.attachments))
        if rows.cache_key is not None:
            keys.append(cache_key_row(rows.cache_key))
    return _encode((runs, list(map(log_row, logs)), keys))


def settled_pages(db: Cursor, keys: Iterable[str]) -> dict[str, int]:
    """The last page that each owner has committed, by its key; those whose ownership has ended are left out."""
    found = [db.execute(_SETTLED_BY_KEY, (key,)).fetchone() for key in keys]
    return {row[0]: row[1] or 0 for row in found if row is not None}


def settle_page(db: Cursor, owner: int, page: int) -> None:
    """Note, in the transaction that commits all that is on it and before, that a page is settled."""
    db.execute(_SETTLE, (page, owner))


def replay(db: Cursor, pages: Iterable[Page], owner: int, now: int) -> None:
    """Write what a process has noted and not committed, in a transaction in which it is found dead.

    Args:
        db: A cursor, in that transaction.
        pages: All that there is of the journal.
        owner: The id of the process.
        now: The time.
    """
    found = db.execute(_SETTLED, (owner,)).fetchone()
    settled = (found and found[0]) or 0
    runs: dict[bytes, Any] = {}  # the last entry of each has all of its states
    logs: list[Row] = []
    cache_keys: list[Row] = []
    for number, entries in sorted(pages):
        if number > settled:
            for entry in entries:
                entered, lines, keys = _decode(entry)
                for run in entered:
                    runs[run[0][0]] = run
                logs += lines
                cache_keys += keys
    places: list[Places] = []
    for key, (row, its_states, length, kept) in runs.items():
        results = [KeptResult(**each) for each in kept]
        if db.execute(_IS_THERE, (key,)).fetchone():
            continue
        if results and is_behind(db, row[_FLOW_RUN_ID], row[_ATTEMPT]):
            abandon_files(db, results)
            continue
        db.execute(TASK_RUNS.insert, row)
        insert_rows(db, INSERT_STATE, its_states)
        places.append(Places(key, 1, length))
        keep(db, results, clock.current().now())
    insert_rows(db, INSERT_LOG, logs)
    insert_rows(db, INSERT_CACHE_KEY, cache_keys)
    if places:
        note_states(db, places, now)
