"""Tests of concurrency limits leave nothing running and nothing taken."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring import clock
from mainspring.client import Client, get_client
from mainspring.concurrency import _left_over, _waiting
from tests.concurrency.usage import rows_of

KEPT = (
    "mainspring-bell",
    "mainspring-deadlines",
    "mainspring-recorder",
    "mainspring-slots",
    "mainspring-supervisor",
)


@pytest.fixture(autouse=True)
def nothing_left(mainspring_home: Path) -> Iterator[None]:
    """No thread, clock, waiter, note or row outlives the test."""
    before = set(threading.enumerate())
    assert isinstance(clock.current(), clock.SystemClock)
    yield
    assert isinstance(clock.current(), clock.SystemClock)
    end = time.monotonic() + 5
    while any(thread not in before and thread.name not in KEPT for thread in threading.enumerate()):
        assert time.monotonic() < end, threading.enumerate()
        time.sleep(0.005)
    assert not _left_over.noted
    assert not [queues.of_name for queues in _waiting._queues.values() if queues.of_name]
    database = mainspring_home / "mainspring.db"
    if database.exists():
        assert rows_of(database) == []


@pytest.fixture
def client() -> Client:
    """The client of this process's run store."""
    return get_client()
