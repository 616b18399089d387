"""Counts of what a process does, which are the same on a machine that is busy with other things.

Counted are the instructions of Python's interpreter, in all threads but `LEFT_OUT`; its calls of functions in C; SQL
statements; and the calls of the operating system that read or write. Everything has to be counted from the beginning: a
thread that is there already, and a database that is open, are not seen.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["COUNTS", "Counters", "slow_down_time"]

COUNTS = ("instructions", "C calls", "SQL statements", "reads and writes")

SLOWER = 100
"""How many times as long it takes when it is counted, roughly."""

LEFT_OUT = ("mainspring-supervisor",)
"""Threads that do something now and then, whatever is counted."""

ACTIVITY = Path("/proc/self/io")
"""Where Linux says how often a process has read and written."""


def slow_down_time() -> None:
    """Let time pass `SLOWER` times as slowly, as everything does that is counted; before mainspring is imported.

    So nothing is thought to take long, and what is done from time to time is done as rarely as otherwise.
    """
    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, _slow(getattr(time, name)))
    wait = threading.Condition.wait

    def wait_longer(self: threading.Condition, timeout: float | None = None) -> bool:
        if timeout is not None and threading.current_thread().name.startswith("mainspring-"):
            timeout *= SLOWER
        return wait(self, timeout)

    threading.Condition.wait = wait_longer  # type: ignore[method-assign]


def _slow(clock: Callable[[], float]) -> Callable[[], float]:
    beginning = clock()

    def now() -> float:
        return beginning + (clock() - beginning) / SLOWER

    return now


class Counters:
    """What has been done since `start`, in all threads that have begun since then."""

    def __init__(self) -> None:
        self._instructions: list[dict[CodeType, list[int]]] = []
        self._calls: list[list[int]] = []
        self._statements: list[str] = []
        self._connect = sqlite3.connect

    def start(self) -> None:
        """Count from now on."""
        sqlite3.connect = self._open_database  # type: ignore[assignment]
        threading.settrace(self._begin_thread)
        threading.setprofile(_ignore)
        self._count_here()

    def stop(self) -> None:
        """Count no more in this thread, and in those that begin."""
        sys.settrace(None)
        sys.setprofile(None)
        threading.settrace(None)  # type: ignore[arg-type]
        threading.setprofile(None)
        sqlite3.connect = self._connect

    def read(self) -> tuple[int, int, int, int | None]:
        """The `COUNTS` so far; None for what cannot be counted here."""
        return (
            sum(count for counted in [*self._instructions] for (count,) in [*counted.values()]),
            sum(count for (count,) in [*self._calls]),
            len(self._statements),
            _reads_and_writes(),
        )

    def by_function(self) -> Counter[str]:
        """The instructions of each function."""
        found: Counter[str] = Counter()
        for counted in [*self._instructions]:
            for code, (count,) in [*counted.items()]:
                found[f"{code.co_filename.rpartition('/src/')[2]}:{code.co_qualname}"] += count
        return found

    def statements(self) -> Counter[str]:
        """How often each statement was executed, by its first words."""
        return Counter(" ".join(statement.split()[:4]) for statement in self._statements)

    def _count_here(self) -> Any:
        """Begin to count in this thread, and return what does."""
        counts: dict[CodeType, list[int]] = {}
        tracers: dict[int, Any] = {}  # by the id of the code: its hash takes long
        calls = [0]
        self._instructions.append(counts)
        self._calls.append(calls)

        def trace(frame: FrameType, _: str, __: Any) -> Any:
            tracer = tracers.get(id(frame.f_code))
            if tracer is None:
                if frame.f_code.co_filename == __file__:
                    return None
                tracer = tracers[id(frame.f_code)] = _tracer(counts.setdefault(frame.f_code, [0]))
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            return tracer

        def profile(frame: FrameType, event: str, _: Any) -> None:
            if event == "c_call" and frame.f_code.co_filename != __file__:
                calls[0] += 1

        sys.setprofile(profile)
        sys._getframe().f_trace_opcodes = (
            True  # Python 3.12 looks here whether it has to tell of instructions at all
        )
        sys.settrace(trace)
        return trace

    def _begin_thread(self, frame: FrameType, event: str, argument: Any) -> Any:
        """The first call in a new thread that is traced: from the next on it has counters of its own."""
        if threading.current_thread().name in LEFT_OUT:
            sys.settrace(None)
            sys.setprofile(None)
            return None
        return self._count_here()(frame, event, argument)

    def _open_database(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        database = self._connect(*args, **kwargs)
        database.set_trace_callback(
            self._statements.append
        )  # in C: a function in Python would be counted itself
        return database


def _tracer(counted: list[int]) -> Any:
    """Counts the instructions of one function in one thread."""

    def count(_: FrameType, event: str, __: Any) -> Any:
        if event == "opcode":
            counted[0] += 1
        return count

    return count


def _ignore(*_: Any) -> None:
    """Does nothing, until a thread that begins has counters."""


def _reads_and_writes() -> int | None:
    try:
        lines = ACTIVITY.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = dict(line.split(": ") for line in lines)
    return int(found["syscr"]) + int(found["syscw"])
