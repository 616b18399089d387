"""What the store says happened."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mainspring.client import get_client
from mainspring.filters import ALL
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State


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
    path = Path(url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()
