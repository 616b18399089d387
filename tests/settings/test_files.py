"""Settings files: which are read, which wins, what they may say, and what is said about mistakes in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mainspring.context import SettingsContext
from mainspring.exceptions import ConfigurationError
from mainspring.settings import Source, get_current_settings, reload_settings, temporary_settings
from mainspring.settings.files import find_project_files
from tests.architecture.source import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the root of a repository, and the working directory."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def refusal() -> str:
    """What is said when the settings are read."""
    with pytest.raises(ConfigurationError) as caught:
        reload_settings()
    return str(caught.value)


# Sources


@pytest.mark.contract("ST-2")
def test_which_source_wins(project: Path, mainspring_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block, the environment, mainspring.toml, pyproject.toml, the user's own file, the default: in this order."""
    name, seen = "tasks.default_retries", []

    def look() -> None:
        settings = reload_settings()
        seen.append((settings.tasks.default_retries, settings.source_of(name)))

    look()
    own = write(mainspring_home / "mainspring.toml", "[tasks]\ndefault_retries = 1")
    look()
    shared = write(project / "pyproject.toml", "[tool.mainspring.tasks]\n\ndefault_retries = 2")
    look()
    plain = write(project / "mainspring.toml", "tasks.default_retries = 3")
    look()
    monkeypatch.setenv("MAINSPRING_TASKS_DEFAULT_RETRIES", "4")
    look()
    with temporary_settings({name: 5}):
        assert get_current_settings().tasks.default_retries == 5
    assert seen == [
        (0, Source("default")),
        (1, Source("file", str(own), 2)),
        (2, Source("file", str(shared), 3)),
        (3, Source("file", str(plain), 1)),
        (4, Source("environment", "MAINSPRING_TASKS_DEFAULT_RETRIES")),
    ]


@pytest.mark.contract("ST-2")
def test_sources_complete_each_other(project: Path, mainspring_home: Path) -> None:
    """Each setting comes from the highest source that has it; nested tables are groups."""
    write(mainspring_home / "mainspring.toml", "durability = 'relaxed'\n[logging.to_api]\nenabled = false")
    write(project / "pyproject.toml", "[tool.mainspring]\ndurability = 'disk'\ntasks = {default_retries = 2}")
    write(
        project / "mainspring.toml",
        "[tasks.runner]\nmax_in_flight = 7\n[flows]\ndefault_retry_delay_seconds = [1, 2.5]",
    )
    settings = reload_settings()
    assert settings.durability == "disk"
    assert settings.logging.to_api.enabled is False
    assert (settings.tasks.default_retries, settings.tasks.runner.max_in_flight) == (2, 7)
    assert settings.flows.default_retry_delay_seconds == [1, 2.5]


def test_the_nearest_file_of_each_kind_counts(project: Path) -> None:
    """Files are looked for from the inside out; a pyproject.toml without a table for mainspring does not count."""
    inside = project / "a" / "b" / "c"
    inside.mkdir(parents=True)
    outer = write(project / "pyproject.toml", "[tool.mainspring]\n")
    write(project / "a" / "pyproject.toml", "[project]\nname = 'mainspring-user'\n[tool]\nother.x = 1\n")
    write(project / "mainspring.toml", "")
    plain = write(project / "a" / "b" / "mainspring.toml", "")
    assert [each.path for each in find_project_files(inside)] == [plain, outer]
    nearest = write(inside / "pyproject.toml", "[ tool . 'mainspring' ]\n")
    assert [each.path for each in find_project_files(inside)] == [plain, nearest]


@pytest.mark.parametrize("marker", ["directory", "file"])
def test_a_repository_is_the_limit(tmp_path: Path, marker: str) -> None:
    """What is around the root of a repository is not looked at; a worktree or submodule is one, too."""
    write(tmp_path / "mainspring.toml", "durability = 'disk'")
    inside = tmp_path / "repository" / "inside"
    inside.mkdir(parents=True)
    assert find_project_files(inside)[0].path == tmp_path / "mainspring.toml"
    git = tmp_path / "repository" / ".git"
    git.mkdir() if marker == "directory" else git.write_text("gitdir: elsewhere")
    assert find_project_files(inside) == []


