"""``mainspring config``: which settings hold, and changing those in files."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mainspring.settings import Settings
from mainspring.settings.values import setting_names
from tests.cli.commands import command, on_terminal

URL = "postgresql://ada:lovelace1815@db.example/runs"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that is the root of a repository."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    return folder


@pytest.fixture
def own_file(mainspring_home: Path) -> Path:
    """Where the user's own file is, or will be."""
    return mainspring_home / "mainspring.toml"


def config(*arguments: str, cwd: Path, **environment: str) -> str:
    """What ``mainspring config`` prints; it must not complain."""
    done = command("config", *arguments, cwd=cwd, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refusal(*arguments: str, cwd: Path, **environment: str) -> str:
    """The one line with which it refuses."""
    done = command("config", *arguments, cwd=cwd, environment=environment)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def warned(*arguments: str, cwd: Path, **environment: str) -> str:
    """What it warns of, having done its work."""
    done = command("config", *arguments, cwd=cwd, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("Warning: ")
    return line.removeprefix("Warning: ")


# View


def test_what_is_set_is_shown_with_its_source(project: Path, own_file: Path, mainspring_home: Path) -> None:
    """Each setting that somebody has set has a line: name, value, and the variable or the file with the line."""
    own_file.parent.mkdir()
    own_file.write_text("[tasks]\ndefault_retry_delay_seconds = [1, 2.5]\n")
    (project / "mainspring.toml").write_text("# ours\ndurability = 'disk'\n")
    (project / "inside").mkdir()
    shown = config("view", cwd=project, MAINSPRING_DEBUG_MODE="yes")
    lines = [re.split(r"  +", line) for line in shown.splitlines()]
    assert lines == [
        ["setting", "value", "source"],
        ["home", str(mainspring_home), "MAINSPRING_HOME"],
        ["durability", "disk", "mainspring.toml:2"],
        ["debug_mode", "true", "MAINSPRING_DEBUG_MODE"],
        ["tasks.default_retry_delay_seconds", "[1.0,2.5]", f"{own_file}:2"],
    ]
    shown = config("view", "--no-show-sources", cwd=project / "inside")
    assert shown.splitlines()[2].split() == ["durability", "disk"]


def test_defaults_are_shown_on_request(project: Path) -> None:
    """With --show-defaults every setting has a line; one that has no value says so."""
    lines = config("view", "--show-defaults", cwd=project).splitlines()[1:]
    assert [line.split()[0] for line in lines] == [name for name, _ in setting_names(Settings)]
    assert "not set" in next(line for line in lines if line.startswith("host_id "))


def test_nothing_is_set(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it says so, and how to see all; nothing is made."""
    monkeypatch.delenv("MAINSPRING_HOME")
    shown = config("view", cwd=project, HOME=str(tmp_path / "ada"))
    assert shown == "Nothing is set. --show-defaults lists all settings.\n"
    assert json.loads(config("view", "--json", cwd=project, HOME=str(tmp_path / "ada"))) == []
    assert not (tmp_path / "ada").exists()


@pytest.mark.contract("ST-8")
def test_secrets_are_masked(project: Path) -> None:
    """Passwords are shown on request only, in JSON as well."""
    variables = {"MAINSPRING_DATABASE_URL": URL}
    for form in ([], ["--json"], ["--show-defaults"]):
        shown = config("view", *form, cwd=project, **variables)
        assert "lovelace1815" not in shown
        assert "ada:***@db.example" in shown
        assert URL in config("view", *form, "--show-secrets", cwd=project, **variables)
    said = config("set", f"database_url={URL}", cwd=project)
    assert "lovelace1815" not in said


def test_settings_as_json(project: Path) -> None:
    """Values are of their types; what has none is null."""
    (project / "pyproject.toml").write_text("[tool.mainspring]\n\nlogging.extra_loggers = ['a', 'b']\n")
    found = json.loads(config("view", "--json", "--show-defaults", cwd=project, MAINSPRING_LEASE_SECONDS="5"))
    by_name = {each["name"]: each for each in found}
    assert list(by_name) == [name for name, _ in setting_names(Settings)]
    file = str(project / "pyproject.toml")
    assert by_name["logging.extra_loggers"] == {
        "name": "logging.extra_loggers",
        "value": ["a", "b"],
        "source": "file",
        "place": file,
        "line": 3,
    }
    place = "MAINSPRING_LEASE_SECONDS"
    expected = {"name": "lease_seconds", "value": 5.0, "source": "environment", "place": place, "line": None}
    assert by_name["lease_seconds"] == expected
    expected = {"name": "host_id", "value": None, "source": "default", "place": None, "line": None}
    assert by_name["host_id"] == expected


def test_settings_on_a_terminal() -> None:
    """They are a table with colours there."""
    terminal = on_terminal("config", "view", "--show-defaults")
    assert any(re.match(r"durability +process", line) for line in terminal.lines())
    assert b"\x1b[2m" in terminal.shown


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_settings_that_cannot_be_used(project: Path, form: list[str]) -> None:
    """The mistake is named, in one line."""
    (project / "mainspring.toml").write_text("[tasks]\nretries = 1\n")
    said = refusal("view", *form, cwd=project)
    assert f"({project / 'mainspring.toml'}, line 2). Did you mean 'tasks." in said


# Set


def test_settings_are_set_in_the_own_file(project: Path, own_file: Path) -> None:
    """Unless an option says otherwise; the file is made, for its owner alone, as it may hold passwords."""
    said = config("set", "tasks.default_retries=2", "durability=disk", cwd=project)
    assert said == f"Set tasks.default_retries = 2 in {own_file}\nSet durability = disk in {own_file}\n"
    assert tomllib.loads(own_file.read_text()) == {"tasks": {"default_retries": 2}, "durability": "disk"}
    assert stat.S_IMODE(own_file.stat().st_mode) == 0o600
    config("set", "--user", "durability=relaxed", cwd=project)
    assert tomllib.loads(own_file.read_text())["durability"] == "relaxed"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("debug_mode=on", True),
        ("lease_seconds=5", 5.0),
        ("tasks.default_retry_delay_seconds=[1, 10.5]", [1.0, 10.5]),
        ("tasks.default_retry_delay_seconds=3", 3.0),
        ("logging.extra_loggers=a,b", ["a", "b"]),
        ("logging.level=debug", "debug"),
        ("host_id=a=b", "a=b"),
        ('host_id="quoted" \\ #', '"quoted" \\ #'),
        ("results.local_storage_path=~/x", "~/x"),
        ("results.local_storage_path=${MAINSPRING_HOME}/x", "${MAINSPRING_HOME}/x"),
        ("results.default_storage=s3://bucket/x", "s3://bucket/x"),
        ("MAINSPRING_TASKS_RUNNER_MAX_IN_FLIGHT=7", 7),
    ],
)
def test_values_are_written_as_what_they_are(project: Path, own_file: Path, text: str, value: Any) -> None:
    """Numbers, booleans and lists are such in TOML; a name may be that of the variable."""
    name, _, _ = text.partition("=")
    config("set", text, cwd=project)
    found: Any = tomllib.loads(own_file.read_text())
    path = "tasks.runner.max_in_flight" if name.startswith("MAINSPRING_") else name
    for part in path.split("."):
        found = found[part]
    assert found == value
    assert type(found) is type(value)


def test_comments_and_layout_are_kept(project: Path) -> None:
    """Only what is set changes, in the file of the project that counts."""
    text = (
        "# Ours.\n\n[tool.mainspring]   # settings\ndurability = 'disk'  # power cuts\n\n[tool.ruff]\nx = 1\n"
    )
    file = project / "pyproject.toml"
    file.write_text(text)
    file.chmod(0o640)
    (project / "inside").mkdir()
    config("set", "--project", "durability=relaxed", "tasks.default_retries=1", cwd=project / "inside")
    added = "\n[tool.mainspring.tasks]\ndefault_retries = 1\n"
    assert file.read_text() == text.replace("'disk'", '"relaxed"').replace("cuts\n", f"cuts\n{added}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list((project / "inside").iterdir()) == []


def test_a_project_without_a_file_gets_one(project: Path) -> None:
    """It is a mainspring.toml in the folder, readable for all who may by the user's mask."""
    mask = os.umask(0o022)
    try:
        said = config("set", "--project", "debug_mode=true", cwd=project)
    finally:
        os.umask(mask)
    file = project / "mainspring.toml"
    assert said == f"Set debug_mode = true in {file}\n"
    assert file.read_text() == "debug_mode = true\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_file_by_its_path(project: Path) -> None:
    """--file names any file; one that is not read here is warned about."""
    said = warned("set", "--file", "ci/special.toml", "debug_mode=true", cwd=project)
    file = project / "ci" / "special.toml"
    assert said == f"{file} is not read in this folder. MAINSPRING_CONFIG_FILE can name it."
    assert file.read_text() == "debug_mode = true\n"
    config(
        "set", "--file", "ci/special.toml", "debug_mode=false", cwd=project, MAINSPRING_CONFIG_FILE=str(file)
    )
    assert file.read_text() == "debug_mode = false\n"
    said = warned("set", "debug_mode=true", cwd=project, MAINSPRING_CONFIG_FILE="none")
    assert said.endswith("is not read: MAINSPRING_CONFIG_FILE says so.")


def test_relative_paths_mean_what_they_mean_in_the_shell(project: Path, own_file: Path) -> None:
    """They are relative to the working directory, and written so that they mean the same in the file."""
    (project / "inside").mkdir()
    (project / "mainspring.toml").touch()
    path, address = "results.local_storage_path=large", "database_url=sqlite:///runs.db"
    config("set", path, address, cwd=project / "inside")
    written = tomllib.loads(own_file.read_text())
    assert written["results"]["local_storage_path"] == str(project / "inside" / "large")
    assert written["database_url"] == f"sqlite:///{project}/inside/runs.db"
    config("set", "--project", path, address, cwd=project / "inside")
    written = tomllib.loads((project / "mainspring.toml").read_text())
    assert written == {
        "results": {"local_storage_path": "inside/large"},
        "database_url": "sqlite:///inside/runs.db",
    }


def test_what_wins_over_a_file_is_told(project: Path) -> None:
    """A value that has no effect is written all the same, and who has the last word is named."""
    said = warned("set", "durability=disk", cwd=project, MAINSPRING_DURABILITY="relaxed")
    assert said == (
        "durability is relaxed all the same. It is set by the environment variable MAINSPRING_DURABILITY."
    )
    config("set", "--project", "durability=process", cwd=project)
    said = warned("set", "durability=disk", cwd=project)
    assert said == f"durability is process all the same. It is set in {project / 'mainspring.toml'}, line 1."


def test_a_link_stays_a_link(project: Path, own_file: Path, tmp_path: Path) -> None:
    """The file that it leads to is changed."""
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    own_file.parent.mkdir()
    own_file.symlink_to(real)
    config("set", "debug_mode=true", cwd=project)
    assert own_file.is_symlink()
    assert real.read_text() == "# mine\ndebug_mode = true\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["durability"], "'durability' is no setting with a value. Write NAME=VALUE."),
        (["durability=eternal"], "it has to be one of process, disk, relaxed, journal."),
        (["tasks.runner.max_in_flight=0"], "tasks.runner.max_in_flight must be at least 1; got 0."),
        (
            ["tasks.default_retrys=1"],
            "There is no setting 'tasks.default_retrys'. Did you mean 'tasks.default_retries'?",
        ),
        (["tasks=1"], "'tasks' is a group of settings. Name one in it: tasks.default_retries, "),
        (["home=/x"], "that file is found by it. Set MAINSPRING_HOME, or use --project."),
        (
            ["tasks.default_persist_result=null"],
            "`mainspring config unset tasks.default_persist_result` removes it.",
        ),
        (["--user", "--project", "debug_mode=1"], "Only one of --file, --user and --project can be given."),
    ],
)
def test_what_cannot_be_set(project: Path, own_file: Path, arguments: list[str], said: str) -> None:
    """It is refused in one line, and nothing is written, not even what could be."""
    assert said in refusal("set", "debug_mode=true", *arguments, cwd=project)
    assert not own_file.exists()
    assert not (project / "mainspring.toml").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("debug_mode = \n", "is no valid TOML: Invalid value (at line 1, column 14)"),
        ("tasks = {default_retries = 1}\n", "(line 1). Change it by hand: tasks.default_retries = 2"),
    ],
)
def test_files_that_are_left_alone(project: Path, own_file: Path, text: str, said: str) -> None:
    """A file that is broken, or written in a way that cannot be changed without doubt, stays as it is."""
    own_file.parent.mkdir()
    own_file.write_text(text)
    for arguments in (["set", "tasks.default_retries=2"], ["unset", "tasks.default_retries"]):
        assert said.partition(":")[0].partition("Change")[0] in refusal(*arguments, cwd=project)
    assert own_file.read_text() == text
    assert list(own_file.parent.iterdir()) == [own_file]


