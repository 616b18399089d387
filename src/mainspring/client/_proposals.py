"""Setting states of runs from outside, by the rules that runs themselves follow.

A state is proposed. What the state machine has no move to is refused, unless it is forced. What was accepted follows
the state that was looked at, so nobody is overtaken; whoever else wants to write the next state is refused it.
"""

from __future__ import annotations

from enum import Enum
from uuid import UUID

import msgspec

from mainspring import clock
from mainspring._core.transitions import allows, enter
from mainspring._events import receivers
from mainspring.annotations import NotSet
from mainspring.client._cancelling import DEFAULT_REASON, is_left
from mainspring.events import emit_run_state_change_event
from mainspring.exceptions import ConfigurationError, ObjectNotFound
from mainspring.identifiers import to_bytes
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateDetails
from mainspring.store.cancellations import CancellationRequest
from mainspring.store.protocol import Change, RunStore

__all__ = ["OrchestrationDetails", "OrchestrationResult", "SetStateStatus", "propose", "record_new"]

LOOK_AGAIN_SECONDS = 1.0
"""When to look what became of a run that its process was asked to cancel."""


class SetStateStatus(str, Enum):
    """What became of a state that was proposed."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    WAIT = "WAIT"
    ABORT = "ABORT"


class OrchestrationDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Why.

    Attributes:
        reason: In a sentence; None if the state was accepted.
        delay_seconds: After which time to look again, for WAIT.
    """

    reason: str | None = None
    delay_seconds: float | None = None


class OrchestrationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a state that was proposed for a run.

    Attributes:
        state: The state that the run is in now.
        status: ACCEPT: it is that state. REJECT: there is no way to it from the state of the run, which goes on. ABORT:
            the run is over, and there is no way from its end to that state. WAIT: the process of the run was asked to
            cancel it, and is about to.
        details: Why.
    """

    state: State
    status: SetStateStatus
    details: OrchestrationDetails


def propose(
    store: RunStore, kind: type[Run], run_id: UUID | str, state: State, force: bool
) -> OrchestrationResult:
    """See `Client.set_flow_run_state`."""
    _check(state)
    store.settle_dead_owners()
    key = to_bytes(run_id)
    while True:
        run = store.read_run(key)
        if not isinstance(run, kind):
            raise ObjectNotFound(f"There is no {kind.__name__} with the id {run_id} in {store.address}.")
        child = run.state.state_details.child_flow_run_id if isinstance(run, TaskRun) else None
        if child is not None and store.read_run(child.bytes) is not None:
            return propose(store, FlowRun, child, state, force)  # the task run only stands for that run
        answer = None if force else _refused(run, state) or _left_to_process(store, run, state)
        if answer is not None:
            return answer
        entered = _enter(store, run, state)
        if entered is not None:
            if isinstance(run, FlowRun) and run.parent_task_run_key is not None:
                _mirror(store, run, entered)
            return OrchestrationResult(
                state=entered, status=SetStateStatus.ACCEPT, details=OrchestrationDetails()
            )
        # Somebody was quicker, and what it is now decides.


def _check(state: object) -> None:
    if not isinstance(state, State):
        raise ConfigurationError(
            f"A run cannot enter {state!r}: give a state, such as `mainspring.states.Failed(message=...)`."
        )


def _refused(run: Run, state: State) -> OrchestrationResult | None:
    """The answer to a state that there is no way to."""
    noun = "flow" if isinstance(run, FlowRun) else "task"
    if state.is_paused() and not run.state.is_final():
        status = SetStateStatus.REJECT
        reason = (
            f"Nothing would wait: a {noun} run is paused by `pause_flow_run` and `suspend_flow_run`, or with"
            f" `mainspring runs suspend {run.id}`."
        )
    elif allows(run.state, state):
        return None
    elif run.state.is_final():
        status = SetStateStatus.ABORT
        reason = f"The {noun} run is over, and {run.state.name}: it cannot be {state.name} any more."
    else:
        status = SetStateStatus.REJECT
        reason = f"A {noun} run that is {run.state.name} does not become {state.name}."
    return OrchestrationResult(state=run.state, status=status, details=OrchestrationDetails(reason=reason))


def _left_to_process(store: RunStore, run: TaskRun | FlowRun, state: State) -> OrchestrationResult | None:
    """A run is to be cancelled that goes on in a process: that one has to stop it."""
    if not (state.is_cancelled() or state.is_cancelling()) or is_left(run):
        return None
    asked = CancellationRequest(run.key, state.message or DEFAULT_REASON)
    if not store.request_cancellation(asked, clock.current().now()):
        return None
    reason = (
        "Its process was asked to cancel it. It is Cancelling until all that is inside of it has stopped."
    )
    return OrchestrationResult(
        state=run.state,
        status=SetStateStatus.WAIT,
        details=OrchestrationDetails(reason=reason, delay_seconds=LOOK_AGAIN_SECONDS),
    )


def _enter(store: RunStore, run: TaskRun | FlowRun, state: State) -> State | None:
    """Let a run that was just read enter a copy of a state; None if it has moved on."""
    before = run.state
    copy = _copy(state, before.state_details.child_flow_run_id)
    run.claim(copy)
    enter(run, copy)
    if store.write_unowned([Change(run, [copy], before.key)]):
        return None
    if receivers.active:
        emit_run_state_change_event(run, before, copy)
    return copy


def _copy(state: State, child: UUID | None = None) -> State:
    """The same state with an id of its own: it may be proposed for more than one run."""
    details = StateDetails()
    if state.has_details:
        details = msgspec.structs.replace(
            state.state_details, flow_run_id=None, task_run_id=None, child_flow_run_id=None
        )
    details.child_flow_run_id = child
    data = state.data if state.has_data else NotSet
    return State(state.type, state.name, state.message, data, state_details=details, at=state.at)


def _mirror(store: RunStore, run: FlowRun, state: State) -> None:
    """Let the task run that stands for a subflow run show the same, unless it is over."""
    while True:
        assert run.parent_task_run_key is not None
        stand_in = store.read_run(run.parent_task_run_key)
        if stand_in is None or stand_in.state.is_final():
            return
        shown = _copy(state)
        shown.forget()
        if _enter(store, stand_in, shown) is not None:
            return


def record_new(store: RunStore, run: TaskRun | FlowRun, state: State | None) -> bool:
    """Record a run that was made from outside, pending unless a state is given; False if there is one of its id."""
    states = [run.state]
    if state is not None:
        _check(state)
        first = _copy(state)
        if first.is_pending() or first.is_scheduled():
            states = []
            run.state = first
            run.created_at = run.updated_at = run.expected_start_at = first.at
        else:
            enter(run, first)
        states.append(first)
    if run.state.is_scheduled() and run.state.scheduled_at is not None:
        run.expected_start_at = run.state.scheduled_at
    for each in states:
        run.claim(each)
    if store.write_unowned([Change(run, states, None)]):
        return False
    run.recorded = run.state.key
    if receivers.active:
        for before, after in zip([None, *states], states, strict=False):
            emit_run_state_change_event(run, before, after)
    return True
