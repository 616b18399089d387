"""Emitting events: what is given, what is added, and what comes back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from mainspring.client import get_client
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.events import Event, emit_event, publish_event
from mainspring.exceptions import EventTooLarge, MainspringError
from mainspring.filters import ALL
from mainspring.flows import Flow
from mainspring.recording import current_recorder
from mainspring.recording.recorder import CAPACITY
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import temporary_settings
from mainspring.states import Running
from mainspring.tasks import Task
from tests.events.listening import ABOUT, heard, related

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
FLOW_RUN = FlowRun(b"f" * 16, "brave-newt", Running(), "pipeline", tags={"nightly", "prod"})
TASK_RUN = TaskRun(b"t" * 16, "load-1", Running(), "load-abc", FLOW_RUN.key, tags={"prod", "big"})


def in_flow_run() -> FlowRunContext:
    return FlowRunContext(Flow(lambda: None, name="pipeline"), FLOW_RUN)


def in_task_run() -> TaskRunContext:
    return TaskRunContext(Task(lambda: None, name="load"), TASK_RUN)


# Telling


@pytest.mark.contract("EV-2", "EV-25")
def test_nobody_is_subscribed() -> None:
    """If events are not kept and nobody is subscribed, None comes back, and nothing is even looked at."""
    with temporary_settings({"events.enabled": False}):
        assert emit_event("shop.ordered", ABOUT) is None
        assert emit_event("shop.ordered", {}, payload={"x": object()}) is None


@pytest.mark.contract("EV-2", "EV-25")
def test_events_are_kept() -> None:
    """An event that nobody is subscribed to is made and kept; the one kept is the one returned."""
    event = emit_event("shop.ordered", ABOUT, payload={"items": [7]})
    assert event is not None
    current_recorder().flush()
    assert get_client().read_events() == [event]


@pytest.mark.contract("EV-2", "EV-27")
def test_a_store_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If an event cannot be kept that is logged, and subscribers are told of it all the same."""
    with temporary_settings({"database_url": f"sqlite:///{tmp_path}"}), heard() as events:
        event = emit_event("shop.ordered", ABOUT)
    assert events == [event]
    assert "Event 'shop.ordered' could not be kept" in caplog.text


def test_many_events_wait_for_the_store() -> None:
    """The buffer is bounded: a program that emits more than fits writes them itself."""
    recorder = current_recorder()
    for number in range(CAPACITY + 10):
        emit_event("shop.ordered", ABOUT, payload={"number": number})
    assert len(recorder._buffer.events) < CAPACITY
    recorder.flush()
    assert len(get_client().read_events(limit=ALL)) == CAPACITY + 10


@pytest.mark.contract("EV-1", "EV-2", "EV-25")
def test_the_event_told_is_the_event_returned() -> None:
    """Whoever emits an event gets what subscribers get, with every field as it was given."""
    number = uuid4()
    before = Event(event="shop.opened", resource=ABOUT, occurred=NOON)  # type: ignore[arg-type]
    with heard() as events:
        event = emit_event(
            "shop.ordered",
            {**ABOUT, "mainspring.resource.name": "number 7"},
            occurred=NOON,
            related=[{"mainspring.resource.id": "a", "mainspring.resource.role": "b", "c": "d"}],
            payload={"items": [{"of": "cheese", "grams": 250.5}, None], "paid": True},
            id=number,
            follows=before,
        )
    assert events == [event]
    assert event == Event(
        event="shop.ordered",
        resource={**ABOUT, "mainspring.resource.name": "number 7"},  # type: ignore[arg-type]
        occurred=NOON,
        related=[{"mainspring.resource.id": "a", "mainspring.resource.role": "b", "c": "d"}],  # type: ignore[list-item]
        payload={"items": [{"of": "cheese", "grams": 250.5}, None], "paid": True},
        id=number,
        follows=before.id,
    )


@pytest.mark.contract("EV-2")
def test_the_payload_is_copied() -> None:
    """What the caller does to its payload later does not reach subscribers."""
    items = ["cheese"]
    with heard() as events:
        emit_event("shop.ordered", ABOUT, payload={"items": items})
    items.append("wine")
    assert events[0].payload == {"items": ["cheese"]}


@pytest.mark.contract("EV-2")
def test_a_naive_time_is_utc() -> None:
    """Emitting takes times as events do."""
    with heard() as events:
        emit_event("shop.ordered", ABOUT, occurred=NOON.replace(tzinfo=None))
    assert events[0].occurred == NOON


@pytest.mark.contract("EV-6", "E-121")
@pytest.mark.parametrize(
    ("seconds", "follows"),
    [(0, True), (299.999999, True), (-299.999999, True), (300, False), (-300, False), (86400, False)],
)
def test_follows_what_is_close(seconds: float, follows: bool) -> None:
    """An event follows another one if less than five minutes are between them, whichever came first."""
    before = Event(event="shop.opened", resource=ABOUT, occurred=NOON)  # type: ignore[arg-type]
    with heard() as events:
        emit_event("shop.ordered", ABOUT, occurred=NOON + timedelta(seconds=seconds), follows=before)
    assert events[0].follows == (before.id if follows else None)


