"""The events of states: each state that a run enters is one event, and says everything about it but the data.

An event of a state is a function of the run, the state before and the state: its id is the state's, its time is the
state's, and it follows the state before. So engines remember nothing about events, and the same events can be made
again from the history.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any
from uuid import UUID

import msgspec

from mainspring import clock
from mainspring._core.outcomes import is_limit
from mainspring._core.transitions import enter
from mainspring._events import receivers
from mainspring._events.records import CLOSE, ID, NAME, Event, Resource, require_size
from mainspring._events.related import flow_run_around, related_to_flow_run, related_to_task_run
from mainspring.exceptions import EventTooLarge
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State, StateDetails, StateType

__all__ = [
    "MAX_MESSAGE",
    "emit_flow_run_state_change_event",
    "emit_run_state_change_event",
    "emit_task_run_state_change_event",
    "events_of",
    "states_of",
]

MAX_MESSAGE = 100_000
"""Characters of a state's message that its event holds."""

_logger = logging.getLogger("mainspring.events")


# Telling


def emit_task_run_state_change_event(
    task_run: TaskRun,
    initial_state: State | None,
    validated_state: State,
    follows: Event | None = None,
) -> Event | None:
    """Tell all subscribers that a task run entered a state. Engines do so by themselves.

    Args:
        task_run: The run, already showing the state.
        initial_state: The state before; None for the first one.
        validated_state: The state.
        follows: The event that came before; the one of the state before when omitted.

    Returns:
        The event. None if nobody is subscribed, or if something was in the way, which is logged.
    """
    return emit_run_state_change_event(task_run, initial_state, validated_state, follows)


def emit_flow_run_state_change_event(
    flow_run: FlowRun,
    initial_state: State | None,
    validated_state: State,
    follows: Event | None = None,
) -> Event | None:
    """The same as `emit_task_run_state_change_event` for a flow run."""
    return emit_run_state_change_event(flow_run, initial_state, validated_state, follows)


def emit_run_state_change_event(
    run: Run, initial_state: State | None, validated_state: State, follows: Event | None = None
) -> Event | None:
    """The same as `emit_task_run_state_change_event` for either kind of run."""
    if not receivers.active:
        return None
    try:
        flow_run = flow_run_around(run) if isinstance(run, TaskRun) else None
        event = _state_change(run, initial_state, validated_state, follows, flow_run)
        receivers.deliver(event)
    except Exception as error:  # by rule: the run is what it is, whether or not somebody can be told of it
        if is_limit(error):
            raise
        _logger.exception("The event of state %s of %r could not be emitted", validated_state.name, run)
        return None
    return event


# From the history to events, and back


def events_of(
    run: TaskRun | FlowRun, states: Sequence[State], flow_run: FlowRun | None = None
) -> list[Event]:
    """The events of all states of a run, as subscribers get them while it goes on.

    The name of the run is the one that it has now, also in events from before it was named.

    Args:
        run: The run, as a client reads it.
        states: Its states, oldest first, as `read_task_run_states` or `read_flow_run_states` of a client gives them.
        flow_run: The flow run that a task run belongs to. Without it events tell only its id.

    Raises:
        EventTooLarge: An event is longer than the setting ``events.maximum_size_bytes`` allows.
    """
    past = copy(run)
    past.run_count = past.run_time = 0
    past.started_at = past.ended_at = None
    events: list[Event] = []
    before: State | None = None
    for state in states:
        if before is None:
            past.state = state
        else:
            enter(past, state)
        events.append(_state_change(past, before, state, None, flow_run))
        before = state
    return events


def states_of(events: Iterable[Event]) -> list[State]:
    """The states of a run, oldest first, from its events in any order; events that come twice count once.

    The data of states is not among what events tell. A message may be cut, and an empty one is None.
    """
    known = {event.id: event for event in events}
    return [_told(event) for event in sorted(known.values(), key=lambda event: event.occurred)]


def _told(event: Event) -> State:
    told = event.payload["validated_state"]
    details = msgspec.convert(told["state_details"], StateDetails) if told["state_details"] else None
    at = clock.from_datetime(event.occurred)
    state = State(
        StateType(told["type"]),
        told["name"],
        told["message"] or None,
        state_details=details,
        at=at,
        id=event.id,
    )
    kind, _, run_id = event.resource.id.removeprefix("mainspring.").partition(".")
    around = event.resource_in_role.get("flow-run" if kind == "task-run" else "task-run")
    outer = None if around is None else UUID(around.id.rpartition(".")[2]).bytes
    own = UUID(run_id).bytes
    state.belong_to(*((own, outer) if kind == "task-run" else (outer, own)))
    return state


