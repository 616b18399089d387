"""Opening a database: making it, bringing it up to date, and refusing what is not ours."""

import contextlib
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainspring.exceptions import StoreCorrupt, StoreError, StoreMissing, StoreTooNew, StoreUnavailable
from mainspring.filters import FlowRunFilter, TimeFilter
from mainspring.identifiers import to_uuid
from mainspring.states import AwaitingRetry, State, StateType
from mainspring.store import LogEntry, RunFilter, open_store
from mainspring.store.protocol import Amendment, FlowQuery
from mainspring.store.results import KeptResult, Leftovers, StagedStep
from mainspring.store.sqlite import schema
from mainspring.store.sqlite.connections import translated
from tests.store.children import children, run_child
from tests.store.histories import (
    COMPLETED,
    FAILED,
    NOON,
    RUNNING,
    advance,
    facts,
    finished_flow_run,
    finished_task_run,
    names_in,
    new_flow_run,
    new_task_run,
    record,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
        return value


def assert_refused(path: Path, kind: type[StoreError], *says: str) -> None:
    """Opening fails with one error that names the path and what to do, and leaves the file alone."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(kind) as caught:
        open_store(path)
    for text in (str(path), *says):
        assert text in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


# Making


def test_new_database_is_marked_as_ours(path: Path) -> None:
    """The file says whose it is and which schema it has, and keeps a write-ahead log."""
    open_store(path).close()
    assert pragma(path, "application_id") == schema.APPLICATION_ID
    assert pragma(path, "user_version") == len(schema.MIGRATIONS)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_empty_file_becomes_a_database(path: Path) -> None:
    """A file without content, as `mktemp` makes it, is a place for a new store."""
    path.touch()
    with closing(open_store(path)) as store:
        finished_task_run(store)


def test_close_leaves_one_file(path: Path) -> None:
    """After the last close all is in the database itself, which may be copied alone."""
    with closing(open_store(path)) as store:
        finished_task_run(store)
    assert names_in(path.parent) == ["runs.db", "runs.db.owners"]


def test_many_processes_make_it_at_once(path: Path) -> None:
    """Eight processes that open a new file at the same time all succeed, and all can write."""
    script = """
ready()
wait()
store = open_store(path)
finished_task_run(store)
store.close()
ready("done")
"""
    with children(path, script, 8) as openers:
        for opener in openers:
            opener.line()
        for opener in openers:
            opener.go()
        for opener in openers:
            assert opener.line() == "done"
            opener.end()
    with closing(open_store(path, create=False)) as store:
        assert len(store.read_task_runs(RunFilter())) == 8


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 1])
def test_what_a_power_cut_leaves_of_a_new_database(path: Path, part: float) -> None:
    """Its first page, and a part of the log: that is a new database, or one with tables, and no damaged one."""
    with closing(open_store(path)):
        page, log = path.read_bytes(), path.with_name("runs.db-wal").read_bytes()
    left = path.with_name("left.db")
    left.write_bytes(page)
    left.with_name("left.db-wal").write_bytes(log[: int(part * len(log))])
    assert pragma(left, "user_version") == (len(schema.MIGRATIONS) if part == 1 else 0)
    with closing(open_store(left)) as store:
        finished_task_run(store)
    with closing(open_store(left, create=False)) as store:
        assert len(store.read_task_runs(RunFilter())) == 1
    with closing(sqlite3.connect(left)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("disk", 2), ("relaxed", 1)])
def test_durability_is_a_level_of_sync(path: Path, durability, level: int) -> None:
    """Only `disk` waits for the disk at each commit; 1 is NORMAL, 2 is FULL."""
    with closing(open_store(path, durability)) as store:
        finished_task_run(store)
        store.read_task_runs(RunFilter())
        for link in store._links:  # type: ignore[attr-defined]
            db = link.db or link.open()
            assert db.execute("PRAGMA synchronous").fetchone() == (level,)


# Bringing up to date

PUBLISHED = schema._DIRECTORY
NEXT = ";\n\n"


@pytest.fixture
def second_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a second migration, yet to be filled."""
    directory = tmp_path / "migrations"
    directory.mkdir()
    monkeypatch.setattr(schema, "_DIRECTORY", directory)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "9999_more.sql"))
    return directory / "9999_more.sql"


def test_older_database_is_brought_up_to_date(path: Path, request: pytest.FixtureRequest) -> None:
    """Opening an older database applies what is missing and keeps the history."""
    with closing(open_store(path)) as store:
        run = finished_task_run(store)
    migration: Path = request.getfixturevalue("second_migration")
    migration.write_text("CREATE TABLE extra (a TEXT);\n-- one; two\nINSERT INTO extra VALUES ('x;y');\n")
    for _ in range(2):
        with closing(open_store(path)) as store:
            assert store.read_run(run.key) is not None
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT a FROM extra").fetchall() == [("x;y",)]
            assert db.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)


