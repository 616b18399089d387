"""Connections to one SQLite database: how they are set up, guarded, and what their errors mean."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring import clock, points
from mainspring.exceptions import StoreCorrupt, StoreError, StoreMissing, StoreUnavailable
from mainspring.store.sqlite import schema

if TYPE_CHECKING:
    from mainspring.store.changes import Durability
    from mainspring.store.sql.statements import Cursor, Found

__all__ = ["Database", "Link", "primary_code", "refuse_directory", "translated"]

BUSY_SECONDS = 30.0
MEMORY = ":memory:"

# A commit without a sync is in the page cache of the system, which outlives the process.
_SYNCHRONOUS: dict[Durability, str] = {
    "process": "NORMAL",
    "journal": "NORMAL",
    "disk": "FULL",
    "relaxed": "NORMAL",
}

# A transaction must never pay for a checkpoint; this bound (128 MB) holds if nobody calls for one.
_AUTOCHECKPOINT_PAGES = 65_536
_PAGE_SIZE = 2048

# Without an adapter for its type, the module looks for other ways to adapt each value that is bound, and fails slowly,
# before it binds the value as it is. It spares only numbers and texts that. These adapters are for the whole process,
# and change nothing: who has others keeps them.
_SAME: dict[type[Any], Any] = {bytes: bytes, type(None): dict[None, None]().get}
for _type, _same in _SAME.items():
    if (_type, sqlite3.PrepareProtocol) not in sqlite3.adapters:
        sqlite3.register_adapter(_type, _same)

_abandoned: list[sqlite3.Connection | None] = []
_abandoned_cursors: list[sqlite3.Cursor | None] = []


class Database:
    """Where a database is and how connections to it are made. Immutable, so safe in any thread.

    Args:
        path: The absolute path of the file, or `MEMORY`.
        durability: What a commit on these connections survives.
    """

    def __init__(self, path: str, durability: Durability) -> None:
        self.path = path
        self.durability: Durability = durability
        self.in_memory = path == MEMORY

    def prepare(self, create: bool) -> sqlite3.Connection:
        """A connection to a database that is known to be ours and up to date, made if need be.

        Raises:
            StoreError: It is not there, not ours, too new, damaged or out of reach.
        """
        if not self.in_memory:
            self._check_path(create)
        try:
            db = self.connect()
            try:
                is_behind = schema.needs_migration(db, self.path)
                is_new = is_behind and db.execute("PRAGMA page_count").fetchone() == (0,)
                if is_new:
                    # Each commit puts whole pages into the log; rows are small.
                    db.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
                    # The one page that says so is synced; there is nothing that a file beside it could bring back.
                    db.execute("PRAGMA journal_mode = MEMORY")
                self._use_wal(db)
                if is_new:
                    # The log is new, so what a power cut leaves of the tables is taken up to where it is whole. Who
                    # syncs it, for a commit of a run or to copy it, syncs the tables with that.
                    db.execute("PRAGMA synchronous = OFF")
                if is_behind:
                    schema.apply_migrations(db, self.path)
                if is_new:
                    db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self.durability]}")
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return db

    def connect(self, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
        """A connection for any thread; the caller sees to it that only one uses it at a time.

        Raises:
            sqlite3.Error: The file cannot be opened or is no database.
        """
        db = sqlite3.connect(self.path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self.durability]}")
            if self.durability == "disk":
                db.execute("PRAGMA fullfsync = 1")  # macOS: through the cache of the drive, too
            db.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
        except BaseException:
            db.close()
            raise
        return db

    def _check_path(self, create: bool) -> None:
        path = Path(self.path)
        try:
            refuse_directory(path)
            if not create and (not path.exists() or not path.stat().st_size):
                raise StoreMissing(
                    f"There is no run store at {path}. It is made by the first run; if yours is"
                    f" elsewhere, set MAINSPRING_DATABASE_URL or MAINSPRING_HOME."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"The run store {path} cannot be made: {error}. Set MAINSPRING_DATABASE_URL or"
                f" MAINSPRING_HOME to a place where files can be written."
            ) from error

    def _use_wal(self, db: sqlite3.Connection) -> None:
        if self.in_memory:
            return
        time = clock.current()
        deadline = time.monotonic() + BUSY_SECONDS
        while True:  # the busy timeout does not cover every lock that this needs
            try:
                if points.observer is not None:
                    points.observer("store.commit", "the kind of the log")
                (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
                if points.observer is not None:
                    points.observer("store.committed", "the kind of the log")
                break
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        if mode != "wal":
            raise StoreUnavailable(
                f"The run store {self.path} cannot keep a write-ahead log there (journal mode"
                f" {mode!r}). Set MAINSPRING_DATABASE_URL to a file on a local disk."
            )


class Link:
    """One connection with the lock that guards it: opened on first use, and anew in a forked child.

    Use ``link.db or link.open()``, or ``link.cursor()``, while holding ``link.lock``.
    """

    __slots__ = ("_busy_seconds", "_cursor", "_database", "closed", "db", "lock")

    def __init__(
        self,
        database: Database,
        db: sqlite3.Connection | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._database = database
        self._busy_seconds = busy_seconds
        self.db = db
        self.lock = threading.Lock()
        self.closed = False
        self._cursor: sqlite3.Cursor | None = None

    def cursor(self) -> Cursor:
        """The one cursor of the connection, for statements that are read to their end; making one takes longer.

        Raises:
            StoreUnavailable, sqlite3.Error: As for `open`.
        """
        db = self.db or self.open()
        cursor = self._cursor
        if cursor is None or cursor.connection is not db:
            cursor = self._cursor = db.cursor()
        return cursor if points.observer is None else ObservedCursor(cursor)

    def reading(self) -> Cursor:
        """A cursor for each statement, so that one may be read while another is.

        Raises:
            StoreUnavailable, sqlite3.Error: As for `open`.
        """
        db = self.db or self.open()
        return db if points.observer is None else ObservedCursor(db)

    def open(self) -> sqlite3.Connection:
        """Open the connection; the caller holds the lock.

        Raises:
            StoreUnavailable: The store was closed, or lives in the memory of another process.
            sqlite3.Error: The file cannot be opened.
        """
        if self.closed:
            raise StoreUnavailable(f"The run store {self._database.path} was closed.")
        if self._database.in_memory:
            raise StoreUnavailable(
                "A run store in memory cannot be used by a forked process. Set"
                " MAINSPRING_DATABASE_URL to a file."
            )
        self.db = self._database.connect(self._busy_seconds)
        return self.db

    def close(self) -> None:
        """Close for good, after whoever uses the connection now."""
        with self.lock:
            self.closed = True
            if self.db is not None:
                self.db.close()
                self.db = None

    def abandon(self) -> None:
        """Forget the connection, in a forked child: it is the parent's, and closing would harm it."""
        _abandoned.append(self.db)
        _abandoned_cursors.append(self._cursor)
        self.db = self._cursor = None
        self.lock = threading.Lock()


