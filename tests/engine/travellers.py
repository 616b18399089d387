"""What travels to other processes, and the other process."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle

from mainspring import flow, task

_LOCK = threading.Lock()  # cannot be pickled: whoever takes it along makes pickling fail

_PROGRAM = """
import pickle, sys
function, arguments = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(function(*arguments)))
"""


@task(tags=["t"])
def add(x: int, y: int = 1) -> int:
    """A task that can be imported."""
    with _LOCK:
        return x + y


@flow
def voyage() -> str:
    """A flow that can be imported."""
    return "there"


class Ship:
    """Something with a task as a method."""

    def __init__(self, name: str) -> None:
        self.name = name

    @task
    def hail(self, greeting: str = "ahoy") -> str:
        """A method that is a task."""
        return f"{greeting}, {self.name}"


def carried(thing: Any) -> Any:
    """A thing after a journey that ends where it began."""
    return pickle.loads(cloudpickle.dumps(thing))


def in_another_process(home: Path, function: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
    """What a function gives in a new interpreter, whose own settings say nothing but ``home`` and these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PROGRAM],
        input=cloudpickle.dumps((function, arguments)),
        env={**inherited, "MAINSPRING_HOME": str(home), **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)
