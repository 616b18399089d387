"""The state of a run as a value: its type, and the result or exception it holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeGuard, cast
from uuid import UUID

import msgspec

from mainspring import clock, identifiers
from mainspring._imports import library_on_use
from mainspring.annotations import NotSet
from mainspring.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    MissingResult,
    PausedRun,
    StorageError,
    UnfinishedRun,
)
from mainspring.states.details import DEFAULT_NAMES, TERMINAL_STATES, StateDetails, StateType, is_stored

if TYPE_CHECKING:
    import copy
else:
    copy = library_on_use("copy")

__all__ = [
    "RESULT_READ_MAXIMUM_ATTEMPTS",
    "RESULT_READ_RETRY_DELAY",
    "State",
    "aget_state_exception",
    "araise_state_exception",
    "get_state_exception",
    "is_state",
    "is_state_iterable",
    "is_untrackable",
    "new_state",
    "raise_state_exception",
]


RESULT_READ_MAXIMUM_ATTEMPTS = 10
"""How often a result is read in all when its storage fails for the moment."""

RESULT_READ_RETRY_DELAY = 0.25
"""Seconds between these attempts."""

_SCHEDULED = StateType.SCHEDULED  # a global is quicker to get at than a member
_SHARED = frozenset({type(None), bool, type(...), type(NotImplemented)})


class State:
    """One state of one run.

    A state is a value: the engine never changes one after it was entered. ``timestamp`` and ``id`` are
    made from the compact ``at`` and ``key`` when they are read. ``task_run_key`` and ``flow_run_key`` say which run
    has entered it. Safe to read from any thread.

    Args:
        type: The kind of state, as a member of :class:`StateType` or its text.
        name: A more telling name; the capitalised type when omitted.
        message: A sentence for people.
        data: The result of the run, or the exception it failed with.
        timestamp: When the state was entered; now when omitted. Naive times are UTC.
        state_details: Further facts, as :class:`StateDetails` or a mapping of its fields.
        at: The timestamp in microseconds since the epoch, for callers that have it in that form.
        id: The id of the state; a fresh one when omitted.
    """

    __slots__ = (
        "_data",
        "_details",
        "at",
        "flow_run_key",
        "key",
        "message",
        "name",
        "task_run_key",
        "type",
    )

    def __init__(
        self,
        type: StateType | str,  # noqa: A002 - the field's name in the contract
        name: str | None = None,
        message: str | None = None,
        data: Any = NotSet,
        timestamp: datetime | None = None,
        state_details: StateDetails | Mapping[str, Any] | None = None,
        *,
        at: int | None = None,
        id: UUID | None = None,  # noqa: A002 - the field's name in the contract
    ) -> None:
        kind: StateType = type if isinstance(type, StateType) else StateType(type)
        self.type: StateType = kind
        self.name = DEFAULT_NAMES[kind] if name is None else name
        self.message = message
        self._data = data
        if at is None:
            at = clock.current().now() if timestamp is None else clock.from_datetime(timestamp)
        self.at = at
        if state_details is not None and not isinstance(state_details, StateDetails):
            state_details = StateDetails(**state_details)
        self._details: StateDetails | None = state_details
        self.key: bytes = identifiers.current().new() if id is None else id.bytes
        self.task_run_key: bytes | None = None
        self.flow_run_key: bytes | None = None
        if kind is _SCHEDULED and (state_details is None or state_details.scheduled_time is None):
            self.state_details.scheduled_time = clock.to_datetime(at)

    @classmethod
    def _unchecked(
        cls,
        kind: StateType,
        name: str,
        at: int,
        message: str | None = None,
        data: Any = NotSet,
        details: StateDetails | None = None,
    ) -> State:
        """What the engine makes states by, some for each run: nothing of what is given is looked at.

        Args:
            kind: The type.
            name: The name.
            at: The timestamp in microseconds since the epoch.
            message: The message.
            data: The result or exception.
            details: Further facts; those of a SCHEDULED state say when it is due.
        """
        state = object.__new__(cls)
        state.type = kind
        state.name = name
        state.message = message
        state.at = at
        state._data = data
        state._details = details
        state.key = identifiers.current().new()
        state.task_run_key = state.flow_run_key = None
        return state

    # Identity and time

    @property
    def id(self) -> UUID:
        """The id of the state."""
        return UUID(bytes=self.key)

    def again(self) -> State:
        """An equal state with an id of its own, for somebody who enters it on his own account."""
        state = copy.copy(self)
        state.key = identifiers.current().new()
        return state

    @property
    def timestamp(self) -> datetime:
        """When the state was entered, as an aware UTC datetime."""
        return clock.to_datetime(self.at)

    @property
    def created(self) -> datetime:
        """When the state was made, which is when it was entered: states never change."""
        return self.timestamp

    @property
    def updated(self) -> datetime:
        """When the state was last changed, which is when it was made."""
        return self.timestamp

    @property
    def data(self) -> Any:
        """The result or exception held by the state, None if there is none."""
        return None if self._data is NotSet else self._data

    @property
    def has_data(self) -> bool:
        """True if the state holds a result, which may be None."""
        return self._data is not NotSet

    @property
    def stored_as(self) -> str | None:
        """Where the result is kept, as a JSON object; None if it is not kept beyond the process."""
        data = self._data
        if data is NotSet or data is None:  # asked for every state that is written, and few hold anything
            return None
        return data.describe() if is_stored(data) else None

    @property
    def state_details(self) -> StateDetails:
        """Further facts about the state."""
        details = self.own_details
        if self.task_run_key is not None and details.task_run_id is None:
            details.task_run_id = UUID(bytes=self.task_run_key)
        if self.flow_run_key is not None and details.flow_run_id is None:
            details.flow_run_id = UUID(bytes=self.flow_run_key)
        return details

    @property
    def own_details(self) -> StateDetails:
        """`state_details`, perhaps without the ids of the run, which take a while to make."""
        details = self._details
        if details is None:
            details = self._details = StateDetails()
        is_inside = self.flow_run_key is not None and details.flow_run_id is None
        if is_inside and self.type is StateType.COMPLETED and is_untrackable(self._data):
            details.untrackable_result = True
        return details

    @property
    def scheduled_at(self) -> int | None:
        """When a SCHEDULED state is due, in microseconds since the epoch; None for other states."""
        if self._details is None or self._details.scheduled_time is None:
            return None
        return clock.from_datetime(self._details.scheduled_time)

    @property
    def has_details(self) -> bool:
        """True if there is anything in :attr:`state_details` beyond the ids of the run."""
        return self._details is not None

    def belong_to(self, task_run: bytes | None, flow_run: bytes | None) -> None:
        """Stamp the state with the run it is a state of; ``state_details`` shows both ids."""
        self.task_run_key = task_run
        self.flow_run_key = flow_run

    @property
    def belongs_to_run(self) -> bool:
        """True if the state was entered by some run."""
        return self.task_run_key is not None or self.flow_run_key is not None

    def move_after(self, previous: State) -> None:
        """Put the state one microsecond after ``previous`` unless it is later already (V-3)."""
        if self.at <= previous.at:
            self.at = previous.at + 1

    def keep(self, data: Any) -> None:
        """Let the state hold ``data`` as its result, None included."""
        self._data = data

    def forget(self, instead: Any = NotSet) -> None:
        """Let go of the result, and hold ``instead`` if anything: the description of where it is kept."""
        self._data = instead

    def fresh_copy(self) -> State:
        """The same state with a new id and the current time."""
        copy = State(self.type, self.name, self.message, self._data)
        if self._details is not None:
            copy._details = msgspec.structs.replace(self._details)
        return copy

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> State:
        """The same state, id included, at the current time, with some fields set to other values.

        Args:
            update: New values for fields of the constructor, by name.
        """
        fields: dict[str, Any] = {
            "type": self.type,
            "name": self.name,
            "message": self.message,
            "data": self._data,
            "state_details": msgspec.structs.replace(self.state_details),
            "id": self.id,
            **(update or {}),
        }
        copy = type(self)(**fields)
        copy.belong_to(self.task_run_key, self.flow_run_key)
        return copy

    def to_state_create(self) -> State:
        """The state as it goes to other processes: a copy without the data, unless that is kept in a storage."""
        return self.model_copy(update={"data": self._data if self.stored_as else NotSet, "at": self.at})

    # Predicates: they test the type alone

    def is_scheduled(self) -> bool:
        """True for SCHEDULED."""
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        """True for PENDING."""
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        """True for RUNNING."""
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        """True for COMPLETED."""
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        """True for FAILED."""
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        """True for CRASHED."""
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        """True for CANCELLED."""
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        """True for CANCELLING."""
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        """True for PAUSED."""
        return self.type is StateType.PAUSED

    def is_final(self) -> bool:
        """True for COMPLETED, CANCELLED, FAILED and CRASHED."""
        return self.type in TERMINAL_STATES

    # Results

    def result(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> Any:
        """The value that the run returned, loaded from where it is kept if need be.

        Args:
            raise_on_failure: With False a failed, crashed or cancelled run gives its exception (or
                other data) back instead of raising it.
            retry_result_failure: Whether reading is tried again, `RESULT_READ_MAXIMUM_ATTEMPTS` times in all, when
                the storage fails for the moment. A result that is not there is not looked for again.

        Raises:
            PausedRun: The run is paused.
            UnfinishedRun: The run is not final yet.
            MissingResult: The run completed, but its result was not kept, or is no longer there.
            SerializationError: What is kept cannot be understood.
        """
        data = self._require_result()
        if is_stored(data):
            attempts = RESULT_READ_MAXIMUM_ATTEMPTS if retry_result_failure else 1
            for attempt in range(1, attempts + 1):
                try:
                    data = data.get()
                    break
                except (OSError, StorageError):
                    if attempt == attempts:
                        raise
                clock.current().sleep(RESULT_READ_RETRY_DELAY)
        return self._open(data, raise_on_failure)

    async def aresult(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> Any:
        """:meth:`result` for async code."""
        data = self._require_result()
        if is_stored(data):
            attempts = RESULT_READ_MAXIMUM_ATTEMPTS if retry_result_failure else 1
            for attempt in range(1, attempts + 1):
                try:
                    data = await data.aget()
                    break
                except (OSError, StorageError):
                    if attempt == attempts:
                        raise
                await clock.current().asleep(RESULT_READ_RETRY_DELAY)
        return self._open(data, raise_on_failure)

    def _require_result(self) -> Any:
        """The data of a final state; an error says why there is none."""
        if self.is_paused():
            raise PausedRun("The run is paused; its result exists once it was resumed.", state=self)
        if not self.is_final():
            raise UnfinishedRun(
                f"The run is in state {self} of type {self.type.value} and has no result yet."
            )
        if self.is_completed() and self._data is NotSet:
            raise MissingResult(
                "The run completed, but its result was not kept: it exists only in the process that ran it. To keep"
                " results, run the task or flow with `persist_result=True`."
            )
        return self.data

    def _open(self, data: Any, raise_on_failure: bool) -> Any:
        """What ``result`` makes of the data once it is in memory."""
        if self.is_completed():
            return data
        if raise_on_failure:
            raise _to_exception(self, data)
        return _to_exception(self, data) if data is None else data

    # Comparing and showing

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        for name in State.__slots__:
            setattr(copied, name, getattr(self, name))
        vars_of_subclass = getattr(self, "__dict__", None)
        if vars_of_subclass:
            copied.__dict__.update(vars_of_subclass)
        return copied

    def _facts(self) -> tuple[object, ...]:
        return self.type, self.name, self.at, self.message, self.state_details, self.data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return self is other or self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash((self.flow_run_key, self.task_run_key, self.at, self.type))

    def __repr__(self) -> str:
        return f"{self.name}(message={self.message!r}, type={self.type.value}, result={self.data!r})"

    def __str__(self) -> str:
        parts = [repr(self.message)] if self.message else []
        if self.name.upper() != self.type.value:
            parts.append(f"type={self.type.value}")
        return f"{self.name}({', '.join(parts)})"


new_state = State._unchecked  # pyright: ignore[reportPrivateUsage] - the engine's own way to make a state
"""`State` for those who have everything at hand: see there for the arguments."""

_WRAPPERS = {
    StateType.FAILED: (FailedRun, "The run failed."),
    StateType.CRASHED: (CrashedRun, "The run crashed."),
    StateType.CANCELLED: (CancelledRun, "The run was cancelled."),
}


def get_state_exception(state: State) -> BaseException:
    """The exception that a failed, crashed or cancelled state stands for.

    An exception held as data is returned as it is, text and nothing at all are wrapped, a state or a
    collection of states is followed to its first failure.

    Raises:
        ValueError: The state did not fail, or holds only states that did not.
        TypeError: The state's data cannot be understood as an exception.
    """
    data = state.data
    return _to_exception(state, data.get() if is_stored(data) else data)


async def aget_state_exception(state: State) -> BaseException:
    """`get_state_exception` for async code: what is kept in a storage is loaded without blocking the loop."""
    data = state.data
    return _to_exception(state, await data.aget() if is_stored(data) else data)


def _to_exception(state: State, data: Any) -> BaseException:
    """The exception that the data of a state means."""
    if state.type not in _WRAPPERS:
        raise ValueError(f"Expected failed or crashed state got {state!r}.")
    wrapper, default = _WRAPPERS[state.type]
    if isinstance(data, BaseException):
        return data
    if data is None:
        return wrapper(state.message or default)
    if isinstance(data, str):
        return wrapper(data)
    if is_state(data):
        return get_state_exception(data)
    if is_state_iterable(data):
        for child in data:
            if child.type in _WRAPPERS:
                return get_state_exception(child)
        raise ValueError("Failed state result was an iterable of states but none were failed.")
    raise TypeError(
        f"The data of a failed state cannot be resolved into an exception: "
        f"{type(data).__name__} cannot be resolved into an exception."
    )


def raise_state_exception(state: State) -> None:
    """Raise the exception of a failed, crashed or cancelled state; do nothing for any other."""
    if state.type in _WRAPPERS:
        raise get_state_exception(state)


async def araise_state_exception(state: State) -> None:
    """`raise_state_exception` for async code."""
    if state.type in _WRAPPERS:
        raise await aget_state_exception(state)


def is_untrackable(value: object) -> bool:
    """True for the values of which Python keeps one object for everybody, which therefore tell nothing (T-84)."""
    if type(value) is int:
        return -5 <= value <= 256  # those are kept ready made
    return type(value) in _SHARED


def is_state(value: object) -> TypeGuard[State]:
    """True for a state; told by the type alone, for a value of the user's may raise when it is asked."""
    return issubclass(type(value), State)


_COLLECTIONS = (list, set, tuple)  # as a tuple: a union is made anew, and asked slowly, at each use


def is_state_iterable(value: object) -> bool:
    """True for a non-empty list, set or tuple that holds nothing but states."""
    if not issubclass(type(value), _COLLECTIONS):
        return False
    members = cast("Collection[object]", value)
    return bool(members) and all(is_state(member) for member in members)
