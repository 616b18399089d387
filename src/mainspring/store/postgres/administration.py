"""Looking after a database as a whole: what it is, bringing it up to date, giving free space back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from mainspring.exceptions import StoreMissing
from mainspring.store.describing import DatabaseDescription, Migration, Vacuuming
from mainspring.store.postgres import schema
from mainspring.store.postgres.connections import Connection, Connections, translated_error

__all__ = ["describe", "migrate", "vacuum"]

_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname = ANY(%s)"
)


def describe(url: str) -> DatabaseDescription:
    """What a database is; nothing is made or changed.

    Raises:
        StoreError: It cannot be reached or read, or is not there.
    """
    with _connected(url) as (connection, address):
        version = schema.read_version(connection)
        flow_runs = task_runs = 0
        size: int | None = None
        if version:
            flow_runs = _number(connection, "SELECT count(*) FROM flow_runs")
            task_runs = _number(connection, "SELECT count(*) FROM task_runs")
            size = _size(connection)
    return DatabaseDescription(
        kind="postgresql",
        location=address,
        schema_version=version,
        known_version=len(schema.MIGRATIONS),
        size=size,
        flow_runs=flow_runs,
        task_runs=task_runs,
    )


def migrate(url: str) -> Migration:
    """Bring a database up to date, or make its tables.

    Raises:
        StoreError: It cannot be reached or written, or a newer version of mainspring has written it.
    """
    with _connected(url) as (connection, address):
        return Migration(*schema.migrate(connection, address))


def vacuum(url: str) -> Vacuuming:
    """Let the room that deleted rows have left be used again. Others go on meanwhile.

    Raises:
        StoreMissing: There is no run store.
        StoreError: It cannot be reached or written.
    """
    with _connected(url) as (connection, address):
        version = schema.read_version(connection)
        if version is None:
            raise StoreMissing(
                f"There is no run store in {address}. Set MAINSPRING_DATABASE_URL to the one you mean."
            )
        before = _size(connection)
        for table in schema.tables():
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())
        return Vacuuming(before, _size(connection))


def _number(connection: Connection, query: str, *values: object) -> int:
    row = connection.execute(query.encode(), values or None).fetchone()
    return 0 if row is None else int(row[0])


def _size(connection: Connection) -> int:
    """The bytes of our tables with their indexes, in the schema that is used."""
    return _number(connection, _SIZE, schema.tables())


@contextmanager
def _connected(url: str) -> Generator[tuple[Connection, str]]:
    """A connection for the block, and the address without its password."""
    connections = Connections(url, "process")
    try:
        with connections.borrowed() as connection:
            yield connection, connections.address
    except psycopg.Error as error:
        raise translated_error(error, connections.address) from error
    finally:
        connections.close()
