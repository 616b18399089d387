"""The events of states: what they tell of a state and its run, and what they do not."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from mainspring._core.transitions import enter
from mainspring.clock import to_datetime, use_clock
from mainspring.context import FlowRunContext
from mainspring.events import (
    Event,
    emit_flow_run_state_change_event,
    emit_run_state_change_event,
    emit_task_run_state_change_event,
    events_of,
    states_of,
)
from mainspring.exceptions import EventTooLarge
from mainspring.flows import Flow
from mainspring.runs import Constant, FlowRun, TaskRun, TaskRunResult
from mainspring.settings import temporary_settings
from mainspring.states import (
    Completed,
    Failed,
    Pending,
    Running,
    Scheduled,
    State,
    StateDetails,
    StoredResult,
)
from tests.engine.clocks import START, JumpingClock
from tests.events.listening import heard, related, told

FLOW_RUN = FlowRun(b"f" * 16, "brave-newt", Running(), "pipeline", tags={"nightly"})
SECRET = "my-secret"


def at(microseconds: int) -> Any:
    return to_datetime(START + microseconds)


def make_run(**more: Any) -> TaskRun:
    pending = Pending(timestamp=at(0))
    return TaskRun(b"t" * 16, "load-1", pending, "load-abc", **more)


def emit(run: Any, state: State, follows: Event | None = None) -> Event:
    """Let a run enter a state, and tell of it."""
    before = run.state
    run.claim(state)
    enter(run, state)
    with heard() as events:
        if isinstance(run, TaskRun):
            event = emit_task_run_state_change_event(run, before, state, follows)
        else:
            event = emit_flow_run_state_change_event(run, before, state, follows)
    assert event is not None
    assert events == [event]
    return event


# Name, id and time


@pytest.mark.contract("E-115", "EV-14", "EV-15", "EV-29", "N-5")
def test_the_event_of_a_state() -> None:
    """It is named after the state, has its id, and occurred when the state was entered."""
    state = Completed(name="Cached", timestamp=at(7))
    event = emit(make_run(), state)
    assert event.event == "mainspring.task-run.Cached"
    assert event.id == state.id
    assert event.occurred == state.timestamp == at(7)


@pytest.mark.contract("N-5")
def test_the_event_of_a_flow_runs_state() -> None:
    """Flow runs have events like task runs, with names and ids of their own."""
    run = FlowRun(
        b"f" * 16, "brave-newt", Pending(), "pipeline", "v1", {"token": SECRET}, ["prod"], b"p" * 16
    )
    state = Failed(message="no")
    event = emit(run, state)
    assert (event.event, event.id) == ("mainspring.flow-run.Failed", state.id)
    assert event.resource.id == f"mainspring.flow-run.{run.id}"
    assert related(event) == [
        ("flow", "mainspring.flow.pipeline", "pipeline"),
        ("task-run", f"mainspring.task-run.{run.parent_task_run_id}", None),
        ("tag", "mainspring.tag.prod", None),
    ]
    assert SECRET not in event.to_json()
    assert event.payload["flow_run"].items() >= {"flow_name": "pipeline", "flow_version": "v1"}.items()


def test_nobody_is_subscribed() -> None:
    """While nobody is subscribed not even the run is looked at."""
    assert emit_run_state_change_event(None, None, None) is None  # type: ignore[arg-type]


# The resource


@pytest.mark.contract("E-116", "EV-16")
def test_the_resource() -> None:
    """It is the run as it is in the state: these labels and no others."""
    run = make_run()
    enter(run, Running(timestamp=at(1)))
    event = emit(run, Failed(message="no luck", name="TimedOut", timestamp=at(2)))
    assert event.resource == {
        "mainspring.resource.id": f"mainspring.task-run.{run.id}",
        "mainspring.resource.name": "load-1",
        "mainspring.run-count": "1",
        "mainspring.state-message": "no luck",
        "mainspring.state-name": "TimedOut",
        "mainspring.state-timestamp": at(2).isoformat(),
        "mainspring.state-type": "FAILED",
        "mainspring.orchestration": "client",
    }


@pytest.mark.contract("E-116")
def test_no_message_is_an_empty_label() -> None:
    """A label is a text, also where the state has no message."""
    assert emit(make_run(), Running()).resource["mainspring.state-message"] == ""


# Related resources


@pytest.mark.contract("EV-22", "EV-9")
def test_tags_of_the_run_are_related() -> None:
    """The run's tags are among the related resources, in order."""
    assert related(emit(make_run(tags={"prod", "big"}), Running())) == [
        ("tag", "mainspring.tag.big", None),
        ("tag", "mainspring.tag.prod", None),
    ]


