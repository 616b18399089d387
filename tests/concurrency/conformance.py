"""What every store does for concurrency limits, as tests. A backend subclasses `LimitStoreConformance`."""

import os
from collections.abc import Iterator

import pytest

from mainspring.exceptions import ObjectAlreadyExists
from mainspring.identifiers import new_id
from mainspring.store import ConcurrencyLimit, RunStore, SlotAnswer, SlotRequest
from mainspring.store.limits import LimitChange
from tests.store.histories import finished_task_run

NOW = 4_000_000_000_000_000  # in 2096: leases do not run out by the clock of the machine
SECOND = 1_000_000
MINUTE = 60 * SECOND


def request(*names: str, slots: int = 1, **options: bool) -> SlotRequest:
    """A request with a lease of a minute."""
    return SlotRequest(new_id(), sorted(names), slots, MINUTE, ("task_run", new_id()), **options)


def take(store: RunStore, asked: SlotRequest, now: int = NOW, *, waits: bool = True) -> SlotAnswer:
    """Ask for slots; with ``waits`` the place in the queue is kept for half a minute."""
    return store.take_slots(asked, now, now + MINUTE // 2 if waits else None)


def held(store: RunStore, *names: str, slots: int = 1, now: int = NOW) -> SlotRequest:
    """A request that was granted at once."""
    asked = request(*names, slots=slots)
    assert take(store, asked, now, waits=False).granted
    return asked


def limit_of(store: RunStore, name: str) -> ConcurrencyLimit:
    (found,) = store.read_limits([name])
    return found


class LimitStoreConformance:
    """Subclasses define the fixture ``store``. Times are given by the tests and are in the future of any clock."""

    @pytest.fixture
    def store(self) -> Iterator[RunStore]:
        raise NotImplementedError

    # Limits

    @pytest.mark.contract("CC-15")
    def test_limit_reads_as_written(self, store: RunStore) -> None:
        """A limit has the fields that it was created with, and nothing of it is in use."""
        written = store.write_limit("größe", 3, False, 1.5)
        assert store.read_limits() == [written]
        assert written == ConcurrencyLimit(
            id=written.id,
            name="größe",
            limit=3,
            active=False,
            active_slots=0,
            denied_slots=0,
            slot_decay_per_second=1.5,
            avg_slot_occupancy_seconds=0.1,
        )

    @pytest.mark.contract("CC-15")
    def test_limit_can_be_changed(self, store: RunStore) -> None:
        """Writing a limit again changes it: its id and what is held stay."""
        first = store.write_limit("db", 1, True, 0)
        asked = held(store, "db")
        changed = store.write_limit("db", 2, True, 0)
        assert (changed.id, changed.limit, changed.active_slots) == (first.id, 2, 1)
        store.release_slots(asked.lease_key, NOW, 1.0)

    def test_limits_are_read_by_name(self, store: RunStore) -> None:
        """All limits, or those asked for, come in the order of their names."""
        for name in ("b", "c", "a"):
            store.write_limit(name, 1, True, 0)
        assert [limit.name for limit in store.read_limits()] == ["a", "b", "c"]
        assert [limit.name for limit in store.read_limits(["c", "nope", "a"])] == ["a", "c"]

    def test_limit_can_be_deleted(self, store: RunStore) -> None:
        """A deleted limit is gone with all that was held of it, and deleting it again says so."""
        store.write_limit("db", 1, True, 0)
        asked = held(store, "db")
        assert store.delete_limit("db")
        assert not store.delete_limit("db")
        assert store.read_limits() == []
        assert store.renew_slots([(asked.lease_key, NOW + MINUTE)]) == {asked.lease_key}
        store.release_slots(asked.lease_key, NOW, 1.0)

    def test_who_holds_and_who_waits(self, store: RunStore) -> None:
        """Holders of slots come first, then the queue, each with its run and its process; other limits do not count."""
        store.write_limit("db", 2, True, 0)
        store.write_limit("other", 1, True, 0)
        held(store, "other")
        run, first = finished_task_run(store, name="query"), request("db", "other")
        assert not take(store, first).granted
        asked = SlotRequest(new_id(), ["db"], 1, MINUTE, ("task_run", run.key))
        assert take(store, asked).granted
        holder, waiter = store.read_slot_holders("db")
        assert (holder.slots, holder.requested, holder.acquired) == (1, NOW, NOW)
        assert (holder.lease_expires, holder.run_name) == (NOW + MINUTE, "query")
        assert (holder.holder_type, holder.holder_id) == ("task_run", run.id)
        assert holder.pid in (None, os.getpid())
        assert (waiter.acquired, waiter.run_name) == (None, None)
        assert store.read_slot_holders("missing") == []

    # Taking

    @pytest.mark.contract("CC-16")
    @pytest.mark.parametrize(("slots", "granted"), [(1, True), (2, True), (3, False)])
    def test_slots_are_granted_while_there_are_enough(
        self, store: RunStore, slots: int, granted: bool
    ) -> None:
        """A request is granted if and only if what is taken and what is asked for fit into the limit."""
        store.write_limit("db", 5, True, 0)
        held(store, "db", slots=3)
        assert take(store, request("db", slots=slots), waits=False).granted is granted
        assert limit_of(store, "db").active_slots == 3 + slots * granted

    @pytest.mark.contract("CC-4")
    def test_all_or_none(self, store: RunStore) -> None:
        """A request that cannot have one of its limits takes nothing of the others."""
        store.write_limit("a", 1, True, 0)
        store.write_limit("b", 1, True, 0)
        blocker = held(store, "b")
        asked = request("a", "b")
        assert not take(store, asked, waits=False).granted
        assert limit_of(store, "a").active_slots == 0
        store.release_slots(blocker.lease_key, NOW, 1.0)
        assert take(store, asked, waits=False).granted
        assert [limit.active_slots for limit in store.read_limits()] == [1, 1]

    @pytest.mark.contract("CC-15")
    def test_inactive_limit_stops_nobody(self, store: RunStore) -> None:
        """A limit that is not active is known, and nothing of it is taken."""
        store.write_limit("db", 0, False, 0)
        answer = take(store, request("db", slots=7))
        assert (answer.granted, answer.limits, answer.missing) == (True, [], [])
        assert limit_of(store, "db").active_slots == 0

    @pytest.mark.contract("CC-17")
    def test_more_than_the_limit_is_refused(self, store: RunStore) -> None:
        """A request that can never be granted is told so, and does not wait."""
        store.write_limit("db", 2, True, 0)
        answer = take(store, request("db", slots=3))
        assert not answer.granted
        assert "'db' has 2 slot(s)" in (answer.refusal or "")
        assert limit_of(store, "db").denied_slots == 0

    @pytest.mark.contract("CC-18")
    def test_missing_limit_is_not_created(self, store: RunStore) -> None:
        """A name without a limit is reported, and the others are taken."""
        store.write_limit("db", 2, True, 0)
        answer = take(store, request("db", "nope"))
        assert (answer.granted, answer.missing) == (True, ["nope"])
        assert [(limit.name, limit.active_slots) for limit in store.read_limits()] == [("db", 1)]

    @pytest.mark.contract("CC-18")
    def test_missing_limit_is_refused_when_strict(self, store: RunStore) -> None:
        """A strict request with a missing name takes nothing."""
        store.write_limit("db", 2, True, 0)
        answer = take(store, request("db", "nope", strict=True))
        assert not answer.granted
        assert "'nope'" in (answer.refusal or "")
        assert limit_of(store, "db").active_slots == 0

    # Giving back

    @pytest.mark.contract("CC-20")
    def test_release_frees_once(self, store: RunStore) -> None:
        """What is released is free; releasing it again changes nothing."""
        store.write_limit("db", 2, True, 0)
        first, _ = held(store, "db"), held(store, "db")
        for _ in range(3):
            store.release_slots(first.lease_key, NOW, 1.0)
        assert limit_of(store, "db").active_slots == 1

    @pytest.mark.contract("CC-20", "CC-15")
    def test_release_updates_the_average(self, store: RunStore) -> None:
        """The average occupancy follows how long slots are held, and is never below 0.1 seconds."""
        store.write_limit("db", 1, True, 0)
        averages = []
        for seconds in (10.0, 20.0, *[0.001] * 50):
            store.release_slots(held(store, "db").lease_key, NOW, seconds)
            averages.append(limit_of(store, "db").avg_slot_occupancy_seconds)
        assert averages[0] == 10.0
        assert 10.0 < averages[1] < 20.0
        assert averages[-1] == 0.1

    # Waiting

    @pytest.mark.contract("CC-42")
    def test_small_request_does_not_overtake_a_big_one(self, store: RunStore) -> None:
        """Who came first gets the slots, though a later and smaller request would have found room."""
        store.write_limit("db", 3, True, 0)
        holder = held(store, "db", slots=2)
        big, small = request("db", slots=3), request("db")
        assert not take(store, big).granted
        assert not take(store, small).granted
        assert limit_of(store, "db").denied_slots == 4
        assert not store.may_take_slots(small, NOW)
        store.release_slots(holder.lease_key, NOW, 1.0)
        assert not take(store, small).granted
        assert store.may_take_slots(big, NOW)
        assert take(store, big).granted

    def test_later_request_may_use_what_nobody_before_needs(self, store: RunStore) -> None:
        """A request that waits for one limit does not keep others from the rest of another limit."""
        store.write_limit("a", 2, True, 0)
        store.write_limit("b", 1, True, 0)
        held(store, "b")
        both = request("a", "b")
        assert not take(store, both).granted
        assert take(store, request("a")).granted
        assert not take(store, request("a")).granted  # the last one is for who came first

    def test_place_is_kept_as_long_as_asked_for(self, store: RunStore) -> None:
        """A waiter that is not heard of any more loses its place."""
        store.write_limit("db", 1, True, 0)
        holder = held(store, "db")
        assert not take(store, request("db")).granted
        store.release_slots(holder.lease_key, NOW, 1.0)
        later = request("db")
        assert not take(store, later, NOW + MINUTE // 2 - 1).granted
        assert take(store, later, NOW + MINUTE // 2).granted

    def test_asking_again_keeps_the_place(self, store: RunStore) -> None:
        """A waiter that asks from time to time stays where it is in the queue."""
        store.write_limit("db", 1, True, 0)
        holder = held(store, "db", now=NOW)
        first, second = request("db"), request("db")
        for seconds in (0, 20, 40):
            assert not take(store, first, NOW + seconds * SECOND).granted
            assert not take(store, second, NOW + seconds * SECOND).granted
        store.release_slots(holder.lease_key, NOW, 1.0)
        assert not take(store, second, NOW + 41 * SECOND).granted
        assert take(store, first, NOW + 41 * SECOND).granted

    def test_giving_up_leaves_the_queue(self, store: RunStore) -> None:
        """A waiter that releases its request is in nobody's way."""
        store.write_limit("db", 2, True, 0)
        held(store, "db")
        big = request("db", slots=2)
        assert not take(store, big).granted
        store.release_slots(big.lease_key, NOW, 1.0)
        assert take(store, request("db")).granted

    # Leases

    @pytest.mark.contract("CC-32", "CC-44")
    def test_slots_are_free_when_the_lease_runs_out(self, store: RunStore) -> None:
        """Others get the slots of a holder that was not heard of for the length of its lease."""
        store.write_limit("db", 1, True, 0)
        lost = held(store, "db")
        other = request("db")
        assert not take(store, other, NOW + MINUTE - 1, waits=False).granted
        assert take(store, other, NOW + MINUTE, waits=False).granted
        assert store.renew_slots([(lost.lease_key, NOW + 2 * MINUTE)]) == {lost.lease_key}

    @pytest.mark.contract("CC-31")
    def test_renewed_lease_holds_longer(self, store: RunStore) -> None:
        """A renewed lease keeps the slots until its new end."""
        store.write_limit("db", 1, True, 0)
        asked = held(store, "db")
        assert store.renew_slots([(asked.lease_key, NOW + 2 * MINUTE)]) == set()
        assert not take(store, request("db"), NOW + 2 * MINUTE - 1, waits=False).granted
        assert take(store, request("db"), NOW + 2 * MINUTE, waits=False).granted

    def test_late_renewal_works_while_nobody_needs_the_slots(self, store: RunStore) -> None:
        """A lease that has run out is lost only when its slots were needed."""
        store.write_limit("db", 2, True, 0)
        asked = held(store, "db")
        assert take(store, request("db"), NOW + 2 * MINUTE).granted
        assert store.renew_slots([(asked.lease_key, NOW + 3 * MINUTE)]) == set()
        assert not take(store, request("db"), NOW + 2 * MINUTE).granted

    # Decay

    @pytest.mark.contract("CC-16")
    @pytest.mark.parametrize(
        ("microseconds", "left"), [(0, 4), (499_999, 4), (500_000, 3), (999_999, 3), (1_000_000, 2)]
    )
    def test_slots_decay_one_by_one(self, store: RunStore, microseconds: int, left: int) -> None:
        """Of a limit with decay so many slots are free again as have decayed fully."""
        store.write_limit("api", 4, True, 2)
        assert take(store, request("api", slots=4, decays=True)).granted
        free = 4 - left
        assert not take(store, request("api", slots=free + 1), NOW + microseconds, waits=False).granted
        if free:
            assert take(store, request("api", slots=free), NOW + microseconds, waits=False).granted

    @pytest.mark.contract("CC-16")
    def test_decay_does_not_go_below_zero(self, store: RunStore) -> None:
        """Time without any request is not saved up."""
        store.write_limit("api", 2, True, 100)
        assert take(store, request("api", decays=True)).granted
        assert take(store, request("api", slots=2, decays=True), NOW + MINUTE).granted
        assert not take(store, request("api", decays=True), NOW + MINUTE, waits=False).granted

    @pytest.mark.contract("CC-16")
    def test_busy_limit_decays_as_fast_as_an_idle_one(self, store: RunStore) -> None:
        """Fractions are kept: many small requests get as much as the rate promises, and no more."""
        store.write_limit("api", 3, True, 10)
        asked = [request("api", decays=True) for _ in range(2_000)]
        granted = [take(store, each, NOW + at * 7_000, waits=False).granted for at, each in enumerate(asked)]
        assert sum(granted) in (3 + 139, 3 + 140)  # in 2,000 steps of 7 milliseconds

    def test_refusal_says_when_decay_makes_room(self, store: RunStore) -> None:
        """A waiter is told when to come again, those who came before included."""
        store.write_limit("api", 2, True, 2)
        assert take(store, request("api", slots=2, decays=True)).granted
        first, second = request("api", decays=True), request("api", decays=True)
        assert take(store, first).retry_after == pytest.approx(0.5)
        assert take(store, second).retry_after == pytest.approx(1.0)

    @pytest.mark.contract("CC-14")
    def test_rate_limit_needs_decay(self, store: RunStore) -> None:
        """A limit without decay cannot be a rate limit."""
        store.write_limit("db", 1, True, 0)
        answer = take(store, request("db", decays=True))
        assert not answer.granted
        assert "only limits with slot decay" in (answer.refusal or "")

    @pytest.mark.contract("CC-13")
    def test_rate_limited_slots_cannot_be_given_back(self, store: RunStore) -> None:
        """A release does not shorten the time that a rate limit takes."""
        store.write_limit("api", 1, True, 1)
        asked = request("api", decays=True)
        assert take(store, asked).granted
        store.release_slots(asked.lease_key, NOW, 1.0)
        assert not take(store, request("api", decays=True), waits=False).granted

    @pytest.mark.contract("CC-20")
    def test_release_of_decaying_slots_stops_at_zero(self, store: RunStore) -> None:
        """Slots that were held and have decayed meanwhile are not given back a second time."""
        store.write_limit("api", 2, True, 1)
        asked = held(store, "api", slots=2)
        assert take(store, request("api", decays=True), NOW + SECOND).granted
        store.release_slots(asked.lease_key, NOW + SECOND, 1.0)
        store.release_slots(asked.lease_key, NOW + SECOND, 1.0)
        assert take(store, request("api", slots=2, decays=True), NOW + SECOND).granted
        assert not take(store, request("api", decays=True), NOW + SECOND, waits=False).granted

    # From outside

    @pytest.mark.contract("CL-25")
    def test_added_limit(self, store: RunStore) -> None:
        """A limit is added once: a second one of its name changes nothing."""
        added = store.add_limit("db", 2, True, 0)
        assert added is not None
        assert store.add_limit("db", 5, False, 1) is None
        assert store.read_limits() == [added]

    @pytest.mark.contract("CL-25", "CL-32")
    def test_changed_limit(self, store: RunStore) -> None:
        """What is given about a limit changes, its name included; its id and what is held stay."""
        first = store.write_limit("old", 2, True, 0)
        asked = held(store, "old")
        changed = store.change_limit("old", LimitChange(name="new", limit=3))
        assert changed is not None
        assert (changed.id, changed.name, changed.limit, changed.active) == (first.id, "new", 3, True)
        assert (changed.active_slots, store.read_limits(["old"])) == (1, [])
        store.release_slots(asked.lease_key, NOW, 1.0)
        assert store.change_limit("old", LimitChange(limit=1)) is None
        assert store.change_limit("new", LimitChange(name="new", active=False)) is not None
        assert not limit_of(store, "new").active

    @pytest.mark.contract("CL-25")
    def test_taken_name(self, store: RunStore) -> None:
        """A limit does not get the name of another one."""
        store.write_limit("a", 1, True, 0)
        store.write_limit("b", 2, True, 0)
        with pytest.raises(ObjectAlreadyExists, match="'b'"):
            store.change_limit("a", LimitChange(name="b", limit=9))
        assert [(limit.name, limit.limit) for limit in store.read_limits()] == [("a", 1), ("b", 2)]

    @pytest.mark.contract("CL-31")
    def test_overridden_slots(self, store: RunStore) -> None:
        """Slots are taken from all that hold some and given to others; who waits goes on to, and leases are lost."""
        store.write_limit("db", 3, True, 0)
        asked, waiting = held(store, "db", slots=3), request("db")
        assert not take(store, waiting).granted
        ids = [(1, ("task_run", new_id())) for _ in range(3)]
        change = LimitChange(holders=ids, lease_microseconds=100 * 365 * 86_400 * SECOND)
        changed = store.change_limit("db", change)
        assert changed is not None
        assert changed.active_slots == 3
        assert store.renew_slots([(asked.lease_key, NOW + MINUTE)]) == {asked.lease_key}
        assert not take(store, waiting).granted
        changed = store.change_limit("db", LimitChange(holders=[]))
        assert changed is not None
        assert changed.active_slots == 0
        assert take(store, waiting).granted

    @pytest.mark.contract("CL-26")
    def test_some_slots_are_released(self, store: RunStore) -> None:
        """So many slots of holders of a type are given back, oldest first, and none of others."""
        store.write_limit("a", 9, True, 0)
        store.write_limit("b", 9, True, 0)
        for slots in (3, 2):
            asked = SlotRequest(new_id(), ["a", "b"], slots, MINUTE, ("client", new_id()))
            assert take(store, asked, waits=False).granted
        held(store, "a")
        store.release_some_slots(["a", "unknown"], 4, "client", NOW, 8.0)
        holders = [(each.slots, each.holder_type) for each in store.read_slot_holders("a")]
        assert holders == [(1, "client"), (1, "task_run")]
        assert limit_of(store, "a").avg_slot_occupancy_seconds == 8.0
        store.release_some_slots(["a", "b"], 9, "client", NOW, 8.0)
        assert [len(store.read_slot_holders(name)) for name in "ab"] == [1, 0]

    @pytest.mark.contract("CL-26")
    def test_released_since_it_was_granted(self, store: RunStore) -> None:
        """Without a duration, slots count as held since they were granted; a second release does nothing."""
        store.write_limit("db", 1, True, 0)
        asked = held(store, "db")
        assert store.release_slots(asked.lease_key, NOW + 5 * SECOND, None)
        assert limit_of(store, "db").avg_slot_occupancy_seconds == 5.0
        assert not store.release_slots(asked.lease_key, NOW + 9 * SECOND, None)

    @pytest.mark.contract("CL-26")
    def test_slots_of_nobody(self, store: RunStore) -> None:
        """Slots that are not this process's are left when it has nothing else to lose."""
        store.write_limit("db", 1, True, 0)
        asked = SlotRequest(new_id(), ["db"], 1, MINUTE, owned=False)
        assert take(store, asked, waits=False).granted
        assert not store.renew_lease()
        assert not take(store, request("db"), waits=False).granted
