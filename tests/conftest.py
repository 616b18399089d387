"""What every test gets: a home of its own and a process without a past."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mainspring.testing import reset_process_state

ON_POSTGRESQL = "MAINSPRING_TEST_ON_POSTGRES"
"""Set to 1, the database of all tests that name none is a schema in PostgreSQL: `make test-postgres`."""


@pytest.fixture(autouse=True)
def mainspring_home(mainspring_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The empty home that the plugin makes, not yet created; no other setting is made, but perhaps a database."""
    with ExitStack() as stack:
        if os.environ.get(ON_POSTGRESQL) == "1":
            from tests.postgres.server import fresh_schema  # needs psycopg

            monkeypatch.setenv("MAINSPRING_DATABASE_URL", stack.enter_context(fresh_schema()))
            reset_process_state()
            stack.callback(reset_process_state)
        yield mainspring_home
        reset_process_state()
    left = [each for each in threading.enumerate() if each.name == "mainspring-supervisor"]
    assert not left, (
        "a recorder of this test was not closed, and its supervisor looks after a closed store for ever"
    )
