"""Tasks whose workers do not reach the run store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mainspring import flow, get_run_logger, task
from mainspring.concurrency.sync import concurrency
from mainspring.events import emit_event
from tests.distributed.work import die
from tests.runners.remote import note, notes


@task
def inner(x: int) -> int:
    get_run_logger().info("inside of %s", x)
    return x + 1


@task(persist_result=True)
def kept(x: int) -> int:
    return x * 10


@task(persist_result=True)
def kept_large(size: int) -> bytes:
    return bytes(size)


@task
def keep_large(size: int) -> None:
    kept_large(size)


@task
def broken() -> None:
    raise ValueError("broken inside")


@flow
def subflow(x: int) -> int:
    return inner(x) + inner.submit(x).result()


@task(log_prints=True)
def around(x: int) -> int:
    """Much that is recorded inside of a function."""
    get_run_logger().info("around %s", x)
    print("printed", x)
    broken(return_state=True)
    return subflow(x) + kept(x)


@task
def leave_behind(folder: Path) -> None:
    """Submit a run, and do not wait for it."""
    note_down.submit(folder)


@task
def note_down(folder: Path) -> None:
    time.sleep(0.1)
    note(folder, "left behind")


@task
def emit() -> None:
    emit_event("apart.done", {"mainspring.resource.id": "apart"})


@task
def hold() -> None:
    with concurrency("database", strict=True):
        pass


@task(tags=["scarce"])
def scarce() -> int:
    return 1


@task(tags=["plenty"])
def plenty() -> int:
    return 1


@task
def call_plenty() -> int:
    return plenty()


@task
def call_scarce() -> int:
    return scarce()


@task
def die_first(folder: Path) -> int:
    """Die with the worker in the first attempt."""
    note(folder, "begun")
    if len(notes(folder)) == 1:
        die()
    return len(notes(folder))


@task
def say(folder: Path, what: int) -> int:
    """Say something, and who has said it."""
    note(folder, what)
    return os.getpid()


@task
def linger(folder: Path) -> None:
    """Take longer than anybody waits, but no longer than the folder is there: it goes with the test."""
    note(folder, "begun")
    end = time.monotonic() + 20
    while folder.exists() and not (folder / "end").exists() and time.monotonic() < end:
        time.sleep(0.01)


@task(retries=1)
def attempt(folder: Path) -> int:
    """Fail in the first attempt."""
    note(folder, "attempt")
    if len(notes(folder)) == 1:
        raise ConnectionError("try again")
    return len(notes(folder))


@task
def count(limit: int) -> Iterator[int]:
    yield from range(limit)


@task
def process_id(_: Any = None) -> int:
    return os.getpid()
