"""Several processes that look for the dead at the same time, and what the reaper tells."""

import json
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mainspring.reaping import Reaped, reap
from mainspring.settings import temporary_settings
from tests.deaths.processes import environment, run, start
from tests.deaths.test_crash_hooks import HOOKS, called, kill_when_noted, notes

pytestmark = pytest.mark.slow

PEERS = 8
REAP = """
import sys
from mainspring.reaping import reap
print("ready", flush=True)
sys.stdin.readline()
found = reap()
print(len(found.runs), sum(len(each.names) for each in found.hooks))
"""


def test_a_race_of_reapers(folder: Path) -> None:
    """Of eight processes that reap at once, one settles each run, and one calls each hook."""
    with start("hooked", folder) as process:
        kill_when_noted(folder, process)
    with ExitStack() as stack:
        reapers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", REAP],
                    cwd=folder,
                    env=environment(folder),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PEERS)
        ]
        for reaper in reapers:
            assert reaper.stdout is not None
            assert reaper.stdout.readline() == "ready\n"
        for reaper in reapers:
            assert reaper.stdin is not None
            reaper.stdin.write("\n")
            reaper.stdin.flush()
        answers = [reaper.communicate(timeout=60)[0].split() for reaper in reapers]
    assert sum(int(runs) for runs, _ in answers) == 2
    assert sum(int(hooks) for _, hooks in answers) == len(HOOKS) + 1  # with the broken one
    assert sorted(called(folder)) == sorted(HOOKS)
    assert notes(folder) == 0
    with closing(sqlite3.connect(folder / "mainspring.db")) as db:
        (crashed,) = db.execute("SELECT count(*) FROM states WHERE type = 'CRASHED'").fetchone()
    assert crashed == 2


def test_reap_answers(folder: Path) -> None:
    """In Python, the answer has the crashed runs and the hooks that were called; a second one has nothing."""
    with start("hooked", folder) as process:
        kill_when_noted(folder, process)
    with temporary_settings({"home": folder}):
        said = run(folder, "-m", "mainspring", "runs", "reap", "--json")
        assert reap() == Reaped([], [])
    found = json.loads(said)
    assert [(each["kind"], each["state_name"]) for each in found["runs"]] == [
        ("flow", "Crashed"),
        ("task", "Crashed"),
    ]
    assert [each["called"] for each in found["hooks"]] == [["hook", "broken_hook", "hook"], ["hook"]]
    assert "Nothing" in run(folder, "-m", "mainspring", "runs", "reap")


def test_nothing_to_reap(tmp_path: Path) -> None:
    """Without a run store there is nothing to be found, and none is made."""
    with temporary_settings({"home": tmp_path / "home"}):
        assert reap() == Reaped([], [])
    said = run(tmp_path, "-m", "mainspring", "runs", "reap")
    assert said.startswith("Nothing: no process has died")
    assert not list(tmp_path.rglob("*.db"))
