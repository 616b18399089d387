"""What cannot be done ends with one clear line and exit code 2, and never with a traceback."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND, DEADLINE, answer, command, write_flow_file

TWO_FLOWS = """
    @task
    def fetch(): ...

    @flow(name="Daily Report")
    def report(n: int, m=1): print("report", n)

    @flow
    def load(): print("load")

    number = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two flows, a task and something else."""
    return write_flow_file(tmp_path, TWO_FLOWS)


def refusal(*arguments: str) -> str:
    """The one line with which the command refuses."""
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize("name", ["load", "report", "Daily Report"])
def test_a_flow_is_named_by_variable_or_name(file: Path, name: str) -> None:
    """``FILE.py:name`` finds a flow by the variable that holds it and by the name it goes by."""
    parameters = [] if name == "load" else ["--param", "n=1"]
    done = command("run", f"{file}:{name}", *parameters)
    assert done.stdout.split()[0] == ("load" if name == "load" else "report")


def test_several_flows_ask_for_a_choice(file: Path) -> None:
    """Without a name, a file with several flows is refused with the ones there are."""
    assert f"{file}:report, {file}:load" in refusal("run", str(file))


def test_the_flow_named_after_its_file_needs_no_name(tmp_path: Path) -> None:
    """Of several flows in a file, the one in the variable called like the file is what the file is for."""
    text = "@flow\ndef part(): ...\n\n@flow\ndef whole(): print('whole')\n"
    assert command("run", str(write_flow_file(tmp_path, text, "whole.py"))).stdout == "whole\n"


def test_flows_from_elsewhere_are_no_candidates(tmp_path: Path) -> None:
    """A flow that a file imports does not make the one it defines ambiguous."""
    write_flow_file(tmp_path, "@flow\ndef other(): ...\n", "neighbour.py")
    text = "from neighbour import other\n\n@flow\ndef own(): print('own')\n"
    assert command("run", str(write_flow_file(tmp_path, text))).stdout == "own\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lod", "has no flow 'lod'"),
        ("fetch", "is a task, not a flow"),
        ("number", "is no flow but a int"),
    ],
)
def test_an_unknown_flow_is_refused(file: Path, name: str, said: str) -> None:
    """A name that is none of a flow gets the names that are."""
    line = refusal("run", f"{file}:{name}")
    assert said in line
    assert f"{file}:load" in line


def test_a_file_without_flows_is_refused(tmp_path: Path) -> None:
    """A file that defines no flow gets told how to make one."""
    assert "Put @flow on" in refusal("run", str(write_flow_file(tmp_path, "x = 1\n")))


def test_an_unknown_file_is_refused(file: Path) -> None:
    """A file that is not there is refused, with the one that may be meant."""
    assert f"did you mean {str(file)!r}" in refusal("run", str(file.with_name("pipelin.py")))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory is no file to run."""
    assert "is a directory" in refusal("run", str(tmp_path))


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("n=[1", "--param 'n=\"[1\"'"),
        ("n", "NAME=VALUE"),
        ("=1", "NAME=VALUE"),
        (
            "k=1",
            "has no parameter 'k'. It needs the parameter 'n': add --param n=.... It takes (n: int, m=1)",
        ),
        ("m=1", "needs the parameter 'n'"),
    ],
)
def test_bad_parameters_are_refused(file: Path, parameter: str, said: str) -> None:
    """A parameter that is broken JSON, unknown or missing is refused before anything runs."""
    assert said in refusal("run", f"{file}:report", "--param", parameter)
    assert answer("runs", "ls") == []


def test_parameters_of_other_types_are_refused_all_at_once(tmp_path: Path) -> None:
    """Before anything runs, there is a line for each parameter that does not fit, and no traceback."""
    text = "@flow\ndef pipeline(n: int, days: list[int], ok: bool = True): ...\n"
    file = write_flow_file(tmp_path, text)
    done = command("run", str(file), "-p", "n=Oslo", "-p", 'days=[1, "x"]', "-p", "ok=1")
    assert done.returncode == 2
    first, *others = done.stderr.splitlines()
    assert first == "Error: Flow 'pipeline' was called with invalid parameters:"
    assert [line.partition(": ")[0] for line in others] == ["- n", "- days.1"]
    assert others[0].endswith("; given was 'Oslo'")
    assert answer("runs", "ls") == []


def test_a_parameter_given_twice_is_refused(file: Path) -> None:
    """Two values for one parameter are a mistake, not a choice."""
    assert "given twice" in refusal("run", f"{file}:report", "-p", "n=1", "-p", "n=2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("@flow(retries=-1)\ndef pipeline(): ...\n", "pipeline.py:3"),
    ],
)
def test_a_file_that_raises_shows_where(tmp_path: Path, text: str, said: str) -> None:
    """When loading the file raises, its own lines are shown and none of ours."""
    done = command("run", str(write_flow_file(tmp_path, text)))
    assert done.returncode == 2
    assert "while it was loaded" in done.stderr.splitlines()[0]
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "flows.py" not in done.stderr


