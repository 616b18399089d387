"""What the tests of deaths share."""

import os
import random
from pathlib import Path

import pytest

from tests.deaths.loops import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a database and its limits."""
    prepare(tmp_path)
    return tmp_path


@pytest.fixture
def dice() -> random.Random:
    """Random numbers that can be had again: the seed is shown with a failure."""
    seed = int(os.environ.get("DEATHS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"repeat with DEATHS_SEED={seed}")
    return random.Random(seed)
