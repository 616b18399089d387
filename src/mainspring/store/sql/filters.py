"""From filters to SQL: the one place where it is decided which rows fit.

Everything is in the SQL that databases share. Texts are searched in by way of ``instr``, which knows no wildcards and
tells upper from lower case; PostgreSQL has it under another name. Values go in by name, so that a statement has the
same text each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec

from mainspring import clock
from mainspring.filters import (
    FlowFilter,
    FlowRunFilter,
    FlowRunSort,
    FlowSort,
    IdFilter,
    LevelFilter,
    LinkFilter,
    LogFilter,
    LogSort,
    StartTimeFilter,
    StateFilter,
    TagsFilter,
    TaskRunFilter,
    TaskRunSort,
    TextFilter,
    TimeFilter,
)
from mainspring.identifiers import to_bytes
from mainspring.states import StateType
from mainspring.states.details import DEFAULT_NAMES
from mainspring.store.encoding import well_formed
from mainspring.store.sql.statements import KEYS

__all__ = ["Conditions", "any_key", "flow_id", "order_of"]

_FLOWS = UUID("5a8f1c0e-7d0b-5c63-9c1e-6d61696e7370")  # the name space of the ids of flows

# Written so that indexes have the order: SQLite takes NULL for the least of all, PostgreSQL for the greatest.
_ORDERS: dict[str, str] = {
    "ID_DESC": "",
    "START_TIME_ASC": "{0}.start_time IS NULL, {0}.start_time, ",
    "START_TIME_DESC": "{0}.start_time DESC /*postgres: NULLS LAST */, ",
    "EXPECTED_START_TIME_ASC": "{0}.expected_start_time, ",
    "EXPECTED_START_TIME_DESC": "{0}.expected_start_time DESC, ",
    "NAME_ASC": "{0}.name, ",
    "NAME_DESC": "{0}.name DESC, ",
    "NEXT_SCHEDULED_START_TIME_ASC": "{0}.next_scheduled_start_time IS NULL, {0}.next_scheduled_start_time, ",
    "END_TIME_DESC": "{0}.end_time DESC /*postgres: NULLS LAST */, ",
}
_FLOW_ORDERS = {
    FlowSort.CREATED_DESC: "created DESC, name",
    FlowSort.NAME_ASC: "name",
    FlowSort.NAME_DESC: "name DESC",
}
_LOG_ORDERS = {
    LogSort.TIMESTAMP_ASC: "l.timestamp, l.id",
    LogSort.TIMESTAMP_DESC: "l.timestamp DESC, l.id DESC",
}

# In the JSON of tags, what is escaped becomes something without quotes; then each quote begins or ends a tag.
_TAGS = "replace(replace({0}.tags, {1}, {2}), {3}, {4})"
_ESCAPES = ("\\\\", "\x02", '\\"', "\x03")  # control characters are in no JSON
_BETWEEN = '","'
_MARK = "\x01"
_HIGHEST = 2**31 - 1

# There are indexes over what is not in this state, which most runs are.
_USUAL_NAME = DEFAULT_NAMES[StateType.COMPLETED]
_IS_UNUSUAL = f"{{0}}.state_name <> '{_USUAL_NAME}'"

_encode = msgspec.json.encode


def flow_id(name: str) -> UUID:
    """The id of the flow with a name, the same everywhere."""
    return uuid5(_FLOWS, well_formed(name))


def order_of(sort: FlowRunSort | TaskRunSort | FlowSort | LogSort) -> str:
    """What stands behind ``ORDER BY``. Runs are ``r``, lines ``l``."""
    if isinstance(sort, FlowSort):
        return _FLOW_ORDERS[sort]
    if isinstance(sort, LogSort):
        return _LOG_ORDERS[sort]
    return f"{_ORDERS[sort.value].format('r')}r.id DESC"


def any_key(name: str, count: int) -> str:
    """What compares a column with some keys, which are bound to a name."""
    # for one key the index gives the rows in order
    return f"= :{name}" if count == 1 else f"IN {KEYS.format(name)}"


class Conditions:
    """Collects conditions, all of which have to hold, and their values.

    Attributes:
        values: The values by name.
    """

    __slots__ = ("_conditions", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._conditions: list[str] = []

    def where(self) -> str:
        """The conditions with ``WHERE`` in front, or nothing."""
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""

    def add(self, condition: str) -> None:
        """One more condition."""
        self._conditions.append(condition)

    # Filters

    def flow_runs(self, where: FlowRunFilter | None, alias: str) -> None:
        """Rows of ``flow_runs`` that fit."""
        if where is None:
            return
        self._ids(where.id, f"{alias}.id")
        self._text(where.name, f"{alias}.name")
        self._tags(where.tags, alias)
        self._state(where.state, alias)
        if where.flow_version is not None and where.flow_version.any_ is not None:
            self.add(f"{alias}.flow_version IN ({self.texts(where.flow_version.any_)})")
        self._times(where, alias)
        self._time(where.next_scheduled_start_time, f"{alias}.next_scheduled_start_time")
        parent = f"{alias}.parent_task_run_id"
        self._link(where.parent_task_run_id, parent)
        around = where.parent_flow_run_id
        if around is not None and around.any_ is not None:
            self.inside(parent, around.any_)
        if around is not None and around.is_null_ is not None:
            self.add(_is_null(parent, around.is_null_))

    def task_runs(self, where: TaskRunFilter | None, alias: str) -> None:
        """Rows of ``task_runs`` that fit."""
        if where is None:
            return
        self._ids(where.id, f"{alias}.id")
        self._text(where.name, f"{alias}.name")
        self._tags(where.tags, alias)
        self._state(where.state, alias)
        self._times(where, alias)
        if where.subflow_runs is not None and where.subflow_runs.exists_ is not None:
            negation = "" if where.subflow_runs.exists_ else "NOT "
            self.add(
                f"{negation}EXISTS (SELECT 1 FROM flow_runs AS s WHERE s.parent_task_run_id = {alias}.id)"  # noqa: S608
            )
        self._link(where.flow_run_id, f"{alias}.flow_run_id")

    def flows(self, where: FlowFilter | None, names: Sequence[str], column: str) -> None:
        """Rows whose flow fits.

        Args:
            where: The filter.
            names: The names of the flows there are, which ids are looked up in; needed only for a filter by id.
            column: The column with the name of the flow.
        """
        if where is None:
            return
        if where.id is not None:
            for ids, negation in ((where.id.any_, ""), (where.id.not_any_, "NOT ")):
                if ids is not None:
                    wanted = {to_bytes(each) for each in ids}
                    meant = [name for name in names if flow_id(name).bytes in wanted]
                    self.add(self._one_of(column, meant, negation))
        self._text(where.name, column)
        if where.tags is not None:
            self._tags_of_runs(where.tags, column)

    def _tags_of_runs(self, where: TagsFilter, column: str) -> None:
        """A flow with a run that has tags, or with none that has any."""
        if where.is_null_ is not None:
            tagged = (
                f"EXISTS (SELECT 1 FROM flow_runs AS w WHERE w.flow_name = {column} AND w.tags IS NOT NULL)"  # noqa: S608
            )
            self.add(f"NOT {tagged}" if where.is_null_ else tagged)
        if where.all_ is not None or where.any_ is not None:
            inner = self.nested()
            inner.add(f"w.flow_name = {column}")
            inner._tags(TagsFilter(all_=where.all_, any_=where.any_), "w")
            self.add(f"EXISTS (SELECT 1 FROM flow_runs AS w{inner.where()})")  # noqa: S608

    def logs(self, where: LogFilter | None, alias: str) -> None:
        """Rows of ``logs`` that fit."""
        if where is None:
            return
        self._link(where.flow_run_id, f"{alias}.flow_run_id")
        self._link(where.task_run_id, f"{alias}.task_run_id")
        self._level(where.level, f"{alias}.level")
        self._time(where.timestamp, f"{alias}.timestamp")

    def nested(self) -> Conditions:
        """Conditions of a query inside of this one, with the same values."""
        inner = Conditions()
        inner.values = self.values
        return inner

    # Short forms

    def states(self, wanted: Sequence[str], alias: str) -> None:
        """A type by any case of its name, "Failed" included; what is no type is the name of a state, in any case."""
        types = [text.upper() for text in wanted if text.upper() in StateType.__members__]
        names = [text.lower() for text in wanted if text.upper() not in StateType.__members__]
        conditions = [self._of_types(types, alias)] if types or not names else []
        if names:  # "completed" is a type
            conditions.append(f"{self._named(names, alias)} AND {_IS_UNUSUAL.format(alias)}")
        self.add(f"({' OR '.join(conditions)})")

    def keys(self, column: str, keys: Iterable[UUID | str | bytes]) -> None:
        """A column with one of some ids."""
        self.add(self._any_key(column, keys))

    def inside(self, column: str, flow_runs: Iterable[UUID | str | bytes]) -> None:
        """A column with a task run of one of some flow runs."""
        condition = self._any_key("flow_run_id", flow_runs)
        self.add(f"{column} IN (SELECT id FROM task_runs WHERE {condition})")  # noqa: S608

    def texts(self, texts: Iterable[str]) -> str:
        """The placeholders for some texts."""
        return ", ".join(self.bind(well_formed(text)) for text in texts) or "NULL"  # which nothing equals

    def bind(self, value: Any) -> str:
        """The placeholder for a value."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    # Members

    def _any_key(self, column: str, keys: Iterable[UUID | str | bytes]) -> str:
        known = [to_bytes(key) for key in keys]
        return f"{column} {any_key(self.bind(b''.join(known))[1:], len(known))}"

    def _ids(self, where: IdFilter | None, column: str) -> None:
        if where is None:
            return
        if where.any_ is not None:
            self.keys(column, where.any_)
        if where.not_any_:
            self.add(f"NOT ({self._any_key(column, where.not_any_)})")

    def _link(self, where: LinkFilter | None, column: str) -> None:
        if where is None:
            return
        if where.any_ is not None:
            self.keys(column, where.any_)
        if where.is_null_ is not None:
            self.add(_is_null(column, where.is_null_))

    def _text(self, where: TextFilter | None, column: str) -> None:
        if where is None:
            return
        if where.any_ is not None:
            self.add(f"{column} IN ({self.texts(where.any_)})")
        if where.like_:
            self._like(well_formed(where.like_), column)

    def _like(self, part: str, column: str) -> None:
        """A text somewhere in another one, in any case: databases know this of ASCII, so we see to the rest of it."""
        searched, wanted = f"lower({column})", ""
        for character in part:
            lower, upper = character.lower(), character.upper()
            is_pair = len(lower) == len(upper) == 1 and lower != upper
            wanted += lower if is_pair else character
        for character in sorted(set(wanted)):
            upper = character.upper()
            if not character.isascii() and len(upper) == 1 and upper != character:
                searched = f"replace({searched}, {self.bind(upper)}, {self.bind(character)})"
        self.add(self._contains(searched, wanted))

    def _tags(self, where: TagsFilter | None, alias: str) -> None:
        if where is None:
            return
        if where.is_null_ is not None:
            self.add(_is_null(f"{alias}.tags", where.is_null_))
        for tag in where.all_ or ():
            self.add(self._has_tag(tag, alias))
        if where.any_ is not None:
            self.add(f"({' OR '.join(self._has_tag(tag, alias) for tag in where.any_) or '1 = 0'})")

    def _has_tag(self, tag: str, alias: str) -> str:
        """Whether a tag is in a JSON array."""
        searched = _TAGS.format(alias, *map(self.bind, _ESCAPES))
        if tag == ",":  # looks like what is between two others
            searched = f"replace({searched}, {self.bind(_BETWEEN)}, {self.bind(_MARK)})"
            is_first = f"substr({searched}, 1, 2) = {self.bind(f'[{_MARK}')}"
            places = [f"{_MARK},{_MARK}", f'{_MARK},"]']
            return f"({' OR '.join([is_first, *(self._contains(searched, place) for place in places)])})"
        text = _encode(well_formed(tag)).decode()
        for escaped, instead in zip(_ESCAPES[::2], _ESCAPES[1::2], strict=True):
            text = text.replace(escaped, instead)
        return self._contains(searched, text)

    def _contains(self, expression: str, part: str) -> str:
        return f"instr({expression}, {self.bind(part)}) > 0"

    def _state(self, where: StateFilter | None, alias: str) -> None:
        if where is None:
            return
        if where.type is not None:
            if where.type.any_ is not None:
                self.add(self._of_types([StateType(each).value for each in where.type.any_], alias))
            if where.type.not_any_:
                unwanted = self.texts(StateType(each).value for each in where.type.not_any_)
                self.add(f"{alias}.state_type NOT IN ({unwanted})")
        if where.name is not None:
            if where.name.any_ is not None:
                # no plain column, or SQLite puts the one name in its place everywhere, and sees no index any more
                self.add(self._one_of(f"{alias}.state_name || ''", where.name.any_))
                if _USUAL_NAME not in where.name.any_ and all(map(str.isascii, where.name.any_)):
                    lowered = self._named([name.lower() for name in where.name.any_], alias)
                    self.add(f"{lowered} AND {_IS_UNUSUAL.format(alias)}")
            if where.name.not_any_:
                self.add(self._one_of(f"{alias}.state_name", where.name.not_any_, "NOT "))

    def _of_types(self, types: Sequence[str], alias: str) -> str:
        condition = self._one_of(f"{alias}.state_type", types)
        if StateType.COMPLETED.value not in types:  # lets the index over the others serve
            condition += f" AND {alias}.state_type <> 'COMPLETED'"
        return condition

    def _named(self, names: Sequence[str], alias: str) -> str:
        """In a state with one of some names, whose letters are small ones."""
        return f"lower({alias}.state_name) IN ({self.texts(names)})"

    def _one_of(self, column: str, texts: Sequence[str], negation: str = "") -> str:
        if not texts:
            return "1 = 1" if negation else "1 = 0"
        return f"{column} {negation}IN ({self.texts(texts)})"

    def _times(self, where: FlowRunFilter | TaskRunFilter, alias: str) -> None:
        self._time(where.start_time, f"{alias}.start_time")
        self._time(where.end_time, f"{alias}.end_time")
        self._time(where.expected_start_time, f"{alias}.expected_start_time")

    def _time(self, where: TimeFilter | None, column: str) -> None:
        if where is None:
            return
        if where.before_ is not None:
            self.add(f"{column} <= {self.bind(_microseconds(where.before_))}")
        if where.after_ is not None:
            self.add(f"{column} >= {self.bind(_microseconds(where.after_))}")
        if isinstance(where, StartTimeFilter) and where.is_null_ is not None:
            self.add(_is_null(column, where.is_null_))

    def _level(self, where: LevelFilter | None, column: str) -> None:
        if where is None:
            return
        if where.ge_ is not None:
            self.add(f"{column} >= {self.bind(_level(where.ge_))}")
        if where.le_ is not None:
            self.add(f"{column} <= {self.bind(_level(where.le_))}")


def _level(number: int) -> int:
    """A level that columns can be compared with."""
    return max(-_HIGHEST, min(number, _HIGHEST))


def _is_null(column: str, wanted: bool) -> str:
    return f"{column} IS {'' if wanted else 'NOT '}NULL"


def _microseconds(moment: datetime) -> int:
    return clock.from_datetime(moment)
