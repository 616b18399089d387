"""Looking after a PostgreSQL database as a whole: describing it, bringing it up to date, vacuuming it."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from mainspring.exceptions import StoreError, StoreMissing, StoreTooOld
from mainspring.store import open_store
from mainspring.store.addresses import describe, migrate, vacuum
from mainspring.store.postgres import schema
from tests.postgres.server import fresh_schema
from tests.store.histories import finished_flow_run, finished_task_run

NEWEST = len(schema.MIGRATIONS)


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_schema() as address:
        yield address


def test_a_schema_without_a_run_store(url: str) -> None:
    """Describing makes nothing; there is nothing to vacuum."""
    found = describe(url)
    assert (found.kind, found.schema_version, found.known_version) == ("postgresql", None, NEWEST)
    with pytest.raises(StoreMissing):
        vacuum(url)
    with psycopg.connect(url) as db:
        assert db.execute("SELECT to_regclass('flow_runs')").fetchone() == (None,)


def test_a_run_store(url: str) -> None:
    """Version, size and numbers of runs are told."""
    with closing(open_store(url)) as store:
        flow_run = finished_flow_run(store)
        for _ in range(3):
            finished_task_run(store, flow_run)
    found = describe(url)
    assert (found.schema_version, found.flow_runs, found.task_runs) == (NEWEST, 1, 3)
    assert found.size is not None
    assert found.size > 10_000


def test_migrating(url: str) -> None:
    """A run store is made, and one that is up to date is left as it is."""
    done = migrate(url)
    assert (done.before, done.after) == (0, NEWEST)
    assert migrate(url) == type(done)(NEWEST, NEWEST)


def test_an_older_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an older version is described as it is, refused by who opens it, and brought up to date."""
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        migrate(url)
    assert describe(url).schema_version == 1
    with pytest.raises(StoreTooOld, match="mainspring database migrate"):
        open_store(url)
    done = migrate(url)
    assert (done.before, done.after) == (1, NEWEST)
    open_store(url).close()


def test_all_tables_are_known(url: str) -> None:
    """Those that are vacuumed and measured are those that there are."""
    migrate(url)
    with psycopg.connect(url) as db:
        found = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
    assert sorted(name for (name,) in found) == sorted(schema.tables())


def test_vacuuming_keeps_what_is_there(url: str) -> None:
    """Runs go on while the room of deleted ones is made free."""
    with closing(open_store(url)) as store:
        keys = [finished_task_run(store).key for _ in range(30)]
        stays = finished_task_run(store)
        assert store.delete_runs(keys) == 30
        done = vacuum(url)
        assert done.after > 0
        assert store.read_run(stays.key) is not None
        finished_task_run(store)
    assert describe(url).task_runs == 2


def test_a_database_that_is_not_there(url: str) -> None:
    """Who cannot be reached, and databases that do not exist, are one clear error each, without the password."""
    for address in ("postgresql://me:secret@127.0.0.1:1/runs", url.replace("/postgres?", "/missing?", 1)):
        for function in (describe, migrate, vacuum):
            with pytest.raises(StoreError, match="The run store") as caught:
                function(address)
            assert "secret" not in str(caught.value)
