"""Tasks for the workers of clusters, which import this module to find them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mainspring import runtime, task
from mainspring.runs import TaskRun
from tests.runners.remote import note, notes

LARGE = 1_000_000
"""Bytes that do not travel with an answer."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(20)


def die_afterwards(task: object, run: object, state: object) -> None:
    """A hook: end the worker when what the run came to is recorded, and nobody was told yet."""
    die()


@task(on_completion=[die_afterwards])
def die_when_done(folder: Path, size: int = 1) -> bytes:
    note(folder, runtime.task_run.run_count)
    return b"x" * size


@task
def large(folder: Path) -> bytes:
    """Something that stays where it was made."""
    note(folder, os.getpid())
    return b"x" * LARGE


@task
def length(value: bytes) -> int:
    return len(value)


@task
def short(folder: Path, x: int) -> int:
    """A part of a map: says in a file of its own that it was begun once more, and takes a moment."""
    with (folder / f"part-{x}").open("a") as file:
        file.write(f"{runtime.task_run.run_count}\n")
    time.sleep(0.01)
    return x


@task
def meet(folder: Path, name: str) -> int:
    """Say where this runs, and wait until that is to end, or the folder has gone with the test."""
    note(folder, f"{name} {os.getpid()}")
    end = time.monotonic() + 20
    while folder.exists() and not (folder / f"end-{name}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return os.getpid()


def met(folder: Path) -> dict[str, int]:
    """Who is at work in `meet`, and where."""
    return {name: int(pid) for name, pid in (line.split() for line in notes(folder))}


def wait_for(folder: Path, name: str) -> None:
    """Wait until a file is there, or the folder has gone with the test."""
    while folder.exists() and not (folder / name).exists():
        time.sleep(0.01)


@task
def hold_on(folder: Path) -> int:
    """Say who is at it, and go on until a file says that it may end."""
    note(folder, f"hold-on {os.getpid()}")
    (folder / "held").touch()
    try:
        wait_for(folder, "go")
    finally:
        note(folder, f"let-go {os.getpid()}")
    return 100


@task(retries=1)
def linger(folder: Path) -> int:
    """Say who has begun, wait for a file, and say who has come to the end."""
    note(folder, f"begun {os.getpid()}")
    wait_for(folder, "end")
    note(folder, f"over {os.getpid()}")
    return os.getpid()


def tell_crash(task: object, run: TaskRun, state: object) -> None:
    """A hook: say that it was called, in the folder that the run is named after."""
    note(Path(run.name), "crashed")
