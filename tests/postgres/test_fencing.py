"""Somebody is found dead at the very moment at which it writes; several do the same thing at once: one wins."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from mainspring.clock import use_clock
from mainspring.identifiers import new_id
from mainspring.store import SlotRequest
from mainspring.store.pauses import PauseRecord
from mainspring.store.postgres import PostgresRunStore
from mainspring.store.results import CrashHooks, Settlement
from tests.engine.clocks import JumpingClock
from tests.store.histories import (
    COMPLETED,
    CRASHED,
    NOON,
    RUNNING,
    advance,
    new_flow_run,
    new_task_run,
    record,
)

LEASE = 30.0
PATIENCE = 30.0
ROUNDS = 15


class Hosts:
    """Stores of one schema on different hosts, and their common clock."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self.clock = JumpingClock()
        self._stack = stack

    def open(self, host: str) -> PostgresRunStore:
        store = PostgresRunStore(self.url, host_id=host, lease_seconds=LEASE)
        self._stack.callback(store.close)
        return store

    def count(self, query: str) -> int:
        with psycopg.connect(self.url) as db:
            row = db.execute(query.encode()).fetchone()
            assert row is not None
            return int(row[0])


@pytest.fixture
def hosts(url: str) -> Iterator[Hosts]:
    with ExitStack() as stack:
        found = Hosts(url, stack)
        with use_clock(found.clock):
            yield found


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What the calls give, each of which is made in a thread at the same moment."""
    barrier = threading.Barrier(len(calls))
    given: list[object] = [None] * len(calls)

    def do(index: int) -> None:
        barrier.wait(PATIENCE)
        try:
            given[index] = calls[index]()
        except BaseException as error:
            given[index] = error

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert not any(isinstance(each, BaseException) for each in given), given
    return given


def test_a_settler_waits_for_a_transaction(hosts: Hosts) -> None:
    """Who is found dead in the middle of a transaction ends it first; what it has written is settled then."""
    here, there = hosts.open("a"), hosts.open("b")
    record(here, advance(new_task_run(), RUNNING))
    inside, go_on = threading.Event(), threading.Event()

    def slowly(cursor: object, owner: int | None) -> None:
        cursor.execute(  # type: ignore[attr-defined]
            "INSERT INTO slots (lease_id, limit_id, slots, requested, acquired, lease_expires, owner_id)"
            " VALUES (?,?,1,1,1,?,?)",
            (b"x", b"y", 2**60, owner),
        )
        cursor.execute("SELECT 1").fetchone()  # type: ignore[attr-defined]
        inside.set()
        go_on.wait(PATIENCE)

    writer = threading.Thread(target=here._transact, args=(slowly,))
    writer.start()
    assert inside.wait(PATIENCE)
    hosts.clock.advance(LEASE)
    settler = threading.Thread(target=there.settle_dead_owners)
    settler.start()
    time.sleep(0.3)
    assert settler.is_alive()
    go_on.set()
    writer.join(PATIENCE)
    settler.join(PATIENCE)
    assert hosts.count("SELECT count(*) FROM slots") == 0
    assert hosts.count("SELECT count(*) FROM task_runs WHERE state_type = 'RUNNING'") == 0


def test_a_writer_waits_for_its_settler(hosts: Hosts) -> None:
    """Who writes while it is being found dead waits, and is refused then."""
    here, there = hosts.open("a"), hosts.open("b")
    run = new_task_run()
    record(here, advance(run, RUNNING))
    here.losses.live = {run.key: run}
    with psycopg.connect(hosts.url) as settler:
        settler.execute("UPDATE owners SET ended = 1, ended_by = 'b'")
        refused: list[object] = []
        change = advance(run, COMPLETED)
        writer = threading.Thread(target=lambda: refused.extend(here.write([change])))
        writer.start()
        time.sleep(0.2)
        assert writer.is_alive()
    writer.join(PATIENCE)
    assert refused == [change]
    assert there.read_states(run.key)[-1].type is RUNNING


def test_several_threads_find_out(hosts: Hosts) -> None:
    """When many threads find out at once that they are lost, one loss is noted, and all go on as one new owner."""
    here, there = hosts.open("a"), hosts.open("b")
    for _ in range(5):
        runs = [new_task_run() for _ in range(8)]
        record(here, *[advance(run, RUNNING) for run in runs])
        here.losses.live = {run.key: run for run in runs}
        hosts.clock.advance(LEASE)
        assert len(there.settle_dead_owners()) == 8
        hosts.clock.advance(1)
        fresh = [new_task_run() for _ in range(8)]

        def write(index: int, runs: list = runs, fresh: list = fresh) -> object:
            late, new = advance(runs[index], COMPLETED), advance(fresh[index], RUNNING)
            return here.write([late, new]) == [late]

        assert at_once(*[lambda index=index: write(index) for index in range(8)]) == [True] * 8
        assert hosts.count("SELECT count(*) FROM owners WHERE ended IS NULL") == 1
        record(here, *[advance_recorded(run) for run in fresh])


def advance_recorded(run: object) -> object:
    run.recorded = run.state.key  # type: ignore[attr-defined]
    return advance(run, COMPLETED)  # type: ignore[arg-type]


def test_several_settlers(hosts: Hosts) -> None:
    """Of several who settle a dead process at once, one does."""
    settlers = [hosts.open(f"s{number}") for number in range(3)]
    for _ in range(5):
        here = hosts.open("a")
        runs = [new_task_run() for _ in range(5)]
        record(here, *[advance(run, RUNNING) for run in runs])
        hosts.clock.advance(LEASE)
        counts = at_once(*[lambda store=store: len(store.settle_dead_owners()) for store in settlers])
        assert sorted(counts) == [0, 0, 5]
        for run in runs:
            assert [state.type for state in settlers[0].read_states(run.key)][1:] == [RUNNING, CRASHED]


def test_one_takes_a_lock(hosts: Hosts) -> None:
    """Of several who take a lock at once, one has it."""
    stores = [hosts.open(f"{number}") for number in range(4)]
    for turn in range(ROUNDS):
        got = at_once(
            *[
                lambda store=store, me=f"{me}", key=f"{turn}": store.take_lock(key, me, NOON, None) is None
                for me, store in enumerate(stores)
            ]
        )
        assert got.count(True) == 1


def test_one_takes_the_last_slot(hosts: Hosts) -> None:
    """Of several who want the last slot of two limits, in any order, one has it."""
    stores = [hosts.open(f"{number}") for number in range(4)]
    for name in ("a", "b"):
        stores[0].write_limit(name, 1, True, 0)
    for _ in range(ROUNDS):
        requests = [SlotRequest(new_id(), ["a", "b"], 1, 10**12) for _ in stores]
        got = at_once(
            *[
                lambda store=store, request=request: store.take_slots(request, NOON, None).granted
                for store, request in zip(stores, requests, strict=True)
            ]
        )
        assert got.count(True) == 1
        requests_held = requests[got.index(True)]
        stores[0].release_slots(requests_held.lease_key, NOON, 1.0)


def test_one_answers(hosts: Hosts) -> None:
    """Of several who answer, or close, a pause, one does."""
    stores = [hosts.open(f"{number}") for number in range(4)]
    for _ in range(ROUNDS):
        key = new_id()
        stores[0].open_pause(
            PauseRecord(flow_run_key=key, key="1", root_key=key, requested=NOON, expires=NOON + 1)
        )
        calls: list[Callable[[], object]] = [
            lambda store=store, key=key: store.answer_pause(key, "1", NOON, "1") for store in stores[1:]
        ]
        calls.append(lambda key=key: stores[0].close_pause(key, "1", NOON))
        assert Counter(at_once(*calls))[True] == 1


def test_one_claims(hosts: Hosts) -> None:
    """Of several who claim crash hooks, or a settlement, one has them."""
    stores = [hosts.open(f"{number}") for number in range(4)]
    for _ in range(ROUNDS):
        run, flow_run = new_task_run(), new_flow_run()
        change = advance(run, RUNNING)
        change.attachments = [CrashHooks(run.key, "module:task", "/module.py")]
        record(stores[0], change, advance(run, CRASHED), advance(flow_run, RUNNING))
        got = at_once(*[lambda store=store, run=run: store.claim_crash_hooks(run.key) for store in stores])
        assert got.count(True) == 1
        settlement = Settlement(new_id(), flow_run.key, "COMMIT", b"")
        assert stores[0].open_settlement(settlement, [])
        got = at_once(
            *[
                lambda key=settlement.key: stores[0].claim_settlement(key, new_id())  # its own threads
                for _ in stores
            ]
        )
        assert got.count(True) == 1


def test_one_limit_is_made(hosts: Hosts) -> None:
    """Several who make the same limit at once make one; deleting it while slots are taken leaves none of these."""
    stores = [hosts.open(f"{number}") for number in range(4)]
    for turn in range(ROUNDS):
        name = f"limit {turn}"
        found = at_once(
            *[lambda store=store, name=name: store.write_limit(name, 3, True, 0).id for store in stores]
        )
        assert hosts.count("SELECT count(*) FROM concurrency_limits") == 1
        assert found
        calls: list[Callable[[], object]] = [
            lambda store=store, name=name: store.take_slots(
                SlotRequest(new_id(), [name], 1, 10**12), NOON, None
            )
            for store in stores[1:]
        ]
        at_once(lambda name=name: stores[0].delete_limit(name), *calls)
        assert hosts.count("SELECT count(*) FROM slots") == 0


def test_deadlocks_are_no_errors(hosts: Hosts) -> None:
    """Transactions that wait for each other in a circle are done again, and nobody hears of it."""
    store = hosts.open("a")
    runs = [new_task_run(), new_task_run()]
    record(store, *[advance(run, RUNNING) for run in runs])
    both = threading.Barrier(2)
    tries: list[int] = []

    def lock_both(order: list[int]) -> str:
        def work(cursor: object, owner: int | None) -> str:
            tries.append(1)
            first = len(tries) <= 2
            for index in order:
                cursor.execute(  # type: ignore[attr-defined]
                    "SELECT id FROM task_runs WHERE id = ? /*postgres: FOR UPDATE */", (runs[index].key,)
                ).fetchone()
                if first and index == order[0]:
                    both.wait(PATIENCE)
            return "done"

        return store._transact(work)

    assert at_once(lambda: lock_both([0, 1]), lambda: lock_both([1, 0])) == ["done", "done"]
    assert len(tries) == 3
