"""Settings: where they come from, which hold where, what is refused."""

import contextvars
import threading
from pathlib import Path

import pytest

from mainspring.exceptions import ConfigurationError
from mainspring.settings import (
    Settings,
    get_current_settings,
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


@pytest.mark.contract("N-3")
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


def test_settings_are_immutable() -> None:
    """Nobody changes settings that somebody else has read."""
    with pytest.raises(AttributeError):
        get_current_settings().debug_mode = True  # type: ignore[misc]


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


def test_temporary_settings_end_with_an_error() -> None:
    """A block left by an exception leaves nothing behind."""
    with pytest.raises(KeyError), temporary_settings({"debug_mode": True}):
        raise KeyError
    assert get_current_settings().debug_mode is False


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
