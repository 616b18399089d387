"""Many processes hammer one store: nothing is lost, nothing is exceeded, and nobody is forgotten.

`python -m tests.acceptance.writers` does the same for longer, and shows figures. Here TEST_WRITERS processes are at it
for TEST_WRITERS_SECONDS seconds.
"""

from __future__ import annotations

import os

import pytest

from tests.acceptance.machines import DATABASES
from tests.acceptance.writers import LIMITS, hammer

PROCESSES = int(os.environ.get("TEST_WRITERS", "4"))
SECONDS = float(os.environ.get("TEST_WRITERS_SECONDS", "2"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + 4 * SECONDS)]


@pytest.mark.contract("CC-4", "CC-16", "CC-42")
@pytest.mark.parametrize("database", DATABASES)
def test_many_writers(database: str) -> None:
    """No error reaches users, each task that returned is in the history once, and no limit was exceeded at any time."""
    seen = hammer(database, PROCESSES, SECONDS, hosts=1 if database == "sqlite" else 2)
    assert seen.problems == []
    assert min(seen.acquired) > 0
    assert {name: most for name, most in seen.most_told.items() if most > LIMITS[name]} == {}