def schema_of(db: sqlite3.Connection) -> list[str]:
    """The statements that make all that is in a database, tables first, in the order in which they were made."""
    found = db.execute(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        " ORDER BY type <> 'table', rowid"
    )
    return [sql for (sql,) in found]


def test_new_database_is_what_migrations_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new database begins with is to the letter what the migrations make that it stands for."""
    count, together = schema.TOGETHER
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as migrated:
        monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:count])
        monkeypatch.setattr(schema, "TOGETHER", (count + 1, together))
        schema.apply_migrations(migrated, "")
        wanted = schema_of(migrated)
        rows = {
            name: migrated.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables(migrated)
        }
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        monkeypatch.setattr(schema, "TOGETHER", (count, together))
        schema.apply_migrations(made, "")
        assert schema_of(made) == wanted, f"{together} should be:\n\n{NEXT.join(wanted)};\n"
    assert not any(rows.values()), "a migration writes rows, which the one file for all of them does not"


def tables(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def test_new_database_gets_later_migrations_too(path: Path, second_migration: Path) -> None:
    """Migrations that came after those which are one file for new databases are applied one by one."""
    second_migration.write_text("CREATE TABLE extra (a TEXT);\n")
    for name in schema.MIGRATIONS[schema.TOGETHER[0] : -1]:
        shutil.copy(PUBLISHED / name, second_migration.parent)
    shutil.copy(PUBLISHED / schema.TOGETHER[1], second_migration.parent)
    open_store(path).close()
    with closing(sqlite3.connect(path)) as db:
        assert {"extra", "task_runs"} <= set(tables(db))
    assert pragma(path, "user_version") == len(schema.MIGRATIONS)


def make_older(path: Path, newest: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database as an older version has left it, with the rows of another one."""
    with closing(sqlite3.connect(path)) as db:
        with monkeypatch.context() as before:
            before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
            schema.apply_migrations(db, str(path))
        db.execute("ATTACH ? AS newest", (str(newest),))
        tables = db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
        with db:
            for (table,) in tables:
                names = ", ".join(f'"{row[1]}"' for row in db.execute(f"PRAGMA main.table_info({table})"))
                db.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newest.{table}")


def test_runs_that_were_scheduled_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of schema version 10 gets to know when its scheduled runs are due, and finds all of its flows."""
    newest = path.with_name("newest.db")
    due = datetime(2027, 3, 1, 12, 30, tzinfo=UTC)
    with closing(open_store(newest)) as store:
        run, done = new_flow_run(), finished_flow_run(store)
        record(store, advance(run, StateType.RUNNING, AwaitingRetry(scheduled_time=due)))
    make_older(path, newest, 10, monkeypatch)
    with closing(open_store(path)) as store:
        where = FlowRunFilter(next_scheduled_start_time=TimeFilter(after_=due, before_=due))
        assert [found.key for found in store.read_flow_runs(RunFilter(flow_run=where))] == [run.key]
        assert [flow.name for flow in store.read_flows(FlowQuery())] == [done.flow_name]
        assert store.amend_run(done.key, Amendment(name="kept"))
        found = store.read_run(done.key)
        assert found is not None
        assert found.name == "kept"


def test_runs_from_before_results_were_kept_in_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of schema version 6 keeps its history, takes results from then on, and has none of its own."""
    newest = path.with_name("newest.db")
    with closing(open_store(newest)) as store:
        flow_run = finished_flow_run(store)
        done = finished_task_run(store, flow_run)
    make_older(path, newest, 6, monkeypatch)
    assert pragma(path, "user_version") == 6
    with closing(open_store(path)) as store:
        found = store.read_run(done.key)
        assert found is not None
        assert facts(found) == facts(done)
        assert len(store.read_states(done.key)) == 3
        assert store.read_result("k") is None
        assert store.read_leftovers(flow_run.key) == Leftovers([], [])
        run = new_task_run(flow_run)
        change = advance(run, RUNNING, COMPLETED)
        step = StagedStep(run.key, flow_run.key, flow_run.key, "s", content="1")
        change.attachments = (KeptResult("k", "1", None, run.key), step)
        record(store, change)
    with closing(open_store(path)) as store:
        assert store.read_result("k") == KeptResult("k", "1", None, run.key)
        assert store.read_leftovers(flow_run.key).steps == [step]


