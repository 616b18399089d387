"""Generated programs of nested transactions do what a small model of them says, sync and async and mixed."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from mainspring.logging import disable_logger
from mainspring.transactions import get_transaction
from tests.transactions.programs import Block, Run, expected, programs


@pytest.fixture(scope="module", autouse=True)
def silence() -> Iterator[None]:
    """Failing hooks are logged, and there are thousands of them."""
    with disable_logger("mainspring.transactions"):
        yield
    assert not logging.getLogger("mainspring.transactions").disabled


@pytest.mark.slow
@pytest.mark.contract(
    "TX-18", "TX-19", "TX-20", "TX-21", "TX-22", "TX-26", "TX-28", "TX-32", "TX-70", "TX-71"
)
@settings(max_examples=300)
@given(program=programs)
def test_programs_do_what_the_model_says(program: Block) -> None:
    """States, hooks, writes and errors agree, in their order, and no lock is left."""
    assert Run(program, "sync").sync() == expected(program)
    assert get_transaction() is None


@pytest.mark.slow
@pytest.mark.contract("TX-42", "V-9")
@pytest.mark.parametrize("face", ["async", "mixed"])
@settings(max_examples=150)
@given(program=programs)
def test_all_faces_do_the_same(face: str, program: Block) -> None:
    """What is true of sync blocks is true of async ones, and of those of one kind in the other."""
    assert asyncio.run(Run(program, face).awaited()) == Run(program, "sync").sync()
