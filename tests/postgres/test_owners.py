"""A process as the owner of what it writes to PostgreSQL, with many threads that write at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from mainspring.store import open_store
from tests.postgres.server import fresh_schema

THREADS = 8
ROUNDS = 10


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_schema() as url:
        open_store(url).close()
        yield url


def at_once(work: object) -> list[BaseException]:
    """Call something in many threads at the same moment; what was raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(THREADS)

    def guarded(number: int) -> None:
        barrier.wait()
        try:
            work(number)  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_first_writes_of_many_threads(url: str) -> None:
    """Threads whose first writes come at the same moment have one owner, and none takes itself for dead."""
    for _ in range(ROUNDS):
        with closing(open_store(url)) as store:
            assert at_once(lambda number, store=store: store.take_lock(f"{number}", "holder", 1, None)) == []
            assert not store.losses.any


def test_loss_that_many_threads_find_out(url: str) -> None:
    """Threads that find out at the same moment that others took the process for dead count one loss, and go on."""
    for _ in range(ROUNDS):
        with closing(open_store(url)) as store:
            store.take_lock("lock", "holder", 1, None)
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("UPDATE owners SET ended = 5, ended_by = 'somebody' WHERE ended IS NULL")
            told: list[object] = []
            store.losses.listen(told.append)
            at_once(lambda number, store=store: store.take_lock(f"{number}", "holder", 1, None))
            assert len(told) == 1
            assert at_once(lambda number, store=store: store.take_lock(f"{number}", "holder", 1, None)) == []
            assert len(told) == 1
            with psycopg.connect(url, autocommit=True) as db:
                assert db.execute("SELECT count(*) FROM owners WHERE ended IS NULL").fetchone() == (1,)
                db.execute("DELETE FROM locks")


def test_folder_is_left_clean(url: str, tmp_path: Path) -> None:
    """Closing a store ends its ownership."""
    store = open_store(url)
    store.take_lock("lock", "holder", 1, None)
    store.close()
    with psycopg.connect(url, autocommit=True) as db:
        assert db.execute("SELECT count(*) FROM owners WHERE ended IS NULL").fetchone() == (0,)
