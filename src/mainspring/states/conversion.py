"""From what happened, an exception or a returned value, to the state that says so."""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
from datetime import datetime
from types import TracebackType
from typing import Any

from mainspring import exceptions
from mainspring._imports import loaded
from mainspring.exceptions import CrashedRun, RunCancelled, TerminationSignal, WorkerDied
from mainspring.states.constructors import Crashed, Failed
from mainspring.states.details import StateDetails, StateType, is_stored
from mainspring.states.group import StateGroup
from mainspring.states.state import State, is_state, is_state_iterable

__all__ = [
    "areturn_value_to_state",
    "describe_exception",
    "exception_to_crashed_state",
    "exception_to_failed_state",
    "format_exception",
    "keep_result",
    "return_value_to_state",
]

_logger = logging.getLogger("mainspring.states")


def exception_to_failed_state(
    exc: BaseException | None = None,
    result_store: Any = None,
    write_result: bool = False,
    message: str | None = None,
    **fields: Any,
) -> State:
    """The FAILED state for an exception, by default the one being handled.

    Args:
        exc: The exception.
        result_store: Makes the record in which the exception is kept; without one it is the data itself.
        write_result: Write the record now. If that fails a warning is logged, and the state is as it is.
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
    fields.setdefault("state_details", StateDetails(retriable=False))
    state = Failed(data=exc, message=f"{message} {text}" if message else text, **fields)
    return return_value_to_state(state, result_store, write_result=write_result)


def exception_to_crashed_state(exc: BaseException, result_store: Any = None, **fields: Any) -> State:
    """The CRASHED state for an exception that ended a run from outside.

    Args:
        exc: The exception.
        result_store: Makes the record in which the exception is kept; without one it is the data itself.
        fields: Further fields of the state, for example ``name``.
    """
    asyncio = loaded("asyncio")  # a cancellation can only exist where it was imported
    if isinstance(exc, RunCancelled) or (asyncio and isinstance(exc, asyncio.CancelledError)):
        reason = "was cancelled by the runtime environment."
    elif isinstance(exc, KeyboardInterrupt):
        reason = "was aborted by an interrupt signal."
    elif isinstance(exc, TerminationSignal):
        reason = "was aborted by a termination signal."
    elif isinstance(exc, WorkerDied):
        reason = f"ended with its process. {exc}"
    elif isinstance(exc, SystemExit):
        reason = "was aborted by Python system exit call."
    else:
        reason = f"was interrupted by an unexpected exception: {describe_exception(exc)}"
    message = f"Execution {reason}"
    wrapped = exc if isinstance(exc, Exception) else CrashedRun(message)
    return return_value_to_state(Crashed(message=message, data=wrapped, **fields), result_store)


def describe_exception(exc: BaseException) -> str:
    """``Type: text`` of an exception, or the type alone when it has no text."""
    try:
        text = str(exc)
    except Exception:  # a broken __str__ of the user's must not hide the failure it describes
        text = "<the exception cannot be shown as text>"
    name = type(exc).__name__
    return f"{name}: {text}" if text else name


def format_exception(exc: BaseException, tb: TracebackType | None = None) -> str:
    """An exception as text: ``Type: text``, or with its traceback if that is given.

    Args:
        exc: The exception. One of this package goes by its name alone, without the module.
        tb: The traceback to show above it.
    """
    if tb is None:
        return describe_exception(exc)
    text = "".join(traceback.format_exception(type(exc), exc, tb))
    return text.replace(f"{exceptions.__name__}.", "")


def return_value_to_state(
    retval: Any,
    result_store: Any = None,
    key: str | None = None,
    expiration: datetime | None = None,
    write_result: bool = False,
) -> State:
    """The state that a function's return value means (S-31 to S-35, F-20).

    A hand-made state is used itself. A state of some run, or a list, set or tuple made only of states, is
    folded: all completed, else any cancelled, else any paused, else failed. Anything else completes
    the run with the value as its result.

    Args:
        retval: What the function returned.
        result_store: Makes the records in which results are kept; without one the value itself is the data.
        key: The key of the record; a fresh one when omitted.
        expiration: When the record stops to count.
        write_result: Write the record now. If that fails a warning is logged, and the state is as it is.
    """
    state = _meaning_of(retval)
    if result_store is not None:
        keep_result(state, result_store, key, expiration)
        if write_result:
            try:
                result_store.persist_result_record(state.data)
            except Exception as error:  # by rule S-37: the run goes on without a kept result
                _warn_unwritten(error)
    return state


async def areturn_value_to_state(
    retval: Any,
    result_store: Any = None,
    key: str | None = None,
    expiration: datetime | None = None,
    write_result: bool = False,
) -> State:
    """`return_value_to_state` for async code."""
    state = _meaning_of(retval)
    if result_store is not None:
        keep_result(state, result_store, key, expiration)
        if write_result:
            try:
                await result_store.apersist_result_record(state.data)
            except Exception as error:  # by rule S-37: the run goes on without a kept result
                _warn_unwritten(error)
    return state


def keep_result(state: State, result_store: Any, key: str | None, expiration: datetime | None = None) -> Any:
    """Put the state's data into a record of ``result_store``, unless it is in one; nothing is written yet.

    A generator becomes the list of what it gives, for only that can be kept (S-34).

    Returns:
        What the state holds now.
    """
    data = state.data
    if is_stored(data):
        return data
    if inspect.isgenerator(data):
        data = list(data)
    record = result_store.create_result_record(data, key, expiration)
    state.keep(record)
    return record


def _meaning_of(value: Any) -> State:
    if is_state(value):
        if value.belongs_to_run:
            return StateGroup([value]).to_state(value)
        if not value.has_data:
            value.keep(None)
        return value
    if is_state_iterable(value):
        return StateGroup(value).to_state(value)
    return State(StateType.COMPLETED, None, None, value)


def _warn_unwritten(error: Exception) -> None:
    _logger.warning("The result could not be written, and the run goes on without keeping it: %s", error)
