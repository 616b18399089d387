"""A home for a test: settings, history and results of its own, and a process without a past."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mainspring._engine.background import wait_for_background_runs
from mainspring.exceptions import MainspringError
from mainspring.logging.console import forget_levels
from mainspring.recording import close_recorders
from mainspring.settings.current import SettingsContext, forget_settings
from mainspring.settings.model import kind_of
from mainspring.settings.sources import CONFIG_FILE
from mainspring.settings.values import PREFIX, convert, to_text, variable_of
from mainspring.task_runners.named import check_name

__all__ = ["TASK_RUNNER", "HarnessError", "private_home", "reset_process_state"]

TASK_RUNNER = "tasks.runner.default"

_PATIENCE = 30.0

_OF_TESTS = f"{PREFIX}TEST_"


class HarnessError(MainspringError):
    """A test cannot go on, or end, in this way: the message says what it should do."""


def reset_process_state() -> None:
    """Forget what mainspring keeps for the whole process; nothing of it may be in use.

    Recorders are closed, so a run store in memory is gone. Settings and the levels of run loggers are read again when
    they are needed. Call it after changes of the environment.

    Raises:
        StoreError: The first of the errors that closing recorders met.
    """
    try:
        close_recorders()
    finally:
        forget_settings()
        forget_levels()


@contextmanager
def private_home(
    home: Path, settings: Mapping[str, object] | None = None, *, reads_files: bool = False
) -> Generator[Path]:
    """Have ``home`` as the home inside the block, for the whole process and for what it starts.

    No other ``MAINSPRING_*`` variable is set inside, but for those of ``settings`` and those that begin with
    ``MAINSPRING_TEST_``. Afterwards the environment is as it was, and the process has forgotten the home.

    Args:
        home: The folder; it is created by whoever needs it.
        settings: Settings by dotted name, for example ``{"tasks.default_retries": 2}``.
        reads_files: Whether settings files of the project and the user are read.

    Raises:
        ConfigurationError: There is no such setting, or a value does not fit.
        HarnessError: Flow runs in the background have not ended half a minute after the block.
    """
    variables = {f"{PREFIX}HOME": str(home)}
    if not reads_files:
        variables[CONFIG_FILE] = "none"
    variables |= _variables(settings or {})
    names = {*_ours(), *variables}
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(variables)
    around = SettingsContext.activate(None)  # a block around has settings of another home
    try:
        reset_process_state()
        yield home
    finally:
        left = wait_for_background_runs(_PATIENCE)  # or they would go on in the home of somebody else
        SettingsContext.activate(around)
        for name in names | set(_ours()):
            os.environ.pop(name, None)
        os.environ.update(before)
        reset_process_state()
    if left:
        raise HarnessError(
            f"{left} flow runs that this test has submitted went on after its end, and from now on they write into"
            " another history. Wait for their futures, or cancel them."
        )


def _ours() -> list[str]:
    return [name for name in os.environ if name.startswith(PREFIX) and not name.startswith(_OF_TESTS)]


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    """The environment variables for some settings.

    Raises:
        ConfigurationError: There is no such setting, or a value does not fit.
    """
    if TASK_RUNNER in settings:
        check_name(str(settings[TASK_RUNNER]))
    return {variable_of(name): to_text(convert(name, each, kind_of(name))) for name, each in settings.items()}
