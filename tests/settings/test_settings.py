"""Settings: where they come from, which hold where, what is refused."""

import contextvars
import copy
import os
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.exceptions import ConfigurationError
from mainspring.settings import (
    Settings,
    TaskSettings,
    get_current_settings,
    get_default_settings,
    get_settings_from_env,
    reload_settings,
    temporary_settings,
)
from mainspring.settings.values import setting_names


def test_defaults() -> None:
    """Without variables every setting has its default."""
    settings = get_settings_from_env({})
    assert settings == Settings()
    assert (settings.durability, settings.database_url, settings.debug_mode) == ("process", None, False)
    assert (settings.tasks.default_retries, settings.tasks.default_retry_delay_seconds) == (0, 0)
    assert settings.home == Path("~/.mainspring").expanduser()


@pytest.mark.contract("N-3", "ST-3")
@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("MAINSPRING_HOME", "/somewhere", "home", Path("/somewhere")),
        ("MAINSPRING_DATABASE_URL", "sqlite:///x.db", "database_url", "sqlite:///x.db"),
        ("MAINSPRING_DURABILITY", "disk", "durability", "disk"),
        ("MAINSPRING_DEBUG_MODE", "true", "debug_mode", True),
        ("MAINSPRING_DEBUG_MODE", "0", "debug_mode", False),
        ("MAINSPRING_TASKS_DEFAULT_RETRIES", "1", "tasks.default_retries", 1),
        ("MAINSPRING_TASKS_DEFAULT_RETRY_DELAY_SECONDS", "0.5", "tasks.default_retry_delay_seconds", 0.5),
        (
            "MAINSPRING_TASKS_DEFAULT_RETRY_DELAY_SECONDS",
            "[1, 2]",
            "tasks.default_retry_delay_seconds",
            [1, 2],
        ),
        ("MAINSPRING_FLOWS_DEFAULT_RETRIES", "3", "flows.default_retries", 3),
        ("MAINSPRING_LOGGING_LEVEL", "debug", "logging.level", "DEBUG"),
        ("MAINSPRING_LOGGING_LOG_PRINTS", "True", "logging.log_prints", True),
    ],
)
def test_variables(variable: str, text: str, name: str, value: object) -> None:
    """A variable named after a setting sets it, converted to its type."""
    settings: object = get_settings_from_env({variable: text})
    for part in name.split("."):
        settings = getattr(settings, part)
    assert settings == value


def test_home_may_begin_with_a_tilde() -> None:
    """The home of the user is looked up."""
    assert get_settings_from_env({"MAINSPRING_HOME": "~/x"}).home == Path("~/x").expanduser()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MAINSPRING_DURABILITY", "eternal"),
        ("MAINSPRING_DEBUG_MODE", "perhaps"),
        ("MAINSPRING_TASKS_DEFAULT_RETRIES", "many"),
        ("MAINSPRING_TASKS_DEFAULT_RETRY_DELAY_SECONDS", "[1, 2"),
        ("MAINSPRING_LOGGING_LEVEL", "LOUD"),
    ],
)
def test_a_variable_that_does_not_fit_is_named(variable: str, text: str) -> None:
    """A value that is no value of its setting is refused; the error names both."""
    name = variable.removeprefix("MAINSPRING_")
    with pytest.raises(ConfigurationError) as caught:
        get_settings_from_env({variable: text})
    shown = str(caught.value)
    assert text in shown
    assert name in shown.upper().replace(".", "_")


def test_an_unknown_variable_is_ignored() -> None:
    """Another program, or a newer version, may have variables of its own."""
    assert get_settings_from_env({"MAINSPRING_NO_SUCH_THING": "1"}) == Settings()


@pytest.mark.contract("ST-7")
def test_settings_are_immutable() -> None:
    """Nobody changes settings that somebody else has read."""
    with pytest.raises(AttributeError):
        get_current_settings().debug_mode = True  # type: ignore[misc]


