"""Calls that block, wherever they run: their runs are settled at the deadline, and others go on."""

from __future__ import annotations

import pytest

from tests.acceptance.blocking import CALLS, PLACES
from tests.acceptance.timeout_matrix import measure

pytestmark = [pytest.mark.timeout(120), pytest.mark.contract("X-4", "X-5", "X-7", "X-9", "X-10")]

KEEPS = "C call that keeps the interpreter lock"
ISOLATED = 'isolation="process"'
BLOCKED = 12.0
"""Seconds that a call blocks: far more than a busy machine takes to settle a run."""


@pytest.mark.parametrize("place", [place for place in PLACES if place != ISOLATED])
@pytest.mark.parametrize("call", [call for call in CALLS if call != KEEPS])
def test_a_call_that_lets_the_interpreter_run(call: str, place: str) -> None:
    """Its run is recorded, and its slot free, long before the call returns, and its neighbour lives."""
    cell = measure(call, place, blocked=BLOCKED)
    assert cell.state == "TimedOut"
    assert cell.recorded is not None
    assert cell.freed is not None
    assert max(cell.recorded, cell.freed) < cell.blocked / 2
    assert cell.is_alive


@pytest.mark.parametrize("place", [place for place in PLACES if place != ISOLATED])
def test_a_call_that_keeps_the_interpreter(place: str) -> None:
    """Its run has timed out all the same, as soon as anything of the process goes on."""
    cell = measure(KEEPS, place, blocked=2.0)
    assert cell.state == "TimedOut"
    assert cell.freed is not None
    # A signal ends the call in main threads, which are those of worker processes, too.
    assert cell.is_alive == (place in ("main thread", "process runner"))


@pytest.mark.parametrize("call", CALLS)
def test_a_call_in_a_process_of_its_own(call: str) -> None:
    """Whatever it is, its process is killed at the deadline, and others go on."""
    cell = measure(call, ISOLATED, blocked=BLOCKED)
    assert cell.state == "TimedOut"
    assert cell.recorded is not None
    assert cell.freed is not None
    assert max(cell.recorded, cell.freed) < cell.blocked / 2
    assert cell.is_alive
