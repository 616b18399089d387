"""Every test of this folder is run for each kind of task runner, and leaves one story in the run store.

- ``runner``: a runner that is not started
- ``pool``: one that is
- ``traits``: in what the kind differs by design, see `Traits`; a test that needs some of it says so by
  ``@pytest.mark.needs("at_once")``, and is not there for other kinds
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mainspring.recording import close_recorders
from mainspring.task_runners import TaskRunner
from tests.durability.invariants import check_store
from tests.runners.conformance.kinds import KINDS, Site, Traits

DATABASE = "mainspring.db"
ROOT = Path(__file__).parents[3]
PATHS = [str(ROOT), str(ROOT / "src")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" not in metafunc.fixturenames:
        return
    needs = [need for mark in metafunc.definition.iter_markers("needs") for need in mark.args]
    fitting = [name for name, kind in KINDS.items() if all(getattr(kind.traits, need) for need in needs)]
    kinds = [pytest.param(name, marks=KINDS[name].marks) for name in fitting]
    metafunc.parametrize("kind", kinds, indirect=True, scope="session")


class Sites(dict[str, Site]):
    """What was opened for the kinds that were asked for."""

    def __init__(self, stack: ExitStack, home: Path) -> None:
        super().__init__()
        self._stack = stack
        self._home = home

    def __missing__(self, name: str) -> Site:
        with pytest.MonkeyPatch.context() as patch:
            # For processes that are started now, whatever tests do with the variables later.
            patch.setenv("MAINSPRING_HOME", str(self._home))
            patch.setenv("PYTHONPATH", os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]))
            self[name] = site = self._stack.enter_context(KINDS[name].open())
        return site


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Whatever was opened is closed at the end, so the order of the tests does not matter."""
    with ExitStack() as stack:
        yield Sites(stack, tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest, sites: Sites) -> str:
    """The name of the kind. Its site is open before anybody counts threads."""
    name: str = request.param
    assert sites[name]
    return name


@pytest.fixture
def traits(kind: str) -> Traits:
    return KINDS[kind].traits


@pytest.fixture
def lasting_threads(kind: str) -> tuple[str, ...]:
    """See `nothing_left`."""
    return KINDS[kind].threads


@pytest.fixture(autouse=True)
def one_story(kind: str, lasting_threads: tuple[str, ...], mainspring_home: Path) -> Iterator[None]:
    """After each test all runs are over, by legal states, each recorded once, and counted as it was attempted."""
    yield
    close_recorders()
    if (mainspring_home / DATABASE).exists():
        check_store(mainspring_home / DATABASE)


@pytest.fixture
def runner(kind: str, sites: Sites) -> TaskRunner[Any]:
    return sites[kind].make()


@pytest.fixture
def pool(kind: str, sites: Sites) -> Iterator[TaskRunner[Any]]:
    with sites[kind].started() as runner:
        yield runner
