"""Which runs, flows and log lines to read, and in which order.

A filter is an immutable record. Its members that are None do not restrict; all others have to fit, and so has
everything inside of a member. Lists mean "any of these", but for ``all_`` and ``not_any_``. Wherever a filter or a
member of one is expected, a mapping with the same members will do::

    FlowRunFilter(name=TextFilter(like_="nightly"), state=StateFilter(type=StateTypeFilter(any_=["FAILED"])))
    {"name": {"like_": "nightly"}, "state": {"type": {"any_": ["FAILED"]}}}

Times are datetimes, naive ones in UTC, or texts in ISO 8601. Ids are ``UUID`` or text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints
from uuid import UUID

import msgspec

from mainspring.exceptions import ConfigurationError
from mainspring.states import StateType

__all__ = [
    "ALL",
    "DEFAULT_LIMIT",
    "Filter",
    "FlowFilter",
    "FlowRunFilter",
    "FlowRunSort",
    "FlowSort",
    "IdFilter",
    "LevelFilter",
    "LinkFilter",
    "LogFilter",
    "LogSort",
    "StartTimeFilter",
    "StateFilter",
    "StateNameFilter",
    "StateTypeFilter",
    "SubflowRunsFilter",
    "TagsFilter",
    "TaskRunFilter",
    "TaskRunSort",
    "TextFilter",
    "TimeFilter",
    "VersionFilter",
    "listed",
    "page_of",
    "record_of",
    "sort_of",
    "texts",
]

DEFAULT_LIMIT = 200
"""So many are read where no limit is given."""

ALL = 2**62
"""As a limit: all that there are."""

Ids = Sequence[UUID | str] | None
Texts = Sequence[str] | None
Types = Sequence[StateType | str] | None
Moment = datetime | None

F = TypeVar("F", bound=msgspec.Struct)
S = TypeVar("S", bound=Enum)
T = TypeVar("T")


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What all filters and their members have in common: they are checked when they are made.

    Raises:
        ConfigurationError: A value of a member cannot be one.
    """

    def __post_init__(self) -> None:
        for name, read in _readers(type(self)):
            given = getattr(self, name)
            if given is not None:
                value = read(given, f"{type(self).__name__}.{name}")
                if value is not given:
                    msgspec.structs.force_setattr(self, name, value)


# Members


class IdFilter(Filter, frozen=True, kw_only=True):
    """By id: one of ``any_``, and none of ``not_any_``."""

    any_: Ids = None
    not_any_: Ids = None


class LinkFilter(Filter, frozen=True, kw_only=True):
    """By the run around or before: one of ``any_``, or with ``is_null_=True`` none at all."""

    any_: Ids = None
    is_null_: bool | None = None


class TextFilter(Filter, frozen=True, kw_only=True):
    """By a name: one of ``any_``, and ``like_`` somewhere in it, in any case."""

    any_: Texts = None
    like_: str | None = None


class VersionFilter(Filter, frozen=True, kw_only=True):
    """By version: one of ``any_``."""

    any_: Texts = None


class TagsFilter(Filter, frozen=True, kw_only=True):
    """By tags: ``all_`` of these, at least one of ``any_``, or no tags with ``is_null_=True``."""

    all_: Texts = None
    any_: Texts = None
    is_null_: bool | None = None


class StateTypeFilter(Filter, frozen=True, kw_only=True):
    """By the type of the current state: one of ``any_``, and none of ``not_any_``. Texts are taken in any case."""

    any_: Types = None
    not_any_: Types = None


class StateNameFilter(Filter, frozen=True, kw_only=True):
    """By the name of the current state, as it is written: one of ``any_``, and none of ``not_any_``."""

    any_: Texts = None
    not_any_: Texts = None


class StateFilter(Filter, frozen=True, kw_only=True):
    """By the current state."""

    type: StateTypeFilter | None = None
    name: StateNameFilter | None = None


class TimeFilter(Filter, frozen=True, kw_only=True):
    """By a time: at ``before_`` or earlier, at ``after_`` or later. A run without the time does not fit."""

    before_: Moment = None
    after_: Moment = None


class StartTimeFilter(TimeFilter, frozen=True, kw_only=True):
    """The same for a time that runs may not have yet; ``is_null_=True`` fits only those that do not."""

    is_null_: bool | None = None


class SubflowRunsFilter(Filter, frozen=True, kw_only=True):
    """By whether a task run stands for a subflow run."""

    exists_: bool | None = None


class LevelFilter(Filter, frozen=True, kw_only=True):
    """By the level of a log line: ``ge_`` or higher, ``le_`` or lower, as in `logging`."""

    ge_: int | None = None
    le_: int | None = None


