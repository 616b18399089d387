"""Running an example the way a user does: as a script, in a process and with a home of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mainspring.client import Client, open_client
from mainspring.settings import temporary_settings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Script:
    """What one run of an example came to, and the home it left its history in."""

    exit_code: int
    output: str
    log: str
    home: Path

    @contextmanager
    def history(self) -> Iterator[Client]:
        """A client of the script's run store."""
        with temporary_settings({"home": self.home}), open_client() as client:
            yield client


def run(example: str, home: Path, *arguments: str) -> Script:
    """Run ``examples/<example>`` with warnings as errors."""
    return _run(home, f"examples/{example}", *arguments)


def run_by_command(example: str, home: Path, *options: str) -> Script:
    """Run it by ``mainspring run``, likewise."""
    return _run(home, "-m", "mainspring", "run", f"examples/{example}", *options)


def _run(home: Path, *arguments: str) -> Script:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={**environment, "MAINSPRING_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return Script(done.returncode, done.stdout, done.stderr, home)
