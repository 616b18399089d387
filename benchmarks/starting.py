"""What it takes to begin, in starts of a bare interpreter: importing the package, and the first script ever."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

from benchmarks.cases import Case, Family, Turn
from benchmarks.measuring import seconds_of

FIRST_SCRIPT = """
from mainspring import flow, task

@task
def double(x):
    return 2 * x

@flow
def first():
    return double(21)

assert first() == 42
"""

homes = itertools.count()


def start(turn: Turn, code: str, is_new: bool = True) -> float:
    """Seconds of an interpreter that starts, runs ``code`` in a home that is new or not, and ends."""
    name = f"first-{next(homes)}" if is_new else "again"
    environment = {**os.environ, "MAINSPRING_HOME": str(turn.home / name)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code
    command = [sys.executable, "-c", code]
    return min(
        seconds_of(lambda: subprocess.run(command, env=environment, check=True))
        for _ in range(1 if is_new else 2)
    )


FAMILY = Family(
    (
        Case("import mainspring", lambda turn: start(turn, "import mainspring", False), 3),
        Case("import of flow and task", lambda turn: start(turn, "from mainspring import flow, task", False)),
        Case("first script, database created", lambda turn: start(turn, FIRST_SCRIPT), 10),
        Case("the same script again", lambda turn: start(turn, FIRST_SCRIPT, False)),
    ),
    unit=Case("bare interpreter start", lambda turn: start(turn, "pass", False)),
)
