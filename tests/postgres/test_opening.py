"""Opening a store in PostgreSQL: fresh, old, new, foreign, and where something is missing. No password is shown."""

import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from mainspring.client import AsyncClient, Client
from mainspring.exceptions import (
    ConfigurationError,
    ObjectNotFound,
    StoreError,
    StoreMissing,
    StoreTooNew,
    StoreTooOld,
    StoreUnavailable,
)
from mainspring.states import Failed
from mainspring.store import open_store
from mainspring.store.addresses import shown_address
from mainspring.store.postgres import schema
from tests.postgres.conftest import Open
from tests.store.histories import COMPLETED, RUNNING, advance, finished_flow_run, new_task_run, record

SECRET = "s3cret-w0rd"


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        for statement in statements:
            db.execute(statement.encode())


def changed(url: str, **facts: str) -> str:
    """The address with other facts, in the form of libpq's pairs behind the scheme."""
    known = {**conninfo_to_dict(url), **facts}
    login = f"{known.pop('user', 'postgres')}:{known.pop('password', SECRET)}"
    database = known.pop("dbname")
    host = known.pop("host", "localhost").replace("/", "%2F")
    port = known.pop("port", 5432)
    query = "&".join(f"{name}={str(value).replace('=', '%3D')}" for name, value in known.items())
    return f"postgresql://{login}@{host}:{port}/{database}?{query}"


