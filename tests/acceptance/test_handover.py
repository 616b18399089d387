"""Slots that go from one to the next: in order, and without those who wait asking for them over and over.

`python -m tests.acceptance.handover` measures how long it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.handover import DENIED, measure, measure_kills
from tests.acceptance.machines import DATABASES, Place, place_in
from tests.acceptance.programs import SHARED
from tests.deaths.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUIET_SECONDS = 2.0

for_each_database = pytest.mark.parametrize("database", DATABASES)


@pytest.fixture
def place(database: str) -> Iterator[Place]:
    """A database with a limit of one slot."""
    with place_in(database) as place:
        place.run("limit", SHARED, 1)
        yield place


@pytest.mark.contract("CC-42")
@for_each_database
def test_in_the_order_of_arrival(place: Place) -> None:
    """Processes get a slot in the order in which they came."""
    with ExitStack() as stack:
        holder = stack.enter_context(place.start("hold", 1))
        holder.facts("inside")
        waiters = []
        for number in range(1, 5):
            waiters.append(stack.enter_context(place.start("hold", 1)))
            until(lambda number=number: place.rows(DENIED) == [(number,)], "the waiting of one more")
        holder.go_on()
        times = []
        for number, waiter in enumerate(waiters, 1):
            times.append(int(waiter.facts("inside")[0]))
            assert place.rows(DENIED) == [(len(waiters) - number,)]
            waiter.go_on()
        assert times == sorted(times)


@pytest.mark.contract("CC-45")
@for_each_database
@pytest.mark.parametrize("processes", [1, 3])
def test_nobody_polls(database: str, processes: int) -> None:
    """However many wait in a process, it looks a few times per second, as a ring may be lost; all get the slot then."""
    threads = 60 // processes
    seen = measure(database, processes, threads, QUIET_SECONDS)
    assert len(seen.seconds) == seen.waiters
    assert (
        seen.statements / processes < 2 * threads + 60
    )  # the 60 are of the process: its lease, deaths, lost rings


@pytest.mark.contract("CC-44")
@for_each_database
def test_slots_of_a_killed_holder(database: str) -> None:
    """Somebody who waits on the same host has the slots of a killed holder soon, long before any lease is over."""
    assert max(measure_kills(database, 1)) < 10
