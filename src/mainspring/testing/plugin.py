"""The plugin for pytest: it is found by itself where mainspring is installed, and loads nothing that is not used.

Its fixtures load the rest of the package when a test asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

__all__ = ["mainspring_home", "pytest_addoption", "run_store"]

_AUTOUSE = "mainspring_autouse"
_RUNNER = "mainspring_task_runner"
_FILES = "mainspring_settings_files"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options for the configuration file of pytest."""
    parser.addini(_AUTOUSE, "give each test a mainspring_home", type="bool", default=False)
    parser.addini(
        _RUNNER,
        "where submitted tasks run in tests if their flow does not say that; empty: as outside of tests",
        default="inline",
    )
    parser.addini(_FILES, "read settings files of mainspring in tests, too", type="bool", default=False)


@pytest.fixture(autouse=True)
def _mainspring_for_all(request: pytest.FixtureRequest) -> None:
    """Gives each test a `mainspring_home` if the option mainspring_autouse says so."""
    if request.config.getini(_AUTOUSE):
        request.getfixturevalue("mainspring_home")


@pytest.fixture
def mainspring_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A home of mainspring for this test: an empty history, nothing cached, and none of your own settings.

    Tasks that flows submit run one after the other, in the test's own thread. The value is the path of the home, which
    is created when something is written. Use it for all tests of a module with
    ``pytestmark = pytest.mark.usefixtures("mainspring_home")``, and for all of a project with
    ``mainspring_autouse = true`` in the configuration of pytest.
    """
    config = request.config
    homes: Any = import_module("mainspring.testing.homes")
    runner = config.getini(_RUNNER)
    settings = {homes.TASK_RUNNER: runner} if runner else {}
    home = tmp_path / "mainspring-home"
    with homes.private_home(home, settings, reads_files=config.getini(_FILES)):
        yield home


@pytest.fixture
def run_store(mainspring_home: Path) -> Any:
    """What happened in this test: runs, states, log lines and events, as a `mainspring.testing.Harness`.

    It brings a `mainspring_home` along. ``run_store.client`` is a client for whatever else is in the history.
    """
    harnesses: Any = import_module("mainspring.testing.harnesses")
    return harnesses.Harness(mainspring_home)
