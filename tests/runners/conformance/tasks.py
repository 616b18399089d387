"""Tasks for any runner. Worker processes import this module to find them, and files witness what they do."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainspring import flow, runtime, task
from mainspring.cache_policies import INPUTS, NO_CACHE
from mainspring.concurrency.sync import concurrency
from mainspring.futures import Future
from mainspring.transactions import get_transaction, transaction

LIMIT = 20.0
"""Seconds that a slow machine may take for what takes a moment."""


# Witnesses


def note(folder: Path, what: object) -> None:
    """Leave a line that survives the process, after those that others have left."""
    file = os.open(folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{what}\n".encode())
    finally:
        os.close(file)


def notes(folder: Path) -> list[str]:
    """All lines, in the order in which they were left."""
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


@contextmanager
def noted(folder: Path) -> Iterator[None]:
    """Note what a block ends with, if that is an exception."""
    try:
        yield
    except BaseException as error:
        note(folder, type(error).__name__)
        raise


def wait_for(path: Path) -> None:
    """Wait until somebody makes a file."""
    end = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < end, f"nobody has made {path}"
        time.sleep(0.002)


@contextmanager
def opened_when(path: Path, condition: Any) -> Iterator[None]:
    """Make a file as soon as a condition holds, from another thread."""

    def open_it() -> None:
        end = time.monotonic() + LIMIT
        while not condition() and time.monotonic() < end:
            time.sleep(0.002)
        path.touch()

    thread = threading.Thread(target=open_it)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def value(future: Future[Any]) -> Any:
    """The result of a future, which has to be there in time."""
    return future.result(timeout=3 * LIMIT)


def settled(future: Future[Any]) -> str:
    """The name of the state that a future comes to."""
    future.wait(3 * LIMIT)
    return future.state.name


class Kept(list[Any]):
    """A list that stays with the submitter: if a function takes it along to another process, it is empty there."""

    def __reduce__(self) -> Any:
        return Kept, ()


# Plain tasks


@dataclass
class Pair:
    """A value with two parts."""

    left: Any
    right: Any = None


@task
def add(x: Any, y: Any = 1) -> Any:
    return x + y


@task
def echo(value: Any) -> Any:
    return value


@task
def fail(text: str = "no") -> None:
    raise LookupError(text)


@task
def note_down(folder: Path, what: object) -> object:
    note(folder, what)
    return what


@task
def begin_and_wait(folder: Path, name: object = "", go: str = "go") -> object:
    """Say that it has begun, and go on when the file is there."""
    note(folder, f"begin {name}")
    wait_for(folder / go)
    note(folder, f"end {name}")
    return name


@task
def begin_and_linger(folder: Path, name: object) -> None:
    """Go on until somebody ends it."""
    note(folder, f"begin {name}")
    try:
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            time.sleep(0.005)
        note(folder, f"nobody has ended {name}")
    finally:
        note(folder, f"end {name}")


class Adder:
    """Something with a task as a method."""

    def __init__(self, number: int) -> None:
        self.number = number

    @task
    def add_to(self, x: int) -> int:
        return x + self.number


# Attempts


@task(retries=3)
def fail_until(folder: Path, attempt: int) -> int:
    """Fail in all attempts before one."""
    count = runtime.task_run.run_count
    note(folder, f"attempt {count}")
    if count < attempt:
        raise ConnectionError(f"attempt {count}")
    return int(count)


@task
def compute(seconds: float) -> None:
    """Compute for some time, without ever waiting."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@task
def sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


@task
async def asleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


@task
def sleep_and_note(folder: Path) -> None:
    note(folder, str(os.getpid()))
    with noted(folder):
        sleep.fn(3 * LIMIT)


@task
async def asleep_and_note(folder: Path) -> None:
    note(folder, str(os.getpid()))
    with noted(folder):
        await asyncio.sleep(3 * LIMIT)


@task
def block(fifo: Path) -> None:
    """Wait in a call of the system until somebody else opens the pipe."""
    os.close(os.open(fifo, os.O_RDONLY))


# Results


@task(cache_policy=INPUTS, persist_result=True)
def note_once(folder: Path, x: int) -> int:
    note(folder, x)
    return x + 1


@task
def zeros(size: int) -> bytes:
    return bytes(size)


# Runs inside of runs


@task
def nest(depth: int) -> int:
    """Submit itself, to some depth, and wait for it."""
    return 0 if depth == 0 else nest.submit(depth - 1).result() + 1


@task
async def call_later(x: int) -> int:
    await asyncio.sleep(0)
    return await add_later(x)


@task
async def add_later(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@flow
def double(x: int) -> int:
    return add(x, x)  # type: ignore[no-any-return]


@task
def call_flow(x: int) -> int:
    return double(x)


@task
def map_inside(count: int) -> list[int]:
    return add.map(range(count)).result()


# Transactions


def note_commit(transaction: Any) -> None:
    note(Path(transaction.get("folder")), "commit")


def note_rollback(transaction: Any) -> None:
    note(Path(transaction.get("folder")), "rollback")


@task(on_commit=[note_commit], on_rollback=[note_rollback])
def reserve(folder: Path) -> str:
    transaction = get_transaction()
    assert transaction is not None
    transaction.set("folder", str(folder))
    note(folder, "reserve")
    return "reserved"


@task
def reserve_and_fail(folder: Path) -> None:
    with transaction():
        reserve(folder)
        raise LookupError("not enough money")


# Limits


@task
def work_alone(folder: Path, number: int) -> None:
    note(folder, "+")
    time.sleep(0.01)
    note(folder, "-")


@task
def work_with_a_slot(folder: Path, number: int, name: str) -> None:
    with concurrency(name, occupy=1):
        note(folder, "+")
        time.sleep(0.01)
        note(folder, "-")


def most_at_once(folder: Path) -> int:
    """How many were at work at the same time, at most."""
    now = most = 0
    for line in notes(folder):
        now += {"+": 1, "-": -1}.get(line, 0)
        most = max(most, now)
    assert now == 0
    return most


# Steps


@task(cache_policy=NO_CACHE)
def step(folder: Path, name: str) -> str:
    """A step of a flow; the one called "last" fails until the file is there."""
    note(folder, name)
    if name == "last" and not (folder / "mended").exists():
        raise ConnectionError("broken")
    return name
