"""Two machines that share one PostgreSQL: limits, locks, results, runs and cancellations are those of both.

A machine is a process with a host id of its own. Others know of its death by its lease alone.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.machines import Place, Rows, place_in
from tests.acceptance.programs import ROW_TO_STOP_AT, SHARED
from tests.deaths.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LEASE = "3"
A = {"HOST_ID": "machine-a", "LEASE_SECONDS": LEASE}
B = {"HOST_ID": "machine-b", "LEASE_SECONDS": LEASE}
DENIED = "SELECT count(*) FROM slots WHERE acquired IS NULL"
HOSTS_OF_SLOTS = (
    "SELECT o.host FROM slots AS s JOIN owners AS o ON o.id = s.owner_id WHERE s.acquired IS NOT NULL"
)
HOSTS_OF_LOCKS = "SELECT o.host FROM locks AS l JOIN owners AS o ON o.id = l.owner_id"
ENDED_EARLY = (
    "SELECT count(*), sum(CASE WHEN ended < lease_expires THEN 1 ELSE 0 END) FROM owners"
    " WHERE ended_by IS NOT NULL AND host = 'machine-a'"
)
IN_TRANSACTION = (  # as the owner of what it writes, with statements sent whose answers were not asked for yet
    "SELECT count(*) FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid"
    " WHERE a.application_name = 'mainspring' AND l.mode = 'RowShareLock' AND l.relation = 'owners'::regclass"
    " AND a.state = 'active' AND a.wait_event = 'ClientRead'"
)
FLOW_RUNS = "SELECT flow_name, state_name FROM flow_runs ORDER BY flow_name"
OF_RUNS = {
    "states": "SELECT * FROM states ORDER BY run_id, position",
    "task_runs": "SELECT id, state_name, run_count, owner_id FROM task_runs ORDER BY id",
    "flow_runs": "SELECT id, state_name, run_count, owner_id FROM flow_runs ORDER BY id",
    "logs": "SELECT id, message FROM logs ORDER BY id",
    "results": "SELECT key, run_id FROM results ORDER BY key",
}


@pytest.fixture
def place() -> Iterator[Place]:
    """A database of both machines, with a limit of one slot."""
    with place_in("postgresql") as place:
        place.run("limit", SHARED, 1)
        yield place


@pytest.mark.contract("CC-4", "CC-16", "CC-45")
def test_limits_hold_across(place: Place) -> None:
    """A slot that one machine holds is not to be had on the other, which gets it when it is given back."""
    with ExitStack() as stack:
        holder = stack.enter_context(place.start("hold", 1, **A))
        holder.facts("inside")
        waiter = stack.enter_context(place.start("hold", 1, **B))
        until(lambda: place.rows(DENIED) == [(1,)], "the waiting of the other machine")
        assert place.run("impatient", 0, "", **B) == ["ready", "refused AcquireConcurrencySlotTimeoutError"]
        assert place.rows(HOSTS_OF_SLOTS) == [("machine-a",)]
        assert "left" in holder.end()
        waiter.facts("inside")
        assert place.rows(HOSTS_OF_SLOTS) == [("machine-b",)]
        waiter.end()


@pytest.mark.contract("CC-32", "CC-34")
def test_waiting_for_longer_than_a_lease(place: Place) -> None:
    """A machine that only waits, for longer than its lease, is alive for the other one, and keeps its place."""
    with ExitStack() as stack:
        holder = stack.enter_context(place.start("hold", 1, **A))
        holder.facts("inside")
        waiter = stack.enter_context(place.start("hold", 1, **A))
        until(lambda: place.rows(DENIED) == [(1,)], "the waiting")
        with place.start("watch", **B) as other:
            other.facts("begun")
            (began,) = place.rows("SELECT max(lease_expires) FROM owners WHERE host = 'machine-a'")
            until(
                lambda: time.time() * 1e6 > began[0] + 2_000_000, "the end of all leases that began by then"
            )
            assert place.rows(
                "SELECT count(*) FROM owners WHERE ended IS NOT NULL AND host = 'machine-a'"
            ) == [(0,)]
            holder.end()
            waiter.facts("inside")
            waiter.end()
            other.end()


def test_locks_hold_across(place: Place) -> None:
    """A lock that one machine holds is not to be had on the other, which gets it when it is released."""
    with place.start("lock", "the-lock", **A) as holder:
        holder.facts("inside")
        with place.start("lock", "the-lock", **B) as waiter:
            assert place.run("impatient", 0, "", **B) == ["ready", "inside"]  # so much time has passed
            assert place.rows(HOSTS_OF_LOCKS) == [("machine-a",)]
            holder.end()
            waiter.facts("inside")
            assert place.rows(HOSTS_OF_LOCKS) == [("machine-b",)]
            waiter.end()


@pytest.mark.contract("K-21", "V-11")
def test_results_are_computed_once(place: Place) -> None:
    """A cached task that is called on both machines at once is computed on one of them, and the other waits for it."""
    keys = [f"key-{number}" for number in range(4)]
    with place.start_all([(("compute", *keys), A), (("compute", *keys), B)]) as programs:
        for program in programs:
            program.facts("ready")
        for program in programs:
            program.go_on()
        for program in programs:
            program.end()
    assert Counter(place.lines("computed")) == dict.fromkeys(keys, 1)


def test_crashed_run_is_resumed_on_the_other(place: Place) -> None:
    """A run whose machine has died is gone on with on the other one, once its lease is over: no step is repeated."""
    with place.start("harvest", 5, **A) as first:
        (run_id,) = first.facts("begun")
        assert "is not over" in place.run("resume", run_id, **B)[-1]  # while it goes on, nobody else may
        first.kill()
    until(
        lambda: place.run("impatient", 0, "", **B) and place.rows(FLOW_RUNS) == [("harvest", "Crashed")],
        "the death",
    )
    assert place.run("resume", run_id, **B)[-1] == "value 150"
    assert place.rows(FLOW_RUNS) == [("harvest", "Completed")]
    expected = {str(row): 1 for row in range(1, 6)}
    assert Counter(place.lines("picked")) == {**expected, str(ROW_TO_STOP_AT): 2}


def test_run_is_cancelled_from_the_other(place: Place) -> None:
    """A run that goes on on one machine is cancelled from the other: once it shows as cancelled, nothing goes on."""
    with place.start("nightly", **A) as program:
        (run_id,) = program.facts("begun")
        until(lambda: len(place.lines("beats")) > 1, "the work")
        name, at = place.run("cancel", run_id, **B)[-1].split()[1:]
        assert name == "Cancelled"
        assert "cancelled enough" in program.end()
    assert int(place.lines("beats")[-1]) < int(at)


@pytest.mark.contract("CC-32", "CC-44")
def test_slots_and_locks_of_a_dead_machine_are_free_after_its_lease(place: Place) -> None:
    """What a machine held that was killed is free for the other when its lease is over, and not before."""
    with place.start("hold", 1, **A) as holder, place.start("lock", "the-lock", **A) as locker:
        holder.facts("inside")
        locker.facts("inside")
        with place.start("hold", 1, **B) as waiter, place.start("lock", "the-lock", **B) as other:
            until(lambda: place.rows(DENIED) == [(1,)], "the waiting of the other machine")
            holder.kill()
            locker.kill()
            waiter.facts("inside")
            other.facts("inside")
            assert place.rows(ENDED_EARLY) == [(2, 0)]
            assert place.rows(HOSTS_OF_SLOTS) == [("machine-b",)]
            assert place.rows(HOSTS_OF_LOCKS) == [("machine-b",)]
            waiter.end()
            other.end()


def of_runs(place: Place) -> dict[str, Rows]:
    return {name: place.rows(query) for name, query in OF_RUNS.items()}


def test_machine_that_was_stopped_past_its_lease(place: Place) -> None:
    """A machine that stood still until it was taken for dead can write nothing of its run and takes nothing back."""
    with ExitStack() as stack:
        program = stack.enter_context(place.start("stopped", **A))
        program.facts("begun")
        os.kill(program.pid, signal.SIGSTOP)
        holder = stack.enter_context(place.start("hold", 1, **B))
        locker = stack.enter_context(place.start("lock", "the-lock", **B))
        holder.facts("inside")
        locker.facts("inside")
        assert place.rows(FLOW_RUNS) == [("stopped", "Crashed")]
        before = of_runs(place)
        os.kill(program.pid, signal.SIGCONT)
        lines = program.end()
        assert lines[0] in ("ended OwnershipLost", "ended SupersededRun")
        assert lines[-1] == "next 3"
        after = of_runs(place)
        assert place.rows(FLOW_RUNS) == [("next-one", "Completed"), ("stopped", "Crashed")]
        for name in before:
            assert after[name][: len(before[name])] == before[name], name
        assert place.rows(HOSTS_OF_SLOTS) == [("machine-b",)]
        assert place.rows(HOSTS_OF_LOCKS) == [("machine-b",)]
        holder.end()
        locker.end()


@pytest.mark.slow
def test_machine_that_was_stopped_in_a_transaction(place: Place) -> None:
    """A machine that stands still in the middle of a transaction is dead after its lease as any other."""
    with place.start("restless", **A) as program:
        program.facts("begun")

        def is_stopped_in_transaction() -> bool:
            os.kill(program.pid, signal.SIGSTOP)
            time.sleep(0.05)  # for the server to notice that nothing comes
            if place.rows(IN_TRANSACTION) != [(0,)]:
                return True
            os.kill(program.pid, signal.SIGCONT)
            time.sleep(0.01)
            return False

        until(is_stopped_in_transaction, "the middle of a transaction")
        with place.start("hold", 1, **B) as holder:
            until(lambda: place.rows(HOSTS_OF_SLOTS) == [("machine-b",)], "the end of the lease")
            holder.facts("inside")
            holder.end()
