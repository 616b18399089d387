"""What is read from a database, as functions of a connection. The schema says which index serves what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainspring.runs import FlowRun, Resumption, TaskRun
from mainspring.states import State, StateType
from mainspring.store.owners import UNFINISHED
from mainspring.store.protocol import CacheKey, LogEntry, RunFilter
from mainspring.store.results import CrashHooks
from mainspring.store.rows import (
    FLOW_RUNS,
    SELECT_CACHE_KEYS,
    SELECT_LOGS,
    SELECT_RESUMPTIONS,
    SELECT_STATES,
    TASK_RUNS,
    RunTable,
    read_cache_key,
    read_log,
    read_resumption,
    read_state,
)
from mainspring.store.statements import Cursor

__all__ = [
    "cache_key",
    "earlier_cache_keys",
    "flow_runs",
    "logs",
    "resumptions",
    "run",
    "runs_by_id",
    "states",
    "task_run_counts",
    "task_runs",
    "task_runs_of_cache_key",
    "unfinished_runs",
]

Parameters = dict[str, Any]

_ID_DIGITS = 32
_ID_BYTES = 16
_ALL = 2**62  # more rows than there can be

# Keys go in joined into one value, so that there may be any number of them.
_KEYS = (
    "(WITH RECURSIVE part(at) AS (VALUES (1) UNION ALL SELECT at + 16 FROM part"
    " WHERE at + 16 < length(:{0})) SELECT substr(:{0}, at, 16) FROM part)"
)
_COUNTS = (
    "SELECT flow_run_id, state_type, count(*) FROM task_runs"  # noqa: S608 - constants
    f" WHERE flow_run_id IN {_KEYS.format('flow_runs')} GROUP BY 1, 2"
)

# The task run and the flow run that a run's states belong to: a subflow run's name its stand-in.
_RUNS_OF_STATES = (
    "SELECT ?, flow_run_id FROM task_runs WHERE id = ?"
    " UNION ALL SELECT parent_task_run_id, ? FROM flow_runs WHERE id = ?"
)

_FLOW_RUN_LOGS = f"{SELECT_LOGS} WHERE flow_run_id = ? ORDER BY timestamp, id"
_TASK_RUN_LOGS = f"{SELECT_LOGS} WHERE flow_run_id = ? AND task_run_id = ? ORDER BY timestamp, id"
_LONE_TASK_RUN_LOGS = f"{SELECT_LOGS} WHERE flow_run_id IS NULL AND task_run_id = ? ORDER BY timestamp, id"

# Keys first (CROSS): there are fewer of them than task runs, and they come in the right order.
_EARLIER_CACHE_KEYS = (
    f"{SELECT_CACHE_KEYS} CROSS JOIN task_runs AS r ON r.id = c.task_run_id"
    " WHERE c.task_run_id < ? AND c.key IS NOT NULL AND substr(r.task_key, 1, length(?)) = ?"
    " ORDER BY c.task_run_id DESC LIMIT ?"
)
_RUNS_OF_CACHE_KEY = (
    f"{TASK_RUNS.select} WHERE r.id IN (SELECT task_run_id FROM cache_keys WHERE key = ?)"  # noqa: S608
    " ORDER BY r.id DESC LIMIT ?"
)


def flow_runs(db: Cursor, where: RunFilter) -> list[FlowRun]:
    """See `RunStore.read_flow_runs`."""
    return _runs(db, FLOW_RUNS, where)


def task_runs(db: Cursor, where: RunFilter) -> list[TaskRun]:
    """See `RunStore.read_task_runs`."""
    return _runs(db, TASK_RUNS, where)


def run(db: Cursor, key: bytes) -> TaskRun | FlowRun | None:
    """See `RunStore.read_run`."""
    for table in (TASK_RUNS, FLOW_RUNS):
        row = db.execute(f"{table.select} WHERE r.id = ?", (key,)).fetchone()
        if row is not None:
            found: TaskRun | FlowRun = table.read(row)
            return found
    return None


def resumptions(db: Cursor, keys: Sequence[bytes]) -> dict[bytes, Resumption]:
    """See `RunStore.read_resumptions`."""
    query = f"{SELECT_RESUMPTIONS} WHERE flow_run_id IN {_KEYS.format('runs')}"
    rows = db.execute(query, {"runs": b"".join(keys)}).fetchall()
    return {row[0]: read_resumption(row) for row in rows}


def states(db: Cursor, key: bytes) -> list[State]:
    """See `RunStore.read_states`."""
    found = db.execute(_RUNS_OF_STATES, (key, key, key, key)).fetchone()
    task_run_key, flow_run_key = found or (None, None)
    rows = db.execute(SELECT_STATES, (key,)).fetchall()
    return [read_state(row, task_run_key, flow_run_key) for row in rows]


def logs(db: Cursor, key: bytes) -> list[LogEntry]:
    """See `RunStore.read_logs`."""
    found = db.execute("SELECT flow_run_id FROM task_runs WHERE id = ?", (key,)).fetchone()
    if found is None:
        rows = db.execute(_FLOW_RUN_LOGS, (key,)).fetchall()
    elif found[0] is None:
        rows = db.execute(_LONE_TASK_RUN_LOGS, (key,)).fetchall()
    else:
        rows = db.execute(_TASK_RUN_LOGS, (found[0], key)).fetchall()
    return [read_log(row) for row in rows]


def unfinished_runs(db: Cursor, owner: int) -> list[TaskRun | FlowRun]:
    """The runs that the death of their owner would end."""
    found: list[TaskRun | FlowRun] = []
    for table in (TASK_RUNS, FLOW_RUNS):
        rows = db.execute(f"{table.select} WHERE {UNFINISHED} ORDER BY r.id", (owner,))
        found += [table.read(row) for row in rows.fetchall()]
    return found


def crash_hooks(db: Cursor) -> list[CrashHooks]:
    """See `RunStore.read_crash_hooks`."""
    rows = db.execute("SELECT run_id, entrypoint, file FROM crash_hooks ORDER BY run_id").fetchall()
    return [CrashHooks(*row) for row in rows if _is_crashed(db, row[0])]


def _is_crashed(db: Cursor, key: bytes) -> bool:
    return any(
        db.execute(
            f"SELECT 1 FROM {table.name} WHERE id = ? AND state_type = 'CRASHED'",  # noqa: S608 - constants
            (key,),
        ).fetchone()
        for table in (TASK_RUNS, FLOW_RUNS)
    )


def runs_by_id(db: Cursor, text: str, limit: int) -> list[TaskRun | FlowRun]:
    """See `RunStore.find_runs`.

    Beginnings are looked up. Ends are searched for in all ids, by way of the smallest index that has them;
    an index over ends would be written at a random place by each task, for a question asked now and then.
    """
    digits = text.replace("-", "").lower()
    if not digits or len(digits) > _ID_DIGITS or digits.strip("0123456789abcdef"):
        return []
    first, last = bytes.fromhex(digits.ljust(_ID_DIGITS, "0")), bytes.fromhex(digits.ljust(_ID_DIGITS, "f"))
    odd = len(digits) % 2
    values: Parameters = {
        "first": first,
        "last": last,
        "end": bytes.fromhex(digits[odd:]),
        "limit": limit,
    }
    if odd:
        low = int(digits[0], 16)
        values |= {f"byte{high}": bytes([16 * high + low]) for high in range(16)}
    found: list[TaskRun | FlowRun] = []
    for table in (FLOW_RUNS, TASK_RUNS):
        ids = _ids(table, len(digits))
        rows = db.execute(f"{table.select} WHERE r.id IN ({ids}) ORDER BY r.id DESC", values)
        found += [table.read(row) for row in rows.fetchall()]
    return found[:limit]


def _ids(table: RunTable, digits: int) -> str:
    """The ids that begin or end with so many digits: whole bytes, and half of the one before."""
    size, odd = divmod(digits, 2)
    conditions = [f"substr(id, {_ID_BYTES + 1 - size}) = :end"] if size else []
    if odd:
        bytes_ = ", ".join(f":byte{high}" for high in range(16))
        conditions.append(f"substr(id, {_ID_BYTES - size}, 1) IN ({bytes_})")
    query = f"SELECT id FROM {table.name} WHERE id BETWEEN :first AND :last"  # noqa: S608
    if digits < _ID_DIGITS:
        query += f" UNION SELECT id FROM {table.name} WHERE {' AND '.join(conditions)}"  # noqa: S608
    return f"{query} LIMIT :limit"


def task_run_counts(db: Cursor, flow_run_keys: Sequence[bytes]) -> dict[bytes, dict[str, int]]:
    """See `RunStore.count_task_runs`."""
    counts: dict[bytes, dict[str, int]] = {key: {} for key in flow_run_keys}
    for key, kind, count in db.execute(_COUNTS, {"flow_runs": b"".join(flow_run_keys)}).fetchall():
        counts[key][kind] = count
    return counts


def cache_key(db: Cursor, task_run_key: bytes) -> CacheKey | None:
    """See `RunStore.read_cache_key`."""
    row = db.execute(f"{SELECT_CACHE_KEYS} WHERE c.task_run_id = ?", (task_run_key,)).fetchone()
    return None if row is None else read_cache_key(row)


def earlier_cache_keys(db: Cursor, run: TaskRun, limit: int) -> list[CacheKey]:
    """See `RunStore.read_earlier_cache_keys`. Searched for, as ends of ids are: who asks is a person."""
    function = run.task_key.rpartition("-")[0] + "-"
    rows = db.execute(_EARLIER_CACHE_KEYS, (run.key, function, function, limit))
    return [read_cache_key(row) for row in rows.fetchall()]


def task_runs_of_cache_key(db: Cursor, key: str, limit: int) -> list[TaskRun]:
    """See `RunStore.read_task_runs_of_cache_key`. Searched for, likewise."""
    return [TASK_RUNS.read(row) for row in db.execute(_RUNS_OF_CACHE_KEY, (key, limit)).fetchall()]


def _runs(db: Cursor, table: RunTable, where: RunFilter) -> list[Any]:
    conditions: list[str] = []
    values: Parameters = {"limit": _ALL if where.limit is None else where.limit, "offset": where.offset}
    if where.states is not None:
        conditions.append(_state_condition(where.states, values))
    if where.names is not None:
        conditions.append(f"r.name IN ({_texts('name', where.names, values)})")
    if where.flow_run_keys is not None:
        conditions.append(table.inside.format(_any_key("flow_runs", where.flow_run_keys, values)))
    if where.parents is not None:
        conditions.append(table.started_by.format(_any_key("parents", where.parents, values)))
    if where.top_level:
        conditions.append(table.top_level)
    filtered = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"{table.select}{filtered} ORDER BY r.id DESC LIMIT :limit OFFSET :offset"
    return [table.read(row) for row in db.execute(query, values).fetchall()]


def _state_condition(wanted: Sequence[str], values: Parameters) -> str:
    """A type by any case of its name, "Failed" included; what is no type is the name of a state."""
    types = [text.upper() for text in wanted if text.upper() in StateType.__members__]
    names = [text for text in wanted if text.upper() not in StateType.__members__]
    of_type = f"r.state_type IN ({_texts('type', types, values)})"
    if not names:
        if StateType.COMPLETED.value not in types:  # lets the index over the others serve
            of_type += " AND r.state_type <> 'COMPLETED'"
        return of_type
    return (
        f"({of_type} OR lower(r.state_name) IN ({_texts('state', [text.lower() for text in names], values)}))"
    )


def _any_key(name: str, keys: Sequence[bytes], values: Parameters) -> str:
    """What compares a column with some keys, which go into ``values``."""
    values[name] = b"".join(keys)
    # for one key the index gives the rows in order
    return f"= :{name}" if len(keys) == 1 else f"IN {_KEYS.format(name)}"


def _texts(prefix: str, texts: Sequence[str], values: Parameters) -> str:
    """The placeholders for some texts, which go into ``values``."""
    names = [f"{prefix}{index}" for index in range(len(texts))]
    values.update(zip(names, texts, strict=True))
    return ", ".join(f":{name}" for name in names) or "NULL"  # which nothing equals
