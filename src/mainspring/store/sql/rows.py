"""Records as rows and rows as records, for each table: the statements and what they bind.

The row of a run is a projection of its states alone: the run's own counters are not read, so a run may
move on while its earlier states are being written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from mainspring._imports import modules_on_use
from mainspring.annotations import NotSet
from mainspring.runs import FlowRun, Resumption, Run, RunInput, TaskRun
from mainspring.states import State, StateDetails, StateType
from mainspring.store.changes import CacheKey, LogEntry
from mainspring.store.encoding import facts_to_json, to_json, well_formed

if TYPE_CHECKING:
    from mainspring.records import record
else:
    record = modules_on_use("mainspring.records", "record")

__all__ = [
    "FLOW_RUNS",
    "FOLDED",
    "INSERT_CACHE_KEY",
    "INSERT_LOG",
    "INSERT_STATE",
    "KEEP_RESUMPTION",
    "SELECT_CACHE_KEYS",
    "SELECT_RESUMPTIONS",
    "TASK_RUNS",
    "UNFOLDED",
    "Projection",
    "RunTable",
    "cache_key_row",
    "folded",
    "is_beside_run",
    "log_row",
    "read_cache_key",
    "read_log",
    "read_resumption",
    "read_state",
    "resumption_row",
    "state_row",
    "table_of",
    "tidied",
]

Row = tuple[Any, ...]


class Projection(Run):
    """What the states of a run add up to, by the rules that live runs follow."""

    __slots__ = ()

    def __init__(self, state: State) -> None:
        self.state = state
        self.run_count = 0
        self.run_time = 0
        self.started_at: int | None = None
        self.ended_at: int | None = None

    @classmethod
    def stored(
        cls,
        type: str,  # noqa: A002 - the name of the column
        updated: int,
        run_count: int,
        run_time: int,
        started_at: int | None,
        ended_at: int | None,
    ) -> Projection:
        """What the states written so far add up to, as the row of the run says."""
        self = cls(State(type, at=updated))
        self.run_count = run_count
        self.run_time = run_time
        self.started_at = started_at
        self.ended_at = ended_at
        return self


class RunTable(msgspec.Struct, frozen=True):
    """The statements of one kind of run, and the functions between its records and rows."""

    name: str
    insert: str
    insert_row: Callable[[Any, Run, int | None, Row, CacheKey | None], Row]
    newest: str
    unfold: tuple[str, str]
    update: str
    select: str
    read: Callable[[Row], Any]


# Runs: insert, append


def _task_run_row(
    run: TaskRun, projection: Run, owner: int | None, folded: Row, cache_key: CacheKey | None
) -> Row:
    state = projection.state
    return (
        run.key,
        run.flow_run_key,
        run.name,
        run.task_key,
        run.task_version,
        to_json(sorted(run.tags)) if run.tags else None,
        facts_to_json(run.task_inputs) if run.task_inputs else None,
        facts_to_json(run.empirical_policy) if run.empirical_policy else None,
        state.key,
        state.type._value_,
        state.name,
        projection.run_count,
        run.flow_run_run_count,
        run.created_at,
        state.at,
        run.expected_start_at,
        projection.started_at,
        projection.ended_at,
        projection.run_time,
        owner,
        _due(state),
        run.given_key,
        *folded,
        *(_NO_CACHE_KEY if cache_key is None else (cache_key.key, facts_to_json(cache_key.components))),
    )


def _due(state: State) -> int | None:
    return state.scheduled_at if state.type is StateType.SCHEDULED else None


def _flow_run_row(run: FlowRun, projection: Run, owner: int | None, folded: Row, _: CacheKey | None) -> Row:
    state = projection.state
    return (
        run.key,
        run.flow_name,
        run.flow_version,
        run.name,
        run.parent_task_run_key,
        to_json(sorted(run.tags)) if run.tags else None,
        to_json(run.parameters) if run.parameters else None,
        state.key,
        state.type._value_,
        state.name,
        projection.run_count,
        run.created_at,
        state.at,
        run.expected_start_at,
        projection.started_at,
        projection.ended_at,
        projection.run_time,
        owner,
        _due(state),
        *folded,
    )


_NEWEST = (
    "SELECT state_id, (SELECT max(position) FROM state_rows WHERE run_id = {0}.id),"
    " state_type, updated, run_count, total_run_time, start_time, end_time FROM {0} WHERE id = ?"
    " /*postgres: FOR UPDATE */"
)
_UNFOLD = (
    "INSERT INTO state_rows SELECT * FROM states WHERE run_id = ?",
    "UPDATE {} SET pending_id = NULL, running_id = NULL, message = NULL, details = NULL, data = NULL WHERE id = ?",
)
_UPDATE = (
    "UPDATE {} SET name = CASE WHEN renamed IS NULL THEN ? ELSE name END, state_id = ?, state_type = ?,"
    " state_name = ?, run_count = ?, updated = ?, expected_start_time = ?, start_time = ?, end_time = ?,"
    " total_run_time = ?, owner_id = coalesce(?, owner_id), next_scheduled_start_time = ? WHERE id = ?"
)


def update_row(run: Run, projection: Run, owner: int | None) -> Row:
    """What the ``update`` of a table binds. Without an owner the row keeps the one it has."""
    state = projection.state
    return (
        run.name,
        state.key,
        state.type._value_,
        state.name,
        projection.run_count,
        state.at,
        run.expected_start_at,
        projection.started_at,
        projection.ended_at,
        projection.run_time,
        owner,
        _due(state),
        run.key,
    )


# Runs: read

_STATE_COLUMNS = "s.id, s.type, s.name, s.timestamp, s.message, s.details, s.data"
_NEWEST_COLUMNS = (
    "r.state_id, r.state_type, r.state_name, r.updated, coalesce(s.message, r.message),"
    " coalesce(s.details, r.details), coalesce(s.data, r.data)"
)
_RUN_COLUMNS = (
    "r.name, r.tags, r.run_count, r.created, r.updated, r.expected_start_time, r.start_time,"
    " r.end_time, r.total_run_time"
)
_SELECT = (
    f"SELECT {_NEWEST_COLUMNS}, r.id, {_RUN_COLUMNS}, {{1}}"  # noqa: S608 - constants of this module
    " FROM {0} AS r LEFT JOIN state_rows AS s ON r.pending_id IS NULL AND s.run_id = r.id AND s.id = r.state_id"
)

_decode_names = msgspec.json.Decoder(list[str]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_inputs = msgspec.json.Decoder(dict[str, list[RunInput]]).decode
_decode_details = msgspec.json.Decoder(StateDetails).decode
_encode_details = msgspec.json.Encoder().encode


def _read_task_run(row: Row) -> TaskRun:
    flow_run_key, task_key, version, inputs, policy, flow_run_run_count, dynamic_key = row[17:]
    key = row[7]
    run = TaskRun(
        key,
        row[8],
        read_state(row[:7], key, flow_run_key),
        task_key,
        flow_run_key,
        task_version=version,
        task_inputs=_decode_inputs(inputs) if inputs else None,
        empirical_policy=_decode_object(policy) if policy else None,
        dynamic_key=dynamic_key,
    )
    run.flow_run_run_count = flow_run_run_count
    _read_counters(run, row)
    return run


def _read_flow_run(row: Row) -> FlowRun:
    flow_name, version, parameters, parent = row[17:]
    key = row[7]
    run = FlowRun(
        key,
        row[8],
        read_state(row[:7], parent, key),
        flow_name,
        version,
        _decode_object(parameters) if parameters else None,
        parent_task_run_key=parent,
    )
    _read_counters(run, row)
    return run


def _read_counters(run: Run, row: Row) -> None:
    tags = row[9]
    run.tags = set(_decode_names(tags)) if tags else set()
    run.run_count = row[10]
    run.created_at = row[11]
    run.updated_at = row[12]
    run.expected_start_at = row[13]
    run.started_at = row[14]
    run.ended_at = row[15]
    run.run_time = row[16]
    run.recorded = run.state.key


TASK_RUNS = RunTable(
    name="task_runs",
    insert="INSERT INTO task_runs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,NULL,?,?,?,?,?,?,?,?)",
    insert_row=_task_run_row,
    newest=_NEWEST.format("task_runs"),
    unfold=(_UNFOLD[0], _UNFOLD[1].format("task_runs")),
    update=_UPDATE.format("task_runs"),
    select=_SELECT.format(
        "task_runs",
        "r.flow_run_id, r.task_key, r.task_version, r.task_inputs, r.empirical_policy, r.flow_run_run_count,"
        " r.dynamic_key",
    ),
    read=_read_task_run,
)

FLOW_RUNS = RunTable(
    name="flow_runs",
    insert="INSERT INTO flow_runs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,NULL,?,?,?,?,?)",
    insert_row=_flow_run_row,
    newest=_NEWEST.format("flow_runs"),
    unfold=(_UNFOLD[0], _UNFOLD[1].format("flow_runs")),
    update=_UPDATE.format("flow_runs"),
    select=_SELECT.format("flow_runs", "r.flow_name, r.flow_version, r.parameters, r.parent_task_run_id"),
    read=_read_flow_run,
)


# How to go on with flow runs

KEEP_RESUMPTION = (
    "INSERT INTO resumptions VALUES (?,?,?,?,?,?,?) ON CONFLICT (flow_run_id) DO UPDATE SET"
    " entrypoint = excluded.entrypoint, file = excluded.file, parameters = excluded.parameters,"
    " problem = excluded.problem, step = excluded.step, attempt = excluded.attempt"
)
SELECT_RESUMPTIONS = (
    "SELECT flow_run_id, entrypoint, file, parameters, problem, step, attempt FROM resumptions"
)


def resumption_row(key: bytes, known: Resumption) -> Row:
    """What `KEEP_RESUMPTION` binds."""
    return (
        key,
        known.entrypoint,
        known.file,
        known.parameters,
        known.problem,
        known.step,
        known.attempt,
    )


def read_resumption(row: Row) -> Resumption:
    """What stands in a row of `SELECT_RESUMPTIONS`."""
    _, entrypoint, file, parameters, problem, step, attempt = row
    return Resumption(
        entrypoint=entrypoint,
        file=file,
        parameters=parameters,
        problem=problem,
        step=step,
        attempt=attempt,
    )


def table_of(run: Run) -> RunTable:
    """The table that keeps runs of this kind."""
    return TASK_RUNS if isinstance(run, TaskRun) else FLOW_RUNS


# States

INSERT_STATE = "INSERT INTO state_rows VALUES (?,?,?,?,?,?,?,?,?,?)"
SELECT_STATES = f"SELECT {_STATE_COLUMNS}, s.position FROM states AS s WHERE s.run_id = ?"  # noqa: S608
"""In no order: SQLite would look through the whole view to put it in one."""


def state_row(run_key: bytes, position: int, state: State, attempt: int) -> Row:
    """What `INSERT_STATE` binds."""
    return (
        run_key,
        position,
        state.key,
        state.type._value_,
        state.name,
        state.at,
        state.message,
        _details(state) if state.has_details else None,
        attempt,
        state.stored_as,
    )


FOLDED = 3
"""The states that a folded run has: where it is after Pending and Running."""

UNFOLDED: Row = (None, None, None, None, None)
"""What the row of a run has instead of them if they are in rows of their own."""


def folded(run: Run, states: Sequence[State]) -> Row:
    """What goes into the row of a run that is over instead of rows for its states; `UNFOLDED` if they need them."""
    if len(states) != FOLDED:
        return UNFOLDED
    pending, running, last = states
    if (
        pending.type is StateType.PENDING
        and running.type is StateType.RUNNING
        and pending.at == run.created_at
        and running.at == run.started_at
        and run.run_count == 1
        and _is_plain(pending, "Pending")
        and _is_plain(running, "Running")
    ):
        details = _details(last) if last.has_details else None
        return (pending.key, running.key, last.message, details, last.stored_as)
    return UNFOLDED


def _is_plain(state: State, name: str) -> bool:
    """Whether there is nothing to a state but its type, name, time and id."""
    return (
        state.name == name
        and state.message is None
        and not state.has_data
        and (not state.has_details or _details(state) is None)
    )


def _details(state: State) -> str | None:
    """The details as JSON, without the ids of the run: its row has them."""
    details = msgspec.structs.replace(state.own_details, flow_run_id=None, task_run_id=None)
    text = _encode_details(details)
    return None if text == b"{}" else text.decode()


def read_state(row: Row, task_run_key: bytes | None, flow_run_key: bytes | None) -> State:
    """The state for ``id, type, name, timestamp, message, details, data``, as one of the given run."""
    key, kind, name, at, message, details, data = row
    state = State(
        StateType(kind),
        name,
        message,
        NotSet if data is None else record.ResultRecordMetadata.load_bytes(data),
        state_details=_decode_details(details) if details else None,
        at=at,
        id=UUID(bytes=key),
    )
    state.belong_to(task_run_key, flow_run_key)
    return state


# Logs

INSERT_LOG = (
    "INSERT INTO logs (flow_run_id, task_run_id, timestamp, level, logger, message) VALUES (?,?,?,?,?,?)"
)
SELECT_LOGS = "SELECT timestamp, level, logger, message, flow_run_id, task_run_id FROM logs"


def log_row(entry: LogEntry) -> Row:
    """What `INSERT_LOG` binds."""
    return (
        entry.flow_run_key,
        entry.task_run_key,
        entry.at,
        entry.level,
        entry.logger,
        entry.message,
    )


def read_log(row: Row) -> LogEntry:
    """The log line for a row of `SELECT_LOGS`."""
    return LogEntry(*row)


# Cache keys

_NO_CACHE_KEY = (None, None)
INSERT_CACHE_KEY = (
    "INSERT INTO cache_key_rows VALUES (?,?,?,?,?) ON CONFLICT (task_run_id) DO UPDATE SET key = excluded.key,"
    " components = excluded.components, skipped = excluded.skipped, message = excluded.message"
)
SELECT_CACHE_KEYS = "SELECT c.task_run_id, c.key, c.components, c.skipped, c.message FROM cache_keys AS c"


def is_beside_run(entry: CacheKey) -> bool:
    """Whether a cache key that is known when its run is inserted goes into the row of that."""
    return entry.key is not None and entry.skipped is None and entry.message is None


def cache_key_row(entry: CacheKey) -> Row:
    """What `INSERT_CACHE_KEY` binds."""
    components = facts_to_json(entry.components)
    return (entry.task_run_key, entry.key, components, entry.skipped, entry.message)


def read_cache_key(row: Row) -> CacheKey:
    """The cache key for a row of `SELECT_CACHE_KEYS`."""
    run_key, key, components, skipped, message = row
    return CacheKey(run_key, key, _decode_object(components) if components else {}, skipped, message)


def tidied(row: Row) -> Row:
    """The row with texts that UTF-8 cannot hold made so that it can."""
    return tuple(well_formed(value) if isinstance(value, str) else value for value in row)
