"""Every test of this folder is run for each kind of task runner, and leaves one story in the run store.

- ``runner``: a runner that is not started
- ``pool``: one that is
- ``traits``: in what the kind differs by design, see `Traits`; a test that needs some of it says so by
  ``@pytest.mark.needs("at_once")``, and is not there for other kinds
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mainspring.recording import close_recorders
from mainspring.task_runners import TaskRunner
from tests.durability.invariants import check_store
from tests.runners.conformance.kinds import KINDS, Site, Traits

ON_FILES = "mainspring.db"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" not in metafunc.fixturenames:
        return
    needs = [need for mark in metafunc.definition.iter_markers("needs") for need in mark.args]
    fitting = [name for name, kind in KINDS.items() if all(getattr(kind.traits, need) for need in needs)]
    metafunc.parametrize("kind", fitting, indirect=True, scope="session")


@pytest.fixture(scope="session")
def sites() -> Iterator[dict[str, Site]]:
    """What was opened for the kinds, whichever they are; closed together at the end."""
    with ExitStack() as stack:

        class Opened(dict[str, Site]):
            def __missing__(self, name: str) -> Site:
                self[name] = site = stack.enter_context(KINDS[name].open())
                return site

        yield Opened()


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest, sites: dict[str, Site]) -> str:
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
    if (mainspring_home / ON_FILES).exists():
        check_store(mainspring_home / ON_FILES)


@pytest.fixture
def runner(kind: str, sites: dict[str, Site]) -> TaskRunner[Any]:
    return sites[kind].make()


@pytest.fixture
def pool(kind: str, sites: dict[str, Site]) -> Iterator[TaskRunner[Any]]:
    with sites[kind].started() as runner:
        yield runner
