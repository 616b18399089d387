"""Processes that use limits while others that use them die."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.handover import DENIED
from tests.acceptance.machines import DATABASES, Place, place_in
from tests.acceptance.programs import SHARED, append
from tests.deaths.processes import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database", DATABASES),
]

SLOTS = 2
TASKS = 40
DEATHS = 3


@pytest.fixture
def place(database: str) -> Iterator[Place]:
    with place_in(database) as place:
        place.run("limit", SHARED, 1)
        place.run("limit", "tag:few", SLOTS)
        yield place


def most_held(lines: list[str]) -> int:
    """The most slots that were held at a time; who is about to die counts as without from then."""
    held: Counter[str] = Counter()
    dead: set[str] = set()
    most = 0
    for line in lines:
        change, pid = line.split()
        if change == "dies":
            dead.add(pid)
            del held[pid]
        elif pid not in dead:
            held[pid] += int(change)
        most = max(most, held.total())
    return most


@pytest.mark.contract("CC-27", "CC-44")
def test_tag_limits_while_others_die(place: Place) -> None:
    """Tasks with a limited tag are never too many at a time over all processes; all of them end, though some die."""
    dice = random.Random()
    with ExitStack() as stack:
        survivors = [stack.enter_context(place.start("tags", TASKS)) for _ in range(2)]
        for _ in range(DEATHS):
            with place.start("tags", 1000) as victim:
                pid = f"{victim.pid}"
                until(lambda pid=pid: any(pid in line for line in place.lines("tagged")), "the first task")
                time.sleep(dice.random() / 10)
                append(str(place.folder / "tagged"), f"dies {pid}")
                victim.kill()
        for survivor in survivors:
            survivor.end()
        done = Counter(line.split()[1] for line in place.lines("tagged") if line.startswith("-1"))
        assert [done[f"{survivor.pid}"] for survivor in survivors] == [TASKS, TASKS]
    assert most_held(place.lines("tagged")) <= SLOTS


@pytest.mark.contract("CC-5")
def test_time_is_up_while_others_die(place: Place) -> None:
    """Whoever waits with a limit of time gets in when the holder dies before, and gives up when it lives on."""
    with place.start("hold", 1) as holder:
        holder.facts("inside")
        assert place.run("impatient", 0.3, "")[-1] == "refused AcquireConcurrencySlotTimeoutError"
        with place.start("impatient", 100, "") as waiter:
            until(lambda: place.rows(DENIED) == [(1,)], "the waiting")
            holder.kill()
            assert waiter.end() == ["ready", "inside"]


@pytest.mark.contract("CC-38")
def test_no_retries_while_others_die(place: Place) -> None:
    """Without retries, the slots of the living are refused, and those of the dead are there at once."""
    with place.start("hold", 1) as holder:
        holder.facts("inside")
        assert place.run("impatient", "", 0)[-1] == "refused ConcurrencySlotAcquisitionError"
        holder.kill()
        assert place.run("impatient", "", 0)[-1] == "inside"


@pytest.mark.contract("CC-34", "CC-44")
def test_those_in_front_die(place: Place) -> None:
    """The places of processes that died while they waited are in nobody's way."""
    with place.start("hold", 1) as holder:
        holder.facts("inside")
        with place.start("hold", 1) as first, place.start("hold", 1) as second:
            until(lambda: place.rows(DENIED) == [(2,)], "the waiting of both")
            with place.start("impatient", 100, "") as last:
                until(lambda: place.rows(DENIED) == [(3,)], "the waiting of all")
                first.kill()
                second.kill()
                holder.go_on()
                assert last.end() == ["ready", "inside"]
