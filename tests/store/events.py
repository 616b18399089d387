"""What every run store does with events, as tests: a part of the conformance suite."""

import threading
from collections.abc import Sequence
from datetime import timedelta

import psycopg
import pytest

from mainspring import clock
from mainspring.events import Event, events_of
from mainspring.events.records import require_size
from mainspring.identifiers import new_id, to_uuid
from mainspring.runs import FlowRun, Run
from mainspring.states import State
from mainspring.store import EventFilter, EventKey, Follower, RunStore, SlotRequest, StoredEvent
from mainspring.store.events import stored
from tests.deaths.processes import until
from tests.store.histories import (
    COMPLETED,
    NOON,
    RUNNING,
    advance,
    finished_flow_run,
    finished_task_run,
    new_flow_run,
    new_task_run,
    record,
)

ALL = EventFilter()
MINUTE = 60_000_000


def made(name: str = "shop.ordered", at: int = NOON, **about: str) -> Event:
    """An event; ``about`` are its labels."""
    labels = {"mainspring.resource.id": "shop.order.7", **about}
    return Event(event=name, resource=labels, occurred=clock.to_datetime(at), payload={"größe": "\0 7"})  # type: ignore[arg-type]


def row(event: Event) -> StoredEvent:
    return stored(event, require_size(event))


def read(store: RunStore, where: EventFilter = ALL) -> list[Event]:
    return store.read_events(store.read_event_keys(where))


def names(events: Sequence[Event]) -> list[str]:
    return [event.event.removeprefix("mainspring.") for event in events]


def changes(store: RunStore, follower: Follower, limit: int = 200) -> list[EventKey]:
    """What the follower is told of, once it can be told of all that was committed before."""
    wait_for_others(store)
    return store.read_changes(follower, limit)


def unseen_by(store: RunStore, follower: Follower) -> set[tuple[bytes, int]]:
    """What the follower will be told of."""
    wait_for_others(store)
    return store.read_unseen(follower)


def wait_for_others(store: RunStore) -> None:
    """In PostgreSQL nobody is told of more than what no transaction of the whole server can come before any more."""
    if not store.url.startswith("postgresql"):
        return
    with psycopg.connect(store.url, autocommit=True) as db:
        number = db.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        until(
            lambda: (
                db.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").fetchone() > number
            ),
            "the end of other transactions",
        )


def told(store: RunStore, follower: Follower, limit: int = 200) -> list[str]:
    return names(store.read_events(changes(store, follower, limit)))


