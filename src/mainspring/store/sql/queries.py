"""What is read from a database, as functions of a connection. The schema says which index serves what."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.runs import RecordedFlow
from mainspring.store.sql.owners import UNFINISHED
from mainspring.store.sql.rows import (
    FLOW_RUNS,
    SELECT_CACHE_KEYS,
    SELECT_LOGS,
    SELECT_RESUMPTIONS,
    SELECT_STATES,
    TASK_RUNS,
    read_cache_key,
    read_log,
    read_resumption,
    read_state,
)
from mainspring.store.sql.statements import KEYS

if TYPE_CHECKING:
    from mainspring import filters as asked
    from mainspring.filters import (
        FlowFilter,
        FlowRunSort,
        FlowSort,
        LogFilter,
        LogSort,
        TaskRunFilter,
        TaskRunSort,
    )
    from mainspring.runs import FlowRun, Resumption, TaskRun
    from mainspring.states import State
    from mainspring.store import results
    from mainspring.store.changes import CacheKey, LogEntry
    from mainspring.store.protocol import FlowQuery, RunFilter
    from mainspring.store.results import CrashHooks
    from mainspring.store.sql import filters
    from mainspring.store.sql.filters import Conditions
    from mainspring.store.sql.rows import RunTable
    from mainspring.store.sql.statements import Cursor

    Sort = FlowRunSort | TaskRunSort | FlowSort | LogSort
else:
    results = modules_on_use("mainspring.store", "results")
    asked = modules_on_use("mainspring", "filters")
    filters = modules_on_use("mainspring.store.sql", "filters")

__all__ = [
    "cache_key",
    "earlier_cache_keys",
    "flow_runs",
    "flows",
    "logs",
    "resumptions",
    "run",
    "runs_by_id",
    "search_logs",
    "states",
    "task_run_counts",
    "task_runs",
    "task_runs_of_cache_key",
    "unfinished_runs",
]

Parameters = dict[str, Any]

_ID_DIGITS = 32
_ID_BYTES = 16

_COUNTS = (
    "SELECT flow_run_id, state_type, count(*) FROM task_runs"  # noqa: S608 - constants
    f" WHERE flow_run_id IN {KEYS.format('flow_runs')} GROUP BY 1, 2"
)

# A flow is known by its runs, or was made known before them.
_FLOW_NAMES = "SELECT flow_name FROM flow_runs UNION SELECT name FROM flows"
_FLOWS = (
    "SELECT f.name AS name, min(f.created) AS created FROM (SELECT flow_name AS name, created FROM flow_runs"
    " UNION ALL SELECT name, created FROM flows) AS f"
)

# The task run and the flow run that a run's states belong to: a subflow run's name its stand-in.
_RUNS_OF_STATES = (
    "SELECT ?, flow_run_id FROM task_runs WHERE id = ?"
    " UNION ALL SELECT parent_task_run_id, ? FROM flow_runs WHERE id = ?"
)

_FLOW_RUN_LOGS = f"{SELECT_LOGS} WHERE flow_run_id = ? ORDER BY timestamp, id"
_TASK_RUN_LOGS = f"{SELECT_LOGS} WHERE flow_run_id = ? AND task_run_id = ? ORDER BY timestamp, id"
_LONE_TASK_RUN_LOGS = f"{SELECT_LOGS} WHERE flow_run_id IS NULL AND task_run_id = ? ORDER BY timestamp, id"

# The parts of the view one by one, as each of them comes in the right order, and only as much of it is read as is asked
# for. In the second keys come first (CROSS): there are fewer of them than task runs.
_EARLIER = " WHERE r.id < :run AND substr(r.task_key, 1, length(:function)) = :function"
_EARLIER_CACHE_KEYS = (
    "SELECT r.id, r.cache_key, r.cache_components, NULL, NULL FROM task_runs AS r"  # noqa: S608 - constants
    f"{_EARLIER} AND r.cache_key IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM cache_key_rows AS c WHERE c.task_run_id = r.id)"
    " UNION ALL SELECT c.task_run_id, c.key, c.components, c.skipped, c.message FROM cache_key_rows AS c"
    f" CROSS JOIN task_runs AS r ON r.id = c.task_run_id{_EARLIER} AND c.task_run_id < :run AND c.key IS NOT NULL"
    " ORDER BY 1 DESC LIMIT :limit"
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
    query = f"{SELECT_RESUMPTIONS} WHERE flow_run_id IN {KEYS.format('runs')}"
    rows = db.execute(query, {"runs": b"".join(keys)}).fetchall()
    return {row[0]: read_resumption(row) for row in rows}


def states(db: Cursor, key: bytes) -> list[State]:
    """See `RunStore.read_states`."""
    found = db.execute(_RUNS_OF_STATES, (key, key, key, key)).fetchone()
    task_run_key, flow_run_key = found or (None, None)
    rows = sorted(db.execute(SELECT_STATES, (key,)).fetchall(), key=itemgetter(-1))
    return [read_state(row[:-1], task_run_key, flow_run_key) for row in rows]


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
    return [results.CrashHooks(*row) for row in rows if _is_crashed(db, row[0])]


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
    rows = db.execute(_EARLIER_CACHE_KEYS, {"run": run.key, "function": function, "limit": limit})
    return [read_cache_key(row) for row in rows.fetchall()]


def task_runs_of_cache_key(db: Cursor, key: str, limit: int) -> list[TaskRun]:
    """See `RunStore.read_task_runs_of_cache_key`. Searched for, likewise."""
    return [TASK_RUNS.read(row) for row in db.execute(_RUNS_OF_CACHE_KEY, (key, limit)).fetchall()]


def search_logs(
    db: Cursor, where: LogFilter | None, sort: LogSort, limit: int | None, offset: int
) -> list[LogEntry]:
    """See `RunStore.search_logs`."""
    found = filters.Conditions()
    found.logs(where, "l")
    rows = db.execute(f"{SELECT_LOGS} AS l{found.where()} {_page(found, sort, limit, offset)}", found.values)
    return [read_log(row) for row in rows.fetchall()]


def flows(db: Cursor, where: FlowQuery) -> list[RecordedFlow]:
    """See `RunStore.read_flows`."""
    found = filters.Conditions()
    found.flows(where.flow, _flow_names(db, where.flow), "f.name")
    if where.flow_run is not None or where.task_run is not None:
        inner = found.nested()
        inner.add("q.flow_name = f.name")
        inner.flow_runs(where.flow_run, "q")
        if where.task_run is not None:
            _having(inner, where.task_run, "q")
        found.add(f"EXISTS (SELECT 1 FROM flow_runs AS q{inner.where()})")  # noqa: S608
    page = _page(found, where.sort, where.limit, where.offset)
    rows = db.execute(f"{_FLOWS}{found.where()} GROUP BY name {page}", found.values).fetchall()
    return [
        RecordedFlow(id=filters.flow_id(name), name=name, created=clock.to_datetime(created))
        for name, created in rows
    ]


def _flow_names(db: Cursor, where: FlowFilter | None) -> list[str]:
    """The names of all flows, if ids are to be looked up in them: an id is made of the name."""
    if where is None or where.id is None:
        return []
    return [name for (name,) in db.execute(_FLOW_NAMES).fetchall()]


def _runs(db: Cursor, table: RunTable, where: RunFilter) -> list[Any]:
    found = filters.Conditions()
    if where.states is not None:
        found.states(where.states, "r")
    if where.names is not None:
        found.add(f"r.name IN ({found.texts(where.names)})")
    if table is FLOW_RUNS:
        _narrow_flow_runs(db, found, where)
    else:
        _narrow_task_runs(db, found, where)
    page = _page(found, where.sort, where.limit, where.offset)
    narrowed = f"{found.where()} {page}"
    # Which rows it is comes first, so that nothing else is put in order.
    if where.sort.value != asked.FlowRunSort.ID_DESC.value:
        ids = f"SELECT r.id FROM {table.name} AS r{narrowed}"  # noqa: S608 - constants
        narrowed = f" WHERE r.id IN ({ids}) ORDER BY {filters.order_of(where.sort)}"
    rows = db.execute(f"{table.select}{narrowed}", found.values).fetchall()
    return [table.read(row) for row in rows]


def _narrow_flow_runs(db: Cursor, found: Conditions, where: RunFilter) -> None:
    if where.flow_run_keys is not None:
        found.inside("r.parent_task_run_id", where.flow_run_keys)
    if where.parents is not None:
        found.keys("r.parent_task_run_id", where.parents)
    if where.top_level:
        found.add("r.parent_task_run_id IS NULL")
    found.flows(where.flow, _flow_names(db, where.flow), "r.flow_name")
    found.flow_runs(where.flow_run, "r")
    if where.task_run is not None:
        _having(found, where.task_run, "r")


def _narrow_task_runs(db: Cursor, found: Conditions, where: RunFilter) -> None:
    if where.flow_run_keys is not None:
        found.keys("r.flow_run_id", where.flow_run_keys)
    if where.parents is not None:
        found.add("1 = 0")
    if where.top_level:
        found.add("r.flow_run_id IS NULL")
    found.task_runs(where.task_run, "r")
    if where.flow is not None or where.flow_run is not None:
        inner = found.nested()
        inner.flows(where.flow, _flow_names(db, where.flow), "q.flow_name")
        inner.flow_runs(where.flow_run, "q")
        found.add(f"r.flow_run_id IN (SELECT q.id FROM flow_runs AS q{inner.where()})")  # noqa: S608


def _having(found: Conditions, where: TaskRunFilter, alias: str) -> None:
    """Flow runs that have a task run which fits."""
    inner = found.nested()
    inner.add(f"t.flow_run_id = {alias}.id")
    inner.task_runs(where, "t")
    found.add(f"EXISTS (SELECT 1 FROM task_runs AS t{inner.where()})")  # noqa: S608


def _page(found: Conditions, sort: Sort, limit: int | None, offset: int) -> str:
    found.values["limit"] = asked.ALL if limit is None else limit
    found.values["offset"] = offset
    return f"ORDER BY {filters.order_of(sort)} LIMIT :limit OFFSET :offset"