@pytest.mark.contract("ST-5")
@pytest.mark.parametrize("value", [5, "5"])
def test_temporary_settings(value: object) -> None:
    """Values hold inside the block, converted to their types, and blocks nest."""
    with temporary_settings({"tasks.default_retries": value, "debug_mode": True}) as settings:
        assert get_current_settings() is settings
        assert settings.tasks.default_retries == 5
        with temporary_settings({"tasks.default_retries": 7}):
            assert get_current_settings().tasks.default_retries == 7
            assert get_current_settings().debug_mode is True
        assert get_current_settings() is settings
    assert get_current_settings().tasks.default_retries == 0


@pytest.mark.contract("ST-5")
def test_temporary_settings_end_with_an_error() -> None:
    """A block left by an exception leaves nothing behind."""
    with pytest.raises(KeyError), temporary_settings({"debug_mode": True}):
        raise KeyError
    assert get_current_settings().debug_mode is False


@pytest.mark.contract("ST-5")
def test_temporary_settings_hold_in_their_context_alone() -> None:
    """Other threads see the settings of the process, copies of the context those of the block."""
    seen = []

    def look() -> None:
        seen.append(get_current_settings().debug_mode)

    with temporary_settings({"debug_mode": True}):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        contextvars.copy_context().run(look)
    assert seen == [False, True]


def test_an_unknown_setting_is_refused() -> None:
    """A misspelt name is an error that lists the names there are."""
    with (
        pytest.raises(ConfigurationError, match=r"no setting 'tasks.retries'.*tasks\.default_retries"),
        temporary_settings({"tasks.retries": 1}),
    ):
        pass


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable set later counts from the next `reload_settings` on."""
    assert get_current_settings().debug_mode is False
    monkeypatch.setenv("MAINSPRING_DEBUG_MODE", "1")
    assert get_current_settings().debug_mode is False
    assert reload_settings().debug_mode is True
    assert get_current_settings().debug_mode is True


def test_the_address_of_the_run_store() -> None:
    """It is the database URL or, without one, a file in the home."""
    assert Settings(home=Path("/h")).run_store_url == "sqlite:////h/mainspring.db"
    assert Settings(database_url="sqlite:///y.db").run_store_url == "sqlite:///y.db"


def test_every_setting_has_a_dotted_name() -> None:
    """The list of names is complete and goes one level into groups."""
    names = dict(setting_names(Settings))
    assert {"home", "durability", "tasks.default_retries", "logging.level"} <= set(names)
    assert not {"tasks", "logging", "flows"} & set(names)


# Sources


@pytest.mark.contract("ST-3")
@pytest.mark.parametrize(
    ("old", "text", "name", "value"),
    [
        ("MAINSPRING_TASK_DEFAULT_RETRIES", "2", "tasks.default_retries", 2),
        (
            "MAINSPRING_TASK_DEFAULT_RETRY_DELAY_SECONDS",
            "[1, 2]",
            "tasks.default_retry_delay_seconds",
            [1, 2],
        ),
        ("MAINSPRING_FLOW_DEFAULT_RETRIES", "3", "flows.default_retries", 3),
        ("MAINSPRING_FLOW_DEFAULT_RETRY_DELAY_SECONDS", "4", "flows.default_retry_delay_seconds", 4),
        ("MAINSPRING_LOCAL_STORAGE_PATH", "/x", "results.local_storage_path", Path("/x")),
    ],
)
def test_older_names_of_variables(
    monkeypatch: pytest.MonkeyPatch, old: str, text: str, name: str, value: object
) -> None:
    """They work, with a warning that says the name of today, which wins where both are set."""
    monkeypatch.setenv(old, text)
    new = f"MAINSPRING_{name.replace('.', '_').upper()}"
    with pytest.warns(DeprecationWarning, match=rf"{old} is called {new} now\.$"):
        settings = reload_settings()
    assert settings.value_of(name) == value
    assert settings.source_of(name) == ("environment", old, None)
    monkeypatch.setenv(new, "9")
    with pytest.warns(DeprecationWarning, match=f"{old} is called {new} now.*no effect"):
        settings = reload_settings()
    assert settings.source_of(name) == ("environment", new, None)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MAINSPRING_TASKS_DEFAULT_RETRYS", "MAINSPRING_TASKS_DEFAULT_RETRIES"),
        ("MAINSPRING_DATABASE", "MAINSPRING_DATABASE_URL"),
        ("MAINSPRING_LOG_LEVEL", "MAINSPRING_LOGGING_LEVEL"),
    ],
)
def test_a_misspelt_variable_is_warned_about_once(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    """One that resembles a setting has no effect, and the warning names what was probably meant."""
    monkeypatch.setenv(variable, "3")
    with pytest.warns(UserWarning, match=f"{variable} is no setting.*Did you mean {meant}"):
        settings = reload_settings()
    assert settings == reload_settings()  # where warnings are errors: there is none


@pytest.mark.parametrize(
    "variable",
    [
        "MAINSPRING_DEPLOYED_BY",
        "MAINSPRING__RUNTIME__TASK_RUN__NAME",
        "MAINSPRING_CONFIG_FILE",
        "MAINSPRING_TEST_POSTGRES_URL",
    ],
)
def test_variables_of_others(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Nothing is said about a variable that resembles no setting, or has another purpose."""
    monkeypatch.setenv(variable, "none")
    assert reload_settings().source_of("home").kind == "environment"