@pytest.mark.contract("V-21", "EV-9")
def test_the_flow_run_is_related() -> None:
    """The flow run that the task run belongs to is related, with its flow and tags if it is active here."""
    run = make_run(flow_run_key=FLOW_RUN.key)
    flow = Flow(lambda: None, name="pipeline")
    other = FlowRun(b"o" * 16, "other", Running(), "other")
    resource = f"mainspring.flow-run.{FLOW_RUN.id}"
    full = [
        ("flow-run", resource, "brave-newt"),
        ("flow", "mainspring.flow.pipeline", "pipeline"),
        ("tag", "mainspring.tag.nightly", None),
    ]
    assert related(emit(run, Running())) == [("flow-run", resource, None)]
    with FlowRunContext(flow, FLOW_RUN):
        assert related(emit(run, Running())) == full
        with FlowRunContext(flow, other):
            assert related(emit(run, Running())) == full
    with FlowRunContext(flow, other):
        assert related(emit(run, Running())) == [("flow-run", resource, None)]
        assert related(emit(make_run(), Running())) == []


# The payload


@pytest.mark.contract("E-117", "EV-17", "EV-18")
def test_the_payload() -> None:
    """It has the move, the state before, the state and the run."""
    event = emit(make_run(), Failed(message="no luck", name="TimedOut"))
    assert list(event.payload) == ["intended", "initial_state", "validated_state", "task_run"]
    assert event.payload["intended"] == {"from": "PENDING", "to": "FAILED"}
    assert event.payload["initial_state"] == {
        "type": "PENDING",
        "name": "Pending",
        "message": "",
        "state_details": {},
    }
    assert event.payload["validated_state"] == {
        "type": "FAILED",
        "name": "TimedOut",
        "message": "no luck",
        "state_details": {},
        "data": None,
    }


@pytest.mark.contract("E-117", "EV-17", "EV-18")
def test_the_first_event_comes_from_nowhere() -> None:
    """The first state of a run has none before it."""
    run = make_run()
    with heard() as events:
        emit_task_run_state_change_event(run, None, run.state)
    assert events[0].payload["intended"] == {"from": None, "to": "PENDING"}
    assert events[0].payload["initial_state"] is None
    assert events[0].follows is None


@pytest.mark.contract("E-118", "EV-18")
def test_state_details() -> None:
    """Details that are not set, and the ids of the runs, are left out, in both states."""
    run = make_run(flow_run_key=FLOW_RUN.key)
    due = at(9_000_000)
    emit(run, Scheduled(scheduled_time=due, state_details=StateDetails(retriable=False, pause_key=None)))
    assert run.state.state_details.task_run_id == run.id
    event = emit(run, Failed(state_details=StateDetails(child_flow_run_id=UUID(int=7))))
    before = event.payload["initial_state"]["state_details"]
    assert set(before) == {"scheduled_time", "retriable"}
    assert before["retriable"] is False
    assert told(event)["state_details"] == {"child_flow_run_id": str(UUID(int=7))}


