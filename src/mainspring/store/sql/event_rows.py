"""Events in a database: the statements, as functions of a cursor.

Whoever follows needs an order in which nothing turns up behind what was seen. Times are no such order, since a state
may be committed long after it was entered. So while somebody follows, each transaction notes in ``changes`` what it has
written. In SQLite, where transactions come one after the other, positions there are in the order of commits. In
PostgreSQL a transaction may commit after one with a greater position, so rows are read by the number of the
transaction, and only those of transactions that began before all that still go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring._imports import modules_on_use
from mainspring.exceptions import EventTooLarge
from mainspring.logging import get_logger
from mainspring.runs import FlowRun, TaskRun
from mainspring.store.sql import queries
from mainspring.store.sql.rows import tidied
from mainspring.store.sql.statements import insert_rows, is_pipelined

if TYPE_CHECKING:
    from mainspring._events import records, state_changes
    from mainspring._events.records import Event
    from mainspring.store import events as following
    from mainspring.store.events import EventFilter, EventKey, Follower, StoredEvent
    from mainspring.store.sql.rows import Row
    from mainspring.store.sql.statements import Cursor
else:
    records, state_changes = modules_on_use("mainspring._events", "records", "state_changes")
    following = modules_on_use("mainspring.store", "events")

__all__ = [
    "Places",
    "changes",
    "event_keys",
    "events",
    "flow_runs_inside",
    "followers",
    "note_states",
    "renew",
    "start",
    "stop",
    "unseen",
    "write_events",
]

_INSERT = "INSERT INTO events VALUES (?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING"
_KINDS = (("task_runs", "mainspring.task-run."), ("flow_runs", "mainspring.flow-run."))
_KEY_BYTES = 16
_PLACE_BYTES = 20

# No answer that a writer has to wait for. Where answers are at hand, it is cheaper to look first.
_NOTE = (
    "INSERT INTO changes (states, events) SELECT ?, ?"
    " WHERE EXISTS (SELECT 1 FROM followers WHERE expires > ?)"
)
_FOLLOWERS = "SELECT owner_key FROM followers WHERE expires > ?"

# Writers have looked at the table when they are through, so whoever locks it waits for those that have not seen us.
_LOCK = "/*postgres: LOCK TABLE followers IN ACCESS EXCLUSIVE MODE */"
_START = "INSERT INTO followers VALUES (?,?,?,0,0)"
_BASE = "SELECT coalesce(max(position), 0) FROM changes"
_RENEW = "UPDATE followers SET expires = ?, transaction_id = ?, position = ? WHERE id = ? AND expires > ?"
_STOP = "DELETE FROM followers WHERE id = ? OR expires <= ?"
_FORGET = (  # but the last one, so that positions only grow
    "DELETE FROM changes WHERE position < (SELECT max(position) FROM changes)"
    " AND NOT EXISTS (SELECT 1 FROM followers AS f"
    " WHERE (f.transaction_id, f.position) < (changes.transaction_id, changes.position))"
)
_ALL_CHANGES = (
    "SELECT states, events FROM changes WHERE (transaction_id, position) > (?, ?) AND position > ?"
    " ORDER BY transaction_id, position"
)
_CHANGES = (
    "SELECT transaction_id, position, states, events FROM changes"
    " WHERE (transaction_id, position) > (?, ?) AND position > ?"
    " /*postgres: AND transaction_id < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) */"
    " ORDER BY transaction_id, position LIMIT ?"
)

_INSIDE = (
    "WITH RECURSIVE inside(id) AS (SELECT :run AS id UNION ALL SELECT f.id FROM inside AS i"
    " JOIN task_runs AS t ON t.flow_run_id = i.id JOIN flow_runs AS f ON f.parent_task_run_id = t.id)"
)
_TASK_RUNS_INSIDE = "SELECT t.id FROM inside AS i JOIN task_runs AS t ON t.flow_run_id = i.id"
_RUNS_INSIDE = f"(SELECT id FROM inside UNION ALL {_TASK_RUNS_INSIDE})"  # noqa: S608
_STATES_INSIDE = f"s.run_id IN {_RUNS_INSIDE}"
_EVENTS_INSIDE = f"(e.flow_run_id IN (SELECT id FROM inside) OR e.task_run_id IN {_RUNS_INSIDE})"  # noqa: S608

_logger = get_logger("events")


class Places(msgspec.Struct, frozen=True):
    """States of a run that were written, by the first and the last of their positions."""

    run_key: bytes
    first: int
    last: int


# Writing


def write_events(db: Cursor, given: Sequence[StoredEvent], now: int, tidy: bool = False) -> None:
    """Keep events; one that is there already is left as it is."""
    rows: list[Row] = [
        (
            each.key,
            each.occurred,
            each.event,
            each.resource_id,
            each.flow_run_key,
            each.task_run_key,
            each.content,
        )
        for each in given
    ]
    insert_rows(db, _INSERT, [tidied(row) for row in rows] if tidy else rows)
    if _may_be_followed(db, now):
        db.execute(_NOTE, (b"", b"".join([each.key for each in given]), now))


def note_states(db: Cursor, written: Sequence[Places], now: int) -> None:
    """Let those who follow know, when this transaction is committed, of the states that it has written.

    Args:
        db: The cursor.
        written: Where they are.
        now: The time.
    """
    if _may_be_followed(db, now):
        places = b"".join(
            [each.run_key + at.to_bytes(4) for each in written for at in range(each.first, each.last + 1)]
        )
        db.execute(_NOTE, (places, b"", now))


def _may_be_followed(db: Cursor, now: int) -> bool:
    return is_pipelined(db) or db.execute(_FOLLOWERS, (now,)).fetchone() is not None


# Reading


def event_keys(
    db: Cursor, where: EventFilter, after: EventKey | None, limit: int, newest: bool
) -> list[EventKey]:
    """See `EventRows.read_event_keys`."""
    values: dict[str, Any] = {"limit": limit}
    parts = [*_state_parts(where, values), *_event_parts(where, values)]
    if not parts:
        return []
    inside = ""
    if where.run_key is not None:
        inside, values["run"] = _INSIDE, where.run_key
    behind = ""
    if after is not None:
        behind = " WHERE (occurred, id, position) > (:after_time, :after_id, :after_position)"
        values |= {"after_time": after.occurred, "after_id": after.key, "after_position": after.position}
    way = "DESC" if newest else "ASC"
    query = (
        f"{inside} SELECT occurred, id, position FROM ({' UNION ALL '.join(parts)}) AS found{behind}"  # noqa: S608
        f" ORDER BY occurred {way}, id {way}, position {way} LIMIT :limit"
    )
    found = [following.EventKey(*row) for row in db.execute(query, values).fetchall()]
    return found[::-1] if newest else found


def _state_parts(where: EventFilter, values: dict[str, Any]) -> list[str]:
    conditions = _times("s.timestamp", where, values)
    if where.run_key is not None:
        conditions.append(_STATES_INSIDE)
    columns = "SELECT s.timestamp AS occurred, s.run_id AS id, s.position AS position FROM states AS s"
    if any(all(kind.startswith(prefix) for _, kind in _KINDS) for prefix in where.prefixes):
        return [columns + _where(conditions)]
    parts: list[str] = []
    for table, kind in _KINDS:
        names: list[str] = []
        is_whole = False
        for number, prefix in enumerate(where.prefixes):
            if kind.startswith(prefix):
                is_whole = True
            elif prefix.startswith(kind):
                name = f"{table}_{number}"
                values[name] = prefix.removeprefix(kind)
                names.append(f"substr(s.name, 1, length(:{name})) = :{name}")
        if is_whole or names:
            named = [] if is_whole else [f"({' OR '.join(names)})"]
            join = f" JOIN {table} AS r ON r.id = s.run_id"
            parts.append(columns + join + _where([*conditions, *named]))
    return parts


def _event_parts(where: EventFilter, values: dict[str, Any]) -> list[str]:
    conditions = _times("e.occurred", where, values)
    if where.run_key is not None:
        conditions.append(_EVENTS_INSIDE)
    if not all(where.prefixes):
        pass  # any name will do
    elif where.prefixes:
        names: list[str] = []
        for number, prefix in enumerate(where.prefixes):
            values[f"event_{number}"] = prefix
            names.append(f"substr(e.event, 1, length(:event_{number})) = :event_{number}")
        conditions.append(f"({' OR '.join(names)})")
    else:
        return []
    return ["SELECT e.occurred AS occurred, e.id AS id, 0 AS position FROM events AS e" + _where(conditions)]  # noqa: S608


def _times(column: str, where: EventFilter, values: dict[str, Any]) -> list[str]:
    conditions: list[str] = []
    if where.since is not None:
        conditions.append(f"{column} >= :since")
        values["since"] = where.since
    if where.until is not None:
        conditions.append(f"{column} < :until")
        values["until"] = where.until
    return conditions


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def flow_runs_inside(db: Cursor, run_key: bytes) -> list[bytes]:
    """See `EventRows.read_flow_runs_inside`."""
    query = f"{_INSIDE} SELECT id FROM inside"  # noqa: S608
    return [row[0] for row in db.execute(query, {"run": run_key}).fetchall()]


def events(db: Cursor, keys: Sequence[EventKey]) -> list[Event]:
    """See `EventRows.read_events`."""
    found: dict[tuple[bytes, int], Event] = {}
    flow_runs: dict[bytes, TaskRun | FlowRun | None] = {}
    for key, position in dict.fromkeys((key.key, min(key.position, 1)) for key in keys):
        if position:
            for number, event in enumerate(_state_events(db, key, flow_runs), 1):
                found[key, number] = event
        else:
            row = db.execute("SELECT content FROM events WHERE id = ?", (key,)).fetchone()
            if row is not None:
                found[key, 0] = records.Event.from_json(row[0])
    wanted = (found.get((key.key, key.position)) for key in keys)
    return [event for event in wanted if event is not None]


def _state_events(db: Cursor, key: bytes, flow_runs: dict[bytes, TaskRun | FlowRun | None]) -> list[Event]:
    """The events of all states of a run; none if it is no more."""
    run = queries.run(db, key)
    if run is None:
        return []
    around: TaskRun | FlowRun | None = None
    if isinstance(run, TaskRun) and run.flow_run_key is not None:
        if run.flow_run_key not in flow_runs:
            flow_runs[run.flow_run_key] = queries.run(db, run.flow_run_key)
        around = flow_runs[run.flow_run_key]
    try:
        return state_changes.events_of(
            run, queries.states(db, key), around if isinstance(around, FlowRun) else None
        )
    except EventTooLarge as error:  # who reads wants the others
        _logger.warning("The events of %s %r are left out: %s", type(run).__name__, run.name, error)
        return []


# Following


def start(db: Cursor, key: bytes, owner_key: str, expires: int) -> Follower:
    """See `EventRows.start_following`."""
    db.execute(_LOCK)
    db.execute(_START, (key, owner_key, expires))
    (base,) = db.execute(_BASE).fetchone()
    return following.Follower(key, owner_key, expires, base)


def renew(db: Cursor, follower: Follower, now: int, expires: int) -> bool:
    """See `EventRows.renew_following`."""
    row = expires, follower.transaction_id, follower.position, follower.key, now
    is_in_time = db.execute(_RENEW, row).rowcount == 1
    db.execute(_STOP, (b"", now))
    db.execute(_FORGET)
    return is_in_time


def stop(db: Cursor, follower: Follower, now: int) -> None:
    """See `EventRows.stop_following`."""
    db.execute(_STOP, (follower.key, now))
    db.execute(_FORGET)


def followers(db: Cursor, now: int) -> list[str]:
    """The owners to be woken when something was written, one for each who follows; empty for nobody."""
    return [row[0] for row in db.execute(_FOLLOWERS, (now,)).fetchall()]


def changes(db: Cursor, follower: Follower, limit: int) -> tuple[list[EventKey], tuple[int, int] | None]:
    """See `EventRows.read_changes`; besides, up to where the follower will have seen then."""
    values = follower.transaction_id, follower.position, follower.base, limit
    rows = db.execute(_CHANGES, values).fetchall()
    found = [key for row in rows for key in _unpacked(*row[2:])]
    return found, (rows[-1][0], rows[-1][1]) if rows else None


def unseen(db: Cursor, follower: Follower) -> set[tuple[bytes, int]]:
    """See `EventRows.read_unseen`."""
    rows = db.execute(_ALL_CHANGES, (follower.transaction_id, follower.position, follower.base)).fetchall()
    return {(key.key, key.position) for row in rows for key in _unpacked(*row)}


def _unpacked(states: bytes, events: bytes) -> list[EventKey]:
    found = [
        following.EventKey(
            0,
            states[at : at + _KEY_BYTES],
            int.from_bytes(states[at + _KEY_BYTES : at + _PLACE_BYTES]),
        )
        for at in range(0, len(states), _PLACE_BYTES)
    ]
    found += [
        following.EventKey(0, events[at : at + _KEY_BYTES], 0) for at in range(0, len(events), _KEY_BYTES)
    ]
    return found
