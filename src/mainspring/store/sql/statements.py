"""What runs statements: the little that the databases have in common.

Statements are written once, in the SQL that SQLite and PostgreSQL share, with ``?`` or ``:name`` for values. A note
like ``/*postgres: FOR UPDATE */`` is a comment to SQLite, which has but one writer at a time, and part of the statement
in PostgreSQL, where others write meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Protocol

__all__ = ["KEYS", "Cursor", "Found", "ask", "insert_rows", "is_pipelined"]

# Keys go in joined into one value, so that there may be any number of them.
KEYS = (
    "(WITH RECURSIVE part(at) AS (VALUES (1) UNION ALL SELECT at + 16 FROM part"
    " WHERE at + 16 < length(:{0})) SELECT substr(:{0}, at, 16) FROM part)"
)

_ROWS_AT_ONCE = 64
_ANY_COUNT = 8
"""Up to so many rows have a statement of their own for each count; above, counts are powers of two."""


class Found(Protocol):
    """What a statement has found, or how many rows it has changed."""

    @property
    def rowcount(self) -> int:
        """How many rows were inserted, updated or deleted."""
        ...

    def fetchone(self) -> Any:
        """The next row, None if there is no more."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...


class Cursor(Protocol):
    """Runs one statement after the other, all in the transaction of whoever gave it away, if it is in one."""

    def execute(self, statement: str, values: Any = ..., /) -> Found:
        """Run a statement; ``values`` is a sequence for ``?``, a mapping for names."""
        ...

    def executemany(self, statement: str, rows: Any, /) -> object:
        """Run a statement once for each row of values."""
        ...


def is_pipelined(cursor: Cursor) -> bool:
    """Whether it is the answer to a statement that costs time, so that one more without an answer costs little."""
    return getattr(cursor, "is_pipelined", False)


def ask(db: Cursor, *questions: tuple[str, Any]) -> list[list[Any]]:
    """The rows that several statements find, each given with its values.

    In a pipeline all of them are sent before the first answer is waited for.
    """
    if not is_pipelined(db):
        return [db.execute(*question).fetchall() for question in questions]
    asked = [db.execute(*question) for question in questions]
    return [found.fetchall() for found in asked]


def insert_rows(db: Cursor, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run an ``INSERT`` for each of many rows.

    Where there is no pipeline, one statement inserts dozens of rows. A thread lets others run while it is inside of
    SQLite, and waits for its turn afterwards; if it did so for each row, it would hardly get on beside a busy one.

    Args:
        db: The cursor.
        statement: One with a single list of values, in which each is a ``?`` or a word.
        rows: What it binds.
    """
    count = len(rows)
    if count == 1:
        db.execute(statement, rows[0])
        return
    if is_pipelined(db):
        db.executemany(statement, rows)
        return
    begin = 0
    while begin < count:
        size = min(count - begin, _ROWS_AT_ONCE)
        if size > _ANY_COUNT:
            size = 1 << (size.bit_length() - 1)
        some = rows[begin : begin + size]
        db.execute(_for_rows(statement, size), list(chain.from_iterable(some)))
        begin += size


@cache
def _for_rows(statement: str, count: int) -> str:
    """The statement with its list of values so many times."""
    if count == 1:
        return statement
    return re.sub(r"(?<=VALUES )\([^()]*\)", lambda found: ",".join([found[0]] * count), statement, count=1)
