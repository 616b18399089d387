"""Slots for the tags of task runs."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import clock
from mainspring.client import Client
from mainspring.concurrency import (
    ConcurrencySlotAcquisitionError,
    Slots,
    atake_tag_slots,
    take_tag_slots,
)
from mainspring.identifiers import new_id, to_uuid
from mainspring.recording import current_recorder, use_recorder
from tests.concurrency.usage import FORMS, CountingStore, counting, running, wait_for
from tests.engine.clocks import JumpingClock

for_each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    with counting(tmp_path) as store:
        yield store


@pytest.fixture
def client(store: CountingStore) -> Client:
    return Client(store)


def take(form: str, tags: Any, run: Any = None) -> Slots | None:
    run = run or new_id()
    return take_tag_slots(tags, run) if form == "sync" else asyncio.run(atake_tag_slots(tags, run))


def release(form: str, slots: Slots) -> None:
    if form == "sync":
        slots.release()
    else:
        asyncio.run(slots.arelease())


@for_each_form
@pytest.mark.contract("E-67", "E-153", "CC-27")
def test_one_request_for_all_tags(store: CountingStore, client: Client, form: str) -> None:
    """One request is sent with the sorted names, the task run as the holder, one slot and a minute's lease."""
    for tag in ("b", "a"):
        client.create_or_update_concurrency_limit(f"tag:{tag}", 1)
    run = to_uuid(new_id())
    slots = take(form, {"b", "a"}, run)
    assert slots is not None
    (asked,) = store.taken
    assert asked.names == ["tag:a", "tag:b"]
    assert (asked.slots, asked.holder) == (1, ("task_run", run.bytes))
    assert asked.lease_microseconds == 60_000_000
    assert [limit.active_slots for limit in client.read_concurrency_limits()] == [1, 1]
    release(form, slots)


@for_each_form
@pytest.mark.contract("E-153")
def test_release_once_with_an_occupancy(store: CountingStore, client: Client, form: str) -> None:
    """Releasing, however often, gives the slots back once and reports a positive occupancy."""
    client.create_or_update_concurrency_limit("tag:a", 1)
    slots = take(form, ["a"])
    assert slots is not None
    for _ in range(3):
        release(form, slots)
    assert store.released == [slots.occupancy_seconds]
    assert slots.occupancy_seconds > 0
    assert client.read_concurrency_limit("tag:a").active_slots == 0


@for_each_form
@pytest.mark.contract("E-67", "CC-27", "V-19")
def test_tags_without_limits_cost_nothing(
    store: CountingStore, client: Client, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That a tag has no limit is asked once in five seconds; no limit is created and nothing is warned of."""
    time = JumpingClock()
    asked = []
    with clock.use_clock(time):
        for seconds in (0, 0, 4.9, 0.2, 0):
            time.advance(seconds)
            assert take(form, ["a", "b"]) is None
            asked.append(len(store.taken))
    assert asked == [1, 1, 1, 2, 2]
    assert store.released == []
    assert client.read_concurrency_limits() == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@for_each_form
@pytest.mark.contract("E-67")
def test_no_tags_no_request(store: CountingStore, form: str) -> None:
    """Without tags the store is not asked."""
    assert take(form, ()) is None
    assert store.taken == []


@for_each_form
@pytest.mark.contract("E-67")
def test_only_tags_with_limits_are_asked_for(store: CountingStore, client: Client, form: str) -> None:
    """A tag that is known to have no limit is left out of the request."""
    client.create_or_update_concurrency_limit("tag:a", 1)
    for expected in (["tag:a", "tag:b"], ["tag:a"]):
        slots = take(form, ["a", "b"])
        assert slots is not None
        assert store.taken[-1].names == expected
        release(form, slots)


@for_each_form
def test_new_limit_counts_at_once(store: CountingStore, client: Client, form: str) -> None:
    """A limit that this process creates is not overlooked because there was none a moment ago."""
    assert take(form, ["a"]) is None
    client.create_or_update_concurrency_limit("tag:a", 1)
    slots = take(form, ["a"])
    assert slots is not None
    release(form, slots)


@for_each_form
def test_inactive_limit_gives_no_slots(client: Client, form: str) -> None:
    """A limit that is switched off stops nobody, and there is nothing to release."""
    client.create_or_update_concurrency_limit("tag:a", 0, active=False)
    assert take(form, ["a"]) is None


@for_each_form
def test_limit_of_nothing_is_an_error(client: Client, form: str) -> None:
    """A limit of 0 lets nobody in, and says so instead of waiting for ever."""
    client.create_or_update_concurrency_limit("tag:a", 0)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'tag:a' has 0 slot"):
        take(form, ["a"])


@for_each_form
def test_tags_that_cannot_have_limits(client: Client, form: str) -> None:
    """A tag that no limit can be named after is no error."""
    assert take(form, ["\ud800"]) is None


@for_each_form
@pytest.mark.contract("E-153")
def test_full_limit_is_waited_for(store: CountingStore, client: Client, form: str) -> None:
    """Who finds the limit full waits, without a timeout, until the slots are released."""
    client.create_or_update_concurrency_limit("tag:a", 1)
    first = take_tag_slots(["a"], new_id())
    assert first is not None
    order: list[str] = []
    recorder = current_recorder()

    def second() -> None:
        with use_recorder(recorder):
            slots = take(form, ["a"])
            order.append("taken")
            assert slots is not None
            release(form, slots)

    with running(second):
        wait_for(lambda: client.read_concurrency_limit("tag:a").denied_slots)
        order.append("released")
        first.release()
    assert order == ["released", "taken"]
