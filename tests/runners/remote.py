"""Tasks for worker processes, which import this module to find them."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from mainspring import flow, get_run_logger, runtime, tags, task
from mainspring.cache_policies import INPUTS
from mainspring.cancellation import is_cancelled, remaining_time
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.events import emit_event
from mainspring.settings import get_current_settings

STARTED: list[object] = []  # what the initializer of this process was called with


def initialize(*arguments: object) -> None:
    STARTED.append(arguments)


def fail_to_initialize() -> None:
    raise LookupError("no model file")


def initialize_once(folder: Path) -> None:
    """Of all workers the first one can be set up."""
    (folder / "initialized").mkdir()


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def process_id(_: object = None) -> int:
    return os.getpid()


@task
def started() -> list[object]:
    return STARTED


@task
async def wait_and_add(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@task
def count(limit: int) -> Iterator[int]:
    yield from range(limit)


@task
async def count_later(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


@task
def fail(text: str = "no") -> None:
    raise ValueError(text)


@task
def echo(value: Any) -> Any:
    return value


@task
def surroundings() -> dict[str, Any]:
    around, context = FlowRunContext.get(), TaskRunContext.get()
    assert context is not None
    return {
        "flow": runtime.flow_run.flow_name,
        "parameters": dict(runtime.flow_run.parameters or {}),
        "detached": around is not None and around.detached,
        "tags": sorted(context.task_run.tags),
        "variable": os.environ.get("MAINSPRING_TEST_VARIABLE"),
        "debug_mode": get_current_settings().debug_mode,
        "pid": os.getpid(),
    }


@flow
def double(x: int) -> int:
    return add(x, x)


@task
def call_others(x: int) -> list[int]:
    with tags("inner"):
        return [add(x), double(x), add.submit(x).result(), *add.map([x, x]).result()]


@task
def say(text: str) -> None:
    get_run_logger().info("said %s", text)
    logging.getLogger("tests.of.a.user").warning("user said %s", text)
    emit_event("tests.said", {"mainspring.resource.id": "tests.remote", "text": text})


@task(log_prints=True)
def show(text: str) -> None:
    print(text)


class Meeting:
    """Tells whether several tasks are at work at the same time, by files."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size

    def attend(self, name: object) -> bool:
        (self.folder / f"attends-{name}").touch()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if len(list(self.folder.glob("attends-*"))) >= self.size:
                return True
            time.sleep(0.002)
        return False


@task
def attend(meeting: Meeting, name: int) -> tuple[bool, int]:
    return meeting.attend(name), os.getpid()


@task
def wait_for_cancellation(folder: Path) -> bool:
    (folder / "begun").touch()
    end = time.monotonic() + 20
    while not is_cancelled() and time.monotonic() < end:
        time.sleep(0.002)
    return is_cancelled()


@task
def note_and_add(folder: Path, x: int) -> int:
    note(folder, x)
    return x + 1


@task(cache_policy=INPUTS)
def note_once(folder: Path, x: int) -> int:
    note(folder, x)
    return x + 1


def note(folder: Path, what: object) -> None:
    """Leave a mark that survives the process."""
    with (folder / "notes").open("a") as file:
        file.write(f"{what}\n")


def notes(folder: Path) -> list[str]:
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


# Deaths


def die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "exit":
        os._exit(3)
    if how == "segmentation":
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(20)


@task
def die_by(how: str, after: float = 0) -> None:
    time.sleep(after)
    die(how)


@task
def die_if(victim: int, x: int) -> int:
    if x == victim:
        die("kill")
    return x


@task(retries=2)
def die_once(folder: Path, x: int, victim: int, after: float = 0) -> int:
    first = x == victim and not notes(folder)
    note(folder, f"{x} {runtime.task_run.run_count}")
    if first:
        time.sleep(after)
        die("kill")
    return x


@task(retries=2, retry_delay_seconds=0.3)
def die_always(folder: Path) -> None:
    note(folder, runtime.task_run.run_count)
    die("kill")


@task(retries=1)
def fail_then_die(folder: Path) -> None:
    note(folder, runtime.task_run.run_count)
    if runtime.task_run.run_count == 1:
        raise ValueError("first")
    die("kill")


@task
def die_inside(x: int) -> int:
    die_by("kill", after=0.1)
    return x


@task
def hold_on(folder: Path) -> None:
    """Does not let itself be stopped."""
    note(folder, "begun")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@task
def leave_a_thread(seconds: float) -> None:
    threading.Thread(target=time.sleep, args=(seconds,)).start()


@task
def leave(how: str) -> None:
    raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[how]


# Values that do not travel


class Locked:
    """Holds something that cannot be pickled."""

    def __init__(self) -> None:
        self.name = "name"
        self.lock = threading.Lock()


class Borrowed:
    """Can be pickled by one thread at a time, and takes a moment for that."""

    def __init__(self) -> None:
        self._is_borrowed = False

    def __getstate__(self) -> dict[str, bool]:
        """Its state, unless somebody else is about to get it."""
        if self._is_borrowed:
            raise RuntimeError("Already borrowed")
        self._is_borrowed = True
        time.sleep(0.02)  # in which other threads get their turn
        self._is_borrowed = False
        return {"_is_borrowed": False}


@task
def kind_of(number: int, value: object) -> str:
    """Take a value along."""
    return f"{number} {type(value).__name__}"


class Unreadable:
    """Can be pickled, but not made again."""

    def __reduce__(self) -> Any:
        return _refuse_to_be, ()


def _refuse_to_be() -> None:
    raise RuntimeError("I will not be made again")


class NeedsTwoError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(f"{first} and {second}")


class HoldingError(Exception):
    """Cannot be pickled."""


@task
def make_locked() -> dict[str, Any]:
    return {"good": 1, "bad": [Locked()]}


@task
def make_unreadable() -> Unreadable:
    return Unreadable()


@task
def yield_locked() -> Iterator[object]:
    yield 1
    yield threading.Lock()


@task
def raise_by(kind: str) -> None:
    if kind == "two":
        raise NeedsTwoError(1, 2)
    if kind == "lock":
        raise HoldingError(threading.Lock())
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


@task
def time_left() -> float | None:
    return remaining_time()
