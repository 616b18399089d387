"""The plugin for pytest: it is found by itself where mainspring is installed, and loads nothing that is not used."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, cast

import pytest

from mainspring.exceptions import MainspringError

__all__ = ["crash", "pytest_configure", "pytest_pyfunc_call"]

_MARKER = "crash_everywhere"


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
    crashes = cast(Any, import_module("mainspring.testing"))  # only who uses the marker pays for it
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
    except MainspringError as error:
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
