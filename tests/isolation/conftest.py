"""Tests of isolated calls leave nothing running but workers that are idle, which end with the program."""

from collections.abc import Iterator

import pytest

from mainspring._cancel_scopes import live
from mainspring._engine.isolation import _shared
from mainspring.settings import temporary_settings
from tests.engine.conftest import nothing_left

__all__ = ["nothing_left"]


@pytest.fixture(autouse=True)
def no_scopes() -> None:
    """What tests of other folders have left by force does not count here."""
    live.clear()


@pytest.fixture
def one_worker() -> Iterator[None]:
    """At most one worker, which no other test has used or will use."""
    _shared.close()
    with temporary_settings({"tasks.runner.isolation_max_workers": 1}):
        yield
    _shared.close()
