"""A process that has imported everything and done nothing, and forks the children that are to die.

So a child is there within a few milliseconds and is as good as a fresh interpreter: the nursery has one thread, has
never opened a store and has run nothing. It says so with each answer.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from tests.durability import points
from tests.durability.child import PROGRAMS, live

__all__ = ["DEADLINE", "ROOT", "Ending", "Nursery", "Parent", "Strangers"]

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0
"""Seconds after which a child counts as hanging."""

_IMPORTED = [
    "asyncio",
    "concurrent.futures.thread",
    "mainspring",
    "mainspring.resumption",
    "mainspring.store.sqlite",
    "mainspring.task_runners",
    *(f"{PROGRAMS}.{path.stem}" for path in sorted(Path(__file__).with_name("programs").glob("[a-z]*.py"))),
]


_MET = re.compile(r"^\d+ \S+ \w+ at (point|statements|writes) ")


class Ending(NamedTuple):
    """How a child ended.

    Args:
        pid: Its process id.
        code: Its exit code, negative for a signal.
        answer: What it told: the value that the flow returned, or the error; empty if it died before.
        events: What it met of the points that it was to meet, and how many passed, one line each.
        output: What it printed.
    """

    pid: int
    code: int
    answer: dict[str, Any]
    events: list[str]
    output: str

    @property
    def was_killed(self) -> bool:
        """Whether it died as it was told to."""
        return self.code == -signal.SIGKILL

    @property
    def error(self) -> dict[str, Any] | None:
        """The kinds and the message of the error, if it told one."""
        found: dict[str, Any] | None = self.answer.get("error")
        return found

    @property
    def met(self) -> list[str]:
        """The events that it was to meet: its death, or faults."""
        return [event for event in self.events if _MET.search(event)]

    def told(self) -> list[str]:
        """The events for people: of many faults the first ones."""
        hidden = self.met[3:]
        told = [event for event in self.events if event not in hidden]
        return [*told, f"... and {len(hidden)} more"] if hidden else told

    def passed(self, kind: str) -> int:
        """How many things of a kind have passed in a child that came to its end."""
        (line,) = [line for line in self.events if " passed " in line]
        return int(line.partition(f"{kind}=")[2].split()[0])


class Parent(Protocol):
    """Whatever has children."""

    def bear(self, program: str, folder: Path, run_id: str | None = None, **environment: str) -> Ending:
        """Run a program in a child, or resume a run of it, and wait until the child has ended.

        Args:
            program: See `child.live`.
            folder: Its history, its journal and what it tells are here.
            run_id: The run to resume.
            environment: What is to happen to the child, see `points`.
        """
        ...


class Strangers:
    """Has children that are interpreters of their own, which know nothing but the id of the run that they resume."""

    def bear(self, program: str, folder: Path, run_id: str | None = None, **environment: str) -> Ending:
        """See `Parent.bear`."""
        told = surroundings(folder, **environment)
        command = [sys.executable, "-W", "error", "-m", "tests.durability.child", program]
        with Path(told["OUTPUT"]).open("wb") as output:
            process = subprocess.Popen(
                [*command, *([run_id] if run_id else [])],
                cwd=ROOT,
                env={**_without_settings(), **told},
                stdout=output,
                stderr=output,
            )
            code = process.wait(2 * DEADLINE)
        return ending(process.pid, code, folder)


class Nursery:
    """The process, and the way to have children in it. One at a time; not for several threads."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "error", "-m", __name__]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_without_settings(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def bear(self, program: str, folder: Path, run_id: str | None = None, **environment: str) -> Ending:
        """See `Parent.bear`."""
        order = {"program": program, "run_id": run_id, "environment": surroundings(folder, **environment)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        assert told["threads"] == 1, told
        assert not told["stores"], told
        return ending(told["pid"], told["code"], folder)

    def close(self) -> None:
        """End the process."""
        self._process.communicate("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def surroundings(folder: Path, **environment: str) -> dict[str, str]:
    """The environment of a child whose files are in a folder, as `points` and `child` want it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("answer", "output", "points"):
        (folder / name).unlink(missing_ok=True)
    return {
        "MAINSPRING_HOME": str(folder / "home"),
        "JOURNAL": str(folder / "journal"),
        "ANSWER": str(folder / "answer"),
        "OUTPUT": str(folder / "output"),
        "POINTS": str(folder / "points"),
        "DEADLINE": str(DEADLINE),
        **environment,
    }


def _without_settings() -> dict[str, str]:
    """The environment without settings of mainspring, which would lead children to somebody's own history."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")}


def ending(pid: int, code: int, folder: Path) -> Ending:
    """What a child has left in a folder."""
    answer, events, output = (folder / name for name in ("answer", "points", "output"))
    return Ending(
        pid,
        code,
        json.loads(answer.read_text()) if answer.exists() else {},
        events.read_text().splitlines() if events.exists() else [],
        output.read_text() if output.exists() else "",
    )


def _serve() -> None:
    atexit.register(points.tell_counts)  # before those of mainspring are, so that it is called after them
    for name in _IMPORTED:
        import_module(name)
    recorders = import_module("mainspring.recording.current")._recorders
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        told = {"threads": threading.active_count(), "stores": len(recorders)}
        ended, last = os.pipe()  # the child has the other end until it is gone
        pid = os.fork()
        if not pid:
            os.close(ended)
            _become_child(json.loads(line))
            return
        os.close(last)
        if not select.select([ended], [], [], 2 * DEADLINE)[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(ended)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"pid": pid, "code": code, **told}), flush=True)


def _become_child(order: dict[str, Any]) -> None:
    """Live and come back here, to end as any interpreter does."""
    output = os.open(order["environment"]["OUTPUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)
    live(order["program"], order["run_id"], order["environment"])


if __name__ == "__main__":
    _serve()