class EventRowsConformance:
    """A part of `RunStoreConformance`; the fixture ``store`` is that one's."""

    # Keeping and reading

    def test_an_event_reads_as_written(self, store: RunStore) -> None:
        """Every field of an event comes back, and so does a text that databases have no form for."""
        event = made(name="shop.ordered-größe", note="a\0b")
        store.write([], events=[row(event)])
        assert read(store) == [event]

    @pytest.mark.contract("EV-29")
    def test_an_event_is_kept_once(self, store: RunStore) -> None:
        """An event that is written again, in the same call or in another one, is there once, as it was first."""
        event = made()
        store.write([], events=[row(event), row(event)])
        store.write([], events=[row(event)])
        assert read(store) == [event]

    @pytest.mark.contract("EV-23", "EV-29")
    def test_states_are_events(self, store: RunStore) -> None:
        """The events of states are those that can be made of the history, with the ids of the states."""
        flow_run = finished_flow_run(store)
        task_run = finished_task_run(store, flow_run)
        found = read(store)
        for run in (flow_run, task_run):
            again = store.read_run(run.key)
            assert again is not None
            around = flow_run if run is task_run else None
            expected = events_of(again, store.read_states(run.key), around)
            assert [event for event in found if event in expected] == expected
        assert len(found) == 6

    def test_by_time(self, store: RunStore) -> None:
        """Stored events and those of states come in one order, by time, and can be read page by page."""
        run = finished_task_run(store)
        times = [state.at for state in store.read_states(run.key)]
        store.write([], events=[row(made(f"shop.{n}", at + n)) for n, at in enumerate(times)])
        everything = read(store)
        assert [event.occurred for event in everything] == sorted(event.occurred for event in everything)
        assert len(everything) == 6
        pages: list[Event] = []
        after: EventKey | None = None
        while keys := store.read_event_keys(ALL, after, 2):
            assert len(keys) <= 2
            pages += store.read_events(keys)
            after = keys[-1]
        assert pages == everything
        assert store.read_events(store.read_event_keys(ALL, limit=2, newest=True)) == everything[-2:]

    def test_at_the_same_moment(self, store: RunStore) -> None:
        """States of a run that were entered at the same microsecond keep their order, and pages lose none of them."""
        run = new_task_run()
        moment = run.state.at
        record(store, advance(run, State(RUNNING, at=moment), State(COMPLETED, at=moment)))
        expected = ["task-run.Pending", "task-run.Running", "task-run.Completed"]
        assert names(read(store)) == expected
        first = store.read_event_keys(ALL, limit=1)
        rest = store.read_event_keys(ALL, first[0], 10)
        assert names(store.read_events([*first, *rest])) == expected

    @pytest.mark.parametrize(
        ("prefixes", "expected"),
        [
            ([""], 7),
            ([], 0),
            (["mainspring."], 6),
            (["mainspring.task-run."], 3),
            (["mainspring.task-run.C", "mainspring.flow-run.R"], 2),
            (["mainspring.flow-run", "shop.ordered"], 4),
            (["shop."], 1),
            (["task-run", "Completed", "shop.ordered.now"], 0),
        ],
    )
    def test_by_name(self, store: RunStore, prefixes: list[str], expected: int) -> None:
        """Names of events that are wanted begin in one of several ways."""
        finished_task_run(store, finished_flow_run(store))
        store.write([], events=[row(made())])
        found = read(store, EventFilter(prefixes=prefixes))
        assert len(found) == expected
        assert all(event.event.startswith(tuple(prefixes)) for event in found)

    def test_by_time_span(self, store: RunStore) -> None:
        """A span of time has its beginning, and not its end."""
        store.write([], events=[row(made(f"shop.{n}", NOON + n)) for n in range(5)])
        assert names(read(store, EventFilter(since=NOON + 1, until=NOON + 3))) == ["shop.1", "shop.2"]

    def test_by_run(self, store: RunStore) -> None:
        """What happened in a flow run is that of all runs inside, however deep; of a task run, its own."""
        outer = finished_flow_run(store)
        stand_in = finished_task_run(store, outer)
        inner = finished_flow_run(store, parent_task_run_key=stand_in.key)
        deep = finished_task_run(store, inner)
        other = finished_task_run(store, finished_flow_run(store))
        for run in (outer, stand_in, inner, deep, other):
            store.write([], events=[row(_about(run))])

        def count(run: Run) -> int:
            return len(read(store, EventFilter(run_key=run.key)))

        assert [count(run) for run in (outer, inner, deep, stand_in)] == [16, 8, 4, 4]
        assert set(store.read_flow_runs_inside(outer.key)) == {outer.key, inner.key}
        assert count(new_flow_run()) == 0

    def test_what_is_no_more(self, store: RunStore) -> None:
        """Places where nothing is are left out."""
        run = finished_task_run(store)
        keys = [
            EventKey(0, new_id(), 1),
            EventKey(0, new_id(), 0),
            EventKey(0, run.key, 2),
            EventKey(0, run.key, 9),
        ]
        assert names(store.read_events(keys)) == ["task-run.Running"]

    def test_written_when_slots_are_given_back(self, store: RunStore) -> None:
        """Events that come with slots are there when these are free."""
        store.write_limit("db", 1, True, 0)
        request = SlotRequest(new_id(), ["db"], 1, MINUTE)
        assert store.take_slots(request, NOON, None).granted
        event = made("mainspring.concurrency-limit.released")
        store.release_slots(request.lease_key, NOON, 1.0, [row(event)])
        assert read(store) == [event]
        assert store.take_slots(SlotRequest(new_id(), ["db"], 1, MINUTE), NOON, None).granted

    def test_deleted_with_its_run(self, store: RunStore) -> None:
        """What happened in a run goes with it, and what happened elsewhere stays."""
        flow_run, task_run, other = (
            finished_flow_run(store),
            finished_task_run(store),
            finished_task_run(store),
        )
        inside = finished_task_run(store, flow_run)
        rows = [row(_about(run)) for run in (flow_run, inside, task_run, other)]
        store.write([], events=[*rows, row(made())])
        assert store.delete_runs([flow_run.key, task_run.key]) > 0
        left = read(store, EventFilter(prefixes=["shop."]))
        assert names(left) == ["shop.ordered", "shop.inside"]
        assert left[1].related[0].id == f"mainspring.task-run.{to_uuid(other.key)}"

    def test_deleted_when_it_is_old(self, store: RunStore) -> None:
        """What happened outside of runs goes by its age."""
        run = finished_task_run(store)
        store.write([], events=[row(made("shop.a")), row(made("shop.b", NOON + 1)), row(_about(run))])
        store.delete_remains(NOON + 1)
        assert names(read(store, EventFilter(prefixes=["shop."]))) == ["shop.b", "shop.inside"]

    # Following

    def test_told_in_the_order_of_commits(self, store: RunStore) -> None:
        """Whoever follows is told of each commit from then on, once, whatever the times say."""
        finished_task_run(store)
        follower = store.start_following(new_id(), MINUTE)
        assert changes(store, follower) == []
        run = new_task_run()
        record(store, advance(run))
        store.write([], events=[row(made("shop.late", NOON - MINUTE))])
        assert told(store, follower) == ["task-run.Pending", "shop.late"]
        record(store, advance(run, RUNNING, COMPLETED))
        assert told(store, follower) == ["task-run.Running", "task-run.Completed"]
        assert changes(store, follower) == []
        store.stop_following(follower)

    def test_told_bit_by_bit(self, store: RunStore) -> None:
        """A follower takes as many commits as it wants."""
        follower = store.start_following(new_id(), MINUTE)
        for number in range(5):
            store.write([], events=[row(made(f"shop.{number}"))])
        assert told(store, follower, 2) == ["shop.0", "shop.1"]
        assert told(store, follower, 2) == ["shop.2", "shop.3"]
        assert told(store, follower, 2) == ["shop.4"]
        store.stop_following(follower)

    def test_several_followers(self, store: RunStore) -> None:
        """Each is told of everything at its own pace, also when another one has seen it and gone."""
        first, second = (store.start_following(new_id(), MINUTE) for _ in range(2))
        store.write([], events=[row(made("shop.a"))])
        assert told(store, first) == ["shop.a"]
        assert store.renew_following(first, MINUTE)
        store.write([], events=[row(made("shop.b"))])
        assert told(store, first) == ["shop.b"]
        store.stop_following(first)
        assert told(store, second) == ["shop.a", "shop.b"]
        store.stop_following(second)

    def test_what_will_be_told(self, store: RunStore) -> None:
        """Whoever reads the past knows which of it will be told again."""
        past = finished_task_run(store)
        follower = store.start_following(new_id(), MINUTE)
        event = made()
        store.write([], events=[row(event)])
        run = finished_task_run(store)
        unseen = unseen_by(store, follower)
        assert unseen == {(event.id.bytes, 0), *((run.key, position) for position in (1, 2, 3))}
        assert {(key.key, key.position) for key in store.read_event_keys(ALL)} - unseen == {
            (past.key, position) for position in (1, 2, 3)
        }
        changes(store, follower)
        assert unseen_by(store, follower) == set()
        store.stop_following(follower)

    def test_refused_states_are_not_told(self, store: RunStore) -> None:
        """A state that the store refuses has not happened."""
        run = new_task_run()
        record(store, advance(run, RUNNING))
        late = advance(run, COMPLETED)
        late.follows = new_id()
        follower = store.start_following(new_id(), MINUTE)
        assert store.write([late]) == [late]
        assert changes(store, follower) == []
        store.stop_following(follower)

    def test_a_follower_that_gives_no_sign_of_life(self, store: RunStore) -> None:
        """Nobody cares for it any more; it is told that it came too late."""
        follower = store.start_following(new_id(), 0)
        store.write([], events=[row(made())])
        assert changes(store, follower) == []
        assert not store.renew_following(follower, MINUTE)
        again = store.start_following(new_id(), MINUTE)
        store.write([], events=[row(made("shop.a"))])
        assert told(store, again) == ["shop.a"]
        store.stop_following(again)
        store.stop_following(again)

    @pytest.mark.contract("EV-21", "EV-24")
    def test_many_writers(self, store: RunStore) -> None:
        """However many write at once, a follower misses nothing, is told nothing twice, and each run in its order."""
        runs_each, writers = 25, 8
        follower = store.start_following(new_id(), 10 * MINUTE)
        ready = threading.Barrier(writers)

        def write() -> None:
            ready.wait(20)
            for _ in range(runs_each):
                run = new_task_run()
                record(store, advance(run))
                record(store, advance(run, RUNNING))
                record(store, advance(run, COMPLETED))
                store.write([], events=[row(made(f"shop.{run.id}"))])

        threads = [threading.Thread(target=write, daemon=True) for _ in range(writers)]
        for thread in threads:
            thread.start()
        found: list[EventKey] = []
        while any(thread.is_alive() for thread in threads):
            found += changes(store, follower, 10)
        while keys := changes(store, follower, 10):
            found += keys
        store.stop_following(follower)
        assert len(found) == len(set(found)) == 4 * runs_each * writers
        positions: dict[bytes, list[int]] = {}
        for key in found:
            if key.position:
                positions.setdefault(key.key, []).append(key.position)
        assert len(positions) == runs_each * writers
        assert all(seen == [1, 2, 3] for seen in positions.values())


def _about(run: Run) -> Event:
    """An event that happened inside of a run."""
    role = "flow-run" if isinstance(run, FlowRun) else "task-run"
    related = {
        "mainspring.resource.id": f"mainspring.{role}.{to_uuid(run.key)}",
        "mainspring.resource.role": role,
    }
    event = made("shop.inside", NOON + MINUTE)
    occurred = event.occurred + timedelta(seconds=1)
    return Event(event=event.event, resource=event.resource, related=[related], occurred=occurred)  # type: ignore[list-item]
