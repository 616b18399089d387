"""Statements as PostgreSQL wants them, sent without waiting for each answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg

from mainspring import points

__all__ = ["PipelinedCursor", "translated"]

_NUL = "\U0010fffe"  # means nothing, so it is in no text of anybody

_TOKENS = re.compile(
    r"'(?:[^']|'')*'"  # a text, in which nothing means anything
    r'|"[^"]*"'
    r"|/\*postgres:\s*(?P<note>.*?)\s*\*/"
    r"|(?P<mark>\?)"
    r"|(?<![:\w]):(?P<name>[a-z_]\w*)"
    r"|(?P<cross>\bCROSS JOIN\b)"  # SQLite's way to fix the order; ours is fixed by the planner
    r"|(?P<instr>\binstr(?=\())",
    re.IGNORECASE,
)


@lru_cache(maxsize=1_000)
def translated(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """A statement with numbered parameters and without notes, and the names of these parameters, if they have some."""
    names: list[str] = []
    marks = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal marks
        if match["note"] is not None:
            return _TOKENS.sub(replace, match["note"])
        if match["mark"]:
            marks += 1
            return f"${marks}"
        if match["name"]:
            if match["name"] not in names:
                names.append(match["name"])
            return f"${names.index(match['name']) + 1}"
        return "JOIN" if match["cross"] else "strpos" if match["instr"] else match[0]

    return _TOKENS.sub(replace, statement).encode(), tuple(names)


class _Found:
    """The answer to a statement, waited for when somebody wants to know."""

    __slots__ = ("_cursor", "_pipeline")

    def __init__(self, cursor: psycopg.RawCursor[Any], pipeline: psycopg.Pipeline | None) -> None:
        self._cursor = cursor
        self._pipeline = pipeline

    @property
    def is_known(self) -> bool:
        """Whether the answer has come."""
        return self._cursor.pgresult is not None

    @property
    def rowcount(self) -> int:
        self._wait()
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        self._wait()
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        self._wait()
        return self._cursor.fetchall()

    def _wait(self) -> None:
        # By a sync, not by a flush as psycopg does: only then the server counts for how long we do nothing.
        if self._pipeline is not None and self._cursor.pgresult is None:
            self._pipeline.sync()


class PipelinedCursor:
    """`Cursor` for a connection. In a pipeline, statements are sent at once, and answers waited for where they matter.

    Args:
        connection: The connection, which only the calling thread uses.
        pipeline: Its pipeline, if it is in one.

    Attributes:
        is_pipelined: It is in one.
    """

    __slots__ = ("_connection", "_pipeline", "is_pipelined")

    def __init__(self, connection: psycopg.Connection[Any], pipeline: psycopg.Pipeline | None = None) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self.is_pipelined = pipeline is not None

    def execute(self, statement: str, values: Any = (), /) -> _Found:
        """See `Cursor.execute`."""
        if points.observer is not None:
            points.observer("store.statement", statement)
        query, names = translated(statement)
        cursor = psycopg.RawCursor(self._connection)
        row = _ordered(values, names)
        try:
            cursor.execute(query, row)
        except psycopg.DataError as error:
            if not _is_about_nul(error):
                raise
            cursor.execute(query, _without_nul(row))
        return _Found(cursor, self._pipeline)

    def executemany(self, statement: str, rows: Sequence[Any], /) -> object:
        """See `Cursor.executemany`."""
        if not rows:
            return None
        if points.observer is not None:
            points.observer("store.statement", statement)
        query, names = translated(statement)
        cursor = psycopg.RawCursor(self._connection)
        ordered = [_ordered(row, names) for row in rows]
        if any(isinstance(value, str) and "\0" in value for row in ordered for value in row):
            ordered = [_without_nul(row) for row in ordered]  # beforehand, as some rows may be sent already
        cursor.executemany(query, ordered)
        return None


def _ordered(values: Sequence[Any] | Mapping[str, Any], names: tuple[str, ...]) -> Sequence[Any]:
    return [values[name] for name in names] if isinstance(values, Mapping) else values


def _is_about_nul(error: psycopg.DataError) -> bool:
    """Whether psycopg has found a text with NUL, which PostgreSQL has no text for. Nothing was sent then."""
    return error.sqlstate is None and "NUL" in str(error)


def _without_nul(row: Sequence[Any]) -> list[Any]:
    return [value.replace("\0", _NUL) if isinstance(value, str) else value for value in row]
