"""What runs statements: the little that the databases have in common.

Statements are written once, in the SQL that SQLite and PostgreSQL share, with ``?`` or ``:name`` for values. A note
like ``/*postgres: FOR UPDATE */`` is a comment to SQLite, which has but one writer at a time, and part of the statement
in PostgreSQL, where others write meanwhile.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Cursor", "Found", "ask", "is_pipelined"]


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
