"""What the tests of the loops share."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.durability.loops import Loop
from tests.durability.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The process that children are forked from."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for many databases: in memory, if the system has such a place, as no power cut is played here."""
    place = Path("/dev/shm")
    with TemporaryDirectory(dir=place if os.access(place, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def loop(nursery: Nursery, folder: Path) -> Loop:
    """Rounds with the children of the nursery."""
    return Loop(nursery, folder)


@pytest.fixture
def dice() -> random.Random:
    """Random numbers that can be had again: the seed is shown with a failure."""
    seed = int(os.environ.get("DURABILITY_SEED", random.SystemRandom().randrange(10**6)))
    print(f"repeat with DURABILITY_SEED={seed}")
    return random.Random(seed)
