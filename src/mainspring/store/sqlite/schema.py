"""The schema of a run store in SQLite: recognising a database, and bringing it up to date.

A database of ours carries `APPLICATION_ID` and, as its ``user_version``, the number of the last migration
applied to it. Migrations are the numbered files in ``migrations/``; a published one never changes. What the first of
them come to together is one file, too, which a new database begins with: to make tables at once takes a tenth of the
time that it takes to make and change them. A test compares the two.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mainspring import points
from mainspring.exceptions import StoreTooNew, StoreUnavailable

__all__ = ["APPLICATION_ID", "MIGRATIONS", "TOGETHER", "apply_migrations", "needs_migration", "read_version"]

APPLICATION_ID = int.from_bytes(b"mspr", "big")
MIGRATIONS = (
    "0001_initial.sql",
    "0002_results.sql",
    "0003_limits.sql",
    "0004_cache_keys.sql",
    "0005_locks.sql",
    "0006_resumption.sql",
    "0007_kept_results.sql",
    "0008_leases.sql",
    "0009_pauses.sql",
    "0010_cancellations.sql",
    "0011_client.sql",
    "0012_events.sql",
    "0013_reading.sql",
    "0014_journal.sql",
    "0015_folded_states.sql",
    "0016_beside_runs.sql",
)
TOGETHER = (16, "0001_to_0016.sql")
"""What so many of the migrations come to, from the first one on, and the file that says the same at once."""

_DIRECTORY = Path(__file__).with_name("migrations")


def needs_migration(db: sqlite3.Connection, path: str) -> bool:
    """True if the database is empty or was written by an older version. Changes nothing.

    Raises:
        StoreTooNew: It was written by a newer version.
        StoreUnavailable: It belongs to another program.
        sqlite3.Error: It cannot be read, or is no database.
    """
    application, version, tables = _read_marks(db)
    if application == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise StoreTooNew(
                f"The run store {path} has schema version {version}, and this version of mainspring"
                f" knows {len(MIGRATIONS)}. Upgrade mainspring, or set MAINSPRING_DATABASE_URL to"
                f" another database. Nothing was changed."
            )
        return bool(version < len(MIGRATIONS))
    if application or version or tables:
        raise _foreign(path)
    return True


def read_version(db: sqlite3.Connection, path: str) -> int | None:
    """The number of the last migration; None if the database is empty. Changes nothing, whatever the version is.

    Raises:
        StoreUnavailable: It belongs to another program.
        sqlite3.Error: It cannot be read, or is no database.
    """
    application, version, tables = _read_marks(db)
    if application == APPLICATION_ID:
        return version
    if application or version or tables:
        raise _foreign(path)
    return None


def _foreign(path: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} is an SQLite database of another program, so no runs are kept in it. Set"
        f" MAINSPRING_DATABASE_URL to another file. Nothing was changed."
    )


def _read_marks(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Application id, version and number of tables, all of one moment: somebody may be making it right now."""
    own_transaction = not db.in_transaction
    if own_transaction:
        db.execute("BEGIN")
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if own_transaction and db.in_transaction:
            db.execute("ROLLBACK")
    return application, version, tables


def apply_migrations(db: sqlite3.Connection, path: str) -> None:
    """Apply what is missing, all or nothing. Several processes may do so at once; one does the work.

    Raises:
        StoreTooNew, StoreUnavailable, sqlite3.Error: As for `needs_migration`.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        if needs_migration(db, path):  # somebody else may have been first
            (version,) = db.execute("PRAGMA user_version").fetchone()
            count, together = TOGETHER
            names: list[str] = [*MIGRATIONS[version:]]
            if not version and count <= len(names):
                names[:count] = [together]
            for name in names:
                for statement in _statements((_DIRECTORY / name).read_text(encoding="utf-8")):
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        if points.observer is not None:
            points.observer("store.commit", "the tables")
        db.execute("COMMIT")
        if points.observer is not None:
            points.observer("store.committed", "the tables")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """The single statements of a script: ``executescript`` would commit the transaction around it."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if ";" in line and sqlite3.complete_statement(pending):  # looks at all of it
            found.append(pending)
            pending = ""
    assert not pending.strip(), f"a migration ends within a statement: {pending!r}"
    return found