@pytest.mark.contract("E-118", "EV-20")
def test_long_messages_are_cut() -> None:
    """Of a message the first 100,000 characters are told, in the label and in both states."""
    run = make_run()
    first = emit(run, Running(message="x" * 100_000 + "y"))
    second = emit(run, Completed())
    expected = "x" * 100_000
    assert first.resource["mainspring.state-message"] == expected
    assert told(first)["message"] == expected
    assert second.payload["initial_state"]["message"] == expected


@pytest.mark.contract("E-118")
def test_no_message_is_an_empty_text() -> None:
    """Where a state has no message, the payload has an empty one."""
    assert told(emit(make_run(), Running()))["message"] == ""


class Kept(StoredResult):
    """A result in some storage."""

    def __init__(self, place: dict[str, str] | None) -> None:
        self.value = SECRET
        self.place = place

    def get(self) -> str:
        return self.value

    def describe(self) -> str | None:
        return None if self.place is None else json.dumps(self.place)


@pytest.mark.contract("E-119", "EV-18")
def test_a_kept_result_is_told_by_its_place() -> None:
    """The data of a state is where its result is kept."""
    event = emit(make_run(), Completed(data=Kept({"storage_key": "abc"})))
    assert told(event)["data"] == {"storage_key": "abc"}
    assert SECRET not in event.to_json()


@pytest.mark.contract("E-119", "EV-18")
@pytest.mark.parametrize("data", [SECRET, {"x": SECRET}, ValueError(SECRET), Kept(None)])
def test_no_user_data_is_told(data: object) -> None:
    """A result that is kept nowhere, or an exception, never enters an event."""
    event = emit(make_run(), Completed(data=data))
    assert told(event)["data"] is None
    assert SECRET not in event.to_json()


@pytest.mark.contract("E-120", "EV-19")
def test_the_run_in_the_payload() -> None:
    """These facts about the run are told; its id, state and record keeping are told elsewhere or not at all."""
    inputs: Any = {"x": [TaskRunResult(UUID(int=1))], "y": [Constant("int")]}
    policy = {"retries": 2, "retry_delay": [1.5]}
    run = make_run(
        flow_run_key=FLOW_RUN.key,
        tags={"b", "a"},
        task_version="v2",
        task_inputs=inputs,
        empirical_policy=policy,
    )
    run.flow_run_run_count = 1
    first = emit(run, Running(timestamp=at(1_000_000)))
    last = emit(run, Completed(timestamp=at(3_500_000)))
    assert last.payload["task_run"] == {
        "name": "load-1",
        "task_key": "load-abc",
        "task_version": "v2",
        "dynamic_key": run.dynamic_key,
        "tags": ["a", "b"],
        "task_inputs": {
            "x": [{"input_type": "task_run", "id": str(UUID(int=1))}],
            "y": [{"input_type": "constant", "type": "int"}],
        },
        "empirical_policy": policy,
        "run_count": 1,
        "flow_run_run_count": 1,
        "expected_start_time": at(0).isoformat(),
        "start_time": at(1_000_000).isoformat(),
        "end_time": at(3_500_000).isoformat(),
        "total_run_time": 2.5,
    }
    assert "end_time" not in first.payload["task_run"]


@pytest.mark.contract("E-120")
def test_null_fields_of_the_run_are_omitted() -> None:
    """What a run does not have is not told."""
    facts = emit(make_run(), Running()).payload["task_run"]
    assert "task_version" not in facts
    assert None not in facts.values()


# The chain


@pytest.mark.contract("E-121", "EV-6", "EV-21")
@pytest.mark.parametrize(("microseconds", "follows"), [(299_999_999, True), (300_000_000, False)])
def test_an_event_follows_the_state_before(microseconds: int, follows: bool) -> None:
    """It follows the event of the state before if less than five minutes are between the two."""
    run = make_run()
    pending = run.state
    event = emit(run, Running(timestamp=at(microseconds)))
    assert event.follows == (pending.id if follows else None)