@pytest.mark.contract("ST-29")
def test_reading_settings_validates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the environment, the settings of a process are the same object until they are read again."""
    before = get_current_settings()
    monkeypatch.setenv("MAINSPRING_DURABILITY", "nonsense")
    assert get_current_settings() is before
    with pytest.raises(ConfigurationError, match="MAINSPRING_DURABILITY"):
        reload_settings()
    assert get_current_settings() is before
    monkeypatch.delenv("MAINSPRING_DURABILITY")


# Blocks and copies


@pytest.mark.contract("ST-5", "ST-6")
def test_defaults_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """`set_defaults` changes what nobody has set, `updates` all, and `restore_defaults` takes back whatever was set."""
    monkeypatch.setenv("MAINSPRING_TASKS_DEFAULT_RETRIES", "1")
    reload_settings()
    both = {"tasks.default_retries": 5, "flows.default_retries": 5}
    with temporary_settings(set_defaults=both) as settings:
        assert (settings.tasks.default_retries, settings.flows.default_retries) == (1, 5)
        with temporary_settings(
            {"flows.default_retries": 6}, set_defaults={"flows.default_retries": 7}
        ) as inner:
            assert inner.flows.default_retries == 6
        with temporary_settings(restore_defaults=[*both, "debug_mode"]) as inner:
            assert (inner.tasks.default_retries, inner.flows.default_retries) == (0, 0)
            assert inner.source_of("tasks.default_retries").kind == "default"
        with temporary_settings({"flows.default_retries": 2}, restore_defaults=both) as inner:
            assert (inner.tasks.default_retries, inner.flows.default_retries) == (0, 2)
        with temporary_settings(restore_defaults="tasks.default_retries") as inner:
            assert inner.tasks.default_retries == 0
    assert os.environ["MAINSPRING_TASKS_DEFAULT_RETRIES"] == "1"
    assert get_current_settings().tasks.default_retries == 1


@pytest.mark.parametrize("way", ["updates", "set_defaults", "restore_defaults"])
def test_a_block_with_a_setting_that_is_none(way: str) -> None:
    """Each way to name one refuses it, with the name that was probably meant, or with those of the group."""
    given = {
        "updates": {"task.default_retries": 1},
        "set_defaults": {"tasks": {}},
        "restore_defaults": ["x.y"],
    }[way]
    said = {
        "updates": r"There is no setting 'task\.default_retries'\. Did you mean 'tasks\.default_retries'\?$",
        "set_defaults": r"'tasks' is a group of settings\. Name one in it: tasks\.default_retries, ",
        "restore_defaults": r"There is no setting 'x\.y'\. Settings are: database_url, debug_mode, ",
    }[way]
    with pytest.raises(ConfigurationError, match=said), temporary_settings(**{way: given}):
        pass


@pytest.mark.contract("ST-2")
def test_a_block_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value holds inside, and settings say who has set what."""
    monkeypatch.setenv("MAINSPRING_DURABILITY", "disk")
    reload_settings()
    with temporary_settings({"durability": "relaxed"}) as settings:
        assert settings.durability == "relaxed"
        assert settings.source_of("durability").kind == "code"
    settings = get_current_settings()
    assert settings.durability == "disk"
    assert settings.source_of("durability") == ("environment", "MAINSPRING_DURABILITY", None)
    assert settings.source_of("host_id").kind == "default"


