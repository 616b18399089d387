"""What each path counts, in a process of its own, beside what was recorded for this version of Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.performance.child import STARTS
from tests.performance.paths import PATHS

__all__ = ["ALLOWED", "NAMES", "PYTHON", "Counted", "changes", "count", "profile", "read_recorded", "record"]

RECORDED = Path(__file__).with_name("recorded.json")
"""What was counted, by version of Python, by path."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NAMES = (*PATHS, *STARTS)

ALLOWED = 0.10
"""By what part of itself a count may change."""

SLACK = {"SQL statements": 0.1, "reads and writes": 0.5}
"""By how much more: a batch may be cut in another place, and a file be read and written in other parts."""

Counted = dict[str, float | None]

ADVICE = "python -m tests.performance --record"


def count(path: str, slower: int = 0) -> Counted:
    """What a path counts now.

    Args:
        path: One of `NAMES`.
        slower: Instructions that each call of a task takes more, for a test.
    """
    found: Counted = json.loads(_run(path, "--slower", str(slower)).splitlines()[0])
    return found


def profile(path: str) -> str:
    """What it counts, by function and statement; all that is done before is counted, too."""
    return _run(path, "--profile")


def _run(*arguments: str) -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAINSPRING_", "COV_", "COVERAGE_", "PYTEST_"))
    }
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", "tests.performance.child", *arguments],
            cwd=Path(__file__).parents[2],
            env={**environment, "MAINSPRING_HOME": home, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    if done.returncode:
        raise ChildProcessError(done.stderr)
    return done.stdout


def read_recorded() -> dict[str, Counted]:
    """What was recorded for this version of Python, by path; nothing if that was never done."""
    return _read().get(PYTHON, {})


def record(counted: Mapping[str, Counted]) -> None:
    """Keep what some paths count now."""
    by_python = _read()
    of_python = {**by_python.get(PYTHON, {}), **counted}
    by_python[PYTHON] = {name: of_python[name] for name in NAMES if name in of_python}
    text = json.dumps(dict(sorted(by_python.items())), indent=2)
    RECORDED.write_text(text + "\n", encoding="utf-8")


def _read() -> dict[str, dict[str, Counted]]:
    if not RECORDED.exists():
        return {}
    by_python: dict[str, dict[str, Counted]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return by_python


def changes(path: str, recorded: Counted, found: Counted) -> list[str]:
    """What has changed by more than is allowed: which count, by how much, and what to do about it."""
    messages = []
    for name, before in recorded.items():
        now = found.get(name)
        if before is None or now is None:  # this machine cannot count that
            continue
        if abs(now - before) <= before * ALLOWED + SLACK.get(name, 0):
            continue
        part = f"{abs(now / before - 1):.0%}" if before else "infinitely"
        told = f"{path}: {now:g} {name} instead of {before:g}, {part} {'more' if now > before else 'fewer'}"
        if now > before:
            advice = (
                f"Look where with: python -m tests.performance --profile '{path}'. If it is worth its price,"
                f" record the new count with: {ADVICE} '{path}'"
            )
        else:
            advice = f"So that it stays so, record it with: {ADVICE} '{path}'"
        messages.append(f"{told}. {advice}")
    return messages
