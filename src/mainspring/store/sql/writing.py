"""Writing states into a database, inside a transaction that the caller has begun."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from mainspring import clock
from mainspring._core.transitions import enter, goes_on
from mainspring._imports import modules_on_use
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import StateType
from mainspring.store.results import CrashHooks, KeptResult, Withdrawal
from mainspring.store.sql.event_rows import Places, note_states
from mainspring.store.sql.rows import (
    FLOW_RUNS,
    FOLDED,
    INSERT_CACHE_KEY,
    INSERT_LOG,
    INSERT_STATE,
    KEEP_RESUMPTION,
    TASK_RUNS,
    UNFOLDED,
    Projection,
    cache_key_row,
    folded,
    is_beside_run,
    log_row,
    resumption_row,
    state_row,
    table_of,
    tidied,
    update_row,
)
from mainspring.store.sql.statements import insert_rows

if TYPE_CHECKING:
    from mainspring.runs import Run
    from mainspring.states import State
    from mainspring.store.changes import CacheKey, Change, LogEntry
    from mainspring.store.events import StoredEvent
    from mainspring.store.losses import Losses
    from mainspring.store.sql import keeping
    from mainspring.store.sql.rows import Row
    from mainspring.store.sql.statements import Cursor
else:
    keeping = modules_on_use("mainspring.store.sql", "keeping")

__all__ = ["RunRows", "Writing", "is_behind", "rows_of", "write_cache_keys", "write_changes", "write_logs"]


_ATTEMPT = "SELECT run_count FROM flow_runs WHERE id = ? /*postgres: FOR SHARE */"
_REQUIRE_ATTEMPT = "SELECT mainspring_require_attempt(?, ?)"
_WITHOUT_RESULT = (Withdrawal, CrashHooks)
_KNOWN_LINE = (
    "SELECT 1 FROM logs WHERE timestamp = ? AND message = ? AND logger = ?"
    " AND coalesce(task_run_id, flow_run_id) = ?"
)


class RunRows(msgspec.Struct, frozen=True):
    """A run that is new.

    Args:
        run: Its own row.
        states: The rows of its states; none if they are folded into that row.
        length: How many states it has.
        attempts: How many attempts have begun.
        cache_key: How it looks for a kept result, if that is a row of its own.
    """

    run: Row
    states: list[Row]
    length: int
    attempts: int
    cache_key: CacheKey | None


class _Pending:
    """Rows to be inserted; a few statements for all of them save time."""

    __slots__ = ("_tidy", "cache_keys", "places", "results", "runs", "states")

    def __init__(self, tidy: bool) -> None:
        self._tidy = tidy
        self.runs: list[Row] = []
        self.states: list[Row] = []
        self.places: list[Places] = []  # of all states that were written
        self.results: list[KeptResult] = []
        self.cache_keys: list[CacheKey] = []

    def insert(self, db: Cursor) -> None:
        """Insert them."""
        if self.runs:
            insert_rows(db, TASK_RUNS.insert, list(map(tidied, self.runs)) if self._tidy else self.runs)
            self.runs = []
        if self.states:
            insert_rows(db, INSERT_STATE, list(map(tidied, self.states)) if self._tidy else self.states)
            self.states = []
        if self.results:
            keeping.keep(db, self.results, clock.current().now(), self._tidy)
            self.results = []
        if self.cache_keys:
            write_cache_keys(db, self.cache_keys, self._tidy)
            self.cache_keys = []


class Writing(msgspec.Struct, frozen=True):
    """What is written in one transaction; see `RunStore.write`."""

    changes: Sequence[Change]
    logs: Sequence[LogEntry] = ()
    cache_keys: Sequence[CacheKey] = ()
    results: Sequence[KeptResult] = ()
    events: Sequence[StoredEvent] = ()
    page: int = 0

    def without(self, losses: Losses) -> tuple[Writing, list[Change]]:
        """What is left of it without what belongs to lost runs, and the changes of these."""
        kept: list[Change] = []
        refused: list[Change] = []
        for change in self.changes:
            (refused if losses.covers(change.run, change.follows is None) else kept).append(change)
        return Writing(
            kept,
            [line for line in self.logs if not losses.covers_line(line.flow_run_key, line.task_run_key)],
            [each for each in self.cache_keys if not losses.covers_line(None, each.task_run_key)],
            [each for each in self.results if losses.may_keep(each)],
            [each for each in self.events if not losses.covers_line(each.flow_run_key, each.task_run_key)],
            self.page,
        ), refused


def write_changes(
    db: Cursor,
    changes: Sequence[Change],
    owner: int | None,
    now: int,
    tidy: bool = False,
    careful: bool = False,
    trusting: bool = False,
) -> list[Change]:
    """Write each change that follows what is there, and return the others.

    Args:
        db: A cursor, in a transaction; one for all statements, as each costs time to make.
        changes: What to write.
        owner: The id of the owner to note for the runs; None leaves it as it is.
        now: The time, by which it is known who follows.
        tidy: Replace what the database cannot hold.
        careful: Do not take runs for new that look so: an interrupted call may have written them.
        trusting: Do not wait to be told that no result comes too late: the database ends the transaction if one does.

    Raises:
        Exception: Of the database; the caller has to roll back. Without ``careful``, also because a run is there.
    """
    refused: list[Change] = []
    pending = _Pending(tidy)
    begun: dict[bytes, int] = {}
    for change in changes:
        begun.pop(change.run.key, None)
        if change.attachments and _is_late(db, change, trusting, begun):
            refused.append(change)
            keeping.abandon_files(db, change.attachments, tidy)
            continue
        if careful or change.follows is not None:
            pending.insert(db)  # what is there is looked at
        if change.follows is None and not (careful and _is_there(db, change.run)):
            _insert(db, change, owner, tidy, pending)
        else:
            appended = _append(db, change, owner, tidy, pending)
            if appended is None:
                refused.append(change)
                keeping.abandon_files(db, change.attachments, tidy)
                continue
            if not appended:
                continue  # what is attached was written with the states
        if change.attachments:
            first = change.attachments[0]
            if isinstance(first, KeptResult) and len(change.attachments) == 1:
                pending.results.append(first)
            else:
                pending.insert(db)  # in their order
                keeping.attach(db, owner, change.attachments, clock.current().now(), tidy)
    pending.insert(db)
    if pending.places:
        note_states(db, pending.places, now)
    return refused


def _is_late(db: Cursor, change: Change, trusting: bool, begun: dict[bytes, int]) -> bool:
    """Whether a task run brings a result of an attempt of its flow run that another one has followed since.

    Args:
        db: As for `write_changes`.
        change: The change.
        trusting: As for `write_changes`.
        begun: How many attempts of flow runs have begun, as far as that is known since they were written last.
    """
    run = change.run
    if not isinstance(run, TaskRun) or run.flow_run_key is None or not run.flow_run_run_count:
        return False
    if all(isinstance(each, _WITHOUT_RESULT) for each in change.attachments):
        return False
    if trusting:
        db.execute(_REQUIRE_ATTEMPT, (run.flow_run_key, run.flow_run_run_count))
        return False
    if run.flow_run_key not in begun:
        begun[run.flow_run_key] = _attempts_begun(db, run.flow_run_key)
    return begun[run.flow_run_key] > run.flow_run_run_count


def is_behind(db: Cursor, flow_run_key: bytes | None, attempt: int) -> bool:
    """Whether an attempt of a flow run has been followed by another one; False if there is no such flow run."""
    return flow_run_key is not None and bool(attempt) and _attempts_begun(db, flow_run_key) > attempt


def _attempts_begun(db: Cursor, flow_run_key: bytes) -> int:
    """How many attempts of a flow run have begun; 0 if there is no such flow run."""
    found = db.execute(_ATTEMPT, (flow_run_key,)).fetchone()
    return 0 if found is None else found[0]


def write_logs(db: Cursor, logs: Sequence[LogEntry], tidy: bool = False, careful: bool = False) -> None:
    """Write log lines; the arguments are those of `write_changes`."""
    rows = [log_row(entry) for entry in logs]
    if tidy:
        rows = [tidied(row) for row in rows]
    if careful:
        rows = [row for row in rows if not _is_known(db, row)]
    insert_rows(db, INSERT_LOG, rows)


def _is_known(db: Cursor, row: Row) -> bool:
    """Whether a line of a run was written before: the same text at the same microsecond."""
    flow_run_key, task_run_key, at, _, logger, message = row
    key = task_run_key or flow_run_key
    return key is not None and db.execute(_KNOWN_LINE, (at, message, logger, key)).fetchone() is not None


def write_cache_keys(db: Cursor, keys: Sequence[CacheKey], tidy: bool = False) -> None:
    """Write cache keys; the arguments are those of `write_changes`."""
    rows = [cache_key_row(entry) for entry in keys]
    insert_rows(db, INSERT_CACHE_KEY, [tidied(row) for row in rows] if tidy else rows)


def _is_there(db: Cursor, run: Run) -> bool:
    return db.execute(table_of(run).newest, (run.key,)).fetchone() is not None


def _insert(db: Cursor, change: Change, owner: int | None, tidy: bool, pending: _Pending) -> None:
    """Write a run that is new."""
    run = change.run
    rows = rows_of(change, owner)
    if isinstance(run, FlowRun):
        db.execute(FLOW_RUNS.insert, tidied(rows.run) if tidy else rows.run)
        if rows.attempts:
            _keep_resumption(db, run, tidy)
    else:
        pending.runs.append(rows.run)
    pending.states += rows.states
    pending.places.append(Places(run.key, 1, rows.length))
    if rows.cache_key is not None:
        pending.cache_keys.append(rows.cache_key)


def rows_of(change: Change, owner: int | None) -> RunRows:
    """What is inserted for a run that is new, in the states of a change.

    Args:
        change: The change, which follows nothing.
        owner: Whose run it is, unless it was made on behalf of somebody.
    """
    known: RunRows | None = change.rows
    run = change.run
    states = change.states
    if known is not None and known.length == len(states):
        return known
    key = run.key
    cache_key, own_row = change.cache_key, None
    if cache_key is not None and not is_beside_run(cache_key):
        cache_key, own_row = None, cache_key
    owner = owner if run.on_behalf is None else run.on_behalf
    # A run that is over does not change while we write, so its own counters will do: the usual case.
    is_over = run.state is states[-1] and run.state.is_final()
    if is_over:
        in_run = folded(run, states)
        if in_run is not UNFOLDED:
            row = table_of(run).insert_row(run, run, owner, in_run, cache_key)
            return RunRows(row, [], FOLDED, 1, own_row)
    projection: Run = run if is_over else Projection(states[0])
    rows = [state_row(key, 1, states[0], 0)]
    position, attempt = 1, 0
    for before, state in pairwise(states):
        position += 1
        if is_over:
            attempt += state.type is StateType.RUNNING and not goes_on(before, state)
        else:
            enter(projection, state)
            attempt = projection.run_count
        rows.append(state_row(key, position, state, attempt))
    row = table_of(run).insert_row(run, projection, owner, UNFOLDED, cache_key)
    return RunRows(row, rows, position, attempt, own_row)


def _append(
    db: Cursor, change: Change, owner: int | None, tidy: bool, pending: _Pending
) -> list[State] | None:
    """Write further states of a run, and return those that were not there yet.

    None if its newest state is not the one that they follow.
    """
    run = change.run
    table = table_of(run)
    found = db.execute(table.newest, (run.key,)).fetchone()
    if found is None:
        return None
    newest, position, *stored = found
    if position is None:
        for statement in table.unfold:
            db.execute(statement, (run.key,))
        position = FOLDED
    states = change.states if newest == change.follows else _not_yet_written(change, newest)
    if states:
        if change.cache_key is not None:
            pending.cache_keys.append(change.cache_key)
        projection = Projection.stored(*stored)
        pending.places.append(Places(run.key, position + 1, position + len(states)))
        for state in states:
            enter(projection, state)
            position += 1
            pending.states.append(state_row(run.key, position, state, projection.run_count))
        row = update_row(run, projection, owner if run.on_behalf is None else run.on_behalf)
        db.execute(table.update, tidied(row) if tidy else row)
        if projection.run_count and isinstance(run, FlowRun):
            _keep_resumption(db, run, tidy)
    return states


def _keep_resumption(db: Cursor, run: FlowRun, tidy: bool) -> None:
    """Write how to go on with the run, which has begun, if that is known here.

    What has not begun is called again: its first attempt, resumed, would be one that may have been made before.
    """
    if run.resumption is not None:
        row = resumption_row(run.key, run.resumption)
        db.execute(KEEP_RESUMPTION, tidied(row) if tidy else row)


def _not_yet_written(change: Change, newest: bytes) -> list[State] | None:
    """What is left to write if an earlier call was interrupted after its commit; None if it was not.

    The newest state in the store being one of the change itself means that nobody came in between.
    """
    for index, state in enumerate(change.states):
        if state.key == newest:
            return change.states[index + 1 :]
    return None