@pytest.mark.contract("ST-4", "ST-7")
def test_values_by_name() -> None:
    """`value_of` gives what the attributes give; a name that is none is refused."""
    settings = Settings(tasks=TaskSettings(default_retries=4))
    assert settings.value_of("tasks.default_retries") == settings.tasks.default_retries == 4
    assert {name: settings.value_of(name) for name, _ in setting_names(Settings)}["home"] == settings.home
    for ask in (settings.value_of, settings.source_of):
        with pytest.raises(ConfigurationError, match=r"no setting 'tasks\.default'"):
            ask("tasks.default")
    assert get_default_settings() == Settings()
    assert get_default_settings().given() == {}


@pytest.mark.contract("ST-7", "ST-27")
def test_copies() -> None:
    """A copy with other values leaves the original alone; copies and pickles are equal, and what is unset stays so."""
    settings = Settings(durability="disk").copy_with_update({"tasks.default_retry_delay_seconds": [1, 2]})
    assert settings.durability == "disk"
    assert Settings().durability == "process"
    copies = [
        copy.copy(settings),
        copy.deepcopy(settings),
        pickle.loads(pickle.dumps(settings)),
    ]
    copies.append(settings.copy_with_update())
    for each in copies:
        assert each == settings
        assert hash(each) == hash(settings)
        assert each.hash_key() == settings.hash_key()
        assert set(each.given()) == {"durability", "tasks.default_retry_delay_seconds"}
    assert settings != settings.copy_with_update({"durability": "process"})
    assert settings.hash_key() != settings.copy_with_update({"durability": "process"}).hash_key()
    assert len({settings, *copies}) == 1


def test_hash_keys_are_the_same_everywhere() -> None:
    """Another process has the same key for the same settings, whatever the seed of its hashes."""
    program = "from mainspring.settings import Settings; print(Settings(durability='disk').hash_key())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == Settings(durability="disk").hash_key()


@pytest.mark.contract("ST-8")
def test_secrets_are_masked_for_display() -> None:
    """The text of settings, and a copy for display, have no passwords; the settings themselves have them."""
    url = "postgresql://ada:lovelace1815@db/runs"
    settings = Settings(database_url=url)
    masked = settings.with_obfuscated_secrets()
    assert masked.database_url == "postgresql://ada:***@db/runs"
    assert masked.source_of("database_url").kind == "code"
    assert "lovelace1815" not in repr(settings) + str(settings) + str(masked.given())
    assert settings.database_url == url
    assert Settings().with_obfuscated_secrets() == Settings()


# The environment and back

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    str.strip
)
NUMBERS = st.integers(0, 2**53)
SECONDS = st.floats(0, 1e9)
PATHS = TEXTS.map(lambda text: Path("/", text.replace("${", "")))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "home": PATHS,
    "database_url": st.none() | TEXTS,
    "durability": st.sampled_from(["process", "disk", "relaxed", "journal"]),
    "host_id": st.none() | TEXTS,
    "lease_seconds": st.floats(1, 1e9),
    "tasks.default_retry_delay_seconds": SECONDS | st.lists(SECONDS, max_size=3),
    "flows.default_retry_delay_seconds": SECONDS | st.lists(SECONDS, max_size=3),
    "tasks.default_persist_result": st.none() | st.booleans(),
    "results.default_serializer": TEXTS,
    "results.default_storage": st.none() | TEXTS,
    "results.local_storage_path": PATHS,
    "logging.level": st.sampled_from(["debug", "INFO", "Critical"]),
    "logging.internal_level": st.sampled_from(["WARNING", "error"]),
    "logging.extra_loggers": st.lists(TEXTS, max_size=3).map(tuple),
    "logging.config_path": st.none() | PATHS,
    "logging.to_api.max_log_size": st.integers(1, 2**53),
    "tasks.runner.default": st.none() | TEXTS,
    "tasks.runner.max_in_flight": st.integers(1, 2**53),
    **{
        f"tasks.runner.{name}_max_workers": st.none() | st.integers(1, 2**53)
        for name in ("thread_pool", "process_pool", "isolation")
    },
}


