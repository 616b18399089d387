"""Deleting runs from a database, with everything that belongs to them.

What a run has inside goes with it: the task runs of a flow run, the subflow runs that they stand for, and so on. A few
runs go in one transaction. More go in several, so that others can write in between; of a large flow run its own row
goes first, after which nobody can see or resume it, and then the rest, from the innermost runs outwards. What a death
in between leaves is found by the id of the flow run.

Results that only the run itself can find go with it: those of its steps, its parameters, and those under cache keys
that hold its own id or have expired. Others under cache keys stay, as later runs may be answered from them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from mainspring import clock
from mainspring.records.locations import HISTORY, history_key
from mainspring.store.sql.keeping import drop_staged
from mainspring.store.sql.statements import Cursor

__all__ = ["BATCH", "Tree", "batches", "delete_trees", "plan"]

T = TypeVar("T")
Transact = Callable[[Callable[[Cursor], int]], int]

BATCH = 500
"""So many runs are deleted in one transaction, and so many looked at together."""

_FINAL = "r.state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
_OVER = (  # or it was left by its process, or never begun
    f"({_FINAL} OR r.state_name IN ('NotReady', 'Suspended')"  # noqa: S608 - constants
    " OR EXISTS (SELECT 1 FROM owners AS o WHERE o.id = r.owner_id AND o.ended IS NOT NULL))"
)
_IS_OVER = f"CASE WHEN {_OVER} THEN 1 ELSE 0 END"

# Each is followed by keys in parentheses.
_FLOW_RUNS = f"SELECT r.id, r.state_id, r.parent_task_run_id FROM flow_runs AS r WHERE {_OVER} AND r.id IN"  # noqa: S608
_TASK_RUNS = f"SELECT r.id, r.state_id, r.flow_run_id FROM task_runs AS r WHERE {_OVER} AND r.id IN"  # noqa: S608
_LOCK = " /*postgres: FOR UPDATE OF r */"
_HALF_DELETED = (
    "SELECT DISTINCT t.flow_run_id FROM task_runs AS t WHERE NOT EXISTS"
    " (SELECT 1 FROM flow_runs AS f WHERE f.id = t.flow_run_id) AND t.flow_run_id IN"
)
_AROUND = (
    f"SELECT t.id, r.parent_task_run_id, CASE WHEN {_FINAL} THEN 1 ELSE 0 END"  # noqa: S608 - constants
    " FROM task_runs AS t JOIN flow_runs AS r ON r.id = t.flow_run_id WHERE t.id IN"
)
_TASK_RUNS_INSIDE = f"SELECT r.id, r.flow_run_id, {_IS_OVER} FROM task_runs AS r WHERE r.flow_run_id IN"  # noqa: S608
_SUBFLOW_RUNS = (
    f"SELECT r.id, r.parent_task_run_id, {_IS_OVER} FROM flow_runs AS r WHERE r.parent_task_run_id IN"  # noqa: S608
)
_RESULTS = "SELECT run_id, data FROM states WHERE data IS NOT NULL AND run_id IN"
_CACHE_KEYS = "SELECT task_run_id, key, components FROM cache_keys WHERE key IS NOT NULL AND task_run_id IN"
_STAGED = "SELECT run_id FROM staged WHERE run_id IN"
_STAGED_INSIDE = "SELECT run_id FROM staged WHERE root_id IN"

_OF_FLOW_RUNS = (
    ("resumptions", "flow_run_id"),
    ("suspensions", "flow_run_id"),
    ("pauses", "flow_run_id"),
    ("settlements", "root_id"),
    ("logs", "flow_run_id"),
    ("events", "flow_run_id"),
)
_OF_TASK_RUNS = (("cache_key_rows", "task_run_id"), ("events", "task_run_id"))
_OF_RUNS = (("state_rows", "run_id"), ("crash_hooks", "run_id"), ("cancellations", "run_id"))


class _KeptAt(msgspec.Struct):
    """What the data of a state says about where its result is, and until when it counts."""

    storage_key: str | None = None
    expiration: str | None = None


_decode_place = msgspec.json.Decoder(_KeptAt).decode
_decode_components = msgspec.json.Decoder(dict[str, Any]).decode


class Doomed(NamedTuple):
    """One run to be deleted, and the flow run around it if it is a task run in one."""

    key: bytes
    is_flow: bool
    around: bytes | None = None


class Tree(NamedTuple):
    """A run to be deleted, with what is inside of it.

    Args:
        root: The run itself.
        state: Its newest state; None if its row is gone already.
        inside: The runs inside, each after those that are inside of it.
    """

    root: Doomed
    state: bytes | None
    inside: list[Doomed]


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of at most `BATCH`."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


# What is to go


def plan(db: Cursor, keys: Sequence[bytes]) -> list[Tree]:
    """The trees of those of some runs, at most `BATCH`, that may be deleted.

    Left out is what is not there, what is not over or has something inside that is not, what is inside of a flow run
    that is not over, and what a transaction of the flow run around is still to decide about.
    """
    roots: dict[bytes, tuple[Doomed, bytes | None]] = {}
    links: dict[bytes, bytes] = {}  # from a root to a task run in the flow run around it
    for key, state, around in _select(db, _TASK_RUNS, keys):
        roots[key] = Doomed(key, False, around), state
        if around is not None:
            links[key] = key
    for key, state, stand_in in _select(db, _FLOW_RUNS, keys):
        roots[key] = Doomed(key, True), state
        if stand_in is not None:
            links[key] = stand_in
    for (key,) in _select(db, _HALF_DELETED, keys):
        roots[key] = Doomed(key, True), None
    for key in _held_from_outside(db, links):
        del roots[key]
    inside, busy = _inside(db, [root for root, _ in roots.values()])
    trees = [Tree(*roots[key], inside[key][::-1]) for key in roots if key not in busy]
    return [tree for tree in trees if tree.root.key not in links or not _is_undecided(db, tree)]


def _held_from_outside(db: Cursor, links: dict[bytes, bytes]) -> set[bytes]:
    """The roots that are inside of flow runs which are not over."""
    held: set[bytes] = set()
    climbing = dict(links)
    while climbing:
        around = {key: (up, is_final) for key, up, is_final in _select(db, _AROUND, set(climbing.values()))}
        above: dict[bytes, bytes] = {}
        for root, link in climbing.items():
            up, is_final = around.get(link, (None, 1))
            if not is_final:
                held.add(root)
            elif up is not None:
                above[root] = up
        climbing = above
    return held


def _inside(db: Cursor, roots: Sequence[Doomed]) -> tuple[dict[bytes, list[Doomed]], set[bytes]]:
    """What is inside of each root, from the outermost inwards, and the roots with something that is not over."""
    inside: dict[bytes, list[Doomed]] = {root.key: [] for root in roots}
    busy: set[bytes] = set()
    within: list[tuple[bytes, bytes]] = []  # roots that are inside of others, each looked into once
    root_of = {root.key: root.key for root in roots}
    flows: list[bytes] = [root.key for root in roots if root.is_flow]
    tasks: list[bytes] = [root.key for root in roots if not root.is_flow]
    while flows or tasks:
        found_tasks = [(row, False) for row in _select(db, _TASK_RUNS_INSIDE, flows)]
        found_flows = [(row, True) for row in _select(db, _SUBFLOW_RUNS, tasks)]
        flows.clear()
        tasks.clear()
        for (key, around, is_over), is_flow in [*found_tasks, *found_flows]:
            root = root_of[around]
            inside[root].append(Doomed(key, is_flow, None if is_flow else around))
            if not is_over:
                busy.add(root)
            if key in inside:
                within.append((root, key))
            else:
                root_of[key] = root
                (flows if is_flow else tasks).append(key)
    for outer, inner in _innermost_first(within):
        inside[outer] += inside[inner]
        if inner in busy:
            busy.add(outer)
    return inside, busy


def _innermost_first(within: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Pairs of an outer and an inner run, those first whose inner run is farther inside."""
    outer_of = {inner: outer for outer, inner in within}

    def depth(key: bytes) -> int:
        return 1 + depth(outer_of[key]) if key in outer_of else 0

    return sorted(within, key=lambda pair: -depth(pair[1]))


