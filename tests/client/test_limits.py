"""Concurrency limits under their global names, and slots that are taken and given back by hand."""

import asyncio
from uuid import UUID, uuid4

import pytest

from mainspring import clock, get_client
from mainspring.client import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from mainspring.concurrency.sync import concurrency
from mainspring.exceptions import (
    ConcurrencySlotAcquisitionError,
    ConfigurationError,
    ObjectAlreadyExists,
    ObjectNotFound,
)


def active(name: str) -> int:
    return get_client().read_global_concurrency_limit_by_name(name).active_slots


@pytest.mark.contract("CL-25")
def test_created_limit() -> None:
    """A limit is created once, with an id, as a record or a mapping; a second one of its name is refused."""
    client = get_client()
    key = client.create_global_concurrency_limit(
        GlobalConcurrencyLimitCreate(name="db", limit=3, active_slots=2, slot_decay_per_second=0)
    )
    found = client.read_global_concurrency_limit_by_name("db")
    assert (found.id, found.limit, found.active, found.active_slots) == (key, 3, True, 2)
    with pytest.raises(ObjectAlreadyExists, match="'db'"):
        client.create_global_concurrency_limit({"name": "db", "limit": 1})
    assert client.read_concurrency_limit("db") == found
    client.create_global_concurrency_limit({"name": "api", "limit": 1, "active": False})
    assert not client.read_concurrency_limit("api").active


@pytest.mark.contract("CL-25")
def test_pages_of_limits() -> None:
    """Ten limits come where no number is given, by name; the rest by an offset."""
    client = get_client()
    for number in range(12):
        client.upsert_global_concurrency_limit_by_name(f"limit-{number:02}", number)
    assert [each.limit for each in client.read_global_concurrency_limits()] == list(range(10))
    assert [each.limit for each in client.read_global_concurrency_limits(limit=5, offset=10)] == [10, 11]
    assert len(client.read_concurrency_limits()) == 12


@pytest.mark.contract("CL-25", "CL-32")
def test_changed_limit() -> None:
    """What is given changes; a renamed limit is not found under its old name, and keeps its id and what is held."""
    client = get_client()
    key = client.create_global_concurrency_limit({"name": "old", "limit": 2, "slot_decay_per_second": 1})
    assert client.read_concurrency_limit("old").slot_decay_per_second == 1.0
    client.update_global_concurrency_limit("old", {"slot_decay_per_second": 0})
    with concurrency("old"):
        changed = client.update_global_concurrency_limit(
            "old", GlobalConcurrencyLimitUpdate(name="new", limit=5, active=False)
        )
        assert (changed.id, changed.name, changed.limit, changed.active) == (key, "new", 5, False)
        assert changed.active_slots == 1
    assert active("new") == 0
    for call in (
        client.read_global_concurrency_limit_by_name,
        client.delete_global_concurrency_limit_by_name,
        lambda name: client.update_global_concurrency_limit(name, {"limit": 1}),
        client.reset_global_concurrency_limit_by_name,
    ):
        with pytest.raises(ObjectNotFound, match="'old'"):
            call("old")
    client.create_global_concurrency_limit({"name": "other", "limit": 1})
    with pytest.raises(ObjectAlreadyExists, match="'other'"):
        client.update_global_concurrency_limit("new", {"name": "other"})
    client.delete_global_concurrency_limit_by_name("new")
    assert [each.name for each in client.read_concurrency_limits()] == ["other"]


@pytest.mark.contract("CL-32")
@pytest.mark.parametrize("decay", [2, 0.5])
def test_decay_is_any_number(decay: float) -> None:
    """Decay may be given as an int or a float."""
    client = get_client()
    client.create_global_concurrency_limit(
        GlobalConcurrencyLimitCreate(name="rate", limit=1, slot_decay_per_second=decay)
    )
    assert client.read_concurrency_limit("rate").slot_decay_per_second == decay


