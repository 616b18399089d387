"""The bells of both databases keep the contract, and what is special to each."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from mainspring.store.addresses import open_store
from mainspring.store.bells import SLOTS
from mainspring.store.sql import SQLRunStore
from tests.postgres.proxy import proxied
from tests.postgres.server import fresh_schema
from tests.store.bells import BellConformance, Heard

_LISTEN = """
import sys, time
from mainspring.store.addresses import open_store
store = open_store(sys.argv[1])
store.bell.listen("slots", print)
print("ready", flush=True)
time.sleep(60)
"""


class TestPipes(BellConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:  # type: ignore[override]
        return f"sqlite:///{tmp_path}/runs.db"

    def test_pipes_of_the_dead_are_removed(
        self, url: str, opened: Callable[[], SQLRunStore], tmp_path: Path
    ) -> None:
        """The pipe of a listener that was killed goes with the next ring; those of the living stay."""
        store, listener = opened(), opened()
        heard = Heard()
        listener.bell.listen(SLOTS, heard)
        child = subprocess.Popen([sys.executable, "-c", _LISTEN, url], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        folder = tmp_path / "runs.db.owners"
        assert len(list(folder.glob("*.bell"))) == 2
        child.send_signal(signal.SIGKILL)
        child.communicate()
        store.bell.ring(SLOTS, "db")
        heard.wait_for("db")
        assert len(list(folder.glob("*.bell"))) == 1

    def test_a_pipe_that_cannot_be_opened_stays(
        self, opened: Callable[[], SQLRunStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A ringer that has no file left to open removes no pipe of somebody who lives."""
        store, listener = opened(), opened()
        heard = Heard()
        listener.bell.listen(SLOTS, heard)
        original = os.open

        def crowded(path: object, *args: int) -> int:
            if str(path).endswith(".bell"):
                raise OSError(24, "Too many open files")
            return original(path, *args)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", crowded)
            store.bell.ring(SLOTS, "lost")
        store.bell.ring(SLOTS, "db")
        heard.wait_for("db")


@pytest.mark.postgres
class TestNotifications(BellConformance):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        with fresh_schema() as url:
            yield url

    def test_after_a_broken_connection(self, url: str) -> None:
        """A listener whose connection broke listens again, and is told that rings may have been missed."""
        with proxied(url) as proxy:
            listener, ringer = open_store(proxy.url), open_store(url)
            heard = Heard()
            listener.bell.listen(SLOTS, heard)
            ringer.bell.ring(SLOTS, "before")
            heard.wait_for("before")
            proxy.cut()
            ringer.bell.ring(SLOTS, "missed")
            proxy.mend()
            heard.wait_for("")
            ringer.bell.ring(SLOTS, "after")
            heard.wait_for("after")
            assert "missed" not in heard.names
            listener.close()
            ringer.close()

    def test_two_stores_in_one_database(self, url: str, opened: Callable[[], SQLRunStore]) -> None:
        """Stores in different schemas of a database do not hear each other; spellings of one schema do."""
        with fresh_schema() as other_url:
            store, other = opened(), open_store(other_url)
            same = open_store(url.replace("search_path%3D", "search_path%3Dnowhere,"))
            heard, heard_by_same = Heard(), Heard()
            other.bell.listen(SLOTS, heard)
            same.bell.listen(SLOTS, heard_by_same)
            store.bell.ring(SLOTS, "db")
            heard_by_same.wait_for("db")
            third = open_store(other_url)
            third.bell.ring(SLOTS, "theirs")
            heard.wait_for("theirs")
            assert heard.names == ["theirs"]
            for each in (other, same, third):
                each.close()

    def test_notifications_of_others(self, url: str, opened: Callable[[], SQLRunStore]) -> None:
        """What somebody else sends to the channel harms nobody."""
        listener, ringer = opened(), opened()
        heard = Heard()
        listener.bell.listen(SLOTS, heard)
        with psycopg.connect(url, autocommit=True) as db:
            row = db.execute("SELECT to_regclass('mainspring_schema')::oid").fetchone()
            assert row is not None
            for payload in ("", "*", "* slots \\x4", "größe"):
                db.execute("SELECT pg_notify(%s, %s)", [f"mainspring {row[0]}", payload])
        ringer.bell.ring(SLOTS, "db")
        heard.wait_for("db")
