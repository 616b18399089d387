"""What tests of results share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import clock
from mainspring.results import ResultStore
from mainspring.serializers import base, objects
from tests.engine.clocks import JumpingClock


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Serializers and types that a test registers are forgotten after it."""
    for kind in base._HOMES:
        base._known(kind)  # ours are there, before and after
    registries: list[dict[Any, Any]] = [base._registry, objects._by_type, objects._by_path]
    before = [dict(each) for each in registries]
    yield
    for each, known in zip(registries, before, strict=True):
        each.clear()
        each.update(known)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the results of `store` are."""
    return tmp_path / "results"


@pytest.fixture
def store(folder: Path) -> ResultStore:
    """A store in a folder of its own."""
    return ResultStore(result_storage=folder)


@pytest.fixture
def time() -> Iterator[JumpingClock]:
    """Time that passes only when the test says so."""
    with clock.use_clock(JumpingClock()) as jumping:
        yield jumping
