"""What the store says happened."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from mainspring.client import get_client
from mainspring.filters import ALL
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State
from mainspring.store.postgres.dialect import PipelinedCursor


def task_runs(name: str | None = None) -> list[TaskRun]:
    """All task runs in the store, oldest first."""
    names = None if name is None else [name]
    return get_client().read_task_runs(names=names, limit=ALL)[::-1]


def flow_runs(name: str | None = None) -> list[FlowRun]:
    """All flow runs in the store, oldest first."""
    names = None if name is None else [name]
    return get_client().read_flow_runs(names=names, limit=ALL)[::-1]


def only_task_run() -> TaskRun:
    (run,) = task_runs()
    return run


def only_flow_run() -> FlowRun:
    (run,) = flow_runs()
    return run


def states_of(run: TaskRun | FlowRun) -> list[State]:
    """The recorded states of a run, oldest first."""
    client = get_client()
    if isinstance(run, FlowRun):
        return client.read_flow_run_states(run.id)
    return client.read_task_run_states(run.id)


def sequence(run: TaskRun | FlowRun | None = None) -> str:
    """The names of the states of a run, by default of the only task run, as one text."""
    return " ".join(state.name for state in states_of(run or only_task_run()))


def messages(run: TaskRun | FlowRun | None = None) -> list[str]:
    """The stored log lines of a run."""
    return [entry.message for entry in get_client().read_logs((run or only_task_run()).id)]


def query(sql: str, *values: Any) -> Sequence[Sequence[Any]]:
    """Rows as another process sees them: by a connection of its own, past every buffer."""
    url = get_current_settings().run_store_url
    with closing(_connected(url)) as connection, connection:
        return list(_cursor(connection).execute(sql, values).fetchall())


def change(sql: str, *values: Any) -> None:
    """Change one row behind the back of the product."""
    with closing(_connected(get_current_settings().run_store_url)) as connection, connection:
        assert _cursor(connection).execute(sql, values).rowcount == 1


def _connected(url: str) -> Any:
    if url.startswith("postgresql"):
        return psycopg.connect(url)
    return sqlite3.connect(Path(url.removeprefix("sqlite:///")))


def _cursor(connection: Any) -> Any:
    return connection if isinstance(connection, sqlite3.Connection) else PipelinedCursor(connection)