@pytest.mark.contract("CL-31")
def test_reset() -> None:
    """A reset for three ids shows three active slots, one without ids none, and others get the slots then."""
    client = get_client()
    client.create_or_update_concurrency_limit("db", 3)
    client.increment_concurrency_slots("db", 2)
    assert (
        client.reset_global_concurrency_limit_by_name("db", [uuid4(), str(uuid4()), uuid4()]).active_slots
        == 3
    )
    with pytest.raises(ConcurrencySlotAcquisitionError, match="others hold them"):
        client.increment_concurrency_slots("db")
    assert client.reset_global_concurrency_limit_by_name("db").active_slots == 0
    with concurrency("db", occupy=3):
        assert active("db") == 3
    assert client.update_global_concurrency_limit("db", {"active_slots": 2}).active_slots == 2
    assert client.update_global_concurrency_limit("db", {"limit": 4}).active_slots == 2
    assert client.update_global_concurrency_limit("db", {"active_slots": 0}).active_slots == 0


@pytest.mark.contract("CL-31")
def test_reset_of_a_rate_limit() -> None:
    """The slots of a limit with decay are set likewise."""
    client = get_client()
    client.create_global_concurrency_limit(
        {"name": "rate", "limit": 5, "slot_decay_per_second": 0.001, "active_slots": 4}
    )
    assert active("rate") == 4
    client.reset_global_concurrency_limit_by_name("rate")
    assert active("rate") == 0


@pytest.mark.contract("CL-26")
def test_slots_by_hand() -> None:
    """Slots are taken of all names or of none, and given back by names and number, never more than were taken so."""
    client = get_client()
    client.create_or_update_concurrency_limit("a", 2)
    client.create_or_update_concurrency_limit("b", 1)
    assert [each.name for each in client.increment_concurrency_slots(["b", "a"])] == ["a", "b"]
    with pytest.raises(ConcurrencySlotAcquisitionError, match="others hold them"):
        client.increment_concurrency_slots(["a", "b"])
    assert (active("a"), active("b")) == (1, 1)
    client.increment_concurrency_slots("a")
    (released,) = client.release_concurrency_slots(["a"], 1, occupancy_seconds=7.0)
    assert (released.active_slots, released.avg_slot_occupancy_seconds) == (1, 7.0)
    assert [each.active_slots for each in client.release_concurrency_slots(["a", "b"], 5)] == [0, 0]
    with concurrency("a"):
        assert client.release_concurrency_slots("a")[0].active_slots == 1  # that is another's
    assert client.increment_concurrency_slots([]) == client.increment_concurrency_slots("unknown") == []


@pytest.mark.contract("CL-26")
def test_part_of_what_is_held() -> None:
    """Of several slots that were taken together, some can be given back."""
    client = get_client()
    client.create_or_update_concurrency_limit("a", 5)
    client.increment_concurrency_slots("a", 3)
    client.increment_concurrency_slots("a", 2)
    assert client.release_concurrency_slots("a", 4)[0].active_slots == 1


@pytest.mark.contract("CL-26")
def test_missing_limits_are_created() -> None:
    """With `create_if_missing` there is a limit afterwards, which stops nobody."""
    client = get_client()
    assert client.increment_concurrency_slots("new", create_if_missing=True) == []
    found = client.read_concurrency_limit("new")
    assert (found.limit, found.active) == (1, False)


@pytest.mark.contract("CL-26")
def test_rate_limits_by_hand() -> None:
    """The mode for rate limits takes slots that only decay gives back."""
    client = get_client()
    client.create_or_update_concurrency_limit("rate", 1, slot_decay_per_second=0.001)
    client.increment_concurrency_slots("rate", mode="rate_limit")
    assert active("rate") == 1
    with pytest.raises(ConcurrencySlotAcquisitionError):
        client.increment_concurrency_slots("rate", mode="rate_limit")
    client.create_or_update_concurrency_limit("plain", 1)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="decay"):
        client.increment_concurrency_slots("plain", mode="rate_limit")


