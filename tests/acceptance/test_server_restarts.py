"""A PostgreSQL server that goes and comes back under load: runs go on, and users see nothing of it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.acceptance.machines import Place, place_in
from tests.deaths.processes import until
from tests.postgres.restarts import WAYS, OwnServer, own_server

PROCESSES = 4
RESTARTS = int(os.environ.get("TEST_RESTARTS", "2"))
SLOTS = 2
STEPS = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 60 * RESTARTS)]

UNFINISHED = (
    "SELECT (SELECT count(*) FROM flow_runs WHERE state_name <> 'Completed'),"
    " (SELECT count(*) FROM task_runs WHERE state_name <> 'Completed'), (SELECT count(*) FROM slots)"
)
TASKS = "SELECT f.id, count(*) FROM flow_runs AS f JOIN task_runs AS t ON t.flow_run_id = f.id GROUP BY f.id"
POSITIONS = (  # of states that are not there once each
    "SELECT run_id FROM states GROUP BY run_id HAVING count(*) <> max(position) OR min(position) <> 1"
    " OR sum(CASE WHEN name = 'Completed' THEN 1 ELSE 0 END) <> 1"
)


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with own_server() as server:
        yield server


def flows_done(place: Place) -> Counter[str]:
    return Counter(place.lines("done"))


def wait_for_progress(place: Place) -> None:
    """Return when every process has ended flows from now on."""
    before = flows_done(place)
    until(
        lambda: (
            len(after := flows_done(place)) == PROCESSES
            and all(count >= before[pid] + 2 for pid, count in after.items())
        ),
        "progress of all processes",
    )


@pytest.mark.contract("CC-4", "CC-16")
@pytest.mark.parametrize("way", WAYS)
def test_runs_go_on_over_a_restart(server: OwnServer, way: str) -> None:
    """Four processes run flows while the server is restarted: no step is lost or repeated, no limit exceeded."""
    with place_in("postgresql", server.url) as place:
        place.run("limit", "shared", SLOTS)
        place.run("limit", "tag:few", SLOTS + 1)
        load = ((("load",), {}) for _ in range(PROCESSES))
        with place.start_all(load) as programs:
            wait_for_progress(place)
            for number in range(RESTARTS):
                server.stop(way)
                time.sleep(number % 2)  # for which it is away
                server.start()
                wait_for_progress(place)
            (place.folder / "stop").touch()
            flows = sum(int(program.end()[-1].removeprefix("flows ")) for program in programs)
        check(place, flows)


def check(place: Place, flows: int) -> None:
    """Everything that was done was done once, and is in the history once."""
    steps = Counter(place.lines("steps"))
    assert set(steps.values()) == {1}
    assert len(steps) == flows * STEPS
    assert place.rows(UNFINISHED) == [(0, 0, 0)]
    tasks = place.rows(TASKS)
    assert len(tasks) == flows
    assert {count for _, count in tasks} == {STEPS}
    assert place.rows(POSITIONS) == []
    held = most = 0
    for line in place.lines("held"):
        held += int(line.split()[0])
        most = max(most, held)
    assert held == 0
    assert 1 <= most <= SLOTS
