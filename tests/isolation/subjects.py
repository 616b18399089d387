"""Isolated tasks, in a module that their processes import to find them."""

import asyncio
import ctypes
import itertools
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mainspring import flow, get_run_logger, runtime, task
from mainspring.cancellation import is_cancelled, remaining_time
from mainspring.concurrency.sync import concurrency
from mainspring.context import FlowRunContext, TagsContext, TaskRunContext
from mainspring.events import emit_event
from mainspring.settings import get_current_settings
from mainspring.transactions import get_transaction
from tests.runners.remote import note


@task(isolation="process")
def process_id() -> int:
    return os.getpid()


@task(isolation="process")
def working_directory() -> str:
    return str(Path.cwd())


@task(isolation="process")
def add(x: int, y: int = 1) -> int:
    return x + y


@task(isolation="process")
async def add_later(x: int, y: int = 1) -> int:
    await asyncio.sleep(0.01)
    return x + y


@task(isolation="process")
def echo(value: Any) -> Any:
    return value


@task(isolation="process")
def fail(text: str) -> None:
    raise LookupError(text)


@task(isolation="process")
def leave() -> None:
    sys.exit("enough")


@task(isolation="process")
def give_a_lock() -> Any:
    return threading.Lock()


@task(isolation="process")
def are_one(first: list[int], second: list[int]) -> bool:
    context = TaskRunContext.get()
    assert context is not None
    return first is second and (context.parameters or {})["first"] is first


@task(isolation="process", tags=["heavy"])
def surroundings() -> dict[str, Any]:
    context = TaskRunContext.get()
    around = FlowRunContext.get()
    assert context is not None
    return {
        "run": context.task_run.id,
        "flow": runtime.flow_run.flow_name,
        "detached": around is not None and around.detached,
        "tags": sorted(context.task_run.tags),
        "active_tags": sorted(TagsContext.get().current_tags),
        "debug_mode": get_current_settings().debug_mode,
        "run_count": runtime.task_run.run_count,
        "transaction": get_transaction(),
        "remaining": remaining_time(),
        "pid": os.getpid(),
    }


@task
def plain(x: int) -> int:
    return x + 1


@flow
def doubling(x: int) -> int:
    return plain(x) * 2


@task(isolation="process")
def call_others(x: int) -> list[int]:
    return [plain(x), doubling(x), *plain.map([x, x]).result()]


@task(isolation="process")
def nest(depth: int) -> list[int]:
    return [os.getpid(), *(nest(depth - 1) if depth else [])]


@task(isolation="process", log_prints=True)
def say(text: str) -> None:
    print(f"printed {text}")
    get_run_logger().warning("logged %s", text)
    logging.getLogger("tests.of.a.user").warning("user said %s", text)
    emit_event("tests.said", {"mainspring.resource.id": "tests.isolation", "text": text})


# What does not end


def hold_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(60)


def compute_in_c() -> None:
    """Hold the interpreter, and hear no signal."""
    sum(itertools.repeat(1, 10**12))


def sleep_in_c() -> None:
    ctypes.CDLL(None).sleep(60)


def swallow_everything() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def read_a_socket() -> None:
    ours, _theirs = socket.socketpair()
    ours.recv(1)


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def wait_for_a_program() -> None:
    subprocess.run(["sleep", "60"], check=False)


def spin() -> None:
    while True:
        pass


ENDLESS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        hold_the_interpreter,
        compute_in_c,
        sleep_in_c,
        swallow_everything,
        read_a_socket,
        wait_for_a_lock,
        wait_for_a_program,
        spin,
    )
}


@task(isolation="process")
def go_on(how: str, folder: Path | None = None) -> None:
    if folder is not None:
        note(folder, os.getpid())
    ENDLESS[how]()


@task(isolation="process")
async def block_the_loop(how: str, folder: Path | None = None) -> None:
    if folder is not None:
        note(folder, os.getpid())
    ENDLESS[how]()


@task(isolation="process")
async def sleep_long(folder: Path) -> None:
    note(folder, "begun")
    try:
        await asyncio.sleep(60)
    finally:
        note(folder, "ended")


@task(isolation="process")
def write_on(folder: Path) -> None:
    """Leave a mark every moment, whatever happens."""
    while True:
        try:
            note(folder, os.getpid())
            time.sleep(0.01)
        except BaseException:
            pass


@task(isolation="process")
def tidy_up(folder: Path) -> None:
    note(folder, "begun")
    try:
        time.sleep(60)
    finally:
        note(folder, f"ended {is_cancelled()}")


@task
def hold_a_slot(folder: Path) -> None:
    with concurrency("seats"):
        note(folder, os.getpid())
        time.sleep(60)


@task(isolation="process")
def hold_a_slot_inside(folder: Path) -> None:
    hold_a_slot(folder)


@task(isolation="process")
def start_others(folder: Path) -> None:
    """A program, and a process of Python's."""
    program = subprocess.Popen(["sleep", "60"])
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    note(folder, program.pid)
    note(folder, process.pid)
    note(folder, "begun")
    sleep_in_c()


# Deaths


def die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segmentation":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(3)


@task(isolation="process")
def die_by(how: str) -> None:
    die(how)


@task(isolation="process")
def die_until(folder: Path, attempt: int) -> int:
    note(folder, runtime.task_run.run_count)
    if runtime.task_run.run_count < attempt:
        die("kill")
    return runtime.task_run.run_count


@task(isolation="process")
def fail_and_die(folder: Path, plan: list[str]) -> int:
    count = runtime.task_run.run_count
    note(folder, count)
    step = plan[count - 1]
    if step == "fail":
        raise LookupError("as planned")
    if step == "die":
        die("kill")
    return count


# For worker processes of a runner


@task
def go_on_there(how: str, folder: Path | None = None) -> None:
    if folder is not None:
        note(folder, os.getpid())
    ENDLESS[how]()


@task
def count_up(folder: Path, attempt: int) -> int:
    note(folder, os.getpid())
    if runtime.task_run.run_count < attempt:
        compute_in_c()
    return runtime.task_run.run_count


@task
def die_there(folder: Path, attempt: int) -> int:
    note(folder, runtime.task_run.run_count)
    if runtime.task_run.run_count < attempt:
        die("kill")
    return runtime.task_run.run_count


@task
async def sleep_there(folder: Path) -> None:
    note(folder, "begun")
    try:
        await asyncio.sleep(60)
    finally:
        note(folder, "ended")


@task
def tidy_up_there(folder: Path) -> None:
    note(folder, "begun")
    try:
        time.sleep(60)
    finally:
        note(folder, f"ended {is_cancelled()}")