# Filters


class FlowFilter(Filter, frozen=True, kw_only=True):
    """Which flows.

    Args:
        id: By id.
        name: By name.
        tags: By the tags of their runs: ``all_`` fits a flow with a run that has all of these.
    """

    id: IdFilter | None = None
    name: TextFilter | None = None
    tags: TagsFilter | None = None


class FlowRunFilter(Filter, frozen=True, kw_only=True):
    """Which flow runs.

    Args:
        id: By id.
        name: By name.
        tags: By tags.
        state: By the current state.
        flow_version: By the version of the flow.
        start_time: By when they began.
        end_time: By when they ended.
        expected_start_time: By when they were meant to begin.
        next_scheduled_start_time: By when they are due, while they are scheduled; no other run fits.
        parent_flow_run_id: By the flow run that they are subflow runs of.
        parent_task_run_id: By the task run that stands for them there.
    """

    id: IdFilter | None = None
    name: TextFilter | None = None
    tags: TagsFilter | None = None
    state: StateFilter | None = None
    flow_version: VersionFilter | None = None
    start_time: StartTimeFilter | None = None
    end_time: StartTimeFilter | None = None
    expected_start_time: TimeFilter | None = None
    next_scheduled_start_time: TimeFilter | None = None
    parent_flow_run_id: LinkFilter | None = None
    parent_task_run_id: LinkFilter | None = None


class TaskRunFilter(Filter, frozen=True, kw_only=True):
    """Which task runs.

    Args:
        id: By id.
        name: By name.
        tags: By tags.
        state: By the current state.
        start_time: By when they began.
        end_time: By when they ended.
        expected_start_time: By when they were meant to begin.
        subflow_runs: By whether they stand for a subflow run.
        flow_run_id: By the flow run that they belong to.
    """

    id: IdFilter | None = None
    name: TextFilter | None = None
    tags: TagsFilter | None = None
    state: StateFilter | None = None
    start_time: StartTimeFilter | None = None
    end_time: StartTimeFilter | None = None
    expected_start_time: TimeFilter | None = None
    subflow_runs: SubflowRunsFilter | None = None
    flow_run_id: LinkFilter | None = None


class LogFilter(Filter, frozen=True, kw_only=True):
    """Which log lines.

    Args:
        level: By level.
        timestamp: By when they were written.
        flow_run_id: By the flow run; lines of its task runs fit as well.
        task_run_id: By the task run. To name the flow run as well is quicker.
    """

    level: LevelFilter | None = None
    timestamp: TimeFilter | None = None
    flow_run_id: LinkFilter | None = None
    task_run_id: LinkFilter | None = None


# Orders


class FlowRunSort(str, Enum):
    """The order of flow runs. Runs without the time come last; what is equal comes newest first."""

    ID_DESC = "ID_DESC"
    START_TIME_ASC = "START_TIME_ASC"
    START_TIME_DESC = "START_TIME_DESC"
    EXPECTED_START_TIME_ASC = "EXPECTED_START_TIME_ASC"
    EXPECTED_START_TIME_DESC = "EXPECTED_START_TIME_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    NEXT_SCHEDULED_START_TIME_ASC = "NEXT_SCHEDULED_START_TIME_ASC"
    END_TIME_DESC = "END_TIME_DESC"


class TaskRunSort(str, Enum):
    """The order of task runs. Runs without the time come last; what is equal comes newest first."""

    ID_DESC = "ID_DESC"
    EXPECTED_START_TIME_ASC = "EXPECTED_START_TIME_ASC"
    EXPECTED_START_TIME_DESC = "EXPECTED_START_TIME_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    NEXT_SCHEDULED_START_TIME_ASC = "NEXT_SCHEDULED_START_TIME_ASC"
    END_TIME_DESC = "END_TIME_DESC"


class FlowSort(str, Enum):
    """The order of flows."""

    CREATED_DESC = "CREATED_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


class LogSort(str, Enum):
    """The order of log lines."""

    TIMESTAMP_ASC = "TIMESTAMP_ASC"
    TIMESTAMP_DESC = "TIMESTAMP_DESC"


# From what callers give


