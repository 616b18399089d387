"""``mainspring runs cancel``: stopping a run from another process."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND, answer, command, write_flow_file

PATIENCE = 60.0

FLOW = """
    from pathlib import Path
    from mainspring.task_runners import ThreadPoolTaskRunner

    @task
    def waiting(x):
        Path("begun").touch()
        while not Path("go on").exists():
            time.sleep(0.01)

    @flow
    def pipeline():
        waiting.submit(1).wait()

    @flow
    def stubborn():
        Path("begun").touch()
        while True:
            try:  # around all that takes time, for it is interrupted again and again, wherever it is
                while not Path("go on").exists():
                    time.sleep(0.01)
                return
            except BaseException:
                pass

    @flow
    def short():
        pass
"""


def newest() -> str:
    run_id: str = answer("runs", "ls", "--limit", "1")[0]["id"]
    return run_id


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def running(folder: Path, name: str) -> Iterator["subprocess.Popen[str]"]:
    """A flow that has begun; it is ended at the end of the block."""
    write_flow_file(folder, FLOW)
    with subprocess.Popen(
        [*COMMAND, "run", f"pipeline.py:{name}"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until((folder / "begun").exists)
            until(lambda: answer("runs", "ls", "--state", "running"))
            yield process
        finally:
            (folder / "go on").touch()
            process.kill()


@pytest.mark.slow
def test_a_run_of_another_process(tmp_path: Path) -> None:
    """It ends with all that is inside of it, and the command says so; the process goes on to its own end."""
    with running(tmp_path, "pipeline") as process:
        run_id = newest()
        done = command("runs", "cancel", run_id[-8:], "--reason", "not today")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Flow run ")
        assert run_id in done.stdout
        assert "Cancelled" in done.stdout
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "not today" in errors
    assert "Traceback" not in errors
    shown = answer("runs", "show", run_id)
    assert [state["name"] for state in shown["states"]] == ["Pending", "Running", "Cancelling", "Cancelled"]
    assert shown["states"][-1]["message"] == "not today"


@pytest.mark.slow
def test_json(tmp_path: Path) -> None:
    """`--json` gives the record of the run as it is then."""
    with running(tmp_path, "pipeline"):
        done = command("runs", "cancel", newest(), "--json")
        assert (done.returncode, done.stderr) == (0, "")
        record = json.loads(done.stdout)
        assert (record["id"], record["state_name"]) == (newest(), "Cancelled")


@pytest.mark.slow
@pytest.mark.invariants(is_over=False)
def test_a_run_that_goes_on(tmp_path: Path) -> None:
    """Without patience, or if the code does not stop, the exit code is 1, and the run is Cancelling."""
    with running(tmp_path, "stubborn"):
        done = command("runs", "cancel", newest(), "--wait", "0")
        assert done.returncode == 1
        assert "It was asked to stop" in done.stdout
        until(lambda: answer("runs", "show", newest())["states"][-1]["name"] == "Cancelling")
        again = command("runs", "cancel", newest(), "--wait", "0.2")
        assert again.returncode == 1
        assert "Cancelling" in again.stdout


@pytest.mark.slow
def test_what_cannot_be_cancelled(tmp_path: Path) -> None:
    """A run that is over, unknown or ambiguous ids, and bad options: exit code 2, a line that says why, no change."""
    write_flow_file(tmp_path, FLOW)
    for _ in range(2):
        assert command("run", "pipeline.py:short", cwd=tmp_path).returncode == 0
    run_id = newest()
    before = answer("runs", "show", run_id)
    over = command("runs", "cancel", run_id)
    assert (over.returncode, over.stdout, over.stderr.count("\n")) == (2, "", 1)
    assert "it is over, and Completed. Nothing was changed." in over.stderr
    unknown = command("runs", "cancel", "ffffffff")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    ambiguous = command("runs", "cancel", run_id[:2])
    assert (ambiguous.returncode, ambiguous.stderr.count("\n")) == (2, 1)
    assert command("runs", "cancel", run_id, "--wait", "-1").returncode == 2
    assert answer("runs", "show", run_id) == before