@pytest.mark.contract("EV-14", "E-121")
def test_what_it_follows_may_be_said() -> None:
    """An event that is given as the one before counts instead, under the same rule."""
    earlier = Event(event="x", resource={"mainspring.resource.id": "x"}, occurred=at(0))  # type: ignore[arg-type]
    assert emit(make_run(), Running(timestamp=at(1)), earlier).follows == earlier.id
    late = at(0) + timedelta(hours=1)
    assert emit(make_run(), Running(timestamp=late), earlier).follows is None


# Trouble


def test_a_run_with_too_many_inputs_is_told_without_them() -> None:
    """If an event is too large, the inputs of the run are left out."""
    inputs: Any = {"x": [TaskRunResult(UUID(int=number)) for number in range(100)]}
    with temporary_settings({"events.maximum_size_bytes": 3000}):
        event = emit(make_run(task_inputs=inputs), Running())
    assert "task_inputs" not in event.payload["task_run"]
    assert "task_key" in event.payload["task_run"]
    assert "task_inputs" in emit(make_run(task_inputs=inputs), Running()).payload["task_run"]


def test_a_run_with_too_many_tags_is_told_with_as_many_as_fit() -> None:
    """The limit of related resources cuts those of a run, since each state is an event."""
    run = make_run(tags={"a", "b", "c"}, flow_run_key=FLOW_RUN.key)
    with temporary_settings({"events.maximum_related_resources": 2}):
        event = emit(run, Running())
    assert [role for role, _, _ in related(event)] == ["flow-run", "tag"]


@pytest.mark.contract("EV-27")
def test_an_event_that_cannot_be_made_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The run is what it is, whether or not subscribers can be told."""
    run = make_run()
    with temporary_settings({"events.maximum_size_bytes": 100}), heard() as events:
        assert emit_task_run_state_change_event(run, None, run.state) is None
        with pytest.raises(EventTooLarge):
            events_of(run, [run.state])
    assert events == []
    assert "The event of state Pending" in caplog.text
    assert "could not be emitted" in caplog.text


def test_texts_that_utf8_cannot_hold() -> None:
    """A lone surrogate in a name or message becomes a question mark, as in the run store."""
    run = make_run()
    run.name = "a\ud800b"
    event = emit(run, Failed(message="\udfff", name="N\ud800"))
    assert Event.from_json(event.to_json()) == event
    assert event.resource.name == "a?b"
    assert (told(event)["message"], told(event)["name"]) == ("?", "N?")


# Back to states


@pytest.mark.contract("E-122", "EV-23", "EV-24", "EV-29")
def test_states_from_events() -> None:
    """Events in any order, some of them twice, give each state once, in the order of time."""
    with use_clock(JumpingClock(tick=10)):
        run = make_run(flow_run_key=FLOW_RUN.key)
        with heard() as events:
            emit_task_run_state_change_event(run, None, run.state)
        history = [run.state]
        for state in (
            Running(),
            Scheduled(name="AwaitingRetry", state_details=StateDetails(retriable=True)),
            Running(name="Retrying", message="once more"),
            Completed(),
        ):
            events.append(emit(run, state))
            history.append(state)
    run.claim(history[0])
    shuffled = [*events[3:], events[1], *events[:3], events[4]]
    states = states_of(shuffled)
    assert states == history
    assert [state.id for state in states] == [state.id for state in history]
    assert states_of(events[:1]) == history[:1]


@pytest.mark.contract("EV-24")
def test_a_late_event_only_adds_history() -> None:
    """An event older than the newest one changes nothing about where the run stands."""
    run = make_run()
    first = emit(run, Running())
    last = emit(run, Completed())
    assert states_of([last])[-1].name == states_of([last, first])[-1].name == "Completed"
    assert [state.name for state in states_of([last, first])] == ["Running", "Completed"]


def test_states_of_flow_runs_from_events() -> None:
    """Events of flow runs give states of flow runs."""
    run = FlowRun(b"f" * 16, "brave-newt", Pending(), "pipeline", parent_task_run_key=b"p" * 16)
    state = Completed()
    event = emit(run, state)
    assert states_of([event]) == [state]
