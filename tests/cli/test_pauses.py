"""``mainspring runs resume --input`` and ``runs suspend``: runs that wait for somebody."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND, answer, command, write_flow_file
from tests.engine.waiting import LIMIT, until

FLOW = """
    from dataclasses import dataclass
    from mainspring import pause_flow_run, suspend_flow_run

    @dataclass
    class Approval:
        ok: bool
        by: str = "nobody"

    @task
    def step(x):
        return x

    @flow(persist_result=True)
    def leaving():
        approval = suspend_flow_run(Approval)
        print("approved by", approval.by)

    @flow(persist_result=True)
    def staying():
        print("got", pause_flow_run(int, key="amount"))

    @flow(persist_result=True)
    def looping():
        for number in range(10_000):
            step(number)
            time.sleep(0.01)
"""


def newest() -> str:
    run_id: str = answer("runs", "ls", "--limit", "1")[0]["id"]
    return run_id


def start(folder: Path, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, "run", f"pipeline.py:{name}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_suspended_run(tmp_path: Path) -> None:
    """What it waits for is shown; a wrong input is refused with exit code 2, and the right one lets it go on."""
    write_flow_file(tmp_path, FLOW)
    left = command("run", "pipeline.py:leaving", cwd=tmp_path)
    assert left.returncode == 1
    assert "Suspended" in left.stderr
    assert f"runs resume {newest()[-8:]}" in left.stderr
    shown = command("runs", "show", newest(), cwd=tmp_path).stdout
    assert "waits" in shown
    assert '"required"' in shown
    [waiting] = answer("runs", "show", newest())["waits_for"]
    assert waiting["schema"]["properties"]["by"]["default"] == "nobody"
    assert (waiting["key"], waiting["suspends"], waiting["flow_run_id"]) == ("#1", True, newest())
    for arguments, reason in [
        ((), "waits for an input"),
        (("--input", '{"ok": 7.5}'), "run_input.ok"),
        (("--input", "{ok"), "is not JSON"),
        (("--input", "@missing.json"), "cannot be read"),
    ]:
        refused = command("runs", "resume", newest(), *arguments, cwd=tmp_path)
        assert refused.returncode == 2, refused.stderr
        assert reason in refused.stderr
    (tmp_path / "answer.json").write_text(json.dumps({"ok": True, "by": "me"}))
    done = command("runs", "resume", newest(), "--input", "@answer.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "approved by me" in done.stdout
    assert answer("runs", "show", newest())["waits_for"] == []


@pytest.mark.slow
def test_a_paused_run(tmp_path: Path) -> None:
    """A run of a process that lives gets its input, from standard input, and goes on there."""
    write_flow_file(tmp_path, FLOW)
    process = start(tmp_path, "staying")
    try:
        until(lambda: command("runs", "ls", "--state", "paused", "--json").stdout.strip() not in ("", "[]"))
        told = subprocess.run(
            [*COMMAND, "runs", "resume", newest(), "--input", "-", "--key", "amount"],
            input="12",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (told.returncode, told.stderr) == (0, "The run goes on in its own process.\n")
        printed, log = process.communicate(timeout=LIMIT)
        assert "got 12" in printed, log
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_suspending(tmp_path: Path) -> None:
    """A run is asked from outside to leave; one that is not running cannot be."""
    write_flow_file(tmp_path, FLOW)
    process = start(tmp_path, "looping")
    try:
        until(lambda: command("runs", "ls", "--state", "running", "--json").stdout.strip() not in ("", "[]"))
        asked = command("runs", "suspend", newest()[-8:])
        assert asked.returncode == 0, asked.stderr
        assert "is asked to be suspended" in asked.stdout
        assert process.wait(LIMIT) == 1
    finally:
        process.kill()
        process.communicate()
    assert answer("runs", "show", newest())["state_name"] == "Suspended"
    for arguments, reason in [((newest(),), "it is Suspended"), ((newest(), "--timeout", "0"), "timeout")]:
        refused = command("runs", "suspend", *arguments)
        assert refused.returncode == 2
        assert reason in refused.stderr
