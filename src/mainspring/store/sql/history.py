"""Reading all of a history at one moment; see `mainspring.store.histories`."""

from __future__ import annotations

from mainspring.store.histories import (
    HeldSlots,
    History,
    HistoryLimit,
    HistoryRun,
    HistoryState,
    KeptRow,
    SlotEvent,
)
from mainspring.store.sql.statements import Cursor, ask

__all__ = ["history"]

_BEGIN = "BEGIN /*postgres: ISOLATION LEVEL REPEATABLE READ, READ ONLY */"

_FACTS = "state_id, state_type, state_name, run_count, created, updated, start_time, end_time, total_run_time"
# A tag is of interest where there is a limit on tags.
_TAGS = "CASE WHEN EXISTS (SELECT 1 FROM concurrency_limits WHERE name LIKE 'tag:%') THEN tags END"
_RUNS = (
    f"SELECT 'flow', id, name, flow_name, parent_task_run_id, 0, NULL, NULL, {_FACTS} FROM flow_runs"  # noqa: S608 - constants
    " UNION ALL SELECT 'task', id, name, task_key, flow_run_id, flow_run_run_count,"
    f" CASE WHEN run_count > 1 THEN empirical_policy END, {_TAGS}, {_FACTS} FROM task_runs"
)
_STATES = (
    "SELECT run_id, position, id, type, name, timestamp, attempt, data FROM states ORDER BY run_id, position"
)
_LIMITS = 'SELECT id, name, "limit", active, slot_decay_per_second, updated FROM concurrency_limits'
_SLOTS = (
    "SELECT s.limit_id, s.slots, s.holder_type, s.holder_id, s.acquired, s.lease_expires, o.ended"
    " FROM slots AS s LEFT JOIN owners AS o ON o.id = s.owner_id ORDER BY s.id"
)
_SLOT_EVENTS = (
    "SELECT id, occurred, content, coalesce(task_run_id, flow_run_id) FROM events"
    " WHERE event IN ('mainspring.concurrency-limit.acquired', 'mainspring.concurrency-limit.released')"
    " ORDER BY occurred, id"
)
_KEPT = "SELECT key, run_id FROM results WHERE run_id IS NOT NULL"
_CACHED = "SELECT task_run_id FROM cache_keys WHERE key IS NOT NULL"
_STAGED = "SELECT run_id, root_id FROM staged"
_SETTLEMENTS = "SELECT root_id FROM settlements"
_CRASH_HOOKS = "SELECT run_id FROM crash_hooks"

_QUESTIONS = (
    _RUNS,
    _STATES,
    _LIMITS,
    _SLOTS,
    _SLOT_EVENTS,
    _KEPT,
    _CACHED,
    _STAGED,
    _SETTLEMENTS,
    _CRASH_HOOKS,
)


def history(db: Cursor) -> History:
    """All that a run store holds, as it was at one moment."""
    db.execute(_BEGIN)
    try:
        found = ask(db, *((question, ()) for question in _QUESTIONS))
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    runs, states, limits, slots, events, kept, cached, staged, settlements, crash_hooks = found
    return History(
        [HistoryRun._make(row) for row in runs],
        [HistoryState._make(row) for row in states],
        [HistoryLimit._make(row) for row in limits],
        [HeldSlots._make(row) for row in slots],
        [SlotEvent._make(row) for row in events],
        [KeptRow._make(row) for row in kept],
        frozenset(key for (key,) in cached),
        [(run, root) for run, root in staged],
        [root for (root,) in settlements],
        [run for (run,) in crash_hooks],
    )