@pytest.mark.contract("CL-26")
def test_leases_by_hand() -> None:
    """A lease holds its slots until it is given back, shows its holder, and can be renewed while it holds them."""
    client = get_client()
    client.create_or_update_concurrency_limit("db", 1)
    holder = uuid4()
    lease = client.increment_concurrency_slots_with_lease(
        "db", lease_duration=60, holder={"type": "task_run", "id": holder}
    )
    assert [each.name for each in lease.limits] == ["db"]
    (held,) = client.read_slot_holders("db")
    assert (held.holder_type, held.holder_id, held.pid) == ("task_run", holder, None)
    client.renew_concurrency_lease(lease.lease_id, 600)
    (renewed,) = client.read_slot_holders("db")
    assert renewed.lease_expires - held.lease_expires > 500_000_000
    assert client.release_concurrency_slots_with_lease(str(lease.lease_id))
    assert not client.release_concurrency_slots_with_lease(lease.lease_id)
    with pytest.raises(ObjectNotFound, match="no lease"):
        client.renew_concurrency_lease(lease.lease_id)
    assert active("db") == 0


class Later(clock.SystemClock):
    """The time in ten minutes."""

    @staticmethod
    def now() -> int:
        return clock.SystemClock.now() + 600 * 1_000_000


@pytest.mark.contract("CL-26")
def test_lease_that_runs_out() -> None:
    """Nobody renews a lease that was taken by hand: others get its slots when it has run out."""
    client = get_client()
    client.create_or_update_concurrency_limit("db", 1)
    client.increment_concurrency_slots_with_lease("db", lease_duration=60)
    with clock.use_clock(Later()):
        assert client.increment_concurrency_slots_with_lease("db").limits


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "x", "limit": -1}, "limit=-1"),
        ({"name": "", "limit": 1}, "''"),
        ({"name": "x"}, "limit"),
        ({"name": "x", "limit": 1, "activ": True}, "Did you mean 'active'"),
        ({"name": "x", "limit": 1, "slot_decay_per_second": "fast"}, "'fast'"),
        ({"name": "x", "limit": 1, "active_slots": -2}, "active_slots=-2"),
        (None, "None"),
    ],
)
def test_bad_limits(given: object, why: str) -> None:
    """A limit that cannot be one is refused with one error, and nothing is created."""
    client = get_client()
    with pytest.raises(ConfigurationError) as refused:
        client.create_global_concurrency_limit(given)  # type: ignore[arg-type]
    assert why in str(refused.value)
    assert client.read_concurrency_limits() == []


def test_bad_slots() -> None:
    """Numbers, modes, durations and holders that cannot work are refused."""
    client = get_client()
    client.create_or_update_concurrency_limit("db", 1)
    for call in (
        lambda: client.increment_concurrency_slots("db", 0),
        lambda: client.increment_concurrency_slots("db", mode="fast"),  # type: ignore[arg-type]
        lambda: client.increment_concurrency_slots_with_lease("db", lease_duration=1),
        lambda: client.increment_concurrency_slots_with_lease("db", holder={"type": "cat", "id": uuid4()}),
        lambda: client.release_concurrency_slots("db", -1),
        lambda: client.update_global_concurrency_limit("db", {"limit": -1}),
        lambda: client.update_global_concurrency_limit("db", {"name": ""}),
        lambda: client.update_global_concurrency_limit("db", {"active_slots": 1.5}),
    ):
        with pytest.raises(ConfigurationError):
            call()
    with pytest.raises(ConcurrencySlotAcquisitionError, match="fewer than"):
        client.increment_concurrency_slots("db", 2)
    assert active("db") == 0


@pytest.mark.contract("CL-29")
def test_async_limits() -> None:
    """The async client has the same limits."""

    async def use() -> UUID:
        client = get_client(sync_client=False)
        key = await client.create_global_concurrency_limit({"name": "db", "limit": 1})
        lease = await client.increment_concurrency_slots_with_lease("db")
        await client.renew_concurrency_lease(lease.lease_id)
        await client.release_concurrency_slots_with_lease(lease.lease_id)
        await client.update_global_concurrency_limit("db", {"name": "new"})
        return key

    assert asyncio.run(use()) == get_client().read_concurrency_limit("new").id