def test_the_home_directory_is_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the last folder that is looked at."""
    home = tmp_path / "users" / "ada"
    inside = home / "work"
    inside.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    write(tmp_path / "users" / "mainspring.toml", "")
    assert find_project_files(inside) == []
    file = write(home / "mainspring.toml", "")
    assert [each.path for each in find_project_files(inside)] == [file]


def test_directories_are_no_files(project: Path) -> None:
    """A folder that is called like a settings file is left alone."""
    (project / "mainspring.toml").mkdir()
    (project / "pyproject.toml").mkdir()
    assert find_project_files(project) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's file in a folder that everybody can write to is not read, and that is said once."""
    (tmp_path / "inside").mkdir()
    file = write(tmp_path / "mainspring.toml", "durability = 'disk'")
    os.chown(file, 12345, 12345)
    monkeypatch.chdir(tmp_path / "inside")
    assert reload_settings().durability == "disk"
    tmp_path.chmod(0o1777)
    with pytest.warns(UserWarning, match=rf"{re.escape(str(file))}.*another user's.*MAINSPRING_CONFIG_FILE"):
        assert reload_settings().durability == "process"
    assert reload_settings().durability == "process"
    monkeypatch.setenv("MAINSPRING_CONFIG_FILE", str(file))
    assert reload_settings().durability == "disk"


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    """There are no files of a project then, and no error."""
    folder = tmp_path / "gone"
    folder.mkdir()
    program = "import os; os.rmdir(os.getcwd()); import mainspring.settings as s; print(s.reload_settings().durability)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("process\n", "")


def test_this_repository_sets_nothing() -> None:
    """Its own pyproject.toml has no table for mainspring, so developing it is like using it."""
    assert find_project_files(ROOT) == []


# The variable that names a file


def test_a_named_file(project: Path, mainspring_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read instead of those of the project; the user's own file still completes it."""
    write(mainspring_home / "mainspring.toml", "lease_seconds = 5")
    write(project / "mainspring.toml", "durability = 'disk'\ndebug_mode = true")
    write(project / "ci" / "special.toml", "durability = 'relaxed'")
    monkeypatch.setenv("MAINSPRING_CONFIG_FILE", "ci/special.toml")
    settings = reload_settings()
    assert (settings.durability, settings.debug_mode, settings.lease_seconds) == ("relaxed", False, 5)
    shared = write(project / "ci" / "pyproject.toml", "[tool.mainspring]\ndurability = 'disk'")
    monkeypatch.setenv("MAINSPRING_CONFIG_FILE", str(shared))
    assert reload_settings().source_of("durability") == ("file", str(shared), 2)


@pytest.mark.parametrize("text", ["none", "None", ""])
def test_no_files(project: Path, mainspring_home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """``none`` reads none at all, the user's own neither."""
    write(mainspring_home / "mainspring.toml", "no TOML")
    write(project / "mainspring.toml", "no TOML")
    monkeypatch.setenv("MAINSPRING_CONFIG_FILE", text)
    assert reload_settings().durability == "process"


def test_a_named_file_that_is_missing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error, which says who has named it."""
    monkeypatch.setenv("MAINSPRING_CONFIG_FILE", "nowhere.toml")
    assert refusal() == (
        f"There is no settings file {str(project / 'nowhere.toml')!r}. MAINSPRING_CONFIG_FILE names it; 'none' reads no"
        " files."
    )


# What files say


@pytest.mark.contract("ST-18")
def test_relative_paths_in_a_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are relative to the file, not to the working directory; absolute ones and addresses are what they are."""
    write(
        project / "mainspring.toml",
        """
        database_url = "sqlite:///runs.db"
        [results]
        default_storage = "../results"
        local_storage_path = "large"
        [logging]
        config_path = "logging.toml"
        """,
    )
    (project / "inside").mkdir()
    monkeypatch.chdir(project / "inside")
    settings = reload_settings()
    assert settings.database_url == f"sqlite:///{project}/runs.db"
    assert settings.results.default_storage == f"{project}/../results"
    assert settings.results.local_storage_path == project / "large"
    assert settings.logging.config_path == project / "logging.toml"


@pytest.mark.contract("ST-18")
@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("database_url", "runs.db", "{project}/runs.db"),
        ("database_url", "sqlite:////var/runs.db", "sqlite:////var/runs.db"),
        ("database_url", "sqlite://", "sqlite://"),
        ("database_url", "postgresql://db/runs", "postgresql://db/runs"),
        ("database_url", "${MAINSPRING_HOME}/runs.db", "{home}/runs.db"),
        ("database_url", "sqlite:///${MAINSPRING_HOME}/runs.db", "sqlite:///{home}/runs.db"),
        ("database_url", "~/runs.db", "~/runs.db"),
        ("results.default_storage", "s3://bucket/x", "s3://bucket/x"),
        ("results.default_storage", "/var/x", "/var/x"),
        ("results.local_storage_path", "${MAINSPRING_HOME}/x", "{home}/x"),
        ("results.local_storage_path", "/var/x", "/var/x"),
        ("host_id", "a/b", "a/b"),
    ],
)
def test_paths_and_addresses_in_a_file(
    project: Path, mainspring_home: Path, name: str, text: str, value: str
) -> None:
    """Only what is a relative path is taken as one."""
    write(project / "mainspring.toml", f"{name} = '{text}'")
    expected = value.format(project=project, home=mainspring_home)
    assert str(reload_settings().value_of(name)) == expected


