"""Cancelling runs from outside: asking the process that they go on in, or recording it if there is none."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from mainspring import clock
from mainspring._core.transitions import Move, next_state
from mainspring.exceptions import NotCancellable, ObjectNotFound
from mainspring.identifiers import to_bytes
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import State
from mainspring.store.cancellations import CancellationRequest
from mainspring.store.protocol import Change, RunStore

__all__ = ["ask_to_cancel", "cancel_resting", "check_patience", "is_left"]

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.1
"""Seconds between two looks whether a run has ended."""

DEFAULT_REASON = "Somebody has cancelled it."


def ask_to_cancel(store: RunStore, run_id: UUID | str, reason: str | None) -> TaskRun | FlowRun:
    """Have a run cancelled, by the process that it goes on in or, if there is none, here. Does not wait for it.

    Returns:
        The run as it is now.

    Raises:
        ObjectNotFound: There is no such run.
        NotCancellable: It is over.
    """
    store.settle_dead_owners()
    key = to_bytes(run_id)
    why = reason or DEFAULT_REASON
    while True:
        run = store.read_run(key)
        if run is None:
            raise ObjectNotFound(f"There is no run with the id {run_id} in {store.address}.")
        if run.state.is_final():
            kind = "flow" if isinstance(run, FlowRun) else "task"
            raise NotCancellable(
                f"The {kind} run {run.name!r} ({run.id}) cannot be cancelled: it is over, and {run.state.name}. Nothing"
                " was changed."
            )
        child = run.state.state_details.child_flow_run_id if isinstance(run, TaskRun) else None
        if child is not None and store.read_run(child.bytes) is not None:  # it only stands for that run
            ask_to_cancel(store, child, reason)
            return run
        if is_left(run):
            is_done = cancel_resting(store, run, why)
        else:
            asked = CancellationRequest(key, why)
            is_done = store.request_cancellation(asked, clock.current().now()) or cancel_resting(
                store, run, why
            )
        if is_done:
            return run
        # Somebody was quicker, and what it is now decides.


def is_left(run: TaskRun | FlowRun) -> bool:
    """Whether nothing of an unfinished run goes on in any process: its inputs are not there, or it is suspended."""
    state = run.state
    return state.name == "NotReady" or (state.is_paused() and bool(state.state_details.pause_reschedule))


def cancel_resting(store: RunStore, run: TaskRun | FlowRun, reason: str) -> bool:
    """Record that a run which goes on in no process is cancelled; False if it has changed meanwhile."""
    follows = run.state.key
    states: list[State] = []
    for move in (Move.STOP, Move.CANCEL):
        if move is Move.STOP and run.state.is_cancelling():
            continue
        state = next_state(run, move, clock.current().now(), reason)
        run.claim(state)
        run.state = state
        states.append(state)
    return not store.write([Change(run, states, follows)])


def check_patience(timeout: Any) -> float:
    """When the patience of a caller ends, by the monotonic clock.

    Raises:
        ValueError: It is negative or no number.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ValueError(f"`timeout` must be at least 0 seconds; got {timeout!r}.")
    return time.monotonic() + float(timeout)
