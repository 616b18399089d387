"""What tests of concurrency limits share: looking at slots, the two forms as one, and a store that counts."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mainspring.client import get_client
from mainspring.concurrency import asyncio as async_form
from mainspring.concurrency import sync as sync_form
from mainspring.recording import Recorder, use_recorder
from mainspring.settings import get_current_settings
from mainspring.store.events import StoredEvent
from mainspring.store.limits import SlotAnswer, SlotRequest
from mainspring.store.sqlite import SQLiteRunStore
from tests.engine.history import query

FORMS = ["sync", "asyncio"]


def hold(form: str, body: Callable[[], Any], *args: Any, **options: Any) -> Any:
    """Call ``body`` inside of `concurrency`, in either form, and return what it returns."""
    if form == "sync":
        with sync_form.concurrency(*args, **options):
            return body()

    async def main() -> Any:
        async with async_form.concurrency(*args, **options):
            return body()

    return asyncio.run(main())


def rate(form: str, *args: Any, **options: Any) -> None:
    """Call `rate_limit` in either form."""
    if form == "sync":
        sync_form.rate_limit(*args, **options)
    else:
        asyncio.run(async_form.rate_limit(*args, **options))


def wait_for(condition: Callable[[], Any]) -> None:
    """Return when something has become true, which it should in a moment."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_use(name: str) -> int:
    """The active slots of a limit."""
    return get_client().read_concurrency_limit(name).active_slots


def rows_of(database: Path) -> list[tuple[Any, ...]]:
    """What stands in the table of slots."""
    if get_current_settings().run_store_url.startswith("postgresql"):
        return list(query("SELECT * FROM slots"))
    connection = sqlite3.connect(database)
    try:
        return connection.execute("SELECT * FROM slots").fetchall()
    finally:
        connection.close()


@contextmanager
def running(*bodies: Callable[[], Any]) -> Iterator[list[threading.Thread]]:
    """Run each body in a thread of its own; all have ended at the end of the block, and none has failed."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], Any]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


class CountingStore(SQLiteRunStore):
    """A real store that tells which requests it was sent, and fails when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.taken: list[SlotRequest] = []
        self.released: list[float] = []
        self.renewed = 0
        self.failure: Exception | None = None

    def take_slots(self, request: SlotRequest, now: int, wait_until: int | None) -> SlotAnswer:
        self.taken.append(request)
        if self.failure is not None:
            raise self.failure
        return super().take_slots(request, now, wait_until)

    def release_slots(
        self, lease_key: bytes, now: int, occupancy_seconds: float, events: Sequence[StoredEvent] = ()
    ) -> None:
        self.released.append(occupancy_seconds)
        if self.failure is not None:
            raise self.failure
        super().release_slots(lease_key, now, occupancy_seconds, events)

    def renew_slots(self, leases: Any) -> set[bytes]:
        self.renewed += 1
        if self.failure is not None:
            raise self.failure
        return super().renew_slots(leases)


@contextmanager
def counting(path: Path) -> Iterator[CountingStore]:
    """Use a `CountingStore` inside the block."""
    recorder = Recorder(CountingStore(path / "counted.db"))
    try:
        with use_recorder(recorder):
            yield recorder.store  # type: ignore[misc]
    finally:
        recorder.close()