def values_of(name: str, kind: Any) -> st.SearchStrategy[Any]:
    """Any value that a setting may have."""
    return VALUES[name] if name in VALUES else {int: NUMBERS, bool: st.booleans()}[kind]


@pytest.mark.contract("ST-7", "ST-27")
@given(
    st.fixed_dictionaries(
        {}, optional={name: values_of(name, kind) for name, kind in setting_names(Settings)}
    )
)
def test_the_way_through_the_environment(updates: dict[str, Any]) -> None:
    """Settings written as environment variables are the same when they are read, and unset ones may stay unset."""
    settings = Settings().copy_with_update(updates)
    assert get_settings_from_env(settings.to_environment_variables()) == settings
    only_set = settings.to_environment_variables(exclude_unset=True)
    again = get_settings_from_env(only_set)
    assert again == settings
    assert set(again.given()) == {name for name in updates if settings.value_of(name) is not None}


def test_some_environment_variables() -> None:
    """`include` names those that are wanted; one that is None has no variable."""
    settings = Settings(durability="disk", debug_mode=True)
    assert settings.to_environment_variables(["durability", "host_id", "tasks.refresh_cache"]) == {
        "MAINSPRING_DURABILITY": "disk",
        "MAINSPRING_TASKS_REFRESH_CACHE": "false",
    }
    assert settings.to_environment_variables(exclude_unset=True) == {
        "MAINSPRING_DURABILITY": "disk",
        "MAINSPRING_DEBUG_MODE": "true",
    }
    assert settings.to_environment_variables(["home", "debug_mode"], exclude_unset=True) == {
        "MAINSPRING_DEBUG_MODE": "true"
    }
    with pytest.raises(ConfigurationError, match="no setting 'color'"):
        settings.to_environment_variables(["color"])


# Values


@pytest.mark.contract("ST-10", "ST-11", "ST-14", "ST-15", "ST-17", "ST-21", "ST-22")
@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("tasks.refresh_cache", False),
        ("tasks.default_retries", 0),
        ("tasks.default_retry_delay_seconds", 0),
        ("flows.default_retries", 0),
        ("flows.default_retry_delay_seconds", 0),
        ("results.default_serializer", "pickle"),
        ("results.persist_by_default", False),
        ("results.local_storage_path", Path("~/.mainspring/storage").expanduser()),
        ("logging.level", "INFO"),
        ("logging.log_prints", False),
        ("logging.extra_loggers", ()),
        ("logging.colors", True),
        ("logging.to_api.enabled", True),
        ("logging.to_api.max_log_size", 1_000_000),
        ("home", Path("~/.mainspring").expanduser()),
        ("debug_mode", False),
        ("events.maximum_labels_per_resource", 500),
        ("events.maximum_related_resources", 500),
        ("events.maximum_size_bytes", 1_500_000),
        ("tasks.default_no_cache", False),
        ("tasks.disable_caching", False),
        ("tasks.default_persist_result", None),
        ("tasks.runner.default", None),
        ("tasks.runner.thread_pool_max_workers", None),
        ("tasks.runner.process_pool_max_workers", None),
    ],
)
def test_defaults_of_the_contract(name: str, default: object) -> None:
    """These settings are there, with these defaults."""
    assert get_default_settings().value_of(name) == default


@pytest.mark.contract("ST-14")
def test_debug_mode_logs_everything() -> None:
    """It forces the level to DEBUG, whatever is set; without it that holds again."""
    settings = get_settings_from_env({"MAINSPRING_DEBUG_MODE": "1", "MAINSPRING_LOGGING_LEVEL": "ERROR"})
    assert settings.logging.level == "DEBUG"
    assert settings.copy_with_update({"debug_mode": False}).logging.level == "ERROR"
    assert Settings(debug_mode=True).logging.level == "DEBUG"
    assert Settings(debug_mode=True).copy_with_update({"debug_mode": False}) == Settings()


@pytest.mark.contract("ST-16")
@pytest.mark.parametrize("name", ["logging.level", "logging.internal_level"])
def test_names_of_levels(name: str) -> None:
    """They may be in any case; one that is none is refused with those there are."""
    assert Settings().copy_with_update({name: "cRiTicAl"}).value_of(name) == "CRITICAL"
    with pytest.raises(ConfigurationError, match=f"{name} is no logging level: 'LOUD'.*DEBUG"):
        Settings().copy_with_update({name: "loud"})