def test_failed_migration_changes_nothing(path: Path, request: pytest.FixtureRequest) -> None:
    """If a migration fails half way the database stays as it was, and an older program still opens it."""
    with closing(open_store(path)) as store:
        run = finished_task_run(store)
    version = pragma(path, "user_version")
    with pytest.MonkeyPatch.context():
        migration: Path = request.getfixturevalue("second_migration")
    migration.write_text("CREATE TABLE extra (a TEXT);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(StoreError, match="nowhere"):
        open_store(path)
    assert pragma(path, "user_version") == version
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
        assert db.execute("SELECT id FROM task_runs").fetchall() == [(run.key,)]


def test_newer_database_is_refused(path: Path) -> None:
    """A database of a newer version is not touched."""
    open_store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    assert_refused(path, StoreTooNew, "Upgrade mainspring", "Nothing was changed")


# Refusing


def test_directory(path: Path) -> None:
    """A directory is no place for a database."""
    path.mkdir()
    assert_refused(path, StoreUnavailable, "is a directory", "MAINSPRING_DATABASE_URL")


def test_below_a_file(path: Path) -> None:
    """Where directories cannot be made, the error says so."""
    path.write_text("a file")
    assert_refused(path / "deep" / "runs.db", StoreUnavailable, "cannot be made", "MAINSPRING_DATABASE_URL")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no /proc")
def test_directory_that_takes_no_files() -> None:
    """Where files cannot be made, the error says so."""
    assert_refused(Path("/proc/runs.db"), StoreUnavailable, "cannot be opened", "MAINSPRING_DATABASE_URL")


def test_file_that_cannot_be_written(path: Path) -> None:
    """A database that may only be read can be opened, and says so to who writes."""
    with closing(open_store(path)) as store:
        finished_task_run(store)
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write to any file")
    with closing(open_store(path)) as store, pytest.raises(StoreUnavailable, match="cannot be written"):
        finished_task_run(store)


def test_read_only_is_explained(path: Path) -> None:
    """What SQLite says about a read-only database becomes one clear error."""
    open_store(path).close()
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db,
        pytest.raises(sqlite3.OperationalError) as caught,
    ):
        db.execute("DELETE FROM logs")
    error = translated(caught.value, str(path))
    assert isinstance(error, StoreUnavailable)
    assert f"{path} cannot be used: it cannot be written" in str(error)


def test_something_else(path: Path) -> None:
    """A file that is no database is left as it is."""
    path.write_text("name,value\na,1\n" * 1000)
    assert_refused(path, StoreCorrupt, "not an SQLite database", "MAINSPRING_DATABASE_URL", "left as it is")
    assert names_in(path.parent) == ["runs.db"]


def test_truncated_database(path: Path) -> None:
    """A database that lost its end is left as it is."""
    with closing(open_store(path)) as store:
        finished_task_run(store)
    path.write_bytes(path.read_bytes()[:5000])
    assert_refused(path, StoreCorrupt, "damaged", ".recover")


