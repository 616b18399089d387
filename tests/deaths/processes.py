"""Starting the programs, and looking at what they leave, by plain SQL."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["PATIENCE", "Process", "left_by", "run", "start", "until"]

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that a slow machine may take for what takes a moment."""

_OWNER = "r.owner_id IN (SELECT id FROM owners WHERE pid = ?)"
_UNFINISHED = f"{_OWNER} AND r.state_type IN ('SCHEDULED', 'PENDING', 'RUNNING', 'CANCELLING')"
_LEFT = (
    f"SELECT (SELECT count(*) FROM flow_runs AS r WHERE {_UNFINISHED})"
    f" + (SELECT count(*) FROM task_runs AS r WHERE {_UNFINISHED}),"
    f" (SELECT count(*) FROM slots AS r WHERE {_OWNER}), (SELECT count(*) FROM locks AS r WHERE {_OWNER})"
)


class Process:
    """A program that is running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def line(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait()} without a word"
        return line.strip()

    def wait_for(self, word: str) -> None:
        """Read until a line begins with ``word``."""
        while not self.line().startswith(word):
            pass

    def go_on(self) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def rest(self) -> list[str]:
        """All lines to its end, which must be a good one."""
        out, _ = self.process.communicate(timeout=2 * PATIENCE)
        assert self.process.returncode == 0, out
        return out.splitlines()

    def kill(self) -> None:
        """End it as no program can prevent."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def start(name: str, folder: Path, **variables: str) -> Iterator[Process]:
    """Run one of the programs in a folder that has the database; it is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.deaths.programs", name],
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def run(folder: Path, *arguments: str, **variables: str) -> str:
    """Run Python with these arguments to a good end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """That of a process whose home is the folder, and which can import the programs from anywhere."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "MAINSPRING_HOME": str(folder), "PYTHONPATH": paths, **variables}


def left_by(folder: Path, pid: int) -> tuple[int, int, int]:
    """How many unfinished runs, slots and locks a process has, as the database says."""
    with closing(sqlite3.connect(folder / "mainspring.db", timeout=PATIENCE)) as db:
        found: tuple[int, int, int] = db.execute(_LEFT, (pid,) * 4).fetchone()
        return found


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
    """Wait for something that should be there soon; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience, f"{what} did not happen in {patience} seconds"
        time.sleep(0.005)
    return time.monotonic() - began
