"""What every test gets: a home of its own and a process without a past."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mainspring.exceptions import StoreMissing
from mainspring.testing import invariants, reset_process_state

RUN_ENGINES = {
    "acceptance",
    "caching",
    "cli",
    "client",
    "concurrency",
    "deaths",
    "distributed",
    "engine",
    "events",
    "examples",
    "isolation",
    "results",
    "runners",
    "transactions",
}
"""The directories of tests after each of which its run store is checked."""


def pytest_configure() -> None:
    """Have no test fail for its time, and Ctrl-C mean the same as in front of a terminal, if a shell ignores it.

    Hypothesis would else fail an example that takes 200 ms, as any may that shares a processor with others.
    """
    settings.register_profile("mainspring", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("mainspring")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _check_invariants(test: pytest.Item, home: Path) -> None:
    """What a test of engines has left in its store can have happened.

    What is different on purpose is said by a marker: `invariants`, with the options of the check, if functions return
    states, or runs are left to go on; `no_invariants`, with the reason, if the store holds what cannot have happened.
    """
    place = test.path.relative_to(Path(__file__).parent)
    if place.parts[0] not in RUN_ENGINES or test.get_closest_marker("no_invariants"):
        return
    address = os.environ.get("MAINSPRING_DATABASE_URL")
    if address is None:
        address = str(home / "mainspring.db")
        if not Path(address).is_file():
            return
    marker = test.get_closest_marker("invariants")
    with suppress(StoreMissing):  # the test has made none
        invariants(address, **({} if marker is None else marker.kwargs))


ON_POSTGRESQL = "MAINSPRING_TEST_ON_POSTGRES"
"""Set to 1, the database of all tests that name none is a schema in PostgreSQL: `make test-postgres`."""


@pytest.fixture(autouse=True)
def mainspring_home(
    request: pytest.FixtureRequest, mainspring_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The empty home that the plugin makes, not yet created; no other setting is made, but perhaps a database."""
    with ExitStack() as stack:
        if os.environ.get(ON_POSTGRESQL) == "1":
            from tests.postgres.server import fresh_schema  # needs psycopg

            monkeypatch.setenv("MAINSPRING_DATABASE_URL", stack.enter_context(fresh_schema()))
            reset_process_state()
            stack.callback(reset_process_state)
        yield mainspring_home
        reset_process_state()
        _check_invariants(request.node, mainspring_home)
    left = [each for each in threading.enumerate() if each.name == "mainspring-supervisor"]
    assert not left, (
        "a recorder of this test was not closed, and its supervisor looks after a closed store for ever"
    )