def test_damage_found_later(path: Path) -> None:
    """Damage that shows only when runs are read is reported as damage, not as an empty history."""
    with closing(open_store(path)) as store:
        for _ in range(50):
            finished_task_run(store)
    with closing(sqlite3.connect(path)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'task_runs'").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(content)
    with closing(open_store(path)) as store, pytest.raises(StoreCorrupt, match="damaged"):
        store.read_task_runs(RunFilter())


def test_database_of_another_program(path: Path) -> None:
    """Runs are not put among somebody else's tables."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    assert_refused(path, StoreUnavailable, "another program", "MAINSPRING_DATABASE_URL")
    assert names_in(path.parent) == ["runs.db"]


@pytest.mark.parametrize("mark", ["application_id", "user_version"])
def test_marked_database_of_another_program(path: Path, mark: str) -> None:
    """A database without tables that carries a mark of its own is somebody else's, too."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA {mark} = 77")
    assert_refused(path, StoreUnavailable, "another program")


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_there_to_read(path: Path, exists: bool) -> None:
    """Who only wants to read is told that there is nothing, and nothing is made."""
    if exists:
        path.touch()
    with pytest.raises(StoreUnavailable, match=f"no run store at {path}"):
        open_store(path if exists else path.parent / "runs.db", create=False)
    assert path.exists() is exists
    with pytest.raises(StoreMissing, match="no run store at"):
        open_store(path.parent / "deep" / "runs.db", create=False)
    assert not (path.parent / "deep").exists()


# Getting into trouble later


def test_full_database(path: Path) -> None:
    """When there is no room nothing is half written, what is there stays, and it goes on when there is room."""
    with closing(open_store(path)) as store:
        kept = finished_task_run(store)
        db = store._writer.db  # type: ignore[attr-defined]
        (limit,) = db.execute("PRAGMA max_page_count").fetchone()
        db.execute("PRAGMA max_page_count = 1")
        run = new_task_run()
        change = advance(run, State(FAILED, message="x" * 10_000))
        with pytest.raises(StoreUnavailable, match=f"{path} cannot be used: the disk is full"):
            store.write([change])
        assert [found.key for found in store.read_task_runs(RunFilter())] == [kept.key]
        assert store.read_states(run.key) == []
        db.execute(f"PRAGMA max_page_count = {limit}")
        assert store.write([change]) == []


def test_file_size_limit(path: Path) -> None:
    """When the system refuses to let the files grow, the error comes and the history so far is whole."""
    script = """
import resource
store = open_store(path)
finished_task_run(store)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
count = 1
try:
    while True:
        finished_task_run(store)
        count += 1
except Exception as error:
    ready(type(error).__name__)
ready(count)
os._exit(0)
"""
    kind, count = run_child(path, script)
    assert kind == "StoreUnavailable"
    with closing(open_store(path)) as store:
        runs = store.read_task_runs(RunFilter(limit=None))
        assert len(runs) == int(count)
        assert all(len(store.read_states(run.key)) == 3 for run in runs)


def test_locked_for_too_long(path: Path) -> None:
    """Who cannot get the write lock in time is told which file is locked; afterwards it goes on."""
    with closing(open_store(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        finished_task_run(store)
        store._writer.db.execute("PRAGMA busy_timeout = 20")  # type: ignore[attr-defined]
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=f"{path} cannot be used: another process kept it locked"):
            finished_task_run(store)
        assert len(store.read_task_runs(RunFilter())) == 1
        other.execute("ROLLBACK")
        finished_task_run(store)


# With an SQL shell


def test_history_is_readable_in_sql(path: Path) -> None:
    """The readable views show ids and times as people write them, whatever is missing as NULL."""
    with closing(open_store(path)) as store:
        flow_run = finished_flow_run(store)
        run = new_task_run(flow_run)
        run.state.at = NOON
        record(store, advance(run, State(RUNNING, at=NOON + 7), State(COMPLETED, at=NOON + 1_500_007)))
        lonely = finished_task_run(store)
        store.write([], [LogEntry(NOON, 20, "x", "hello", flow_run.key, run.key)])
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT id, flow_run_id, state_name, start_time, end_time, total_run_time FROM readable_task_runs"
        ).fetchall()
        assert rows[0] == (
            str(run.id),
            str(flow_run.id),
            "Completed",
            "2026-08-01T12:00:00.000007Z",
            "2026-08-01T12:00:01.500007Z",
            1.5,
        )
        assert rows[1][:2] == (str(lonely.id), None)
        assert db.execute(
            "SELECT id, parent_task_run_id, end_time IS NULL FROM readable_flow_runs"
        ).fetchall() == [(str(flow_run.id), None, 0)]
        states = db.execute(
            "SELECT run_id, id, timestamp FROM readable_states WHERE run_id = ?", (str(run.id),)
        )
        assert states.fetchone() == (
            str(run.id),
            str(to_uuid(store_state_key(db, run.key))),
            "2026-08-01T12:00:00.000000Z",
        )
        logs = db.execute("SELECT flow_run_id, task_run_id, timestamp, message FROM readable_logs").fetchall()
        assert logs == [(str(flow_run.id), str(run.id), "2026-08-01T12:00:00.000000Z", "hello")]


def store_state_key(db: sqlite3.Connection, run_key: bytes) -> bytes:
    key: bytes = db.execute("SELECT id FROM states WHERE run_id = ? AND position = 1", (run_key,)).fetchone()[
        0
    ]
    return key


def test_attempts_are_a_view(path: Path) -> None:
    """Each attempt is a row: when it began, when and how it ended; the last may be under way."""
    run = new_task_run()
    change = advance(
        run,
        State(RUNNING, at=2 * NOON),
        State(FAILED, message="no", at=2 * NOON + 5),
        State(RUNNING, "Retrying"),
    )
    with closing(open_store(path)) as store:
        record(store, change)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT attempt, start_time, end_time, state_name, message FROM attempts"
        ).fetchall()
    assert rows == [
        (1, 2 * NOON, 2 * NOON + 5, "Failed", "no"),
        (2, 2 * NOON + 6, None, None, None),
    ]


def test_a_database_that_is_being_made_is_not_taken_for_a_foreign_one(path: Path) -> None:
    """What tells whose a database is, is read as of one moment, whenever another process makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as reader,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as maker,
    ):

        def make_it_now(statement: str) -> None:
            if "sqlite_master" in statement:
                with contextlib.suppress(sqlite3.OperationalError):  # it has to wait for the reader
                    schema.apply_migrations(maker, str(path))

        reader.set_trace_callback(make_it_now)
        assert schema.needs_migration(reader, str(path))
        reader.set_trace_callback(None)
        schema.apply_migrations(maker, str(path))
        assert not schema.needs_migration(reader, str(path))
