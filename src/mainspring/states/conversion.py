"""From what happened, an exception or a returned value, to the state that says so."""

from __future__ import annotations

import sys
from typing import Any

from mainspring.exceptions import CrashedRun, RunCancelled, TerminationSignal
from mainspring.states.constructors import Crashed, Failed
from mainspring.states.group import StateGroup
from mainspring.states.state import State, StateType, is_state_iterable

__all__ = [
    "describe_exception",
    "exception_to_crashed_state",
    "exception_to_failed_state",
    "return_value_to_state",
]


def exception_to_failed_state(
    exc: BaseException | None = None, message: str | None = None, **fields: Any
) -> State:
    """The FAILED state for an exception, by default the one being handled.

    Args:
        exc: The exception.
        message: Put in front of the exception's type and text.
        fields: Further fields of the state, for example ``name``.

    Raises:
        ValueError: No exception was given and none is being handled.
    """
    if exc is None:
        exc = sys.exc_info()[1]
        if exc is None:
            raise ValueError("No exception was given and none is being handled.")
    text = describe_exception(exc)
    return Failed(data=exc, message=f"{message} {text}" if message else text, **fields)


def exception_to_crashed_state(exc: BaseException, **fields: Any) -> State:
    """The CRASHED state for an exception that ended a run from outside."""
    asyncio = sys.modules.get("asyncio")  # a cancellation can only exist where it was imported
    if isinstance(exc, RunCancelled) or (asyncio and isinstance(exc, asyncio.CancelledError)):
        reason = "was cancelled by the runtime environment."
    elif isinstance(exc, KeyboardInterrupt):
        reason = "was aborted by an interrupt signal."
    elif isinstance(exc, TerminationSignal):
        reason = "was aborted by a termination signal."
    elif isinstance(exc, SystemExit):
        reason = "was aborted by Python system exit call."
    else:
        reason = f"was interrupted by an unexpected exception: {describe_exception(exc)}"
    message = f"Execution {reason}"
    wrapped = exc if isinstance(exc, Exception) else CrashedRun(message)
    return Crashed(message=message, data=wrapped, **fields)


def describe_exception(exc: BaseException) -> str:
    """``Type: text`` of an exception, or the type alone when it has no text."""
    try:
        text = str(exc)
    except Exception:  # a broken __str__ of the user's must not hide the failure it describes
        text = "<the exception cannot be shown as text>"
    name = type(exc).__name__
    return f"{name}: {text}" if text else name


def return_value_to_state(value: Any) -> State:
    """The state that a function's return value means (S-31 to S-35, F-20).

    A hand-made state is used itself. A state of some run, or a list, set or tuple made only of states, is
    folded: all completed, else any cancelled, else any paused, else failed. Anything else completes
    the run with the value as its result.
    """
    if isinstance(value, State):
        if value.belongs_to_run:
            return StateGroup([value]).to_state(value)
        if not value.has_data:
            value.keep(None)
        return value
    if is_state_iterable(value):
        return StateGroup(value).to_state(value)
    return State(StateType.COMPLETED, None, None, value)
