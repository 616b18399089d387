"""What states are made of: their types, their further facts, and results that are kept elsewhere."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, TypeGuard
from uuid import UUID

import msgspec

__all__ = ["DEFAULT_NAMES", "TERMINAL_STATES", "StateDetails", "StateType", "StoredResult", "is_stored"]


class StateType(str, Enum):
    """The nine kinds of state. Members equal their names as text."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"

    def __str__(self) -> str:
        return f"StateType.{self.name}"


TERMINAL_STATES = frozenset({StateType.COMPLETED, StateType.CANCELLED, StateType.FAILED, StateType.CRASHED})
"""The final types: a run in one of them is over."""

DEFAULT_NAMES = {kind: kind.value.capitalize() for kind in StateType}


class StateDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a state knows beyond its type: its run, when it is due, how its result is kept.

    Args:
        flow_run_id: The flow run it belongs to.
        task_run_id: The task run it belongs to.
        child_flow_run_id: The subflow run that the task run stands for.
        scheduled_time: When a SCHEDULED state is due.
        cache_key: The key under which the result was kept or found.
        cache_expiration: When the result under that key stops to count.
        deferred: Whether the run waits for somebody who serves its task.
        untrackable_result: The result is one of the values that many runs share, such as None or True, so
            nobody who gets it can tell where it came from.
        pause_timeout: When a PAUSED state expires.
        pause_key: What tells one pause of a run from another.
        pause_reschedule: Whether the run leaves its process during the pause.
        run_input_keyset: Where the input that the pause waits for is kept.
        refresh_cache: Whether the run ignored what was kept under its key.
        retriable: False for a failure that is not to be attempted again.
        transition_id: What tells one attempt to enter the state from another.
        task_parameters_id: Where the parameters of a deferred run are kept.
    """

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    child_flow_run_id: UUID | None = None
    scheduled_time: datetime | None = None
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    deferred: bool | None = None
    untrackable_result: bool = False
    pause_timeout: datetime | None = None
    pause_key: str | None = None
    pause_reschedule: bool = False
    run_input_keyset: dict[str, str] | None = None
    refresh_cache: bool | None = None
    retriable: bool | None = None
    transition_id: UUID | None = None
    task_parameters_id: UUID | None = None


class StoredResult:
    """A result in a result storage, as the data of a state: how to get at it, and how to find it again.

    States know no storage; `mainspring.results` has the two implementations, a record with the value in it and the
    description that comes back from the run store.
    """

    __slots__ = ()

    def get(self) -> Any:
        """The value, loaded from storage if need be."""
        raise NotImplementedError

    async def aget(self) -> Any:
        """`get` for async code."""
        raise NotImplementedError

    def has_cached_object(self) -> bool:
        """True if the value is in memory."""
        raise NotImplementedError

    def describe(self) -> str | None:
        """Where the value is kept, as a JSON object; None if it is not kept beyond the process."""
        raise NotImplementedError


def is_stored(value: object) -> TypeGuard[StoredResult]:
    """True for a `StoredResult`; told by the type alone, for a value of the user's may raise when it is asked."""
    return issubclass(type(value), StoredResult)
