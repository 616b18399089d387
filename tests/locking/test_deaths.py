"""Being told of the ends of other processes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mainspring.locking.deaths import forget_deaths, on_death

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell")


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes on until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        try:
            yield started
        finally:
            started.kill()


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "mainspring-deaths"]


def test_a_death_is_told() -> None:
    """Who is interested in a process is told when it was killed, and no thread is left."""
    told = threading.Event()
    with process() as one, process() as other:
        on_death([one.pid, other.pid], told.set)
        assert not told.wait(0.05)
        other.kill()
        assert told.wait(30)
        forget_deaths(told.set)
    for thread in threads():
        thread.join(30)
    assert threads() == []


def test_everybody_is_told_once() -> None:
    """Several may be interested in the same process, also more than once; each is told once."""
    told: list[str] = []
    done = threading.Event()

    def first() -> None:
        told.append("first")

    def last() -> None:
        told.append("last")
        done.set()

    with process() as one:
        for each in (first, last, first, last):
            on_death([one.pid], each)
        one.kill()
        assert done.wait(30)
    for thread in threads():
        thread.join(30)
    assert sorted(told) == ["first", "last"]


def test_a_process_that_has_ended() -> None:
    """A process that is no more is told of at once."""
    with process() as one:
        one.kill()
        one.wait()
        told: list[int] = []
        on_death([one.pid], lambda: told.append(one.pid))
        assert told == [one.pid]


def test_ourselves_are_left_out() -> None:
    """Nobody waits for the end of the process that it is in."""
    on_death([os.getpid()], lambda: None)
    assert threads() == []


def test_no_interest_any_more() -> None:
    """Who has said so is not told, and the thread ends without a death."""
    told: list[int] = []

    def note() -> None:
        told.append(1)

    with process() as one:
        on_death([one.pid], note)
        forget_deaths(note)
        for thread in threads():
            thread.join(30)
        assert threads() == []
    assert told == []


def test_a_forked_child_is_told_of_its_own() -> None:
    """In a forked child nobody is interested in anything, and may be so again."""
    with process() as one:
        on_death([one.pid], print)
        if not (pid := os.fork()):
            told = threading.Event()
            forget_deaths(print)
            on_death([one.pid], told.set)
            os.kill(one.pid, signal.SIGKILL)  # `one.kill` does so for children only
            os._exit(0 if told.wait(30) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        forget_deaths(print)
