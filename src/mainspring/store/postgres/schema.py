"""The schema of a run store in PostgreSQL: recognising a database, and bringing it up to date.

A database, or the schema in it that the address leads to, is ours if it has the table ``mainspring_schema``, which says
the number of the last migration that was applied to it. Migrations are the numbered files in ``migrations/``; a
published one never changes.

Other than a file, a database is shared by machines with other versions of mainspring on them. So one that is there is
brought up to date when somebody says so, with ``mainspring database migrate``, and not by whoever is the first to have
been upgraded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg

from mainspring import points
from mainspring.exceptions import StoreMissing, StoreTooNew, StoreTooOld, StoreUnavailable

__all__ = ["MIGRATIONS", "migrate", "read_version", "require_current", "tables"]

MIGRATIONS = (
    "0001_initial.sql",
    "0002_events.sql",
    "0003_reading.sql",
    "0004_folded_states.sql",
    "0005_beside_runs.sql",
)
_DIRECTORY = Path(__file__).with_name("migrations")
_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_RENAMING = re.compile(r"^ALTER TABLE (\w+) RENAME TO (\w+)", re.MULTILINE)
_ADVISORY_LOCK = int.from_bytes(b"mspr", "big")  # whoever migrates holds it


def tables() -> list[str]:
    """The names of our tables, as the migrations make them."""
    found = ["mainspring_schema"]
    for name in MIGRATIONS:
        script = (_DIRECTORY / name).read_text(encoding="utf-8")
        found += _TABLE.findall(script)
        renamed = dict(_RENAMING.findall(script))
        found = [renamed.get(table, table) for table in found]
    return found


def read_version(db: psycopg.Connection[Any]) -> int | None:
    """The number of the last migration; None if this is no run store."""
    found = db.execute("SELECT to_regclass('mainspring_schema')::text").fetchone()
    if found is None or found[0] is None:
        return None
    row = db.execute("SELECT version FROM mainspring_schema").fetchone()
    return 0 if row is None else int(row[0])


def require_current(version: int | None, address: str) -> None:
    """Refuse a database that this version of mainspring cannot use as it is.

    Raises:
        StoreMissing: It is no run store.
        StoreTooNew, StoreTooOld: Another version of mainspring has written it.
    """
    if version is None:
        raise StoreMissing(
            f"There is no run store in {address}. It is made by the first run; if yours is elsewhere, set"
            f" MAINSPRING_DATABASE_URL."
        )
    if version > len(MIGRATIONS):
        raise StoreTooNew(
            f"The run store {address} has schema version {version}, and this version of mainspring knows"
            f" {len(MIGRATIONS)}. Upgrade mainspring, or set MAINSPRING_DATABASE_URL to another database. Nothing was"
            f" changed."
        )
    if version < len(MIGRATIONS):
        raise StoreTooOld(
            f"The run store {address} has schema version {version}, and this version of mainspring needs"
            f" {len(MIGRATIONS)}. Upgrade mainspring on all machines that use it, then run `mainspring database"
            f" migrate`. Nothing was changed."
        )


def migrate(db: psycopg.Connection[Any], address: str) -> tuple[int, int]:
    """Apply what is missing, all or nothing. Several processes may do so at once; one does the work.

    Returns:
        The version before, 0 for none, and after.

    Raises:
        StoreTooNew: A newer version of mainspring has written it.
        StoreUnavailable: Tables of another program are in the way, or there is no schema.
        psycopg.Error: The database does not let us.
    """
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        before = read_version(db) or 0
        if before > len(MIGRATIONS):
            require_current(before, address)
        try:
            if not before:
                db.execute("CREATE TABLE IF NOT EXISTS mainspring_schema (version bigint NOT NULL)")
                db.execute("INSERT INTO mainspring_schema VALUES (0)")
            for name in MIGRATIONS[before:]:
                db.execute((_DIRECTORY / name).read_bytes())
            db.execute("UPDATE mainspring_schema SET version = %s", [len(MIGRATIONS)])
            if points.observer is not None:
                points.observer("store.commit", "the tables")
        except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateFunction) as error:
            raise StoreUnavailable(
                f"{address} has tables of another program whose names ours have ({' '.join(str(error).split())}). Set"
                f" MAINSPRING_DATABASE_URL to a database, or a schema, of its own. Nothing was changed."
            ) from error
    if points.observer is not None:
        points.observer("store.committed", "the tables")
    return before, len(MIGRATIONS)