def test_a_script_that_exits_is_refused(tmp_path: Path) -> None:
    """A file that leaves when it is loaded is told where that belongs."""
    assert "__main__" in refusal("run", str(write_flow_file(tmp_path, "sys.exit(0)\n")))


def test_a_script_that_runs_its_flow_is_refused(tmp_path: Path) -> None:
    """A file that calls its flow when it is loaded is not run a second time."""
    file = write_flow_file(tmp_path, "@flow\ndef pipeline(): ...\n\npipeline()\n")
    assert "has run already" in refusal("run", str(file))
    assert len(answer("runs", "ls")) == 1


def test_what_a_file_defines_can_be_pickled(tmp_path: Path) -> None:
    """A file is a module under its own name, so that other processes find its classes, and its neighbours."""
    write_flow_file(tmp_path, "value = 5\n", "neighbour.py")
    text = """
        import pickle
        import subprocess
        from neighbour import value

        class Point: ...

        @flow
        def pipeline():
            program = "import pickle, sys; print(type(pickle.load(sys.stdin.buffer)).__name__)"
            subprocess.run(
                [sys.executable, "-c", program],
                input=pickle.dumps(Point()),
                env={"PYTHONPATH": ":".join(sys.path)},
                check=True,
            )
    """
    assert command("run", str(write_flow_file(tmp_path, text))).stdout == "Point\n"


def test_a_file_may_be_called_like_a_module(tmp_path: Path) -> None:
    """A file whose name a module of the standard library has already runs all the same."""
    file = write_flow_file(tmp_path, "@flow\ndef pipeline(): print('ran')\n", "calendar.py")
    assert command("run", str(file)).stdout == "ran\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "ls"],
        ["runs", "ls", "--json"],
        ["runs", "show", "abc"],
        ["run"],
        ["limits", "ls"],
        ["database", "prune", "--older-than", "1d"],
        ["database", "migrate"],
    ],
)
@pytest.mark.parametrize("harm", ["directory", "corrupt", "newer", "address"])
@pytest.mark.no_invariants("the store cannot be opened")
def test_a_database_out_of_use_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str, arguments: list[str]
) -> None:
    """A database that is a directory, corrupt, newer or no database at all is left as it is."""
    database = tmp_path / "runs.db"
    address, said = str(database), ""
    if harm == "directory":
        database.mkdir()
        said = "is a directory"
    elif harm == "corrupt":
        database.write_text("no database, but long enough to be one" * 100)
        said = "not an SQLite database"
    elif harm == "newer":
        file = write_flow_file(tmp_path, "@flow\ndef pipeline(): ...\n")
        monkeypatch.setenv("MAINSPRING_DATABASE_URL", address)
        assert command("run", str(file)).returncode == 0
        with sqlite3.connect(database) as db:
            db.execute("PRAGMA user_version = 9999")
        db.close()
        said = "Upgrade mainspring"
    else:
        address, said = "mysql://somewhere/else", "'mysql://'"
    monkeypatch.setenv("MAINSPRING_DATABASE_URL", address)
    if arguments == ["run"]:
        arguments = ["run", str(write_flow_file(tmp_path, "@flow\ndef pipeline(): ...\n"))]
    before = database.read_bytes() if database.is_file() else None
    assert said in refusal(*arguments)
    assert (database.read_bytes() if database.is_file() else None) == before


def test_bad_usage_is_told() -> None:
    """A command or option that does not exist is refused with exit code 2."""
    for arguments in (
        ["rnu"],
        ["runs", "ls", "--limit", "0"],
        ["runs", "show"],
        ["runs", "ls", "--kind", "x"],
    ):
        done = command(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr


def test_a_bad_setting_is_told() -> None:
    """An environment variable that does not fit its setting is named."""
    done = command("runs", "ls", environment={"MAINSPRING_DURABILITY": "sometimes"})
    assert done.returncode == 2
    assert "MAINSPRING_DURABILITY" in done.stderr


def test_a_warning_about_settings_is_one_line() -> None:
    """A variable that resembles a setting is told in one line, without a place in our code."""
    done = subprocess.run(
        [sys.executable, "-m", "mainspring", "runs", "ls"],
        env={**os.environ, "MAINSPRING_TASKS_DEFAULT_RETRYS": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr.startswith(
        "Warning: The environment variable MAINSPRING_TASKS_DEFAULT_RETRYS is no setting"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize(
    "arguments",
    [["runs", "ls"], ["runs", "ls", "--json"], ["config", "view"], ["limits", "ls"]],
    ids=" ".join,
)
def test_output_that_nobody_can_keep(arguments: list[str]) -> None:
    """Where the output cannot be written, because the disk is full, say, that is one clear error."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "Error: The output cannot be written: No space left on device.\n"