def _is_undecided(db: Cursor, tree: Tree) -> bool:
    """Whether a transaction of a flow run that stays is to decide about something in a tree."""
    return any(_select(db, _STAGED, [run.key for run in (tree.root, *tree.inside)]))


# Deleting


def delete_trees(transact: Transact, trees: Sequence[Tree], cached_results: bool) -> int:
    """Delete what was planned, unless it has moved on since.

    Args:
        transact: Calls a function with a cursor, in one transaction.
        trees: What is to go.
        cached_results: Also delete results under cache keys that others may use.

    Returns:
        How many runs are gone.
    """
    deleted = 0
    together: list[Tree] = []
    size = 0
    for tree in trees:
        own_size = 1 + len(tree.inside)
        if own_size > BATCH:
            deleted += _delete_large(transact, tree, cached_results)
            continue
        if size + own_size > BATCH:
            deleted += transact(partial(_delete_small, trees=together, cached_results=cached_results))
            together, size = [], 0
        together.append(tree)
        size += own_size
    return deleted + (
        transact(partial(_delete_small, trees=together, cached_results=cached_results)) if together else 0
    )


def _delete_large(transact: Transact, tree: Tree, cached_results: bool) -> int:
    if not transact(partial(_behead, tree=tree)):
        return 0
    deleted = int(tree.state is not None)  # else it was counted before
    for runs in batches([*tree.inside, tree.root]):
        deleted += transact(partial(_delete_runs, runs=runs, cached_results=cached_results))
    return deleted


def _behead(db: Cursor, tree: Tree) -> int:
    """Take away the row of a flow run alone; 0 if it has moved on."""
    if not _unchanged(db, [tree]):
        return 0
    _delete(db, "flow_runs", "id", [tree.root.key])
    return 1