# Making events


def _state_change(
    run: Run, before: State | None, state: State, follows: Event | None, flow_run: FlowRun | None
) -> Event:
    if isinstance(run, TaskRun):
        kind, related, facts = "task-run", related_to_task_run(run, flow_run), _task_run_facts(run)
    else:
        assert isinstance(run, FlowRun)
        kind, related, facts = "flow-run", related_to_flow_run(run), _flow_run_facts(run)
    message = _cut(state.message)
    event = Event(
        occurred=state.timestamp,
        event=f"mainspring.{kind}.{_well_formed(state.name)}",
        resource=Resource(
            {
                ID: f"mainspring.{kind}.{run.id}",
                NAME: _well_formed(run.name),
                "mainspring.run-count": str(run.run_count),
                "mainspring.state-message": message,
                "mainspring.state-name": _well_formed(state.name),
                "mainspring.state-timestamp": state.timestamp.isoformat(),
                "mainspring.state-type": state.type.value,
                "mainspring.orchestration": "client",
            }
        ),
        related=related[: get_current_settings().events.maximum_related_resources],
        payload={
            "intended": {"from": None if before is None else before.type.value, "to": state.type.value},
            "initial_state": None if before is None else _described(before),
            "validated_state": {**_described(state), "data": _kept(state)},
            kind.replace("-", "_"): {name: fact for name, fact in facts.items() if fact is not None},
        },
        id=state.id,
        follows=_followed(before, state, follows),
    )
    return _fitting(event, kind.replace("-", "_"))


def _followed(before: State | None, state: State, follows: Event | None) -> UUID | None:
    """The id of the event that the one of ``state`` follows, if the two are close in time."""
    if follows is not None:
        return follows.id if abs(state.timestamp - follows.occurred) < CLOSE else None
    if before is not None and abs(state.timestamp - before.timestamp) < CLOSE:
        return before.id
    return None


def _described(state: State) -> dict[str, Any]:
    """What events tell of a state. Its run is told elsewhere, and what is in it is told nowhere."""
    details: Any = {}
    if state.has_details:
        details = msgspec.to_builtins(
            msgspec.structs.replace(state.state_details, flow_run_id=None, task_run_id=None)
        )
    return {
        "type": state.type.value,
        "name": _well_formed(state.name),
        "message": _cut(state.message),
        "state_details": details,
    }


def _kept(state: State) -> Any:
    """Where the result of a state is kept, None if it is not."""
    place = state.stored_as
    return None if place is None else msgspec.json.decode(place)


def _run_facts(run: Run) -> dict[str, Any]:
    return {
        "name": _well_formed(run.name),
        "tags": sorted(run.tags),
        "run_count": run.run_count,
        "expected_start_time": _iso(run.expected_start_at),
        "start_time": _iso(run.started_at),
        "end_time": _iso(run.ended_at),
        "total_run_time": run.run_time / clock.MICROSECONDS,
    }


def _task_run_facts(run: TaskRun) -> dict[str, Any]:
    return {
        **_run_facts(run),
        "task_key": run.task_key,
        "task_version": run.task_version,
        "dynamic_key": run.dynamic_key,
        "task_inputs": msgspec.to_builtins(run.task_inputs),
        "empirical_policy": msgspec.json.decode(msgspec.json.encode(dict(run.empirical_policy))),
        "flow_run_run_count": run.flow_run_run_count,
    }


def _flow_run_facts(run: FlowRun) -> dict[str, Any]:
    """Facts about a flow run. Its parameters are the user's data, so they are not among them."""
    stand_in = run.parent_task_run_id
    return {
        **_run_facts(run),
        "flow_name": run.flow_name,
        "flow_version": run.flow_version,
        "parent_task_run_id": None if stand_in is None else str(stand_in),
    }


def _fitting(event: Event, kind: str) -> Event:
    """The event, without the inputs of the run if it is too long with them."""
    try:
        require_size(event)
    except EventTooLarge:
        facts = dict(event.payload[kind])
        if facts.pop("task_inputs", None) is None:
            raise
        event = msgspec.structs.replace(event, payload={**event.payload, kind: facts})
        require_size(event)
    return event


def _iso(at: int | None) -> str | None:
    return None if at is None else clock.to_datetime(at).isoformat()


def _cut(message: str | None) -> str:
    return _well_formed(message[:MAX_MESSAGE]) if message else ""


def _well_formed(text: str) -> str:
    """The text with a question mark for each code point that UTF-8 cannot hold, as the run store keeps it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