def refused(url: str, kind: type[Exception] = StoreUnavailable, **options: object) -> str:
    """What opening says that must not work."""
    with pytest.raises(kind) as caught:
        open_store(url, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert SECRET not in text
    assert SECRET not in repr(caught.value)
    return text


@pytest.fixture
def role(url: str) -> Iterator[Callable[..., str]]:
    """Makes a role with some rights, and gives the address with it."""
    made: list[str] = []

    def make(*rights: str, options: str = "") -> str:
        name = f"role_{uuid.uuid4().hex[:12]}"
        made.append(name)
        execute(url, f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}' {options}")
        execute(url, *[right.format(role=name, schema=schema_of(url)) for right in rights])
        return changed(url, user=name)

    yield make
    for name in made:
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def schema_of(url: str) -> str:
    return str(conninfo_to_dict(url)["options"]).partition("=")[2]


def test_a_fresh_schema(url: str, opened: Open) -> None:
    """The tables are made by the first who opens the store, and by nobody who is not to make them."""
    assert "There is no run store" in refused(url, StoreMissing, create=False)
    opened(url)
    assert opened(url, create=False).read_logs(b"") == []


def test_several_open_a_fresh_schema(url: str) -> None:
    """Of several that open a fresh schema at once, one makes the tables, and all can use them."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    def do() -> None:
        try:
            barrier.wait(30)
            store = open_store(url)
            record(store, advance(new_task_run(), RUNNING, COMPLETED))
            store.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=do) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_other_versions(url: str, opened: Open) -> None:
    """An older schema is refused with the command that migrates it, a newer one with the advice to upgrade."""
    opened(url).close()
    execute(url, "UPDATE mainspring_schema SET version = version - 1")
    assert "mainspring database migrate" in refused(url, StoreTooOld)
    execute(url, f"UPDATE mainspring_schema SET version = {len(schema.MIGRATIONS) + 1}")
    assert "Upgrade mainspring" in refused(url, StoreTooNew)


def test_tables_of_another_program(url: str) -> None:
    """Tables in the way are left alone, and nothing is made beside them."""
    execute(url, "CREATE TABLE results (x int)")
    assert "another program" in refused(url)
    with psycopg.connect(url) as db:
        count = db.execute("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").fetchone()
        assert count == (1,)


def test_no_schema(url: str) -> None:
    """An address that leads to no schema says how to make it."""
    assert "CREATE SCHEMA" in refused(changed(url, options="-csearch_path=nowhere_at_all"))


def test_missing_rights(url: str, role: Callable[..., str], opened: Open) -> None:
    """A user without rights is told which are needed; once the tables are there, using them is enough."""
    assert "rights are missing" in refused(role("GRANT USAGE ON SCHEMA {schema} TO {role}"))
    refused(role())
    opened(url)
    assert "rights are missing" in refused(role("GRANT USAGE ON SCHEMA {schema} TO {role}"))
    enough = role(
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    )
    record(opened(enough), advance(new_task_run(), RUNNING, COMPLETED))


def test_a_database_that_cannot_be_written(role: Callable[..., str], url: str, opened: Open) -> None:
    """Where transactions are read-only by default that is said."""
    opened(url)
    enough = role(
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}",
        "ALTER ROLE {role} SET default_transaction_read_only = on",
    )
    store = opened(enough)
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.write([advance(new_task_run(), RUNNING)])


def test_other_isolation_by_default(role: Callable[..., str], url: str, opened: Open) -> None:
    """What the user's transactions are by default changes nothing."""
    opened(url)
    strict = role(
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        "ALTER ROLE {role} SET default_transaction_isolation = 'serializable'",
    )
    with opened(strict)._connections.borrowed() as connection:
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def test_too_many_connections(role: Callable[..., str]) -> None:
    """A server, or a user, that has no connection left says so."""
    crowded = role("GRANT ALL ON SCHEMA {schema} TO {role}", options="CONNECTION LIMIT 0")
    assert "no connection left" in refused(crowded)


def test_who_and_where(url: str) -> None:
    """A database, user, host or port that is not there is told from the others."""
    assert "createdb" in refused(changed(url, dbname="nowhere_at_all"))
    assert "Check user" in refused(changed(url, user="nobody_at_all"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    assert "cannot be reached" in refused(changed(url, host="127.0.0.1", port=port))
    assert "cannot be reached" in refused(changed(url, host="nowhere.invalid"))


def test_a_database_that_is_misspelt_is_no_empty_history(url: str) -> None:
    """Whoever only looks is told that there is no such database, not that nothing has run yet."""
    with pytest.raises(StoreUnavailable) as caught:
        open_store(changed(url, dbname="nowhere_at_all"), create=False)
    assert not isinstance(caught.value, StoreMissing)


def test_clients_keep_passwords_to_themselves(url: str) -> None:
    """The password in the address is in no error of a client, and not in how one is shown."""
    store = open_store(changed(url, password=SECRET))
    client, nowhere = Client(store), uuid.uuid4()
    told = [repr(client), repr(AsyncClient(store))]
    for ask in (
        lambda: client.read_flow_run(nowhere),
        lambda: client.set_task_run_state(nowhere, Failed()),
        lambda: client.cancel_run(nowhere),
        lambda: client.read_flow(nowhere),
        lambda: client.read_events(run_id=nowhere),
    ):
        with pytest.raises(ObjectNotFound) as caught:
            ask()
        told.append(str(caught.value))
    store.close()
    assert all(SECRET not in each for each in told)
    assert all("***" in each for each in told)


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://user:{SECRET}@host/db",
        f"postgresql://user:{SECRET}@host:1/db?options=-cx%3D1",
        f"postgresql://user:a/{SECRET}@host/db",
        f"postgresql://user:a?{SECRET}@host/db",
        f"postgresql://user:a@{SECRET}@host/db",
        f"postgresql://user:{SECRET}%zz@host/db",
        f"postgresql://user:{SECRET} x@host/db",
        f"postgresql://host/db?password={SECRET}",
        f"postgresql://host/db?sslmode=require&sslpassword={SECRET}&user=u",
        f"postgresql://user:{SECRET}@host:port/db",
        f"postgresql://user:{SECRET}@[::1/db",
        f"postgresql://user:{SECRET}@host/db?nonsense=1",
    ],
)
def test_passwords_are_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the shown address nor an error has the password, however it is written."""
    assert SECRET not in shown_address(address)
    assert "host" in shown_address(address) or "::1" in shown_address(address)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    refused(address.replace("@host", "@nowhere.invalid").replace("//host", "//nowhere.invalid"), Exception)


@pytest.mark.parametrize(
    "address", ["postgresql://u:p@host:port/db", "postgresql://host/db?nonsense=1", "postgresql://[::1/db"]
)
def test_an_address_that_cannot_be_read(address: str) -> None:
    """What libpq does not understand is refused before anything is asked of a server."""
    assert "cannot be read as the address" in refused(address, ConfigurationError)


def test_the_version_shows_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """The command that shows where the database is does not show its password."""
    done = subprocess.run(
        [sys.executable, "-m", "mainspring", "version"],
        env={**os.environ, "MAINSPRING_DATABASE_URL": f"postgresql://u:{SECRET}@host/db"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "u:***@host" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_without_psycopg() -> None:
    """Where psycopg is missing, the error says what to install."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from mainspring.store import open_store\n"
        f"open_store('postgresql://u:{SECRET}@host/db')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'mainspring[postgres]'" in done.stderr.splitlines()[-1]
    assert SECRET not in done.stderr


def test_the_error_of_an_old_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is too old is refused."""
    from mainspring.store.postgres import store as store_module

    monkeypatch.setattr(store_module, "OLDEST_SERVER", 990_000)
    assert "too old" in refused(url)
    assert issubclass(StoreUnavailable, StoreError)


def test_readable_views(url: str, opened: Open) -> None:
    """The readable views have the rows of their tables, with ids as uuid and times as timestamps."""
    store = opened(url)
    flow_run = finished_flow_run(store)
    run = new_task_run(flow_run)
    record(store, advance(run, RUNNING, COMPLETED))
    with psycopg.connect(url) as db:
        assert db.execute("SELECT id, state_type FROM readable_flow_runs").fetchall() == [
            (flow_run.id, "COMPLETED")
        ]
        assert db.execute("SELECT id, flow_run_id, created FROM readable_task_runs").fetchall() == [
            (run.id, flow_run.id, run.created)
        ]
        assert db.execute("SELECT count(*) FROM readable_states").fetchone() == (6,)
        assert db.execute("SELECT run_id, attempt FROM attempts ORDER BY start_time").fetchall() == [
            (flow_run.key, 1),
            (run.key, 1),
        ]
        assert db.execute("SELECT count(*) FROM readable_logs").fetchone() == (0,)
