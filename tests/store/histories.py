"""Runs made by hand for the tests of run stores."""

from pathlib import Path
from typing import Any

from mainspring._core.transitions import enter
from mainspring.identifiers import new_id
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateType
from mainspring.store import Change, RunStore

PENDING = StateType.PENDING
RUNNING = StateType.RUNNING
COMPLETED = StateType.COMPLETED
FAILED = StateType.FAILED
SCHEDULED = StateType.SCHEDULED
PAUSED = StateType.PAUSED
CANCELLING = StateType.CANCELLING
CRASHED = StateType.CRASHED

NOON = 1_785_585_600_000_000


def new_task_run(flow_run: FlowRun | None = None, name: str = "add-1", **fields: Any) -> TaskRun:
    flow_run_key = None if flow_run is None else flow_run.key
    run = TaskRun(new_id(), name, State(PENDING), "examples:add", flow_run_key, **fields)
    run.state.belong_to(run.key, flow_run_key)
    return run


def new_flow_run(name: str = "calm-otter", **fields: Any) -> FlowRun:
    run = FlowRun(new_id(), name, State(PENDING), "etl", **fields)
    run.state.belong_to(None, run.key)
    return run


def advance(run: Run, *states: State | StateType) -> Change:
    """Let the run enter the states; the change to be written, with all that was not recorded before."""
    entered = [run.state] if run.recorded is None else []
    for state in states:
        state = state if isinstance(state, State) else State(state)
        if isinstance(run, TaskRun):
            state.belong_to(run.key, run.flow_run_key)
        else:
            state.belong_to(None, run.key)
        enter(run, state)
        entered.append(state)
    return Change(run, entered, run.recorded)


def record(store: RunStore, *changes: Change) -> None:
    """Write changes that must be accepted."""
    assert store.write(changes) == []
    for change in changes:
        change.run.recorded = change.states[-1].key


def finished_task_run(store: RunStore, flow_run: FlowRun | None = None, **fields: Any) -> TaskRun:
    run = new_task_run(flow_run, **fields)
    record(store, advance(run, RUNNING, COMPLETED))
    return run


def finished_flow_run(store: RunStore, **fields: Any) -> FlowRun:
    run = new_flow_run(**fields)
    record(store, advance(run, RUNNING, COMPLETED))
    return run


def facts(run: Run) -> dict[str, Any]:
    """All that a record says, for comparing; ``recorded`` and the class aside."""
    names = [
        name
        for kind in type(run).__mro__
        for name in getattr(kind, "__slots__", ())
        if name not in ("recorded", "state", "tags")
    ]
    return {name: getattr(run, name) for name in names} | {"tags": set(run.tags), "state": run.state.key}


def names_in(directory: Path) -> list[str]:
    return sorted(found.name for found in directory.iterdir())
