"""The command answers at once, and helps shells to complete what is typed."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import mainspring
from tests.cli.commands import command, write_flow_file


def test_version_names_what_is_in_use(mainspring_home: Path) -> None:
    """``mainspring version`` tells the versions and where the database is, without making one."""
    done = command("version")
    assert f"mainspring  {mainspring.__version__}\n" in done.stdout
    facts = json.loads(command("version", "--json").stdout)
    assert facts["python"] == platform.python_version()
    assert facts["database"] == str(mainspring_home / "mainspring.db")
    assert list(facts) == ["mainspring", "python", "sqlite", "database"]
    assert not mainspring_home.exists()


def test_version_shows_no_password() -> None:
    """The address of the database is shown without the password in it."""
    address = "postgresql://me:open-sesame@127.0.0.1:1/runs"
    done = command("version", environment={"MAINSPRING_DATABASE_URL": address})
    assert "postgresql://me:***@127.0.0.1:1/runs" in done.stdout
    refused = command("database", "version", environment={"MAINSPRING_DATABASE_URL": address})
    assert refused.returncode == 2
    assert "sesame" not in done.stdout + refused.stderr


def test_version_imports_nothing_heavy() -> None:
    """Start-up does not load engines, the run store or anything that draws tables."""
    program = (
        "import sys\nfrom mainspring.cli import main\nsys.argv[1:] = ['version']\n"
        "try: main()\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert "mainspring.cli.version" in loaded
    heavy = {"mainspring.flows", "mainspring.task_engine", "mainspring.client", "rich.console", "asyncio"}
    assert not loaded & heavy


def test_help_is_plain() -> None:
    """Help is text without boxes and names each command."""
    done = command("--help")
    assert done.returncode == 0
    for name in ("run", "runs", "version"):
        assert f"\n  {name} " in done.stdout
    assert "─" not in done.stdout


def test_the_console_script_and_the_module_are_one() -> None:
    """``mainspring`` and ``python -m mainspring`` say the same."""
    script = Path(sys.executable).with_name("mainspring")
    if not script.exists():
        pytest.skip("installed without its scripts")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == command("--help").stdout


def completions(line: str) -> list[str]:
    words = line.split(" ")
    environment = {
        "_MAINSPRING_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = command(environment=environment)
    assert done.stderr == ""
    return done.stdout.split()


def test_run_ids_are_completed(tmp_path: Path) -> None:
    """A shell offers the short ids of the newest runs."""
    assert completions("mainspring runs show ") == []
    command("run", str(write_flow_file(tmp_path, "@flow\ndef pipeline(): ...\n")))
    (end,) = completions("mainspring runs show ")
    assert completions(f"mainspring runs logs {end[:3]}") == [end]
    assert command("runs", "show", end).returncode == 0


def test_states_are_completed() -> None:
    """A shell offers the types of states."""
    assert completions("mainspring runs ls --state f") == ["failed"]


def test_task_runners_are_completed() -> None:
    """A shell offers the names of task runners, for runs and for going on with them."""
    assert completions("mainspring run x.py --runner ") == ["threads", "processes", "inline", "dask", "ray"]
    assert completions("mainspring runs resume x --runner p") == ["processes"]


@pytest.mark.no_invariants("the store cannot be opened")
def test_a_broken_database_does_not_disturb_completion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no runs can be read none are offered, without a word."""
    monkeypatch.setenv("MAINSPRING_DATABASE_URL", str(tmp_path))
    assert completions("mainspring runs show ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_each_shell(shell: str) -> None:
    """``--show-completion`` prints what the shell has to load."""
    done = command("--show-completion", shell)
    assert done.returncode == 0
    assert "_MAINSPRING_COMPLETE" in done.stdout


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    """When the reader has enough, as ``head`` has, nothing is said about it."""
    text = "@task\ndef tick(): ...\n\n@flow\ndef pipeline():\n    for _ in range(500): tick()\n"
    command("run", str(write_flow_file(tmp_path, text)))
    process = subprocess.Popen(
        [sys.executable, "-m", "mainspring", "runs", "ls", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(60)
