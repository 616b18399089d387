"""Tests of the engines leave nothing running."""

import builtins
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from mainspring.context import FlowRunContext, TagsContext, TaskRunContext
from mainspring.transactions import get_transaction

PRINT = builtins.print


def _left_over(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads that a test started and that do not end by themselves within a moment."""
    end = time.monotonic() + 2
    while True:
        left = [thread for thread in threading.enumerate() if thread not in before]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No thread, context, patched print or signal handler outlives the test."""
    before = set(threading.enumerate())
    handlers = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM)]
    request.getfixturevalue("mainspring_home")  # whose end, after ours, closes the recorders
    lasting = request.getfixturevalue("lasting_threads") if "lasting_threads" in request.fixturenames else ()
    yield
    # Recorders are closed next, and the runner of a fixture when its module is over.
    excused = [
        "mainspring-recorder",
        "mainspring-deadlines",  # of the process
        "mainspring-bell",
        "mainspring-supervisor",
        *(["mainspring-processpool"] if "workers" in request.fixturenames else []),
        *lasting,
    ]
    lasting = {thread for thread in threading.enumerate() if thread.name.startswith(tuple(excused))}
    assert not _left_over(before | lasting)
    assert TaskRunContext.get() is None
    assert FlowRunContext.get() is None
    assert not TagsContext.get().current_tags
    assert get_transaction() is None
    assert builtins.print is PRINT
    assert [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM)] == handlers
