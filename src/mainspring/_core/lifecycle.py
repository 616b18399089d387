"""The life of a run, read top to bottom: what happens, in which order, and what decides.

A life has four phases, each a generator that yields effects and is sent what came of them::

    begin    Pending -> (inputs) -> Running, or NotReady, or Failed
    settle   the outcome of an attempt -> Completed, Failed, TimedOut, Retrying or AwaitingRetry
    resume   AwaitingRetry -> (wait) -> Retrying
    finish   the hooks that follow the final state
    crash    from anywhere -> Crashed, instead of all that was still to come
    cancel   from anywhere -> Cancelling, Cancelled, because somebody has asked for it
    lose     from wherever its process died -> AwaitingRetry, to be gone on with by another process, or Crashed, or
             TimedOut

``finish`` has one effect at most and waits for no answer, so it is a function that gives this effect.

Between ``begin`` and ``finish`` the driver makes attempts for as long as the run is RUNNING or SCHEDULED. That
loop is public: users may write it by hand. This is why the core is split into phases instead of being one
generator with the loop inside. No phase keeps anything for the next one: all of it is in the run record,
so any recorded run can be taken up by a fresh driver.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from mainspring._core.effects import Ask, Effect, EndInside, Enter, Prepare, RunHooks, SleepUntil
from mainspring._core.outcomes import Blocked, Outcome, Raised, Ready, Returned
from mainspring._core.policy import RunPolicy
from mainspring._core.transitions import Move, next_state, retry_delay
from mainspring._core.traverse import ATOMS
from mainspring._imports import modules_on_use
from mainspring._representation import shown
from mainspring.clock import MICROSECONDS
from mainspring.runs import Run
from mainspring.states import State, StateType, is_state, is_state_iterable

if TYPE_CHECKING:
    from mainspring.states import conversion
else:
    conversion = modules_on_use("mainspring.states", "conversion")

__all__ = [
    "Phase",
    "begin",
    "cancel",
    "crash",
    "failure_state",
    "finish",
    "is_in_time",
    "lose",
    "resume",
    "retry",
    "settle",
    "why_no_retry",
]

Phase = Generator[Effect, Any, Any]
Now = Callable[[], int]

_FAILED = StateType.FAILED  # these are globals because that is quicker to get at than a member
_BEGIN, _SUCCEED = Move.BEGIN, Move.SUCCEED
_NO_STATES = ATOMS | {dict}  # types of values that mean no state, told at once
_PREPARE = Prepare()
_END_INSIDE = EndInside()


def begin(policy: RunPolicy, run: Run, now: Now) -> Phase:
    """From creation to the first attempt. Returns the outcome that kept the run from starting, or None."""
    outcome = yield _PREPARE
    if type(outcome) is Ready:
        if run.state.name == "AwaitingRetry":  # the attempt before was made by a process that has died
            yield from resume(policy, run, now)
            return None
        state = yield Enter(next_state(run, _BEGIN, now()))
        if policy.on_running:
            yield RunHooks(policy.on_running, state)
        return None
    if type(outcome) is Blocked:
        yield Enter(next_state(run, Move.BLOCK, now(), str(outcome.error)))
    else:
        message = f"{policy.noun} could not begin: {conversion.describe_exception(outcome.error)}"
        yield Enter(next_state(run, Move.FAIL, now(), message, outcome.error))
    return outcome


def settle(
    policy: RunPolicy,
    run: Run,
    outcome: Outcome,
    retries: int,
    now: Now,
    random: Callable[[], float],
    hands_on: bool = False,
) -> Phase:
    """From the outcome of an attempt to the next state. Returns True if another attempt is granted.

    Args:
        policy: The options of the task or flow.
        run: The run.
        outcome: What the attempt came to.
        retries: How many retries were granted before.
        now: Reads the wall clock.
        random: Draws a number in [0, 1), for jitter.
        hands_on: Somebody else makes the next attempt, so it is waited for, even if it is due at once.
    """
    if type(outcome) is Returned:
        state = _success(run, outcome, now())
        if state.type is not _FAILED:
            yield Enter(state)
            if policy.on_running and state.is_running():  # a running state made by hand begins an attempt too
                yield RunHooks(policy.on_running, state)
            return False
    else:
        assert isinstance(outcome, Raised)
        state = failure_state(policy, run, outcome.error, outcome.limit, now())
        if outcome.is_last:
            yield Enter(state)
            return False
    if (yield from retry(policy, run, state, retries, now, random, hands_on)):
        return True
    yield Enter(state)
    return False


def retry(
    policy: RunPolicy,
    run: Run,
    failure: State,
    retries: int,
    now: Now,
    random: Callable[[], float],
    hands_on: bool = False,
) -> Phase:
    """Grant another attempt instead of entering the state ``failure``, if the policy has one left.

    A failed state that the function made itself is retried like an exception (V-5). The state entered
    says in its message why there is a retry. Returns True if it was granted; the arguments are those of
    `settle`.
    """
    if retries >= policy.retries:
        return False
    if policy.retry_condition is not None and not (yield Ask(policy.retry_condition, failure)):
        return False
    at = now()
    due = at + round(retry_delay(policy, retries, random()) * MICROSECONDS)
    if not is_in_time(policy, run, due):
        return False
    if due > at or hands_on:
        yield Enter(next_state(run, Move.AWAIT_RETRY, at, failure.message, scheduled_at=due))
    else:
        state = yield Enter(next_state(run, Move.RETRY, at, failure.message))
        if policy.on_running:
            yield RunHooks(policy.on_running, state)
    return True


def is_in_time(policy: RunPolicy, run: Run, due: int) -> bool:
    """Whether an attempt that begins at a wall time is within the time that all attempts have together."""
    if policy.retry_timeout is None or run.started_at is None:
        return True
    return due < run.started_at + round(policy.retry_timeout * MICROSECONDS)


def why_no_retry(policy: RunPolicy, run: Run, retries: int, at: int) -> str:
    """What the policy has run out of for a run that fails after so many retries; empty if it has not.

    Args:
        policy: The options of the task or flow.
        run: The run.
        retries: How many retries were granted before.
        at: The time of the failure.
    """
    if policy.retries <= retries:
        return "Retries are exhausted" if policy.retries else ""
    due = at + round(retry_delay(policy, retries, 0.5) * MICROSECONDS)
    return "" if is_in_time(policy, run, due) else "No time is left for a retry"


def resume(policy: RunPolicy, run: Run, now: Now) -> Phase:
    """From SCHEDULED to the next attempt, after its time has come."""
    state = run.state
    due = state.scheduled_at
    if due is None:
        return
    yield SleepUntil(due)
    move = Move.RETRY if state.name == "AwaitingRetry" else Move.BEGIN
    state = yield Enter(next_state(run, move, now()))
    if policy.on_running:
        yield RunHooks(policy.on_running, state)


def finish(policy: RunPolicy, state: State) -> RunHooks | None:
    """The hooks that follow the state in which the run was left, None if there are none."""
    hooks = policy.hooks_for(state)
    return RunHooks(hooks, state) if hooks else None


def crash(policy: RunPolicy, run: Run, error: BaseException, now: Now) -> Phase:
    """Record that the run was ended from outside, wherever it was; a final state is never overwritten.

    Effects on this path never wait. Returns True if the run was crashed by this call.
    """
    if run.state.is_final():
        return False
    at = now()
    described = conversion.exception_to_crashed_state(error)
    yield Enter(next_state(run, Move.CRASH, at, described.message, described.data))
    return True


def cancel(policy: RunPolicy, run: Run, reason: str, now: Now, was_lost: bool = False) -> Phase:
    """Record that the run has ended because somebody has asked for it; a final state is never overwritten.

    It is Cancelling for as long as anything goes on inside of it. If it ``was_lost``, its process was killed for this,
    and perhaps it is Crashed by now because somebody else has found that dead. Returns True if the run was cancelled by
    this call.
    """
    if run.state.is_final() and not (was_lost and run.state.is_crashed()):
        return False
    if not (run.state.is_cancelling() or run.state.is_crashed()):
        yield Enter(next_state(run, Move.STOP, now(), reason))
    yield _END_INSIDE
    yield Enter(next_state(run, Move.CANCEL, now(), reason))
    return True


def lose(
    policy: RunPolicy,
    run: Run,
    error: BaseException,
    now: Now,
    random: Callable[[], float],
    retries: int | None = None,
    losses: int = 0,
    limit: str | None = None,
    is_last: bool = False,
) -> Phase:
    """From the death of the process that made an attempt to the next state.

    A loss is made good by ``crash_retries`` as long as there are some left. Otherwise the attempt counts as a failed
    one, and so it does if the process was ended because the time of the attempt was over: ``error`` is a TimeoutError
    then. A process that dies while it waits for the next attempt has cost none. Whoever goes on with a run that is to
    be attempted again waits for its time, even if that is now. Returns True in that case.

    Args:
        policy: The options of the task or flow.
        run: The run, as it was last recorded.
        error: How the process died.
        now: Reads the wall clock.
        random: Draws a number in [0, 1), for jitter.
        retries: How many retries were granted before; None if only the process knew: all attempts but the first, and
            those that made a loss good.
        losses: How many losses were made good before.
        limit: If the process was ended because of a limit on time that the run has to keep to: what people call it.
        is_last: No further attempt can be made, because the time for all of them is over.
    """
    if run.state.is_scheduled() and now() < (run.state.scheduled_at or 0):
        return True
    if run.state.is_final() and not run.state.is_crashed():
        return False
    # An attempt may have begun, and the process died before that was recorded.
    if run.state.is_pending():
        yield Enter(next_state(run, Move.BEGIN, now()))
    elif run.state.is_scheduled():
        yield Enter(next_state(run, Move.RETRY, now()))
    if retries is None:
        retries = max(run.run_count - 1 - losses, 0)
    if isinstance(error, TimeoutError):
        made_good = False
        failure = failure_state(policy, run, error, limit, now())
    else:
        made_good = losses < policy.crash_retries
        failure = conversion.exception_to_crashed_state(error)
    at = now()
    delay = retry_delay(policy, losses if made_good else retries, random())
    due = at + round(delay * MICROSECONDS)
    granted = (made_good or retries < policy.retries) and not is_last and is_in_time(policy, run, due)
    if granted and not made_good and policy.retry_condition is not None:
        granted = bool((yield Ask(policy.retry_condition, failure)))
    if not granted:
        if isinstance(error, TimeoutError):
            yield Enter(failure)
        else:
            yield from crash(policy, run, error, now)
        return False
    if run.state.is_crashed() and not run.run_count:  # whoever has found out could not know that it had begun
        yield Enter(next_state(run, Move.BEGIN, at))
    yield Enter(next_state(run, Move.AWAIT_RETRY, at, failure.message, scheduled_at=due))
    return True


def failure_state(policy: RunPolicy, run: Run, error: Exception, limit: str | None, at: int) -> State:
    """The state for an exception that came out of an attempt and is not retried.

    Args:
        policy: The options of the task or flow.
        run: The run.
        error: The exception.
        limit: The limit on time that it came from, if the run itself had to keep to that.
        at: The time of the failure.
    """
    if isinstance(error, TimeoutError):
        if limit is not None:
            message = f"{policy.noun} exceeded {limit}"
        else:
            message = f"{policy.noun} failed due to timeout: {shown(error)}"
        return next_state(run, Move.TIME_OUT, at, message, error, retriable=False)
    message = f"{policy.noun} encountered an exception: {conversion.describe_exception(error)}"
    return next_state(run, Move.FAIL, at, message, error, retriable=False)


def _success(run: Run, outcome: Returned, at: int) -> State:
    """The state that a returned value means; a state made by hand is entered as it is (E-106)."""
    value = outcome.value
    if outcome.cached:
        return next_state(run, Move.REUSE, at, data=value)
    if type(value) not in _NO_STATES and (is_state(value) or is_state_iterable(value)):
        return conversion.return_value_to_state(value)
    return next_state(run, _SUCCEED, at, data=value)
