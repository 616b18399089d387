"""The floor: the least that a call, and a call with a durable history, can cost."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing

from benchmarks.cases import Case, Family, Turn, tracked, within
from benchmarks.measuring import nothing
from mainspring.identifiers import new_id
from mainspring.settings import get_current_settings

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


def commit_task_run(turn: Turn) -> float:
    """Seconds per bare commit of the row of a task run, with its index, into a database of ours."""
    within(tracked)
    with closing(
        sqlite3.connect(get_current_settings().home / "mainspring.db", isolation_level=None)
    ) as database:
        database.execute("PRAGMA synchronous=NORMAL")
        cursor = database.cursor()
        _, *row = cursor.execute("SELECT * FROM task_runs ORDER BY id DESC LIMIT 1").fetchone()
        insert = f"INSERT INTO task_runs VALUES ({','.join('?' * (1 + len(row)))})"

        def write() -> None:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute(insert, (new_id(), *row))
            cursor.execute("COMMIT")

        return turn.per_call(write)


FAMILY = Family(
    (
        Case("floor: bare call", lambda turn: turn.per_call(nothing)),
        Case("floor: SQLite commit of one row", lambda turn: commit(turn, "NORMAL")),
        Case("floor: SQLite commit of the row of a task run", commit_task_run),
        Case("floor: SQLite commit of one row, fsync", lambda turn: commit(turn, "FULL")),
    )
)
