"""Child processes that use a store until told to stop, or until they are killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

PRELUDE = """
import os, sys, time
from tests.store.histories import *
from mainspring.store import *
from mainspring.store.sqlite import SQLiteRunStore

def ready(*words):
    print(*words, flush=True)

def wait():
    sys.stdin.readline()

path = sys.argv[1]
"""


class Child:
    """A running child; ``pid`` is its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def line(self) -> str:
        """The next line it prints; fails if it ends without one."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the child ended with {self._process.wait()} before it printed a line"
        return line.strip()

    def go(self) -> None:
        """Let it go on from ``wait()``."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it as no program can prevent."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Let it go on to its end, which must be a good one."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0


@contextmanager
def child(path: Path, script: str) -> Iterator[Child]:
    """Run ``script`` after `PRELUDE`; its ``path`` is the one given. Killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PRELUDE + script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


@contextmanager
def children(path: Path, script: str, number: int) -> Iterator[list[Child]]:
    """Several of `child` at once."""
    with ExitStack() as stack:
        yield [stack.enter_context(child(path, script)) for _ in range(number)]


def run_child(path: Path, script: str) -> list[str]:
    """Run ``script`` to its end, which must be a good one; the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + script, str(path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
