"""Calls that block in different ways, tasks that make them, and places where they run; a program for one of each.

``python -m tests.acceptance.blocking <call> <place>`` runs the task, with a neighbour, and notes in the file that the
variable NOTES names when it has begun, and when the neighbour was alive.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from mainspring import flow, task
from mainspring.client import get_client
from mainspring.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

__all__ = ["BLOCKED", "CALLS", "LIMIT", "PLACES", "begin_task"]

LIMIT = float(os.environ.get("BLOCKING_LIMIT", "0.5"))
"""The limit of the task in seconds."""

BLOCKED = float(os.environ.get("BLOCKING_SECONDS", "4"))
"""How many seconds the call takes."""


def note(text: str) -> None:
    """Write a line with the time, in one piece, from any process."""
    line = f"{text} {time.time_ns() // 1000}\n".encode()
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)


# What blocks


def sleep() -> None:
    """``time.sleep``."""
    time.sleep(BLOCKED)


def keep_interpreter() -> None:
    """A call of C code that keeps the interpreter lock."""
    ctypes.PyDLL(None).usleep(ctypes.c_uint(round(BLOCKED * 1e6)))


def leave_interpreter() -> None:
    """A call of C code that gives the interpreter lock away."""
    ctypes.CDLL(None).usleep(ctypes.c_uint(round(BLOCKED * 1e6)))


def wait_for_lock() -> None:
    """A lock that somebody else holds."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=BLOCKED)


def read_socket() -> None:
    """A connection on which nothing comes."""
    ours, _theirs = socket.socketpair()
    ours.settimeout(BLOCKED)
    try:
        ours.recv(1)
    except TimeoutError as error:
        if error.args == ("timed out",):  # else it is the limit that has come
            return
        raise


def block_loop() -> None:
    """An event loop in which a coroutine does not await."""

    async def block() -> None:
        time.sleep(BLOCKED)  # noqa: ASYNC251 - that is what it is about

    asyncio.run(block())


def wait_for_process() -> None:
    """A process that goes on for long."""
    subprocess.run(["sleep", str(BLOCKED)], check=True)


CALLS: dict[str, Callable[[], None]] = {
    "sleep": sleep,
    "C call that keeps the interpreter lock": keep_interpreter,
    "C call that releases it": leave_interpreter,
    "lock": wait_for_lock,
    "socket": read_socket,
    "event loop": block_loop,
    "subprocess": wait_for_process,
}


def block(call: str) -> None:
    """Note that the attempt has begun, and block."""
    note("begun")
    CALLS[call]()


@task(name="blocked", tags=["narrow"], timeout_seconds=LIMIT)
def blocked(call: str) -> None:
    block(call)


@task(name="blocked", tags=["narrow"], timeout_seconds=LIMIT)
async def blocked_async(call: str) -> None:
    note("begun")
    if call == "event loop":
        time.sleep(BLOCKED)  # noqa: ASYNC251 - that is what it is about
    else:
        CALLS[call]()


@task(name="neighbour")
def neighbour() -> None:
    """Be alive, and say so."""
    beat()


def beat() -> None:
    end = time.monotonic() + BLOCKED + LIMIT + 1
    while time.monotonic() < end:
        note("alive")
        time.sleep(0.05)


# Where it runs


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def main_thread(call: str) -> None:
    in_thread(beat)
    blocked(call, return_state=True)


def other_thread(call: str) -> None:
    in_thread(beat)
    in_thread(lambda: blocked(call, return_state=True)).join()


def event_loop(call: str) -> None:
    in_thread(beat)
    state: Any = blocked_async(call, return_state=True)
    asyncio.run(state)


def on_runner(runner: Any) -> Callable[[str], None]:
    """A place on a runner that has another task to do."""

    def place(call: str) -> None:
        @flow(task_runner=runner)
        def around() -> None:
            other = neighbour.submit()
            blocked.submit(call).wait()
            other.wait()

        around(return_state=True)

    return place


@task(isolation="process")
def make_ready() -> None:
    """Have a process started."""


def isolated(call: str) -> None:
    """In a process of its own, which is killed; it is there before the time begins."""
    make_ready()
    in_thread(beat)
    blocked.with_options(isolation="process")(call, return_state=True)


PLACES: dict[str, Callable[[str], None]] = {
    "main thread": main_thread,
    "other thread": other_thread,
    "thread runner": on_runner(ThreadPoolTaskRunner(max_workers=2)),
    "process runner": on_runner(ProcessPoolTaskRunner(max_workers=2)),
    'isolation="process"': isolated,
    "async": event_loop,
}


def begin_task(call: str, place: str) -> None:
    """Run the task, in one place."""
    get_client().create_or_update_concurrency_limit("tag:narrow", 1)
    PLACES[place](call)
    time.sleep(BLOCKED)  # while threads beside the run go on


if __name__ == "__main__":
    from tests.acceptance import blocking  # so that worker processes find its tasks by their module

    blocking.begin_task(*sys.argv[1:])
