"""SQLite in a world: who finds a database locked lets others run, and asks again a moment later.

The library itself would sleep in the middle of the one thread that runs, and nobody would ever unlock it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any

from mainspring.testing.locks import active_world
from mainspring.testing.worlds import NANOSECONDS, SeededWorld

__all__ = ["connect"]

_real_connect: Any = sqlite3.connect
_DEFAULT_SECONDS = 5.0
_PAUSE = NANOSECONDS // 1000
_STATEMENT_TAKES_TIME = 0.1
_BUSY_PRAGMA = re.compile(r"\s*PRAGMA\s+busy_timeout\s*=\s*(\d+)", re.IGNORECASE)


def connect(*args: Any, **options: Any) -> sqlite3.Connection:
    """As ``sqlite3.connect``."""
    if active_world() is None or "factory" in options or len(args) > 1:
        found: sqlite3.Connection = _real_connect(*args, **options)
        return found
    seconds = options.pop("timeout", _DEFAULT_SECONDS)
    connection: _Connection = _real_connect(*args, timeout=0, factory=_Connection, **options)
    connection.patience = round(seconds * NANOSECONDS)
    return connection


class _Cursor(sqlite3.Cursor):
    connection: _Connection  # pyright: ignore[reportIncompatibleMethodOverride] - an attribute of the real one

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        patience = _BUSY_PRAGMA.match(sql)
        if patience is not None:  # the library's own waits stay off
            self.connection.patience = int(patience[1]) * (NANOSECONDS // 1000)
            return sqlite3.Connection.execute(self.connection, "SELECT 1")
        return self.connection.insist(super().execute, sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return self.connection.insist(super().executemany, sql, list(parameters))


class _Connection(sqlite3.Connection):
    patience = 0

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return self.cursor().executemany(sql, parameters)

    def commit(self) -> None:
        self.insist(super().commit)

    def insist(self, call: Callable[..., Any], *args: Any) -> Any:
        """Make the call until the database is not busy, for as long as the connection is to wait."""
        world = active_world()
        if world is None or world.me() is None:
            return call(*args)
        if isinstance(world, SeededWorld):
            world.dawdle(_STATEMENT_TAKES_TIME)  # races are about what others do between two statements
        deadline: int | None = None
        while True:
            try:
                return call(*args)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                deadline = world.now + self.patience if deadline is None else deadline
                if world.now >= deadline:
                    raise
                world.park(min(deadline, world.now + _PAUSE), "waits for a database that is locked")
