"""What every bell between processes does, as tests. A backend subclasses `BellConformance` and gives it an address."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from mainspring.exceptions import StoreUnavailable
from mainspring.store.addresses import open_store
from mainspring.store.bells import LOCKS, SLOTS, Bell
from mainspring.store.sql import SQLRunStore

PATIENCE = 30.0


class Heard:
    """Collects what is rung, and waits for it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, name: str) -> None:
        with self._changed:
            self.names.append(name)
            self._changed.notify_all()

    def wait_for(self, name: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: name in self.names, PATIENCE), (name, self.names)


class BellConformance:
    """Subclasses define the fixture ``url``."""

    @pytest.fixture
    def url(self) -> Iterator[str]:
        raise NotImplementedError

    @pytest.fixture
    def opened(self, url: str) -> Iterator[Callable[[], SQLRunStore]]:
        with ExitStack() as stack:

            def open_one() -> SQLRunStore:
                store = open_store(url)
                assert isinstance(store, SQLRunStore)
                stack.callback(store.close)
                return store

            yield open_one

    def test_everybody_hears(self, opened: Callable[[], SQLRunStore]) -> None:
        """A ring without an addressee is heard by all others who listen to its topic, and not by who rings."""
        stores = [opened() for _ in range(3)]
        heard = [Heard() for _ in stores]
        other = Heard()
        for store, each in zip(stores, heard, strict=True):
            store.bell.listen(SLOTS, each)
        stores[1].bell.listen(LOCKS, other)
        stores[0].bell.ring(SLOTS, "db")
        for each in heard[1:]:
            each.wait_for("db")
        assert heard[0].names == []
        assert other.names == []

    def test_the_addressee_hears(self, opened: Callable[[], SQLRunStore]) -> None:
        """A ring that is addressed is heard by that process alone."""
        ringer, first, second = opened(), opened(), opened()
        heard = {store: Heard() for store in (first, second)}
        for store, each in heard.items():
            store._own_key()
            store.bell.listen(SLOTS, each)
        ringer.bell.ring(SLOTS, "one", [first._own_key()])
        ringer.bell.ring(SLOTS, "both", [first._own_key(), second._own_key(), "nobody"])
        for each in heard.values():
            each.wait_for("both")
        assert "one" in heard[first].names
        assert "one" not in heard[second].names

    def test_odd_names(self, opened: Callable[[], SQLRunStore]) -> None:
        """Names come as they are, whatever is in them; of one that is too long it is said that it was some name."""
        ringer, listener = opened(), opened()
        heard = Heard()
        listener.bell.listen(SLOTS, heard)
        for name in ("a b", " ", "zwei\nZeilen", "größe 😀", "\udc80", "nul\0", "'; --", "\\n", "x" * 900):
            ringer.bell.ring(SLOTS, name)
            heard.wait_for(name)
        assert "" not in heard.names
        ringer.bell.ring(SLOTS, "😀" * 900)
        heard.wait_for("")

    def test_listening_twice(self, opened: Callable[[], SQLRunStore]) -> None:
        """Who listens twice with one function hears once."""
        ringer, listener = opened(), opened()
        heard = Heard()
        for _ in range(2):
            listener.bell.listen(SLOTS, heard)
        ringer.bell.ring(SLOTS, "one")
        ringer.bell.ring(SLOTS, "two")
        heard.wait_for("two")
        assert heard.names == ["one", "two"]

    def test_rings_that_nobody_takes_in(self, opened: Callable[[], SQLRunStore]) -> None:
        """Ringing neither waits nor fails while a listener is busy; it learns afterwards that there was something."""
        ringer, listener = opened(), opened()
        busy, go_on, heard = threading.Event(), threading.Event(), Heard()

        def slowly(name: str) -> None:
            busy.set()
            go_on.wait(PATIENCE)
            heard(name)

        listener.bell.listen(SLOTS, slowly)
        ringer.bell.ring(SLOTS, "first")
        assert busy.wait(PATIENCE)
        began = time.monotonic()
        for _ in range(2_000):
            ringer.bell.ring(SLOTS, "x" * 60)
        ringer.bell.ring(SLOTS, "last")
        assert time.monotonic() - began < PATIENCE
        go_on.set()
        with heard._changed:
            assert heard._changed.wait_for(lambda: {"last", ""} & set(heard.names), PATIENCE)

    def test_closing_while_others_ring(self, opened: Callable[[], SQLRunStore]) -> None:
        """A store can be closed in the middle of rings; the ringer does not notice, and closing again does nothing."""
        ringer = opened()
        stop = threading.Event()

        def ring() -> None:
            while not stop.is_set():
                ringer.bell.ring(SLOTS, "db")

        thread = threading.Thread(target=ring, daemon=True)
        thread.start()
        for _ in range(5):
            listener = opened()
            heard = Heard()
            listener.bell.listen(SLOTS, heard)
            heard.wait_for("db")
            listener.close()
            listener.close()
            listener.bell.ring(SLOTS, "closed")
            with suppress(StoreUnavailable):
                listener.bell.listen(LOCKS, heard)
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert not [each for each in threading.enumerate() if each.name == "mainspring-bell"]

    def test_a_listener_that_calls_its_store_while_it_closes(self, opened: Callable[[], SQLRunStore]) -> None:
        """Closing does not wait for ever for a listener that asks the store for something."""
        ringer, listener = opened(), opened()
        busy = threading.Event()

        def ask(_: str) -> None:
            busy.set()
            time.sleep(0.2)
            with suppress(Exception):
                listener.read_result("k")

        listener.bell.listen(SLOTS, ask)
        ringer.bell.ring(SLOTS, "db")
        assert busy.wait(PATIENCE)
        closer = threading.Thread(target=listener.close, daemon=True)
        closer.start()
        closer.join(PATIENCE)
        assert not closer.is_alive()

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_child(self, opened: Callable[[], SQLRunStore]) -> None:
        """A child can ring and listen for itself, and leaves files of its own alone that have numbers of the bell's."""
        store, closed = opened(), opened()
        heard = Heard()
        store.bell.listen(SLOTS, heard)
        closed.bell.listen(SLOTS, heard)
        closed.close()
        reader, writer = os.pipe()  # takes numbers that were those of the closed bell
        pid = os.fork()
        if pid == 0:
            try:
                mine = Heard()
                store.bell.listen(SLOTS, mine)
                store.bell.ring(SLOTS, "from the child")
                mine_or_error = b"ok"
                mine.wait_for("from the parent")
                os.write(writer, mine_or_error)
            finally:
                os._exit(0)
        os.close(writer)
        heard.wait_for("from the child")
        end = time.monotonic() + PATIENCE
        told = b""
        while not told and time.monotonic() < end:
            store.bell.ring(SLOTS, "from the parent")
            if select.select([reader], [], [], 0.1)[0]:
                told = os.read(reader, 2)
                break
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert told == b"ok"

    def test_what_cannot_be_read(self, opened: Callable[[], SQLRunStore]) -> None:
        """A message that is not of ours ends no bell: it is taken as a sign that something was missed."""
        store = opened()
        heard = Heard()
        store.bell.listen(SLOTS, heard)
        bell: Bell = store.bell
        for message in ("slots \\x4", "größe", ""):
            bell._tell(message)
        assert heard.names[0] == ""
