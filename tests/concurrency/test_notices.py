"""The events of taking slots and giving them back."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mainspring import task
from mainspring.client import Client
from mainspring.concurrency import sync as sync_form
from mainspring.events import Event, subscribe
from mainspring.filters import ALL
from mainspring.recording import current_recorder
from mainspring.settings import temporary_settings
from tests.concurrency.usage import FORMS, hold, rate

for_each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """The events about limits that are emitted during the test."""
    found: list[Event] = []
    with subscribe(found.append, "mainspring.concurrency-limit."):
        yield found


@for_each_form
@pytest.mark.contract("CC-28")
def test_acquired_and_released(client: Client, events: list[Event], form: str) -> None:
    """Taking slots and giving them back are one event each, about the limit; the second follows the first."""
    limit = client.create_or_update_concurrency_limit("db", 3)
    hold(form, lambda: None, "db", 2)
    acquired, released = events
    assert acquired.event == "mainspring.concurrency-limit.acquired"
    assert released.event == "mainspring.concurrency-limit.released"
    assert released.follows == acquired.id
    for event in events:
        assert dict(event.resource) == {
            "mainspring.resource.id": f"mainspring.concurrency-limit.{limit.id}",
            "mainspring.resource.name": "db",
            "slots-acquired": "2",
            "limit": "3",
        }
        assert not event.related


@for_each_form
@pytest.mark.contract("CC-28", "CC-37")
def test_two_limits(client: Client, events: list[Event], form: str) -> None:
    """With two limits there are four events, each with the other limit as a related resource."""
    limits = {name: client.create_or_update_concurrency_limit(name, 1) for name in "ab"}
    hold(form, lambda: None, ["a", "b"])
    phases = [event.event.rpartition(".")[2] for event in events]
    assert phases == ["acquired", "acquired", "released", "released"]
    for index, event in enumerate(events):
        (other,) = event.resource_in_role.values()
        assert event.resource.name == "ab"[index % 2]
        assert dict(other) == {
            "mainspring.resource.id": f"mainspring.concurrency-limit.{limits['ba'[index % 2]].id}",
            "mainspring.resource.name": "ba"[index % 2],
            "mainspring.resource.role": "concurrency-limit",
        }
    assert [event.follows for event in events] == [None, None, events[0].id, events[1].id]


@for_each_form
@pytest.mark.contract("CC-30")
def test_rate_limits(client: Client, events: list[Event], form: str) -> None:
    """Slots of a rate limit are never released, so there is only the first event."""
    client.create_or_update_concurrency_limit("api", 1, slot_decay_per_second=1)
    rate(form, "api")
    assert [event.event for event in events] == ["mainspring.concurrency-limit.acquired"]


@for_each_form
@pytest.mark.contract("CC-35", "CC-3")
def test_no_limits_no_events(client: Client, events: list[Event], form: str) -> None:
    """Without a limit that counts there is no event."""
    client.create_or_update_concurrency_limit("off", 1, active=False)
    hold(form, lambda: None, ["off", "nope"])
    hold(form, lambda: None, [])
    assert events == []


def test_run_is_related(client: Client, events: list[Event]) -> None:
    """Inside of a run the events say which one it was."""
    client.create_or_update_concurrency_limit("db", 1)

    @task
    def work() -> None:
        with sync_form.concurrency("db"):
            pass

    work()
    (run,) = client.read_task_runs()
    for event in events:
        assert event.resource_in_role["task-run"].id == f"mainspring.task-run.{run.id}"


def test_event_that_cannot_be_made_stops_nobody(
    client: Client, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """If settings do not allow the event, there is a warning, and the slots are taken and released."""
    client.create_or_update_concurrency_limit("db", 1)
    with temporary_settings({"events.maximum_labels_per_resource": 1}):
        assert hold("sync", lambda: "ran", "db") == "ran"
    assert events == []
    assert "'db'" in caplog.text


# What the run store keeps of them


def log(client: Client) -> list[Event]:
    current_recorder().flush()
    return client.read_events("mainspring.concurrency-limit.", limit=ALL)


@for_each_form
@pytest.mark.contract("CC-28", "CC-30")
def test_events_are_kept(client: Client, events: list[Event], form: str) -> None:
    """The run store has the events that subscribers are told of, also when nobody is subscribed."""
    client.create_or_update_concurrency_limit("db", 3)
    client.create_or_update_concurrency_limit("api", 1, slot_decay_per_second=1)
    hold(form, lambda: None, "db", 2)
    rate(form, "api")
    assert log(client) == events
    assert len(events) == 3


@for_each_form
def test_the_end_is_kept_before_others_can_begin(client: Client, form: str) -> None:
    """The event of the end is dated before the slots are given back, and is on disk when they are free."""
    client.create_or_update_concurrency_limit("db", 1)
    hold(form, lambda: None, "db")
    (acquired, released) = client.read_events("mainspring.concurrency-limit.")
    assert acquired.occurred <= released.occurred <= datetime.now(UTC)
    assert released.follows == acquired.id


@for_each_form
def test_events_that_are_not_kept(client: Client, form: str) -> None:
    """With the setting off, and nobody subscribed, there are no events."""
    client.create_or_update_concurrency_limit("db", 1)
    with temporary_settings({"events.enabled": False}):
        hold(form, lambda: None, "db")
    assert log(client) == []


HOLDER = """
import sys
from mainspring.concurrency.sync import concurrency

print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    with concurrency("db"):
        pass
"""


@pytest.mark.contract("CC-28")
def test_never_more_than_the_limit(client: Client) -> None:
    """By the log of several processes there are never more holders than the limit, at any moment."""
    limit, processes = 2, 4
    client.create_or_update_concurrency_limit("db", limit)
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    for holder in holders:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
    for holder in holders:
        holder.communicate("\n", timeout=60)
        assert holder.returncode == 0
    found = log(client)
    assert len(found) == 2 * 40 * processes
    held = most = 0
    for event in found:
        held += 1 if event.event.endswith(".acquired") else -1
        most = max(most, held)
    assert held == 0
    assert 1 <= most <= limit
