"""A process that counts one path and prints what it has counted: ``python -m tests.performance.child PATH``."""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

from tests.performance.counters import COUNTS, Counters, slow_down_time

WARM = 10
"""How often a path is gone before anything is counted: caches are filled, the database is made, the thread is there."""

TIMES = 10
"""How often it is gone in a round."""

ROUNDS = 3
"""The median counts: something that is done from time to time may be in one of them."""


def of_path(path: str, extra: int, counters: Counters) -> dict[str, float | None]:
    """What a path counts, each time."""
    slow_down_time()
    from tests.performance.paths import PATHS

    if extra:
        slow_down_calls(extra)
    rounds: list[list[float | None]] = []

    def counted(work: Callable[[int], Any], times: int) -> list[float | None]:
        gc.collect()
        gc.disable()
        before = counters.read()
        work(times)
        after = counters.read()
        gc.enable()
        return [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]

    def measure(work: Callable[[int], Any], *, only_more: bool = False) -> None:
        work(WARM)
        work(WARM)
        for _ in range(ROUNDS):
            found = counted(work, TIMES + only_more)
            once = counted(work, 1) if only_more else [0] * len(found)
            pairs = zip(once, found, strict=True)
            rounds.append([None if a is None or b is None else (b - a) / TIMES for a, b in pairs])

    counters.start()
    PATHS[path](measure)
    counters.stop()
    found: dict[str, float | None] = {}
    for name, of_one in zip(COUNTS, zip(*rounds, strict=True), strict=True):
        known = [each for each in of_one if each is not None]
        found[name] = round(median(known), 2) if known else None
    return found


def of_start(start: str, counters: Counters) -> dict[str, float | None]:
    """What a program counts that begins, without what it takes to find modules, which depends on where they are."""
    slow_down_time()
    run = STARTS[start]
    if start in ON_HISTORY:
        command = [sys.executable, "-c", "from tests.performance.child import first_script; first_script()"]
        subprocess.run(command, check=True)
        with sqlite3.connect(Path(os.environ["MAINSPRING_HOME"], "mainspring.db")) as database:
            ((os.environ["SHOWN"],),) = database.execute("SELECT lower(hex(id)) FROM flow_runs")
        database.close()
    known = set(sys.modules)
    with redirect_stdout(io.StringIO()):
        counters.start()
        run()
        counters.stop()
    modules = sum(name.startswith("mainspring") for name in sys.modules.keys() - known)
    foreign = len(sys.modules.keys() - known) - modules
    by_function = counters.by_function().items()
    instructions = sum(count for name, count in by_function if not name.startswith("<frozen importlib"))
    return {"instructions": instructions, "own modules": modules, "other modules": foreign}


def import_names() -> None:
    from mainspring import flow, task  # noqa: F401


def first_script() -> None:
    """The first script ever: it makes the database."""
    from mainspring import flow, task

    @task
    def double(x: int) -> int:
        return 2 * x

    @flow
    def first() -> int:
        return double(21)

    assert first() == 42


def command(*words: str) -> None:
    """A command of those that read, in this process."""
    from mainspring.cli.shortcuts import answer_at_once

    assert answer_at_once(words)


STARTS: dict[str, Callable[[], None]] = {
    "import of flow and task": import_names,
    "first script": first_script,
    "runs ls": lambda: command("runs", "ls"),
    "runs show": lambda: command("runs", "show", os.environ["SHOWN"]),
}
"""What programs do that begin, and what is counted only once, by name."""

ON_HISTORY = ("runs ls", "runs show")
"""Those that read what the first script has written."""


def slow_down_calls(extra: int) -> None:
    """Let each call of a task take some more instructions."""
    from mainspring import Task

    call = Task.__call__

    def slow_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        for _ in range(extra // 3):
            pass
        return call(self, *args, **kwargs)

    Task.__call__ = slow_call  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--slower", type=int, default=0, help="instructions that a call of a task takes more")
    parser.add_argument("--profile", action="store_true", help="list functions and statements, too")
    options = parser.parse_args()
    counters = Counters()
    if options.path in STARTS:
        counted = of_start(options.path, counters)
    else:
        counted = of_path(options.path, options.slower, counters)
    print(json.dumps(counted))
    if options.profile:
        for name, count in counters.by_function().most_common(60):
            print(f"{count:10,}  {name}")
        for name, count in counters.statements().most_common(20):
            print(f"{count:10,}  {name}")


if __name__ == "__main__":
    main()
