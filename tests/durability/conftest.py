"""What the tests of the loops share."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.durability.loops import Loop
from tests.durability.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The process that children are forked from."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def loop(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """Rounds with these children, in folders of their own."""
    return Loop(nursery, tmp_path_factory.mktemp("rounds"))


@pytest.fixture
def dice() -> random.Random:
    """Random numbers that can be had again: the seed is shown with a failure."""
    seed = int(os.environ.get("DURABILITY_SEED", random.SystemRandom().randrange(10**6)))
    print(f"repeat with DURABILITY_SEED={seed}")
    return random.Random(seed)
