"""The plugin for pytest: it is found by itself where mainspring is installed, and loads nothing that is not used.

Its fixtures load the rest of the package when a test asks for one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

__all__ = [
    "crash",
    "mainspring_home",
    "pytest_addoption",
    "pytest_configure",
    "pytest_pyfunc_call",
    "run_store",
]

_AUTOUSE = "mainspring_autouse"
_RUNNER = "mainspring_task_runner"
_FILES = "mainspring_settings_files"
_MARKER = "crash_everywhere"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options for the configuration file of pytest."""
    parser.addini(_AUTOUSE, "give each test a mainspring_home", type="bool", default=False)
    parser.addini(
        _RUNNER,
        "where submitted tasks run in tests if their flow does not say that; empty: as outside of tests",
        default="inline",
    )
    parser.addini(_FILES, "read settings files of mainspring in tests, too", type="bool", default=False)


def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    """Refuse a flow that was given to the marker without ``flow=``.

    Pytest takes it for what is marked then, and the test for its argument: it is called in the place of a decorator.
    """
    kind = type(obj)
    if kind.__name__ != "Flow" or not kind.__module__.startswith("mainspring."):
        return
    if any(mark.name == _MARKER for mark in vars(obj).get("pytestmark", ())):
        raise collector.CollectError(
            f"The flow {name!r} was given to @pytest.mark.{_MARKER} without a name, so pytest has marked it, and called"
            f" it with your test. Write @pytest.mark.{_MARKER}(flow={name})."
        )


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


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(flow=..., **options): kill the flow at each point at which it makes something durable, go on with"
        " it, and call the test as the check. It may ask for the fixture `crash`.",
    )


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Have a test with the marker called after each death, in a process of its own, instead of once in this one."""
    marker = pyfuncitem.get_closest_marker(_MARKER)
    if marker is None:
        return None
    options = dict(marker.kwargs)
    if marker.args or "flow" not in options or "check" in options:
        # A single function would be taken for what is marked: https://docs.pytest.org/en/stable/how-to/mark.html
        pytest.fail(
            f"The marker is to be used as `@pytest.mark.{_MARKER}(flow=..., ...)` above the function that checks.",
            pytrace=False,
        )
    crashes, errors = (cast(Any, import_module(f"mainspring.{name}")) for name in ("testing", "exceptions"))
    wanted = inspect.signature(pyfuncitem.obj).parameters
    given = {
        name: pyfuncitem.funcargs[name] for name in wanted if name in pyfuncitem.funcargs and name != "crash"
    }
    function = pyfuncitem.obj

    def check(crash: object) -> object:
        return function(**given, **({"crash": crash} if "crash" in wanted else {}))

    problem = ""
    try:
        crashes.crash_everywhere(options.pop("flow"), check, **options)
    except errors.MainspringError as error:
        problem = str(error)
    if problem:
        pytest.fail(problem, pytrace=False)
    return True


@pytest.fixture
def crash(request: pytest.FixtureRequest) -> Any:
    """What a flow has left that was killed and gone on with, for tests with the marker ``crash_everywhere``.

    It is a `mainspring.testing.Crash`: the flow run, the run store, the result, the folder, and where it was killed.
    """
    if request.node.get_closest_marker(_MARKER) is None:
        pytest.fail(
            f"The fixture `crash` is for tests with `@pytest.mark.{_MARKER}(flow=...)`.", pytrace=False
        )
    return None  # each death has its own