class ObservedCursor:
    """A cursor of which somebody is told, and may make it fail."""

    __slots__ = ("_cursor",)

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def execute(self, statement: str, values: Any = (), /) -> Found:
        """See `Cursor.execute`."""
        if points.observer is not None:
            points.observer("store.statement", statement)
        return self._cursor.execute(statement, values)

    def executemany(self, statement: str, rows: Any, /) -> object:
        """See `Cursor.executemany`."""
        if points.observer is not None:
            points.observer("store.statement", statement)
        return self._cursor.executemany(statement, rows)


def refuse_directory(path: Path) -> None:
    """Say so if a directory is where a database is to be.

    Raises:
        StoreUnavailable: It is one.
        OSError: That cannot be found out.
    """
    if path.is_dir():
        raise StoreUnavailable(f"The run store {path} is a directory. Set MAINSPRING_DATABASE_URL to a file.")


def primary_code(error: sqlite3.Error) -> int:
    """The SQLite result code, without what extended codes add; 0 if the error has none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


_REASONS: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (
        StoreUnavailable,
        "another process kept it locked for {seconds:.0f} seconds. Look for a program that holds a"
        " transaction open on it, or give the busiest jobs databases of their own",
    ),
    sqlite3.SQLITE_FULL: (
        StoreUnavailable,
        "the disk is full. Free some space; what was written before is safe",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreUnavailable,
        "the disk reported an error. Check its space, limits and health; what was written before"
        " is left as it is",
    ),
    sqlite3.SQLITE_READONLY: (
        StoreUnavailable,
        "it cannot be written. Check the permissions of the file and its directory, or set"
        " MAINSPRING_DATABASE_URL to another file",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StoreUnavailable,
        "it cannot be opened. Check that the directory is there and that you may write to it, or"
        " set MAINSPRING_DATABASE_URL to another file",
    ),
    sqlite3.SQLITE_NOTADB: (
        StoreCorrupt,
        "it is not an SQLite database. Move it away, or set MAINSPRING_DATABASE_URL to another file."
        " It was left as it is",
    ),
    sqlite3.SQLITE_CORRUPT: (
        StoreCorrupt,
        "it is damaged. Save a copy, then try `sqlite3 FILE .recover`, or move it away to start"
        " afresh. It was left as it is",
    ),
}
_REASONS[sqlite3.SQLITE_LOCKED] = _REASONS[sqlite3.SQLITE_BUSY]
_REASONS[sqlite3.SQLITE_PERM] = _REASONS[sqlite3.SQLITE_AUTH] = _REASONS[sqlite3.SQLITE_READONLY]


def translated(error: sqlite3.Error, path: str) -> StoreError:
    """The error of ours for one of SQLite: which file, what happened, what to do."""
    kind, reason = _REASONS.get(primary_code(error), (StoreError, "the database refused"))
    return kind(
        f"The run store {path} cannot be used: {reason.format(seconds=BUSY_SECONDS)}. SQLite says: {error}."
    )
