"""Two hosts with one database: who counts as dead, and what a process that counted as dead can still write."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from mainspring.clock import use_clock
from mainspring.context import FlowRunContext
from mainspring.exceptions import OwnershipLost, SupersededRun
from mainspring.identifiers import new_id
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import StateType
from mainspring.store import Change, LogEntry, RunStore, SlotRequest
from mainspring.store.addresses import open_store
from mainspring.store.results import KeptResult, Leftovers, Settlement, StagedStep
from mainspring.store.sql.store import SQLRunStore
from mainspring.store.sqlite import SQLiteRunStore
from tests.engine.clocks import JumpingClock
from tests.postgres.server import fresh_schema
from tests.store.histories import (
    COMPLETED,
    CRASHED,
    PAUSED,
    RUNNING,
    advance,
    new_flow_run,
    new_task_run,
    record,
)

LEASE = 30.0


class Hosts:
    """Stores of one database on different hosts, and their common clock."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self.clock = JumpingClock()
        self._stack = stack

    def open(self, host: str) -> SQLRunStore:
        with use_clock(self.clock):
            store = open_store(self.url, host_id=host, lease_seconds=LEASE, settles=False)
        assert isinstance(store, SQLRunStore)
        self._stack.callback(store.close)
        return store

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(self._connect()) as db:
            return list(db.execute(query).fetchall())

    def change(self, statement: str) -> None:
        with closing(self._connect()) as db, db:
            db.execute(statement)

    def _connect(self) -> Any:
        if self.url.startswith("postgresql"):
            return psycopg.connect(self.url)
        return sqlite3.connect(self.url.removeprefix("sqlite:///"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        if request.param == "postgresql":
            url = stack.enter_context(fresh_schema())
        else:
            url = f"sqlite:///{tmp_path / 'runs.db'}"
        hosts = Hosts(url, stack)
        with use_clock(hosts.clock):
            yield hosts


def request_for(name: str, holder: Run | None = None) -> SlotRequest:
    lease = 1_000_000_000
    return SlotRequest(new_id(), [name], 1, lease, None if holder is None else ("task_run", holder.key))


def begin(store: RunStore) -> tuple[FlowRun, TaskRun]:
    """A flow run and a task run in it that go on, as a recorder would write them."""
    flow_run = new_flow_run()
    flow_change = advance(flow_run, RUNNING)
    task_run = new_task_run(flow_run)
    task_run.flow_run_run_count = 1
    record(store, flow_change, advance(task_run, RUNNING))
    store.losses.live = {run.key: run for run in (flow_run, task_run)}
    return flow_run, task_run


def lose(hosts: Hosts) -> tuple[SQLRunStore, SQLRunStore, FlowRun, TaskRun]:
    """A process whose lease ran out while runs went on, and which was declared dead by another one."""
    here, there = hosts.open("a"), hosts.open("b")
    flow_run, task_run = begin(here)
    hosts.clock.advance(LEASE)
    assert len(there.settle_dead_owners()) == 2
    hosts.clock.advance(1)
    return here, there, flow_run, task_run


# Who counts as dead


def test_a_lease_that_runs(hosts: Hosts) -> None:
    """A process on another host keeps its runs as long as its lease has not run out."""
    begin(hosts.open("a"))
    hosts.clock.advance(LEASE - 0.001)
    assert hosts.open("b").settle_dead_owners() == []


def test_a_lease_that_has_run_out(hosts: Hosts) -> None:
    """A process on another host counts as dead when its lease has run out; its runs say so, and who it was."""
    here, there = hosts.open("a"), hosts.open("b")
    flow_run, task_run = begin(here)
    hosts.clock.advance(LEASE)
    settled = there.settle_dead_owners()
    assert {run.key for run in settled} == {flow_run.key, task_run.key}
    found = there.read_run(flow_run.key)
    assert found is not None
    assert found.state.type is CRASHED
    assert f"pid {os.getpid()} on host a" in (found.state.message or "")
    assert "counts as dead: its lease ran out at" in (found.state.message or "")
    assert hosts.rows("SELECT ended_by FROM owners") == [(f"pid {os.getpid()} on host b",)]


def test_a_renewed_lease(hosts: Hosts) -> None:
    """A lease that is renewed in time runs anew from then on."""
    here, there = hosts.open("a"), hosts.open("b")
    begin(here)
    hosts.clock.advance(LEASE * 0.9)
    assert here.renew_lease()
    hosts.clock.advance(LEASE * 0.9)
    assert there.settle_dead_owners() == []


def test_the_same_host_goes_by_the_lock(hosts: Hosts) -> None:
    """A live process of the same host keeps its runs whatever its lease says: its machine may have slept."""
    here, there = hosts.open("a"), hosts.open("a")
    flow_run, _ = begin(here)
    hosts.clock.advance(100 * LEASE)
    assert there.settle_dead_owners() == []
    record(here, advance(flow_run, COMPLETED))


def test_another_host_does_not_go_by_the_lock(hosts: Hosts) -> None:
    """Between host ids a lock says nothing, not even on one machine: a closed store is found by its lease alone."""
    here, there = hosts.open("a"), hosts.open("b")
    begin(here)
    here.close()
    assert there.settle_dead_owners() == []
    hosts.clock.advance(LEASE)
    assert len(there.settle_dead_owners()) == 2


def test_who_has_nothing_to_lose_is_left_alone(hosts: Hosts) -> None:
    """A process that waits for work may let its lease run out, and goes on as if nothing had been."""
    here, there = hosts.open("a"), hosts.open("b")
    record(here, advance(new_task_run(), RUNNING, COMPLETED))
    hosts.clock.advance(10 * LEASE)
    assert there.settle_dead_owners() == []
    record(here, advance(new_task_run(), RUNNING))
    assert not here.losses.any
    assert there.settle_dead_owners() == []
    assert hosts.rows("SELECT count(*) FROM owners") == [(1,)]


def test_an_owner_of_an_older_version(hosts: Hosts) -> None:
    """Owners without a lease, of a version that had none, are left alone on other hosts."""
    here, there = hosts.open("a"), hosts.open("b")
    begin(here)
    hosts.change("UPDATE owners SET lease_expires = NULL, boot = 'another'")
    hosts.clock.advance(10 * LEASE)
    assert there.settle_dead_owners() == []


@pytest.mark.parametrize("held", ["slots", "lock"])
def test_what_an_expired_owner_held_is_free(hosts: Hosts, held: str) -> None:
    """Slots and locks of a process on another host are free when its lease has run out, also without any run."""
    here, there = hosts.open("a"), hosts.open("b")
    here.write_limit("db", 1, True, 0)
    now = hosts.clock.now()
    if held == "slots":
        assert here.take_slots(request_for("db"), now, None).granted
    else:
        assert here.take_lock("k", "me", now, None) is None
    assert here.renew_lease()
    hosts.clock.advance(LEASE)
    there.settle_dead_owners()
    if held == "slots":
        assert there.take_slots(request_for("db"), hosts.clock.now(), None).granted
    else:
        assert there.take_lock("k", "you", hosts.clock.now(), None) is None


# What is refused


def test_states_are_refused(hosts: Hosts) -> None:
    """States of runs that were settled meanwhile are refused, with an error that says when, by whom and what to do."""
    here, there, flow_run, task_run = lose(hosts)
    changes = [advance(task_run, COMPLETED), advance(flow_run, COMPLETED)]
    assert here.write(changes) == changes
    assert [state.type for state in there.read_states(flow_run.key)] == [StateType.PENDING, RUNNING, CRASHED]
    error = here.losses.refusal(flow_run)
    assert isinstance(error, SupersededRun)
    for part in (f"pid {os.getpid()} on host b", "2027-01-15", "mainspring runs resume", str(flow_run.id)):
        assert part in str(error)


def test_states_are_refused_for_ever(hosts: Hosts) -> None:
    """The next states of a lost run are refused as well, one that had not been settled for it was paused included."""
    here, there = hosts.open("a"), hosts.open("b")
    begin(here)
    paused = new_flow_run()
    record(here, advance(paused, RUNNING, PAUSED))
    here.losses.live = {**here.losses.live, paused.key: paused}
    hosts.clock.advance(LEASE)
    there.settle_dead_owners()
    for _ in range(3):
        late = advance(paused, RUNNING)
        assert here.write([late]) == [late]
    assert len(there.read_states(paused.key)) == 3


def test_new_runs_inside_of_lost_ones_are_refused(hosts: Hosts) -> None:
    """Task runs and subflows that begin inside of a lost flow run are refused, and what begins inside of those."""
    here, there, flow_run, _ = lose(hosts)
    here.write([advance(flow_run, COMPLETED)])
    stand_in = new_task_run(flow_run, name="stand-in")
    stand_in.flow_run_run_count = 1
    subflow = new_flow_run(parent_task_run_key=stand_in.key)
    subflow.run_count = 1
    inner = new_task_run(subflow, name="inner")
    inner.flow_run_run_count = 1
    changes = [advance(run) for run in (stand_in, subflow, inner)]
    assert here.write(changes) == changes
    assert all(there.read_run(change.run.key) is None for change in changes)


def test_runs_that_nobody_had_seen_are_refused(hosts: Hosts) -> None:
    """A run that had begun before the declaration of death, and was not written yet, is lost as well."""
    here, there = hosts.open("a"), hosts.open("b")
    begin(here)
    unseen = new_task_run(name="unseen")
    hosts.clock.advance(LEASE)
    there.settle_dead_owners()
    late = advance(unseen, RUNNING, COMPLETED)
    assert here.write([late]) == [late]
    assert there.read_run(unseen.key) is None


def test_another_thread_finds_out(hosts: Hosts) -> None:
    """A write that was waiting for its turn while another thread found out writes nothing of what is lost."""
    here, there, flow_run, _ = lose(hosts)
    inside = new_task_run(flow_run, name="inside")
    inside.flow_run_run_count = 1
    late = advance(inside, RUNNING)
    refused: list[Change] = []

    def renew() -> None:
        with suppress(OwnershipLost):  # one of the two meets it
            here.renew_lease()

    def write() -> None:
        refused.extend(here.write([late]))

    threads = [Thread(target=renew), Thread(target=write)]
    with here._writer.lock if isinstance(here, SQLiteRunStore) else nullcontext():  # for which both wait
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert refused == [late]
    assert there.read_run(inside.key) is None


def test_log_lines_and_results_are_refused(hosts: Hosts) -> None:
    """Log lines of lost runs, and results of theirs that come without a state, are not written; others are."""
    here, there, flow_run, task_run = lose(hosts)
    lines = [
        LogEntry(1, 20, "log", f"line {number}", *keys)
        for number, keys in enumerate(
            [(flow_run.key, None), (flow_run.key, task_run.key), (None, task_run.key)]
        )
    ]
    here.write([], lines, [], [KeptResult("lost", "1", None, task_run.key), KeptResult("other", "2")])
    assert there.read_logs(flow_run.key) == there.read_logs(task_run.key) == []
    assert there.read_result("lost") is None
    assert there.read_result("other") is not None


def test_slots_and_locks_of_lost_runs_are_refused(hosts: Hosts) -> None:
    """A lost run can neither take nor renew slots, nor take locks; where it is known, it is told why."""
    here, there, flow_run, task_run = lose(hosts)
    there.write_limit("db", 5, True, 0)
    now = hosts.clock.now()
    with pytest.raises(OwnershipLost, match="on host b took it for dead"):
        here.take_slots(request_for("db", task_run), now, None)
    with pytest.raises(OwnershipLost, match="A request for slots"):
        here.take_slots(request_for("db", task_run), now, None)
    with FlowRunContext(flow=None, flow_run=flow_run), pytest.raises(OwnershipLost, match="The lock on 'k'"):
        here.take_lock("k", "me", now, None)
    assert there.read_limits(["db"])[0].active_slots == 0
    assert there.read_lock("k", now) is None


def test_slots_from_before_cannot_be_renewed(hosts: Hosts) -> None:
    """Slots that were held at the declaration of death are somebody else's by now."""
    here, there = hosts.open("a"), hosts.open("b")
    here.write_limit("db", 1, True, 0)
    request = request_for("db")
    assert here.take_slots(request, hosts.clock.now(), None).granted
    hosts.clock.advance(LEASE)
    there.settle_dead_owners()
    assert there.take_slots(request_for("db"), hosts.clock.now(), None).granted
    with pytest.raises(OwnershipLost):
        here.renew_slots([(request.lease_key, hosts.clock.now() + 1_000_000)])
    assert here.renew_slots([(request.lease_key, hosts.clock.now() + 1_000_000)]) == {request.lease_key}


def test_settlements_of_lost_runs_are_refused(hosts: Hosts) -> None:
    """What transactions of a lost flow run would stage or settle is not taken."""
    here, there, flow_run, _ = lose(hosts)
    with pytest.raises(OwnershipLost):
        here.open_settlement(Settlement(new_id(), flow_run.key, "COMMIT", b""), [])
    assert not here.open_settlement(Settlement(new_id(), flow_run.key, "COMMIT", b""), [])
    other = new_task_run(name="other")
    change = advance(other, RUNNING, COMPLETED)
    change.attachments = (StagedStep(other.key, flow_run.key, flow_run.key, "s", content="1"),)
    record(here, change)
    assert there.read_leftovers(flow_run.key) == Leftovers([], [])


# Going on


def test_new_runs_work(hosts: Hosts) -> None:
    """New runs of the same process are written, also in the write that finds out, and belong to a fresh owner."""
    here, there, flow_run, _ = lose(hosts)
    late, fresh = advance(flow_run, COMPLETED), advance(new_task_run(name="fresh"), RUNNING)
    assert here.write([late, fresh]) == [late]
    assert there.read_run(fresh.run.key) is not None
    assert there.settle_dead_owners() == []
    owners = hosts.rows("SELECT id, ended IS NULL FROM owners ORDER BY id")
    assert [alive for _, alive in owners] == [0, 1]
    assert hosts.rows("SELECT owner_id FROM task_runs WHERE name = 'fresh'") == [(owners[1][0],)]


def test_the_clock_of_the_finder_is_fast(hosts: Hosts) -> None:
    """A finder whose clock is hours ahead refuses nothing that this process begins after it has found out."""
    here, there = hosts.open("a"), hosts.open("b")
    flow_run, _ = begin(here)
    fast = JumpingClock()
    fast.advance(7200)
    there._clock = fast  # the clock of the other host
    there.settle_dead_owners()
    hosts.clock.advance(LEASE)
    late = advance(flow_run, COMPLETED)
    assert here.write([late]) == [late]
    hosts.clock.advance(1)
    record(here, advance(new_task_run(name="fresh"), RUNNING, COMPLETED))


def test_a_lost_run_can_be_resumed_by_the_process_that_lost_it(hosts: Hosts) -> None:
    """A resumed run has the id of the lost one and counts, with its lines and what begins in its new attempt."""
    here, there, flow_run, _ = lose(hosts)
    late = advance(flow_run, COMPLETED)
    assert here.write([late]) == [late]
    resumed = here.read_run(flow_run.key)
    assert isinstance(resumed, FlowRun)
    record(here, advance(resumed, RUNNING))
    inside = new_task_run(resumed)
    inside.flow_run_run_count = resumed.run_count
    record(here, advance(inside, RUNNING, COMPLETED))
    here.write([], [LogEntry(1, 20, "log", "again", resumed.key)])
    assert [line.message for line in there.read_logs(resumed.key)] == ["again"]
    leftover = new_task_run(flow_run, name="of the lost attempt")
    leftover.flow_run_run_count = 1
    refused = advance(leftover, RUNNING)
    assert here.write([refused]) == [refused]


def test_one_line_and_one_call(hosts: Hosts, caplog: pytest.LogCaptureFixture) -> None:
    """A loss is told once: by one line at ERROR, and to each listener, with the runs that went on."""
    here, _, flow_run, task_run = lose(hosts)
    heard: list[set[bytes]] = []
    here.losses.listen(lambda runs: heard.append({run.key for run in runs}))
    caplog.set_level(logging.ERROR, "mainspring")
    with pytest.raises(OwnershipLost):
        here.renew_lease()
    here.renew_lease()
    here.write([advance(flow_run, COMPLETED)])
    assert heard == [{flow_run.key, task_run.key}]
    (line,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert "2 run(s) that were going on" in line.getMessage()


def test_lost_twice(hosts: Hosts) -> None:
    """A process that counts as dead a second time loses what it had begun since, and goes on once more."""
    here, there, _, _ = lose(hosts)
    second = new_task_run(name="second")
    record(here, advance(second, RUNNING))
    here.losses.live = {second.key: second}
    hosts.clock.advance(LEASE)
    assert [run.name for run in there.settle_dead_owners()] == ["second"]
    hosts.clock.advance(1)
    late, third = advance(second, COMPLETED), advance(new_task_run(name="third"), RUNNING)
    assert here.write([late, third]) == [late]


def test_lock_files_of_the_lost_are_removed(hosts: Hosts) -> None:
    """A declaration of death leaves no file behind, neither by the finder nor by the one that comes back."""
    here, there, flow_run, _ = lose(hosts)
    folder = here._owners
    assert folder is not None
    there.renew_lease()
    here.write([advance(flow_run, COMPLETED)])
    here.close()
    there.close()
    assert sorted(folder.iterdir()) == []
