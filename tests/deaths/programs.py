"""Programs of processes that die, are stopped, or look on. Run as ``python -m tests.deaths.programs NAME``."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from mainspring import flow, get_client, get_run_logger, task
from mainspring.concurrency.sync import concurrency
from mainspring.recording import current_recorder
from mainspring.store_locks import StoreLockManager

LIMIT = "the-limit"


def hook(subject: object, run: object, state: object) -> None:
    """Tell, in a file, who was called for which run."""
    line = f"{getattr(subject, 'name', '?')} {getattr(run, 'name', '?')} {getattr(state, 'name', '?')} {os.getpid()}\n"
    descriptor = os.open("hooks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def broken_hook(*_: object) -> None:
    """Fail."""
    raise ValueError("this hook is broken")


@task
def short(number: int) -> int:
    return number


@task(tags=["limited"])
def long(number: int) -> int:
    manager = StoreLockManager()
    with concurrency(LIMIT):
        manager.acquire_lock(f"lock-{number}", f"{os.getpid()}")
        time.sleep(0.02)
        manager.release_lock(f"lock-{number}", f"{os.getpid()}")
    return short(number)


@flow
def busy() -> None:
    """Go on for ever, with tasks on threads, slots and locks."""
    number = 0
    while True:
        for future in long.map(range(number, number + 4)):
            future.result()
        number += 4


@task(on_crashed=[hook])
def hooked_task() -> None:
    told("begun")
    time.sleep(600)


@flow(on_crashed=[hook, broken_hook, hook])
def hooked() -> None:
    hooked_task()


@flow
def watching() -> None:
    """A run that goes on, until its input ends."""
    told("begun")
    sys.stdin.readline()


@flow(persist_result=True)
def stopped() -> int:
    """Work on, whatever happened meanwhile."""
    told("begun")
    short(1)
    sys.stdin.readline()
    get_run_logger().info("late line")
    with concurrency(LIMIT):
        told("has slots")
    return short(2)


@flow
def next_one() -> int:
    return short(3)


def run_stopped() -> None:
    logging.basicConfig(stream=sys.stdout, level=logging.ERROR, format="%(levelname)s %(name)s %(message)s")
    lost: list[int] = []
    current_recorder().on_ownership_lost(lambda runs: lost.append(len(runs)))
    try:
        told("value", stopped())
    except Exception as error:
        told("ended by", type(error).__name__)
    told("lost", sum(lost))
    told("next", next_one())


def create_limits() -> None:
    client = get_client()
    client.create_or_update_concurrency_limit(LIMIT, 2)
    client.create_or_update_concurrency_limit("tag:limited", 3)


def told(*words: object) -> None:
    print(*words, flush=True)


PROGRAMS = {
    "busy": busy,
    "hooked": hooked,
    "watching": watching,
    "stopped": run_stopped,
    "limits": create_limits,
}


def main() -> None:
    name = sys.argv[1]
    if name == "busy":
        told("ready", Path.cwd())
    PROGRAMS[name]()


if __name__ == "__main__":
    from tests.deaths import programs  # so that the tasks are those of a module that others can import

    programs.main()