@pytest.mark.parametrize("name", ["x.toml", "deep/x.toml"])
def test_a_file_that_cannot_be_written(project: Path, name: str) -> None:
    """It is one line, not a traceback."""
    (project / "blocked").write_text("no folder")
    said = refusal("set", "--file", f"blocked/{name}", "debug_mode=true", cwd=project)
    assert f"{project}/blocked/{name}' cannot be written: " in said


def test_many_at_once(project: Path, own_file: Path) -> None:
    """Commands that change the same file at the same time lose nothing of each other's."""
    names = ["tasks.default_retries", "flows.default_retries", "events.maximum_size_bytes", "lease_seconds"]
    threads = [
        threading.Thread(target=config, args=("set", f"{name}=7"), kwargs={"cwd": project}) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = json.loads(config("view", "--json", cwd=project))
    assert {each["name"] for each in found} == {"home", *names}


# Unset


def test_settings_are_removed(project: Path, own_file: Path) -> None:
    """Each by its name, from the file that the options name."""
    config("set", "tasks.default_retries=2", "durability=disk", "debug_mode=1", cwd=project)
    said = config("unset", "tasks.default_retries", "MAINSPRING_DURABILITY", cwd=project)
    assert said == f"Removed tasks.default_retries from {own_file}\nRemoved durability from {own_file}\n"
    assert own_file.read_text() == "debug_mode = true\n"
    config("set", "--project", "debug_mode=0", cwd=project)
    said = warned("unset", "--project", "debug_mode", cwd=project)
    assert said == f"debug_mode is still true. It is set in {own_file}, line 1."


def test_what_is_not_set_cannot_be_removed(project: Path, own_file: Path) -> None:
    """It is refused with who has set it, and nothing else is removed."""
    config("set", "debug_mode=true", cwd=project)
    said = refusal("unset", "debug_mode", "durability", cwd=project, MAINSPRING_DURABILITY="disk")
    assert said == (
        f"durability is not set in {str(own_file)!r}. It is set by the environment variable MAINSPRING_DURABILITY."
    )
    assert "Did you mean 'debug_mode'?" in refusal("unset", "debugmode", cwd=project)
    assert own_file.read_text() == "debug_mode = true\n"


def test_mistakes_can_be_removed(project: Path, own_file: Path) -> None:
    """A setting that makes all others useless, by its name or its value, is removed like any other."""
    own_file.parent.mkdir()
    own_file.write_text("durability = 'eternal'\n[tasks]\nretries = 5\n")
    said = warned("unset", "durability", cwd=project)
    assert said.startswith(
        "The settings as a whole still cannot be used. There is no setting 'tasks.retries'"
    )
    assert config("unset", "tasks.retries", cwd=project) == f"Removed tasks.retries from {own_file}\n"
    assert own_file.read_text() == ""


# Shells


def completions(line: str, cwd: Path) -> list[str]:
    environment = {
        "_MAINSPRING_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = command(environment=environment, cwd=cwd)
    assert done.stderr == ""
    return done.stdout.split()


def test_names_are_completed(project: Path) -> None:
    """A shell offers the names of settings, ready for a value where one belongs there, also if settings are broken."""
    (project / "mainspring.toml").write_text("no TOML")
    assert completions("mainspring config set logging.to_api.", project) == [
        "logging.to_api.enabled=",
        "logging.to_api.max_log_size=",
    ]
    assert completions("mainspring config unset dur", project) == ["durability"]


def test_the_own_file_can_be_changed_beside_a_broken_one(project: Path, own_file: Path) -> None:
    """A file of a project that nobody can read does not keep the user from changing another one; it is warned about."""
    (project / "mainspring.toml").write_text("no TOML")
    said = warned("set", "debug_mode=true", cwd=project)
    assert said.startswith("The settings as a whole still cannot be used. The settings file ")
    assert own_file.read_text() == "debug_mode = true\n"