def test_the_home_in_a_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project may have a home of its own, where the file of the user is then looked for."""
    monkeypatch.delenv("MAINSPRING_HOME")
    write(project / "mainspring.toml", "home = '.mainspring'")
    write(project / ".mainspring" / "mainspring.toml", "durability = 'disk'")
    settings = reload_settings()
    assert settings.home == project / ".mainspring"
    assert settings.durability == "disk"


def test_the_home_in_the_home(mainspring_home: Path) -> None:
    """The file that is found by the home cannot say where that is."""
    file = write(mainspring_home / "mainspring.toml", "home = '/elsewhere'")
    said = refusal()
    assert said.startswith(f"home cannot be set in {file}, line 1: ")
    assert "MAINSPRING_HOME" in said


# Mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[tasks]\ndefault_retrys = 2",
            "There is no setting 'tasks.default_retrys' ({file}, line 2)."
            " Did you mean 'tasks.default_retries'? `mainspring config view --show-defaults` lists all.",
        ),
        ("default_retries = 2", "There is no setting 'default_retries' ({file}, line 1)."),
        ("refresh_cache = true", "Did you mean 'tasks.refresh_cache'?"),
        ("MAINSPRING_DURABILITY = 'disk'", "Did you mean 'durability'?"),
        ("debug-mode = true", "Did you mean 'debug_mode'?"),
        (
            "\n[task]\ndefault_retries = 2",
            "There is no group of settings 'task' ({file}, line 2). Did you mean 'tasks'?",
        ),
        (
            "[tasks.running]\nx = 2",
            "There is no group of settings 'tasks.running' ({file}, line 1). Did you mean 'tasks.runner'?",
        ),
        (
            "logging = 'DEBUG'",
            "'logging' is a group of settings, and has to be a table, not 'DEBUG' ({file}, line 1).",
        ),
        (
            "# note\ndurability = 'eternal'",
            "The setting durability cannot be 'eternal': it has to be one of process, disk,"
            " relaxed, journal. It is set in {file}, line 2.",
        ),
        (
            "[tasks]\ndefault_retries = [\n1]",
            "The setting tasks.default_retries cannot be [1]: it has to be a whole number."
            " It is set in {file}, line 2.",
        ),
        ("durability = {x = 1}", "cannot be {{'x': 1}}"),
        ("home = 1979-05-27", "a path. It is set in {file}, line 1."),
        (
            "[tasks.runner]\nmax_in_flight = 0",
            "tasks.runner.max_in_flight must be at least 1; got 0. It is set in {file}, line 2.",
        ),
        (
            "durability = ",
            "The settings file '{file}' is no valid TOML: Invalid value (at end of document). Correct it"
            " there.",
        ),
        ("a = 1\na = 2\n", "is no valid TOML: Cannot overwrite a value (at line 2, column 6)."),
    ],
)
def test_mistakes_in_a_file(project: Path, text: str, said: str) -> None:
    """File, line and setting are named, with what was probably meant, and what holds is left as it was."""
    before = get_current_settings()
    file = write(project / "mainspring.toml", "")
    file.write_text(text)
    told = refusal()
    assert said.format(file=file) in told
    assert get_current_settings() is before


def test_mistakes_in_a_table_of_a_tool(project: Path) -> None:
    """The names are those of settings, the line is that of the file."""
    file = write(
        project / "pyproject.toml", "[project]\nname = 'x'\n\n[tool.mainspring.tasks]\nretries = 2\n"
    )
    assert refusal().startswith(f"There is no setting 'tasks.retries' ({file}, line 5). Did you mean")
    write(file, "[tool]\nmainspring = 5\n")
    assert refusal() == f"tool.mainspring in {str(file)!r} has to be a table."


@pytest.mark.parametrize("text", ["[project\n", "[project]\nname = 'uses mainspring'\nversion = \n"])
def test_a_broken_project_file_that_is_none_of_ours(project: Path, text: str) -> None:
    """Where there is no table for mainspring, mistakes are the business of others."""
    write(project / "pyproject.toml", text)
    assert reload_settings().durability == "process"
    write(project / "pyproject.toml", text + "[tool.mainspring]\n")
    assert "is no valid TOML" in refusal()


def test_a_file_in_another_encoding(project: Path) -> None:
    """TOML is in UTF-8."""
    (project / "mainspring.toml").write_bytes("host_id = 'gr\u00fcn'".encode("latin-1"))
    assert "is not in UTF-8" in refusal()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read(project: Path) -> None:
    """It is an error, as it may say what must not be missed."""
    write(project / "mainspring.toml", "").chmod(0)
    assert "cannot be read: Permission denied" in refusal()


# Elsewhere


def test_what_was_set_goes_along_to_other_processes(project: Path) -> None:
    """What settings know of themselves is kept: what is unset stays so, and follows the home."""
    write(
        project / "mainspring.toml",
        "durability = 'disk'\n[results]\nlocal_storage_path = '${MAINSPRING_HOME}/x'",
    )
    reload_settings()
    with temporary_settings({"debug_mode": True}) as settings:
        shipped = SettingsContext(settings).serialize()
    arrived = SettingsContext.hydrate(shipped).settings
    assert arrived == settings
    assert set(arrived.given()) == {"home", "durability", "results.local_storage_path", "debug_mode"}
    assert arrived.source_of("durability").kind == "process"
    changed = arrived.copy_with_update({"home": "/h", "debug_mode": False})
    assert changed.results.local_storage_path == Path("/h/x")
    assert changed.logging.level == "INFO"


@pytest.mark.parametrize("plain", [{"tasks": {"retries": 1}}, {"durability": "eternal"}, {"task": 1}])
def test_settings_of_another_version(plain: dict[str, object]) -> None:
    """What another process has set must be known here."""
    with pytest.raises(ConfigurationError, match=r"another process handed over.*same version installed"):
        SettingsContext.hydrate({"settings": plain})


def test_toml_is_not_loaded_without_files(tmp_path: Path) -> None:
    """Who has no settings file does not pay for reading them, and `import mainspring` reads none in any case."""
    write(tmp_path / "pyproject.toml", "[project]\nname = 'x'\ndependencies = ['mainspring']\n")
    program = """
        import sys, mainspring
        assert "mainspring.settings" not in sys.modules
        from mainspring.settings import get_current_settings
        get_current_settings()
        print("tomllib" in sys.modules, "difflib" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("False False\n", "")