@pytest.mark.contract("ST-17", "ST-18")
def test_paths_with_the_home() -> None:
    """``${MAINSPRING_HOME}`` is the current home, also if that changes later; a tilde is the user's home directory."""
    place = "${MAINSPRING_HOME}/deep"
    settings = get_settings_from_env(
        {
            "MAINSPRING_HOME": "~/m",
            "MAINSPRING_RESULTS_LOCAL_STORAGE_PATH": place,
            "MAINSPRING_RESULTS_DEFAULT_STORAGE": place,
            "MAINSPRING_DATABASE_URL": f"sqlite:///{place}/runs.db",
            "MAINSPRING_LOGGING_CONFIG_PATH": "~/logging.toml",
        }
    )
    home = Path("~/m").expanduser()
    assert settings.home == home
    assert settings.results.local_storage_path == settings.local_storage_path == home / "deep"
    assert settings.results.default_storage == f"{home}/deep"
    assert settings.database_url == f"sqlite:///{home}/deep/runs.db"
    assert settings.logging.config_path == Path("~/logging.toml").expanduser()
    moved = settings.copy_with_update({"home": "/elsewhere"})
    assert moved.results.local_storage_path == Path("/elsewhere/deep")
    assert Settings(home=Path("/h")).results.local_storage_path == Path("/h/storage")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("home", "${MAINSPRING_HOME}/x", "stands for itself"),
        ("home", "~nobody-of-this-name/x", "not known"),
        ("database_url", " ", "must not be empty"),
        ("results.default_storage", "", "must not be empty"),
        ("results.default_serializer", "", "must not be empty"),
        ("tasks.default_retries", -1, ">= 0"),
        ("flows.default_retries", -1, ">= 0"),
        ("tasks.default_retry_delay_seconds", -0.5, ">= 0"),
        ("flows.default_retry_delay_seconds", [1, float("nan")], "finite"),
        ("tasks.default_retries", True, "a whole number"),
        ("tasks.default_retries", 1.5, "a whole number"),
        ("tasks.default_retry_delay_seconds", {}, "a number or a list of numbers"),
        ("tasks.default_retry_delay_seconds", "[1", "a number or a list of numbers"),
        ("durability", "eternal", "one of process, disk, relaxed, journal"),
        ("debug_mode", "perhaps", "true or false"),
        ("results.local_storage_path", 5, "a path"),
        ("events.maximum_size_bytes", -1, "negative"),
        ("tasks.runner.max_in_flight", 0, "at least 1"),
        ("tasks.runner.default", " ", "must not be empty"),
        ("tasks.runner.process_pool_max_workers", 0, "at least 1"),
        ("logging.to_api.max_log_size", 0, "at least 1"),
        ("logging.extra_loggers", 5, "a list of texts"),
    ],
)
def test_values_that_cannot_be(name: str, value: Any, said: str) -> None:
    """They are refused when they are set, by name, with what is possible."""
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        Settings().copy_with_update({name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("On", True),
        ("TRUE", True),
        (" 1 ", True),
        ("no", False),
        ("off", False),
        ("False", False),
    ],
)
def test_words_for_true_and_false(text: str, value: bool) -> None:
    """People write these in many ways."""
    assert get_settings_from_env({"MAINSPRING_DEBUG_MODE": text}).debug_mode is value


@pytest.mark.parametrize("text", ["a,b", " a , b,", '["a", "b"]'])
def test_lists_of_texts(text: str) -> None:
    """They have commas between them, or are JSON."""
    assert get_settings_from_env({"MAINSPRING_LOGGING_EXTRA_LOGGERS": text}).logging.extra_loggers == (
        "a",
        "b",
    )


def test_the_culprit_is_named() -> None:
    """Of several variables, the one whose value cannot work is named."""
    variables = {"MAINSPRING_DEBUG_MODE": "1", "MAINSPRING_TASKS_RUNNER_MAX_IN_FLIGHT": "0"}
    with pytest.raises(ConfigurationError, match="variable MAINSPRING_TASKS_RUNNER_MAX_IN_FLIGHT"):
        get_settings_from_env(variables)