def record_of(kind: type[F], given: F | Mapping[str, Any] | None, where: str | None = None) -> F | None:
    """A filter, or another record, from one or from a mapping with its members; None for None.

    Args:
        kind: What it is to be.
        given: What the caller has given.
        where: What it was given for, for the error; the name of the kind when omitted.

    Raises:
        ConfigurationError: It is neither, names an unknown member, or has a value that cannot be one.
    """
    if given is None or isinstance(given, kind):
        return given
    place = where or kind.__name__
    if not issubclass(type(given), Mapping):
        raise ConfigurationError(
            f"{place} cannot be {given!r}: give a {kind.__name__}, or a mapping with members of it."
        )
    members = cast("Mapping[str, Any]", given)
    known = [field.name for field in msgspec.structs.fields(kind)]
    for name in members:
        if name not in known:
            from difflib import get_close_matches  # takes a millisecond, and only misspelt names need it

            near = get_close_matches(str(name), known, 1, 0.4)
            advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(map(repr, known))}."
            raise ConfigurationError(f"{place} has no member {name!r}. {advice}")
    return kind(**members)


def sort_of(kind: type[S], given: S | str | None, default: S) -> S:
    """An order from a member of the enumeration or its name; ``default`` for None.

    Raises:
        ConfigurationError: There is no such order.
    """
    if given is None:
        return default
    try:
        return kind(given.upper() if type(given) is str else given)
    except ValueError:
        known = ", ".join(each.value for each in kind)
        raise ConfigurationError(f"There is no order {given!r}. {kind.__name__} has {known}.") from None


def page_of(limit: int | None, offset: int | None, default: int = DEFAULT_LIMIT) -> tuple[int, int]:
    """Limit and offset as numbers.

    Raises:
        ConfigurationError: One of them is no whole number, or less than 0.
    """
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None and (type(value) is not int or value < 0):
            raise ConfigurationError(f"{name}={value!r} cannot work: give a whole number, 0 or more.")
    return default if limit is None else min(limit, ALL), min(offset or 0, ALL)


def listed(where: str, given: Iterable[T] | None, wanted: str) -> list[T] | None:
    """What a caller has given as several; None for None. A text is no list of its letters.

    Args:
        where: What it was given for, for the error.
        given: What the caller has given.
        wanted: What it is a list of, for the error.

    Raises:
        ConfigurationError: It is one thing, and no list.
    """
    if given is None:
        return None
    if isinstance(given, str | bytes) or not issubclass(type(given), Iterable):
        raise _refused(where, given, f"a list of {wanted}")
    return list(given)


def texts(where: str, given: Iterable[str] | None) -> list[str] | None:
    """Texts as a caller has given them; None for None.

    Raises:
        ConfigurationError: It is one text, no list, or a list of something else.
    """
    found = listed(where, given, "texts")
    for each in found or ():
        if not isinstance(each, str):
            raise _refused(where, given, "a list of texts")
    return found


Reader = Callable[[Any, str], Any]


@cache
def _readers(kind: type[Filter]) -> list[tuple[str, Reader]]:
    """For each member what makes a value of what was given."""
    return [(name, _reader(hint)) for name, hint in get_type_hints(kind).items()]


def _reader(hint: Any) -> Reader:
    known = _READERS.get(hint)
    if known is not None:
        return known
    member: type[Filter] = next(each for each in hint.__args__ if each is not type(None))
    return lambda given, where: record_of(member, given, where)


def _refused(where: str, given: object, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"{where} cannot be {given!r}: give {wanted}.")


def _list_of(read: Reader, wanted: str) -> Reader:
    def read_list(given: Any, where: str) -> tuple[Any, ...]:
        return tuple(read(each, where) for each in listed(where, given, wanted) or ())

    return read_list


def _id(given: Any, where: str) -> UUID:
    try:
        return given if isinstance(given, UUID) else UUID(given)
    except (ValueError, TypeError, AttributeError):
        raise _refused(where, given, "ids, as UUID or text") from None


def _text(given: Any, where: str) -> str:
    if not isinstance(given, str):
        raise _refused(where, given, "text")
    return str(given)


def _type(given: Any, where: str) -> StateType:
    try:
        return StateType(given.upper() if isinstance(given, str) else given)
    except ValueError:
        known = ", ".join(each.value for each in StateType)
        raise _refused(where, given, f"types of states: {known}") from None


def _moment(given: Any, where: str) -> datetime:
    try:
        return given if isinstance(given, datetime) else datetime.fromisoformat(given)
    except (ValueError, TypeError):
        raise _refused(where, given, "a datetime, or one as text in ISO 8601") from None


def _flag(given: Any, where: str) -> bool:
    if not isinstance(given, bool):
        raise _refused(where, given, "True or False")
    return given


def _number(given: Any, where: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise _refused(where, given, "a whole number")
    return given


_READERS: dict[Any, Reader] = {
    Ids: _list_of(_id, "ids"),
    Texts: _list_of(_text, "texts"),
    Types: _list_of(_type, "types of states"),
    Moment: _moment,
    str | None: _text,
    bool | None: _flag,
    int | None: _number,
}
