"""One function per state that a user or the engine may want to make, named after it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from mainspring import clock
from mainspring.states.details import StateDetails, StateType
from mainspring.states.state import State

__all__ = [
    "AwaitingConcurrencySlot",
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "InfrastructurePending",
    "Late",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "Submitting",
    "Suspended",
]


def Scheduled(  # noqa: N802 - constructors are named after the state they make
    cls: type[State] = State,
    scheduled_time: datetime | None = None,
    **fields: Any,
) -> State:
    """A SCHEDULED state due at ``scheduled_time`` (now when omitted).

    Raises:
        ValueError: The time is given both as argument and inside ``state_details``.
    """
    details = _details(fields)
    if scheduled_time is not None:
        if details.scheduled_time is not None:
            raise ValueError("Give `scheduled_time` or `state_details.scheduled_time`, not both.")
        details.scheduled_time = scheduled_time
    return cls(StateType.SCHEDULED, state_details=details, **fields)


def AwaitingRetry(  # noqa: N802
    cls: type[State] = State,
    scheduled_time: datetime | None = None,
    **fields: Any,
) -> State:
    """A SCHEDULED state of a run that failed and will be attempted again at ``scheduled_time``."""
    return Scheduled(cls, scheduled_time, name="AwaitingRetry", **fields)


def AwaitingConcurrencySlot(  # noqa: N802
    cls: type[State] = State,
    scheduled_time: datetime | None = None,
    **fields: Any,
) -> State:
    """A SCHEDULED state of a run that waits for a place under a concurrency limit."""
    return Scheduled(cls, scheduled_time, name="AwaitingConcurrencySlot", **fields)


def Late(  # noqa: N802
    cls: type[State] = State,
    scheduled_time: datetime | None = None,
    **fields: Any,
) -> State:
    """A SCHEDULED state of a run whose time has passed without anybody starting it."""
    return Scheduled(cls, scheduled_time, name="Late", **fields)


def Submitting(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A PENDING state of a run that is on its way to where it will run."""
    return cls(StateType.PENDING, name="Submitting", **fields)


def InfrastructurePending(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A PENDING state of a run whose surroundings are being made."""
    return cls(StateType.PENDING, name="InfrastructurePending", **fields)


def Pending(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A PENDING state: the run exists and has not begun."""
    return cls(StateType.PENDING, **fields)


def Running(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A RUNNING state."""
    return cls(StateType.RUNNING, **fields)


def Retrying(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A RUNNING state of a second or later attempt."""
    return cls(StateType.RUNNING, name="Retrying", **fields)


def Completed(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A COMPLETED state; ``data`` is the result."""
    return cls(StateType.COMPLETED, **fields)


def Failed(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A FAILED state; ``data`` is the exception."""
    return cls(StateType.FAILED, **fields)


def Crashed(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A CRASHED state: the run was ended from outside."""
    return cls(StateType.CRASHED, **fields)


def Cancelling(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A CANCELLING state: cancellation was asked for, and something still runs."""
    return cls(StateType.CANCELLING, **fields)


def Cancelled(cls: type[State] = State, **fields: Any) -> State:  # noqa: N802
    """A CANCELLED state."""
    return cls(StateType.CANCELLED, **fields)


def Paused(  # noqa: N802
    cls: type[State] = State,
    timeout_seconds: float | None = None,
    pause_expiration_time: datetime | None = None,
    reschedule: bool = False,
    pause_key: str | None = None,
    **fields: Any,
) -> State:
    """A PAUSED state that expires after ``timeout_seconds`` or at ``pause_expiration_time``.

    Raises:
        ValueError: More than one expiration was given.
    """
    details = _details(fields)
    given = [timeout_seconds, pause_expiration_time, details.pause_timeout]
    if sum(value is not None for value in given) > 1:
        raise ValueError("Give one of `timeout_seconds`, `pause_expiration_time`, `pause_timeout`.")
    if timeout_seconds is not None:
        now = clock.to_datetime(clock.current().now())
        pause_expiration_time = now + timedelta(seconds=timeout_seconds)
    if pause_expiration_time is not None:
        details.pause_timeout = pause_expiration_time
    details.pause_reschedule = reschedule
    details.pause_key = pause_key
    return cls(StateType.PAUSED, state_details=details, **fields)


def Suspended(  # noqa: N802
    cls: type[State] = State,
    timeout_seconds: float | None = None,
    pause_expiration_time: datetime | None = None,
    pause_key: str | None = None,
    **fields: Any,
) -> State:
    """A PAUSED state during which the run leaves its process; see `Paused`."""
    return Paused(cls, timeout_seconds, pause_expiration_time, True, pause_key, name="Suspended", **fields)


def _details(fields: dict[str, Any]) -> StateDetails:
    """Take ``state_details`` out of the keywords of a constructor, as a copy of its own."""
    details = fields.pop("state_details", None)
    if details is None:
        return StateDetails()
    if isinstance(details, StateDetails):
        return msgspec.structs.replace(details)
    return StateDetails(**details)
