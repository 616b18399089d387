"""Promise 2: if a call returned, its history is on disk, however the process ends afterwards."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring.client import open_client
from tests.acceptance.exits import CALLS, ENDS

PROGRAM = Path(__file__).with_name("exits.py")
EXIT_CODES = {
    "returning": 0,
    "sys.exit": 3,
    "exception": 1,
    "SIGTERM": -signal.SIGTERM,
    "os._exit": 0,
    "SIGKILL": -signal.SIGKILL,
}


def run_program(end: str, home: Path) -> tuple[int, int]:
    """Run the program to its end; returns its exit code and how many values it was handed."""
    handed_out = home.with_name("handed-out")
    with handed_out.open("wb") as file:
        command = [sys.executable, str(PROGRAM), end, str(file.fileno())]
        done = subprocess.run(
            command, pass_fds=(file.fileno(),), capture_output=True, timeout=60, check=False
        )
    return done.returncode, len(handed_out.read_bytes())


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.invariants(is_over=False)
def test_every_value_handed_out_has_its_history_on_disk(end: str, mainspring_home: Path) -> None:
    """As many task runs are final in the database as calls whose value was handed out."""
    code, handed_out = run_program(end, mainspring_home)

    with sqlite3.connect(mainspring_home / "mainspring.db") as database:  # nobody has tidied up yet
        query = "SELECT count(*) FROM task_runs WHERE state_type = 'COMPLETED' AND end_time IS NOT NULL"
        recorded = database.execute(query).fetchone()[0]
    database.close()
    assert code == EXIT_CODES[end]
    assert handed_out == recorded == 2 * CALLS


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("returning", "COMPLETED"),
        ("sys.exit", "CRASHED"),
        ("exception", "FAILED"),
        ("SIGTERM", "CRASHED"),
        ("os._exit", "CRASHED"),
        ("SIGKILL", "CRASHED"),
    ],
)
def test_the_flow_run_does_not_stay_running(end: str, state: str, mainspring_home: Path) -> None:
    """However the process ended, whoever opens the store next finds the flow run settled."""
    run_program(end, mainspring_home)

    with open_client() as client:
        (flow_run,) = client.read_flow_runs()
    assert flow_run.state_type.value == state
