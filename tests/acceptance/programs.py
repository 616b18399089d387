"""Programs of processes that share a database with others. Run as ``python -m tests.acceptance.programs NAME ...``.

They wait for a line of their input where their tests say when to go on, and note what they do in files of the folder
they run in, each line at once and as a whole.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

from mainspring import flow, get_client, get_run_logger, resume_flow_run, task
from mainspring.cache_policies import INPUTS
from mainspring.concurrency.sync import concurrency
from mainspring.exceptions import CancelledRun, NotResumable
from mainspring.runtime import flow_run
from mainspring.store_locks import StoreLockManager

__all__ = ["SHARED", "SHOW_STACKS", "append", "told"]

SHARED = "shared"
"""The limit that all programs use."""

SHOW_STACKS = signal.SIGUSR2
"""Makes a program write the stacks of its threads to its standard error."""

ROW_TO_STOP_AT = 3
COMPUTING_SECONDS = 0.3


def told(*words: object) -> None:
    print(*words, flush=True)


def append(name: str, line: str) -> None:
    """Add a line to a file that other processes write, too."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\n".encode("ascii"))
    finally:
        os.close(descriptor)


def wait_for_line() -> None:
    sys.stdin.readline()


def limit(name: str, slots: str, decay: str = "0") -> None:
    get_client().create_or_update_concurrency_limit(name, int(slots), slot_decay_per_second=float(decay))


def hold(slots: str) -> None:
    """Hold slots of the limit until there is a line."""
    with concurrency(SHARED, int(slots)):
        told("inside", time.monotonic_ns())
        wait_for_line()
    told("left")


def lock(key: str) -> None:
    """Hold a lock until there is a line."""
    manager = StoreLockManager()
    holder = f"{os.environ.get('MAINSPRING_HOST_ID')}:{os.getpid()}"
    manager.acquire_lock(key, holder)
    told("inside")
    wait_for_line()
    manager.release_lock(key, holder)
    told("left")


@task
def short(number: int) -> int:
    return number


# A cached task that several want


@task(
    cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=StoreLockManager()),
    persist_result=True,
)
def computed(key: str) -> str:
    append("computed", key)
    time.sleep(COMPUTING_SECONDS)
    return key * 3


def compute(*keys: str) -> None:
    told("ready")
    wait_for_line()
    for key in keys:
        assert computed(key) == key * 3


# A flow run that another one goes on with


@task
def pick(row: int) -> int:
    append("picked", f"{row}")
    if row == ROW_TO_STOP_AT:
        told("begun", flow_run.id)
        wait_for_line()
    return row * 10


@flow(persist_result=True)
def harvest(rows: int) -> int:
    return sum(pick(row) for row in range(1, rows + 1))


def resume(flow_run_id: str) -> None:
    try:
        told("value", resume_flow_run(flow_run_id))
    except NotResumable as error:
        told("refused", error)


# A flow run that others cancel


@task
def nap() -> None:
    told("begun", flow_run.id)
    while True:
        append("beats", f"{time.time_ns() // 1000}")
        time.sleep(0.02)


@flow
def nightly() -> None:
    nap.submit().wait()


def run_nightly() -> None:
    try:
        nightly()
    except CancelledRun as error:
        told("cancelled", error)


def cancel(flow_run_id: str) -> None:
    run = get_client().cancel_run(flow_run_id, reason="enough", timeout=30)
    assert run.state is not None
    told("now", run.state.name, time.time_ns() // 1000)


@flow
def watch() -> None:
    """A run that goes on, in whose process the dead are looked for."""
    short(0)
    told("begun")
    wait_for_line()


# A process that is stopped while others take it for dead


@flow(persist_result=True)
def stopped() -> int:
    manager = StoreLockManager()
    with concurrency(SHARED):
        manager.acquire_lock("the-lock", "stopped")
        short(1)
        told("begun", flow_run.id)
        wait_for_line()
        get_run_logger().info("late line")
        return short(2)


@flow
def restless() -> None:
    """Write all the time, with a slot in hand."""
    with concurrency(SHARED):
        told("begun")
        while True:
            short(0)


@flow
def next_one() -> int:
    return short(3)


def run_stopped() -> None:
    try:
        told("value", stopped())
    except Exception as error:
        told("ended", type(error).__name__)
    told("next", next_one())


# Limits on tags, while others die


@task(tags=["few"])
def tagged(seconds: float) -> None:
    append("tagged", f"+1 {os.getpid()}")
    time.sleep(seconds)
    append("tagged", f"-1 {os.getpid()}")


@flow
def tags(count: str) -> None:
    """Run many tasks with a limited tag, in threads."""
    tagged.map([0.01] * int(count)).result()


def impatient(timeout: str, retries: str) -> None:
    """Take slots of the limit, but do not wait for them for ever."""
    options = {
        "timeout_seconds": float(timeout) if timeout else None,
        "max_retries": int(retries) if retries else None,
    }
    told("ready")
    try:
        with concurrency(SHARED, **options):  # type: ignore[arg-type]
            told("inside")
    except Exception as error:
        told("refused", type(error).__name__)


# Flows under load, one after the other


@task
def kept_step(folder: str, number: int) -> int:
    append(f"{folder}/steps", f"{flow_run.id} {number}")
    return number


@task(tags=["few"])
def guarded_step(folder: str, number: int) -> int:
    append(f"{folder}/steps", f"{flow_run.id} {number}")
    with concurrency(SHARED):
        append(f"{folder}/held", f"+1 {os.getpid()}")
        time.sleep(0.001)
        append(f"{folder}/held", f"-1 {os.getpid()}")
    return number


@flow(persist_result=True)
def loaded(folder: str) -> int:
    first = [kept_step(folder, number) for number in range(3)]
    others = guarded_step.map([folder] * 3, range(3, 6)).result()
    return sum(first) + sum(others)


def load() -> None:
    """Run flows until there is a file that says to stop; tell how many there were."""
    count = 0
    folder = str(Path.cwd())
    while not Path("stop").exists():
        assert loaded(folder) == sum(range(6))
        count += 1
        append("done", f"{os.getpid()}")
    told("flows", count)


PROGRAMS = {
    "cancel": cancel,
    "compute": compute,
    "harvest": lambda rows: told("value", harvest(int(rows))),
    "hold": hold,
    "impatient": impatient,
    "limit": limit,
    "load": load,
    "lock": lock,
    "nightly": run_nightly,
    "restless": restless,
    "resume": resume,
    "stopped": run_stopped,
    "tags": tags,
    "watch": watch,
}


def main() -> None:
    faulthandler.register(SHOW_STACKS)
    PROGRAMS[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    from tests.acceptance import programs  # so that the tasks are those of a module that others can import

    programs.main()
