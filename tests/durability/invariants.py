"""What holds for every run store after whatever happened: one function over the file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mainspring._core.transitions import MOVES, Move
from mainspring.client import Client, open_client
from mainspring.filters import ALL
from mainspring.settings import temporary_settings
from mainspring.states import TERMINAL_STATES, StateType

__all__ = ["check_store", "problems_of"]

UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
_BEGINNINGS = ("PENDING", "SCHEDULED")
_BLOCKED = "NotReady"  # a run whose upstream did not complete is over, though it is PENDING
_FINAL = {kind.value for kind in TERMINAL_STATES}
_OPEN_WORK = ("staged", "settlements")  # tables of transactions that are not over


class _State(NamedTuple):
    """A row of ``states``."""

    position: int
    id: bytes
    type: str
    name: str
    timestamp: int
    attempt: int


class _Row(NamedTuple):
    """What the row of a run says."""

    id: bytes
    what: str
    state_id: bytes
    state_type: str
    state_name: str
    run_count: int
    updated: int
    start_time: int | None
    end_time: int | None
    total_run_time: int
    may_go_on: bool


def check_store(
    database: Path, *, is_over: bool = True, keeps_all: bool = True, grants: bool = False
) -> None:
    """Fail with everything that is wrong with a store.

    Args:
        database: The file.
        is_over: Whether all has come to its end; else a process may have just died.
        keeps_all: Whether the results of flow runs must be there, too: not if they could not be written.
        grants: Whether task runs are given another attempt when their process was found dead.
    """
    problems = list(problems_of(database, is_over=is_over, keeps_all=keeps_all, grants=grants))
    assert not problems, "\n".join(problems)


def problems_of(
    database: Path, *, is_over: bool = True, keeps_all: bool = True, grants: bool = False
) -> Iterator[str]:
    """What `check_store` fails with."""
    db = sqlite3.connect(database)
    try:
        (answer,) = db.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            yield f"integrity check: {answer}"
            return
        paths = _paths(db)
        rows = list(_rows(db))
        for row in rows:
            if grants:
                row = row._replace(may_go_on=True)
            yield from (f"{row.what}: {problem}" for problem in _problems_of_run(row, paths.get(row.id, [])))
            if is_over and row.state_type in UNFINISHED and row.state_name != _BLOCKED:
                yield f"{row.what}: is {row.state_type} though all is over"
        for orphan in paths.keys() - {row.id for row in rows}:
            yield f"states of {orphan.hex()}, which is no run"
        if is_over:
            yield from _open_work(db)
    finally:
        db.close()
    if is_over:
        here = {"home": str(database.parent), "database_url": f"sqlite:///{database}"}
        with temporary_settings(here), open_client() as client:
            yield from _missing_results(client, keeps_all)


def _paths(db: sqlite3.Connection) -> dict[bytes, list[_State]]:
    """The states of all runs."""
    paths: dict[bytes, list[_State]] = {}
    query = (
        "SELECT run_id, position, id, type, name, timestamp, attempt FROM states ORDER BY run_id, position"
    )
    for run, *facts in db.execute(query):
        paths.setdefault(run, []).append(_State(*facts))
    return paths


def _rows(db: sqlite3.Connection) -> Iterator[_Row]:
    """The rows of all runs. Only flow runs, and task runs that stand for them, may leave a final state."""
    facts = (
        "state_id, state_type, state_name, run_count, updated, start_time, end_time, total_run_time,"
        "{} FROM {}_runs AS r"
    )
    stands_in = "EXISTS (SELECT 1 FROM flow_runs AS f WHERE f.parent_task_run_id = r.id)"
    for kind, goes_on in (("flow", "1"), ("task", stands_in)):
        for key, name, *found in db.execute(f"SELECT id, name, {facts.format(goes_on, kind)}"):
            yield _Row(key, f"{kind} run {name} ({key.hex()})", *found)


# One run


def _problems_of_run(row: _Row, path: Sequence[_State]) -> Iterator[str]:
    if not path:
        yield "has no states"
        return
    names = " ".join(state.name for state in path)
    if [state.position for state in path] != list(range(1, len(path) + 1)):
        yield f"positions {[state.position for state in path]}"
    if path[0].type not in _BEGINNINGS:
        yield f"begins as {path[0].name}"
    if len({state.id for state in path}) < len(path):
        yield f"has a state twice: {names}"
    for before, after in pairwise(path):
        if not _is_legal(before, after, row.may_go_on):
            yield f"{before.name} is followed by {after.name} in {names}"
        if after.timestamp < before.timestamp:
            yield f"goes back in time from {before.name} to {after.name} in {names}"
    yield from _wrong_projection(row, path)


def _is_legal(before: _State, after: _State, may_go_on: bool) -> bool:
    moves = MOVES.get(StateType(before.type), {})
    allowed = [move for move, (kind, name) in moves.items() if (kind.value, name) == (after.type, after.name)]
    if before.type not in _FINAL:
        return bool(allowed)
    if Move.ROLL_BACK in allowed:
        return before.name != "RolledBack"
    return may_go_on and before.type != "COMPLETED" and bool({Move.BEGIN, Move.AWAIT_RETRY} & set(allowed))


def _wrong_projection(row: _Row, path: Sequence[_State]) -> Iterator[str]:
    """Where the row of a run differs from what its states come to."""
    attempts, run_time = 0, 0
    started: int | None = None
    ended: int | None = None
    for index, state in enumerate(path):
        if index and path[index - 1].type == "RUNNING":
            run_time += state.timestamp - path[index - 1].timestamp
        if state.type == "RUNNING":
            attempts += 1
            ended = None
            started = state.timestamp if started is None else started
        elif state.type in _FINAL and started is not None and ended is None:
            ended = state.timestamp
        if state.attempt != attempts:
            yield f"{state.name} at {state.position} is of attempt {state.attempt}, not {attempts}"
    newest = path[-1]
    expected: dict[str, Any] = {
        "state_id": newest.id,
        "state_type": newest.type,
        "state_name": newest.name,
        "run_count": attempts,
        "updated": newest.timestamp,
        "start_time": started,
        "end_time": ended,
        "total_run_time": run_time,
    }
    for name, value in expected.items():
        if getattr(row, name) != value:
            yield f"{name} is {getattr(row, name)!r}, and its states come to {value!r}"


# What is left over, and what is missing


def _open_work(db: sqlite3.Connection) -> Iterator[str]:
    """Rows of transactions, when the flow run that they belong to has completed."""
    known = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in _OPEN_WORK:
        if table not in known:
            continue
        columns = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        where = ""
        if "flow_run_id" in columns:
            where = " WHERE flow_run_id IN (SELECT id FROM flow_runs WHERE state_type = 'COMPLETED')"
        elif db.execute("SELECT count(*) FROM flow_runs WHERE state_type <> 'COMPLETED'").fetchone()[0]:
            continue
        (left,) = db.execute(f"SELECT count(*) FROM {table}{where}").fetchone()
        if left:
            yield f"{left} rows are left in {table} though their flow runs have completed"


def _missing_results(client: Client, keeps_all: bool) -> Iterator[str]:
    """Steps of completed flow runs that are kept, and whose results are not.

    A step that another run has taken over, which was then rolled back, is kept no more than that one.
    """
    for flow_run in client.read_flow_runs(states=["COMPLETED"], limit=ALL):
        steps = client.read_task_runs([flow_run.id], ["COMPLETED"], limit=ALL)
        undone = {run.state.stored_as for run in steps if run.state_name == "RolledBack"}
        kept = [run for run in steps if run.state.stored_as not in undone]
        for run in (*([flow_run] if keeps_all else []), *kept):
            if run.state_name == "RolledBack" or not run.state.has_data:
                continue
            try:
                json.dumps(run.state.result())  # which is what programs return
            except Exception as error:  # whatever it is: it is the finding
                reason = f"{type(error).__name__}: {error}"
                yield f"{run.name} is {run.state_name}, and its result cannot be had: {reason}"