def _delete_small(db: Cursor, trees: Sequence[Tree], cached_results: bool) -> int:
    runs = [run for tree in _unchanged(db, trees) for run in (*tree.inside, tree.root)]
    return _delete_runs(db, runs, cached_results)


def _unchanged(db: Cursor, trees: Sequence[Tree]) -> list[Tree]:
    """Those whose outermost run is in the state that was planned for; nobody else changes it until the end."""
    keys = [tree.root.key for tree in trees]
    states = {key: state for key, state, _ in _select(db, _TASK_RUNS, keys, _LOCK)}
    states |= {key: state for key, state, _ in _select(db, _FLOW_RUNS, keys, _LOCK)}
    return [tree for tree in trees if tree.state is None or states.get(tree.root.key) == tree.state]


def _delete_runs(db: Cursor, runs: Sequence[Doomed], cached_results: bool) -> int:
    """Delete the rows of runs and of all that is theirs."""
    flows = list(dict.fromkeys(run.key for run in runs if run.is_flow))
    tasks = list(dict.fromkeys(run.key for run in runs if not run.is_flow))
    _delete_results(db, flows, tasks, {run.key: run.around for run in runs}, cached_results)
    drop_staged(db, [key for (key,) in _select(db, _STAGED, [*flows, *tasks])])
    drop_staged(db, [key for (key,) in _select(db, _STAGED_INSIDE, flows)])
    _delete_lines(db, runs)
    for table, column in _OF_FLOW_RUNS:
        _delete(db, table, column, flows)
    for table, column in _OF_TASK_RUNS:
        _delete(db, table, column, tasks)
    for table, column in _OF_RUNS:
        _delete(db, table, column, [*flows, *tasks])
    return _delete(db, "task_runs", "id", tasks) + _delete(db, "flow_runs", "id", flows)


def _delete_results(
    db: Cursor,
    flows: list[bytes],
    tasks: list[bytes],
    around: dict[bytes, bytes | None],
    cached_results: bool,
) -> None:
    """Delete the results that nobody finds without these runs, or all of theirs."""
    shared: dict[tuple[bytes, str], str | None] = {}
    if not cached_results:
        for run_key, key, components in _select(db, _CACHE_KEYS, tasks):
            shared[run_key, key] = components
    doomed: list[tuple[str, bytes]] = []
    for run_key, data in _select(db, _RESULTS, [*flows, *tasks]):
        kept = _place_of(data)
        if kept is None or kept.storage_key is None or not kept.storage_key.startswith(HISTORY):
            continue
        key = history_key(kept.storage_key)
        if (
            (run_key, key) not in shared
            or _has_expired(kept.expiration)
            or _is_made_of(shared[run_key, key], (run_key, around[run_key]))
        ):
            doomed.append((key, run_key))
    db.executemany("DELETE FROM results WHERE key = ? AND run_id = ?", doomed)
    parameters = [(f"parameters/{UUID(bytes=key)}",) for key in (*flows, *tasks)]
    db.executemany("DELETE FROM results WHERE key = ?", parameters)


def _place_of(data: str) -> _KeptAt | None:
    try:
        return _decode_place(data)
    except msgspec.DecodeError:  # another version may have put anything there; its result stays
        return None


def _has_expired(expiration: str | None) -> bool:
    if expiration is None:
        return False
    try:
        return clock.from_datetime(datetime.fromisoformat(expiration)) <= clock.current().now()
    except (ValueError, TypeError):
        return False


def _is_made_of(components: str | None, keys: Iterable[bytes | None]) -> bool:
    """Whether one of the components of a cache key is one of these ids, which no other run has."""
    own = {str(UUID(bytes=key)) for key in keys if key is not None}
    return components is not None and not own.isdisjoint(map(str, _decode_components(components).values()))


def _delete_lines(db: Cursor, runs: Sequence[Doomed]) -> None:
    """Delete what task runs have logged; by the flow run around them, as the index has them."""
    by_flow: dict[bytes | None, list[bytes]] = defaultdict(list)
    for run in runs:
        if not run.is_flow:
            by_flow[run.around].append(run.key)
    for around, tasks in by_flow.items():
        condition = "flow_run_id IS NULL" if around is None else "flow_run_id = ?"
        values = tasks if around is None else [around, *tasks]
        db.execute(f"DELETE FROM logs WHERE {condition} AND task_run_id IN ({_marks(tasks)})", values)  # noqa: S608


def _delete(db: Cursor, table: str, column: str, keys: Sequence[bytes]) -> int:
    if not keys:
        return 0
    return db.execute(f"DELETE FROM {table} WHERE {column} IN ({_marks(keys)})", keys).rowcount  # noqa: S608


def _select(db: Cursor, query: str, keys: Iterable[bytes], lock: str = "") -> Iterator[Any]:
    """The rows for any number of keys."""
    for some in batches(keys):
        yield from db.execute(f"{query} ({_marks(some)}){lock}", some).fetchall()


def _marks(keys: Sequence[bytes]) -> str:
    return ",".join("?" * len(keys))
