"""The state machine of runs: a table of moves, and what each entered state does to a run's counters.

``MOVES[type][move]`` is the type and name of the state that ``move`` leads to. A move that is not in the
table does not exist: asking for it is a bug, reported as `IllegalTransition`. Two things are not in the
table because they are not ours to decide: a function may return any state it made itself, and a final state
is only left when somebody runs the same run record again.

The diagram in the documentation is drawn from this table.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from mainspring import clock
from mainspring._core.policy import RunPolicy
from mainspring.annotations import NotSet
from mainspring.exceptions import IllegalTransition
from mainspring.runs import Run
from mainspring.states import TERMINAL_STATES, State, StateDetails, StateType
from mainspring.states.state import new_state

__all__ = ["MOVES", "Move", "allows", "enter", "goes_on", "is_rolled_back", "next_state", "retry_delay"]


class Move(Enum):
    """Why a run goes from one state to the next."""

    BEGIN = "the first attempt begins"
    BLOCK = "an upstream run did not complete"
    SUCCEED = "the function returned"
    REUSE = "the result of an earlier run is used"
    FAIL = "an exception came out, and no retry is granted"
    TIME_OUT = "a timeout came out, and no retry is granted"
    RETRY = "the next attempt begins"
    AWAIT_RETRY = "a retry is granted after a delay"
    ROLL_BACK = "the transaction around a completed run was rolled back"
    CRASH = "the run was ended from outside"
    PAUSE = "the function waits for somebody"
    SUSPEND = "the function was left, to be called again"
    GO_ON = "the attempt that was paused goes on"
    STOP = "the run was asked to be cancelled"
    CANCEL = "the run has ended because of that"

    __hash__ = object.__hash__  # members are unique, and the default hashes their names in Python


_S = StateType
_RUNNING, _PAUSED = _S.RUNNING, _S.PAUSED
_BEGIN = (_S.RUNNING, "Running")
_BLOCK = (_S.PENDING, "NotReady")
_FAIL = (_S.FAILED, "Failed")
_RETRY = (_S.RUNNING, "Retrying")
_CRASH = (_S.CRASHED, "Crashed")
_STOP = (_S.CANCELLING, "Cancelling")
_CANCEL = (_S.CANCELLED, "Cancelled")

_ROLLED_BACK = "RolledBack"
_RESUMING = "Resuming"
MOVES: dict[StateType, dict[Move, tuple[StateType, str]]] = {
    _S.PENDING: {
        Move.BEGIN: _BEGIN,
        Move.BLOCK: _BLOCK,
        Move.FAIL: _FAIL,
        Move.CRASH: _CRASH,
        Move.STOP: _STOP,
        Move.CANCEL: _CANCEL,
    },
    _S.SCHEDULED: {
        Move.BEGIN: _BEGIN,
        Move.RETRY: _RETRY,
        Move.BLOCK: _BLOCK,
        Move.FAIL: _FAIL,
        Move.CRASH: _CRASH,
        Move.STOP: _STOP,
        Move.CANCEL: _CANCEL,
    },
    _S.RUNNING: {
        Move.SUCCEED: (_S.COMPLETED, "Completed"),
        Move.REUSE: (_S.COMPLETED, "Cached"),
        Move.FAIL: _FAIL,
        Move.TIME_OUT: (_S.FAILED, "TimedOut"),
        Move.RETRY: _RETRY,
        Move.AWAIT_RETRY: (_S.SCHEDULED, "AwaitingRetry"),
        Move.PAUSE: (_S.PAUSED, "Paused"),
        Move.SUSPEND: (_S.PAUSED, "Suspended"),
        Move.CRASH: _CRASH,
        Move.STOP: _STOP,
        Move.CANCEL: _CANCEL,
    },
    # A pause has an end, and so has the time of the attempt, which goes on.
    _S.PAUSED: {
        Move.BEGIN: _BEGIN,
        Move.GO_ON: (_S.RUNNING, _RESUMING),
        Move.FAIL: _FAIL,
        Move.TIME_OUT: (_S.FAILED, "TimedOut"),
        Move.RETRY: _RETRY,
        Move.AWAIT_RETRY: (_S.SCHEDULED, "AwaitingRetry"),
        Move.CRASH: _CRASH,
        Move.STOP: _STOP,
        Move.CANCEL: _CANCEL,
    },
    # What returns before it is stopped has completed.
    _S.CANCELLING: {
        Move.SUCCEED: (_S.COMPLETED, "Completed"),
        Move.REUSE: (_S.COMPLETED, "Cached"),
        Move.CRASH: _CRASH,
        Move.CANCEL: _CANCEL,
    },
    # Running the same record again is allowed from every final state (E-29).
    _S.COMPLETED: {Move.BEGIN: _BEGIN, Move.ROLL_BACK: (_S.COMPLETED, _ROLLED_BACK)},
    _S.FAILED: {Move.BEGIN: _BEGIN},
    _S.CANCELLED: {Move.BEGIN: _BEGIN},
    # Whoever finds that a process is dead may be quicker than the one who grants its run another attempt, or has
    # ended it because its time was over or the run was to be cancelled.
    _S.CRASHED: {
        Move.BEGIN: _BEGIN,
        Move.AWAIT_RETRY: (_S.SCHEDULED, "AwaitingRetry"),
        Move.TIME_OUT: (_S.FAILED, "TimedOut"),
        Move.CANCEL: _CANCEL,
    },
}


def next_state(
    run: Run,
    move: Move,
    at: int,
    message: str | None = None,
    data: Any = NotSet,
    scheduled_at: int | None = None,
    retriable: bool | None = None,
    details: StateDetails | None = None,
) -> State:
    """The state that ``move`` leads to from the run's current state.

    Args:
        run: The run; it is not changed.
        move: Why it moves.
        at: The time of the move, in microseconds since the epoch.
        message: The new state's message.
        data: The result or exception the new state holds.
        scheduled_at: When the next attempt is due, for a move to SCHEDULED.
        retriable: Recorded in the details of the new state.
        details: All details of the new state, instead of these two.

    Raises:
        IllegalTransition: The state machine has no such move from the current state.
    """
    try:
        kind, name = MOVES[run.state.type][move]
    except KeyError:
        raise IllegalTransition(
            f"{run!r} cannot make the move {move.name} ({move.value}) from a state of type"
            f" {run.state.type.value}."
        ) from None
    if scheduled_at is not None or retriable is not None:
        when = None if scheduled_at is None else clock.to_datetime(scheduled_at)
        details = StateDetails(scheduled_time=when, retriable=retriable)
    return new_state(kind, name, at, message, data, details)


def allows(before: State, after: State) -> bool:
    """Whether some move leads from a state to one that somebody else has made, under whatever name.

    From a state to one of the same type it has to be the name that the move gives.
    """
    return any(
        kind is after.type and (kind is not before.type or name == after.name)
        for kind, name in MOVES[before.type].values()
    )


def is_rolled_back(state: State) -> bool:
    """True for the state of a completed run whose transaction was rolled back."""
    return state.name == _ROLLED_BACK


def goes_on(before: State, state: State) -> bool:
    """True for the state of an attempt that goes on after a pause, in the process that it was paused in."""
    return state.name == _RESUMING and before.type is StateType.PAUSED


def enter(run: Run, state: State) -> None:
    """Make ``state`` the current state of ``run`` and bring counters and times up to date.

    Every entry into RUNNING counts as an attempt (V-1), but not that of one which goes on after a pause. Time is
    summed over all RUNNING states and
    ``ended_at`` set by every final one (V-2); times never stand still (V-3). A run that never ran has
    no end (E-113), and a run that is run again loses the end it had (W-32).
    """
    previous, kind, at = run.state, state.type, state.at
    if at <= previous.at:
        state.move_after(previous)
        at = state.at
    if previous.type is _RUNNING:
        run.run_time += at - previous.at
    if kind is _RUNNING:
        if previous.type is not _PAUSED or not goes_on(previous, state):
            run.run_count += 1
        run.ended_at = None
        if run.started_at is None:
            run.started_at = at
    elif run.ended_at is None and kind in TERMINAL_STATES and run.started_at is not None:
        run.ended_at = at
    run.state = state
    run.updated_at = at


def retry_delay(policy: RunPolicy, retry: int, random: float) -> float:
    """Seconds to wait before a retry.

    Args:
        policy: Gives the delays, of which the last one repeats (E-78), and the jitter factor.
        retry: How many retries were granted before this one.
        random: A random number in [0, 1). A jitter factor j scales the delay by something between 1 - j
            and 1 + j, never below zero (W-11).
    """
    delays = policy.retry_delays
    if not delays:
        return 0.0
    delay = delays[min(retry, len(delays) - 1)]
    if policy.retry_jitter_factor:
        delay *= max(0.0, 1 + policy.retry_jitter_factor * (2 * random - 1))
    return delay
