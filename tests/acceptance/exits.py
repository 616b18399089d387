"""A program that runs 1,000 trivial tasks in a flow and then leaves in the way its first argument names.

Every value that a call handed out is noted, before anything else happens, as one byte in the file whose
descriptor is the second argument.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from mainspring import flow, task

CALLS = 500


@task
def double(x: int) -> int:
    return 2 * x


def note_handed_out(values: int) -> None:
    """Say how many values this program has got; unbuffered, so that it survives any end."""
    os.write(int(sys.argv[2]), b"x" * values)


def fail() -> None:
    raise RuntimeError("The program ends with an unhandled exception.")


def wait_for_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)  # interrupted by the signal


ENDS: dict[str, Callable[[], object]] = {
    "returning": lambda: None,
    "sys.exit": lambda: sys.exit(3),
    "exception": fail,
    "SIGTERM": wait_for_sigterm,
    "os._exit": lambda: os._exit(0),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


@flow
def many(end: str) -> None:
    for number in range(CALLS):
        assert double(number) == 2 * number
        note_handed_out(1)
    futures = [double.submit(number) for number in range(CALLS)]
    for number, future in enumerate(futures):
        assert future.result() == 2 * number
        note_handed_out(1)
    ENDS[end]()


if __name__ == "__main__":
    many(sys.argv[1])
