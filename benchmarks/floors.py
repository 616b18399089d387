"""The floor: the least that a call, and a call with a durable history, can cost."""

from __future__ import annotations

import itertools
import sqlite3

from benchmarks.cases import Case, Family, Turn
from benchmarks.measuring import nothing

INSERT = (
    "INSERT INTO rows (text) VALUES ('as long as the row of a task run is, or not much shorter than that')"
)

databases = itertools.count()


def commit(turn: Turn, synchronous: str) -> float:
    """Seconds per SQLite commit of one row to a write-ahead log."""
    turn.home.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(turn.home / f"rows-{next(databases)}.db", isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={synchronous}")
        database.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, text TEXT)")
        return turn.per_call(lambda: database.execute(INSERT))
    finally:
        database.close()


FAMILY = Family(
    (
        Case("floor: bare call", lambda turn: turn.per_call(nothing)),
        Case("floor: SQLite commit of one row", lambda turn: commit(turn, "NORMAL")),
        Case("floor: SQLite commit of one row, fsync", lambda turn: commit(turn, "FULL")),
    )
)
