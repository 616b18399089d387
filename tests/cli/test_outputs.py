"""What is printed is printed whole, also where Python does not buffer it, as in many containers."""

import json
import os
import resource
import signal
import subprocess
import time
from array import array
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.recording import close_recorders
from tests.cli.commands import COMMAND, command
from tests.engine.history import only_flow_run
from tests.engine.stopping import until

LIMIT = 60.0
FULL = 65_536
KINDS = pytest.mark.parametrize("unbuffered", ["", "1"])


@task
def note(text: str) -> None: ...


@flow
def many() -> None:
    for _ in range(250):
        note("a text")


@pytest.fixture
def show() -> list[str]:
    """A command that prints more than a pipe takes at once."""
    many()
    run_id = str(only_flow_run().id)
    close_recorders()
    arguments = ["runs", "show", run_id, "--json"]
    assert len(command(*arguments).stdout) > 2 * FULL
    return arguments


def waiting_in(pipe: Any) -> int:
    """How many bytes are in a pipe."""
    count = array("i", [0])
    ioctl(pipe, FIONREAD, count)
    return count[0]


@pytest.mark.slow
@KINDS
def test_a_process_that_is_stopped_for_a_moment(show: list[str], unbuffered: str) -> None:
    """As by Ctrl-Z in front of a pager: nothing is missing when it goes on."""
    process = subprocess.Popen(
        [*COMMAND, *show],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: waiting_in(process.stdout) >= FULL)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        process.send_signal(number)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert len(json.loads(output)["task_runs"]) == 250


@pytest.mark.slow
@KINDS
def test_a_disk_that_gets_full(show: list[str], unbuffered: str, tmp_path: Path) -> None:
    """If there is room for a part only, the exit code and a line say so."""
    with (tmp_path / "output").open("w") as output:
        done = subprocess.run(
            [*COMMAND, *show],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=output,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL)),
            check=False,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "Error: The output cannot be written: File too large.\n"
