"""Looking after an SQLite database as a whole: describing it, bringing it up to date, vacuuming it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.exceptions import ConfigurationError, StoreCorrupt, StoreMissing, StoreUnavailable
from mainspring.store import open_store
from mainspring.store.addresses import describe, migrate, vacuum
from mainspring.store.sqlite import administration, schema
from tests.store.histories import finished_flow_run, finished_task_run, names_in

NEWEST = len(schema.MIGRATIONS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "place" / "runs.db"


def test_a_database_that_is_not_there(path: Path) -> None:
    """Describing makes nothing; an empty file is no database yet."""
    found = describe(f"sqlite:///{path}")
    assert (found.location, found.schema_version, found.known_version) == (str(path), None, NEWEST)
    assert not path.parent.exists()
    path.parent.mkdir()
    path.touch()
    assert describe(path).schema_version is None
    assert names_in(path.parent) == ["runs.db"]


def test_a_database_that_is_in_use(path: Path) -> None:
    """Version, size and numbers of runs are told, of what was committed by then."""
    with closing(open_store(path)) as store:
        flow_run = finished_flow_run(store)
        for _ in range(3):
            finished_task_run(store, flow_run)
        found = describe(path)
        assert (found.kind, found.schema_version, found.flow_runs, found.task_runs) == (
            "sqlite",
            NEWEST,
            1,
            3,
        )
        assert found.size is not None
        assert found.size > 10_000


@pytest.mark.parametrize("version", [1, NEWEST + 1])
def test_other_versions(path: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older database and a newer one are described as they are."""
    open_store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    assert describe(path).schema_version == version


def test_what_is_no_run_store(path: Path) -> None:
    """Directories, databases of other programs, other files, and stores in memory are refused by all three."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    text = path.with_name("text.db")
    text.write_text("no database, but long enough to be one" * 100)
    for function in (describe, migrate, vacuum):
        with pytest.raises(StoreUnavailable, match="is a directory"):
            function(path.parent)
        with pytest.raises(StoreUnavailable, match="another program"):
            function(path)
        with pytest.raises(StoreCorrupt):
            function(text)
        with pytest.raises(StoreMissing, match="in memory"):
            function("sqlite://")
        with pytest.raises(ConfigurationError, match="mysql"):
            function("mysql://somewhere/else")


def test_migrating(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing database is made, an older one brought up to date, and one that is up to date left as it is."""
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:6])
        done = migrate(path)
        assert (done.before, done.after) == (0, 6)
    assert describe(path).schema_version == 6
    done = migrate(path)
    assert (done.before, done.after) == (6, NEWEST)
    assert migrate(path) == type(done)(NEWEST, NEWEST)


def test_vacuuming_gives_room_back(path: Path) -> None:
    """A database takes less room after runs were deleted and it was vacuumed, and keeps the others."""
    with closing(open_store(path)) as store:
        keys = [finished_task_run(store).key for _ in range(1000)]
        stays = finished_task_run(store)
        store.delete_runs(keys)
    done = vacuum(path)
    assert done.after < done.before / 2
    assert path.stat().st_size == done.after
    with closing(open_store(path)) as store:
        assert store.read_run(stays.key) is not None
    assert describe(path).task_runs == 1


def test_vacuuming_what_is_not_there(path: Path) -> None:
    """There is nothing to vacuum, and nothing is made."""
    with pytest.raises(StoreMissing):
        vacuum(path)
    assert not path.parent.exists()


def test_vacuuming_while_others_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds a transaction open is not disturbed: the vacuum gives up and says why."""
    monkeypatch.setattr(administration, "_VACUUM_WAIT_SECONDS", 0.05)
    open_store(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process is reading or writing"):
            vacuum(path)
        db.execute("ROLLBACK")
    vacuum(path)
