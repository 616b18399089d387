"""Looking after a database as a whole: what it is, bringing it up to date, giving free space back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager

import psycopg

from mainspring.exceptions import StoreUnavailable
from mainspring.store.describing import DatabaseDescription, Migration, Vacuuming
from mainspring.store.postgres import schema
from mainspring.store.postgres.connections import Connection, Connections, translated_error

__all__ = ["TABLES", "describe", "migrate", "vacuum"]

TABLES = (
    "cache_keys",
    "cancellations",
    "concurrency_limits",
    "crash_hooks",
    "flow_runs",
    "locks",
    "logs",
    "mainspring_schema",
    "owners",
    "pauses",
    "results",
    "resumptions",
    "settlements",
    "slots",
    "staged",
    "states",
    "suspensions",
    "task_runs",
    "unused_files",
)
"""What is ours in a schema, where there may be tables of others."""

_SIZE = b"SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint FROM unnest($1::text[]) AS t(name)"
_VACUUM_WAIT_SECONDS = 5.0


def describe(url: str) -> DatabaseDescription:
    """What a database, or the schema that the address leads to, is; nothing is made or changed.

    Raises:
        StoreUnavailable: It cannot be reached or read.
        StoreMissing: There is no such database.
    """
    with _connected(url) as (db, address):
        version = schema.read_version(db)
        flow_runs = task_runs = 0
        if version:
            flow_runs = _number(db, b"SELECT count(*) FROM flow_runs")
            task_runs = _number(db, b"SELECT count(*) FROM task_runs")
        return DatabaseDescription(
            kind="postgresql",
            location=address,
            schema_version=version or None,
            known_version=len(schema.MIGRATIONS),
            size=_size(db) if version else None,
            flow_runs=flow_runs,
            task_runs=task_runs,
        )


def migrate(url: str) -> Migration:
    """Bring a database up to date, or make the tables in it.

    Raises:
        StoreError: It cannot be reached or written, is not there, or a newer version has written it.
    """
    with _connected(url) as (db, address):
        return Migration(*schema.migrate(db, address))


def vacuum(url: str) -> Vacuuming:
    """Write each table anew without the room that deleted rows have left. Others wait meanwhile.

    Raises:
        StoreMissing: There is no run store.
        StoreTooNew, StoreTooOld: Another version of mainspring has written it.
        StoreUnavailable: Somebody reads or writes for so long that there is no beginning.
        StoreError: The database refuses.
    """
    with _connected(url) as (db, address):
        schema.require_current(schema.read_version(db), address)
        before = _size(db)
        db.execute(f"SET lock_timeout = {round(_VACUUM_WAIT_SECONDS * 1000)}".encode())
        for table in TABLES:
            try:
                db.execute(f"VACUUM (FULL, ANALYZE) {table}".encode())
            except psycopg.errors.LockNotAvailable as error:
                raise StoreUnavailable(
                    f"The run store {address} cannot be vacuumed now: somebody else is reading or writing the table"
                    f" {table}, and a vacuum needs it alone for a moment. Nothing was lost. Try again when fewer runs"
                    f" go on."
                ) from error
        return Vacuuming(before, _size(db))


@contextmanager
def _connected(url: str) -> Generator[tuple[Connection, str]]:
    """A connection of its own, and the address without its password."""
    connections = Connections(url, "process")
    try:
        with closing(connections.connect()) as db:
            yield db, connections.address
    except psycopg.Error as error:
        raise translated_error(error, connections.address) from error


def _size(db: Connection) -> int:
    found = psycopg.RawCursor(db).execute(_SIZE, [list(TABLES)]).fetchone()
    return 0 if found is None else int(found[0])


def _number(db: Connection, query: bytes) -> int:
    found = db.execute(query).fetchone()
    return 0 if found is None else int(found[0])