@pytest.mark.contract("EV-29")
def test_an_event_may_be_told_again() -> None:
    """An event from elsewhere is told as it is, however often, under its own id."""
    event = Event.from_json(Event(event="shop.ordered", resource=ABOUT).to_json())  # type: ignore[arg-type]
    with heard() as events:
        publish_event(event)
        publish_event(event)
    publish_event(event)
    assert events == [event, event]


# Errors


@pytest.mark.contract("EV-27")
def test_an_event_that_is_too_large() -> None:
    """An event longer than the settings allow is refused, and nobody is told of it."""
    with (
        temporary_settings({"events.maximum_size_bytes": 1000}),
        heard() as events,
        pytest.raises(EventTooLarge, match=r"'shop\.ordered' .* bytes, and 1000 are allowed") as caught,
    ):
        emit_event("shop.ordered", ABOUT, payload={"text": "x" * 1000})
    assert events == []
    assert isinstance(caught.value, MainspringError)
    with temporary_settings({"events.maximum_size_bytes": 1000}), heard() as events:
        emit_event("shop.ordered", ABOUT, payload={"text": "x" * 500})
    assert len(events) == 1


@pytest.mark.contract("EV-27")
def test_unexpected_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What JSON cannot hold, or anything else unexpected, is logged, and the caller goes on."""
    with heard() as events:
        assert emit_event("shop.ordered", ABOUT, payload={"x": object()}) is None
    assert events == []
    (record,) = caplog.records
    assert record.name == "mainspring.events"
    assert record.getMessage() == "Event 'shop.ordered' could not be emitted"
    assert record.exc_info is not None


@pytest.mark.contract("EV-4")
def test_wrong_resources_are_refused() -> None:
    """A resource that does not work is the caller's mistake, and raised."""
    with heard(), pytest.raises(ValueError, match="needs the label"):
        emit_event("shop.ordered", {})
    with heard(), pytest.raises(ValueError, match="needs the label"):
        emit_event("shop.ordered", ABOUT, related=[ABOUT])


def test_an_event_without_a_name_is_refused() -> None:
    """An event says what happened."""
    with pytest.raises(ValueError, match="needs a name"):
        emit_event("", ABOUT)


# The run around it


@pytest.mark.contract("EV-9")
def test_outside_of_runs_nothing_is_added() -> None:
    """Without a run there is nothing related but what was given."""
    with heard() as events:
        emit_event("shop.ordered", ABOUT)
    assert events[0].related == []


@pytest.mark.contract("EV-9", "N-5")
def test_the_run_around_an_event_is_related() -> None:
    """Inside of runs the flow run, the task run, the flow and the tags of both runs are added."""
    with heard() as events, in_flow_run():
        emit_event("shop.ordered", ABOUT)
        with in_task_run():
            emit_event("shop.ordered", ABOUT)
    flow_run = ("flow-run", f"mainspring.flow-run.{FLOW_RUN.id}", "brave-newt")
    task_run = ("task-run", f"mainspring.task-run.{TASK_RUN.id}", "load-1")
    flow = ("flow", "mainspring.flow.pipeline", "pipeline")
    big, nightly, prod = (("tag", f"mainspring.tag.{tag}", None) for tag in ("big", "nightly", "prod"))
    assert related(events[0]) == [flow_run, flow, nightly, prod]
    assert related(events[1]) == [flow_run, task_run, flow, big, nightly, prod]


@pytest.mark.contract("EV-9")
def test_what_is_named_is_not_repeated() -> None:
    """A resource that the event names itself is not added, in whatever role it is."""
    own = {"mainspring.resource.id": f"mainspring.task-run.{TASK_RUN.id}"}
    given = {"mainspring.resource.id": "mainspring.flow.pipeline", "mainspring.resource.role": "recipe"}
    with heard() as events, in_flow_run(), in_task_run():
        emit_event("shop.ordered", own, related=[given])
    roles = [role for role, _, _ in related(events[0])]
    assert roles == ["recipe", "flow-run", "tag", "tag", "tag"]


def test_as_much_is_added_as_there_is_room_for() -> None:
    """The limit of related resources cuts what is added, and refuses only what was given."""
    given = {"mainspring.resource.id": "a", "mainspring.resource.role": "b"}
    with temporary_settings({"events.maximum_related_resources": 3}), heard() as events, in_flow_run():
        emit_event("shop.ordered", ABOUT, related=[given])
        with pytest.raises(ValueError, match="4 related resources, and 3 are allowed"):
            emit_event("shop.ordered", ABOUT, related=[given] * 4)
    assert [role for role, _, _ in related(events[0])] == ["b", "flow-run", "flow"]
