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

__all__ = ["ask_to_cancel", "cancel_resting", "check_patience", "is_over"]

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
            raise ObjectNotFound(f"There is no run with the id {run_id} in {store.url}.")
        if run.state.is_final():
            kind = "flow" if isinstance(run, FlowRun) else "task"
            raise NotCancellable(
                f"The {kind} run {run.name!r} ({run.id}) cannot be cancelled: it is over, and {run.state.name}. Nothing"
                " was changed."
            )
        asked = CancellationRequest(key, why)
        if store.request_cancellation(asked, clock.current().now()) or cancel_resting(store, run, why):
            return run
        # Somebody was quicker, and what it is now decides.


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


def is_over(store: RunStore, run: TaskRun | FlowRun) -> TaskRun | FlowRun | None:
    """The run as it is now if it is over, else None."""
    found = store.read_run(run.key)
    return None if found is None or not found.state.is_final() else found


def check_patience(timeout: Any) -> float:
    """When the patience of a caller ends, by the monotonic clock.

    Raises:
        ValueError: It is negative or no number.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ValueError(f"`timeout` must be at least 0 seconds; got {timeout!r}.")
    return time.monotonic() + float(timeout)
