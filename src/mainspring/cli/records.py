"""Runs as JSON: what ``--json`` prints. The fields are a public format: they are added to, never changed.

Ids are UUIDs in full, times ISO 8601 in UTC, durations seconds; what does not exist (yet) is null.

Each run has: ``kind`` ("flow" or "task"), ``id``, ``name``, ``state_type``, ``state_name``, ``message`` (of
the state), ``run_count`` (attempts begun), ``tags``, ``created``, ``expected_start_time``, ``start_time``,
``end_time``, ``total_run_time`` (spent in attempts), ``duration`` (from the start to the end).

A flow run has besides: ``flow_name``, ``flow_version``, ``parameters``, ``parent_task_run_id`` (the task run that
stands for it in its parent, if it is a subflow), ``task_runs`` (objects, oldest first). A task run has:
``task_key``, ``task_version``, ``flow_run_id``, ``task_inputs`` (by parameter, where each came from).

``runs show`` adds ``states`` (objects, oldest first) to the run that was asked for, and ``subflow_run`` (a flow
run) to each task run that stands for one. To a flow run it adds ``waits_for``: an object for each pause that nobody has
answered, with ``key``, ``flow_run_id``, ``requested``, ``expires``, ``suspends``, ``schema`` (of the input, null if
none is wanted) and ``problem`` (why an input was refused).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from mainspring import clock
from mainspring.clock import MICROSECONDS
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State

__all__ = ["flow_run_record", "iso_time", "print_json", "state_record", "task_run_record"]


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def iso_time(at: int | None) -> str | None:
    """A wall time in microseconds as ISO 8601, always with six digits of fractions; None for None."""
    return None if at is None else f"{clock.to_datetime(at):%Y-%m-%dT%H:%M:%S.%fZ}"


def flow_run_record(run: FlowRun, task_runs: Iterable[TaskRun]) -> dict[str, Any]:
    """A flow run with its task runs."""
    return {
        "kind": "flow",
        **_run_record(run),
        "flow_name": run.flow_name,
        "flow_version": run.flow_version,
        "parameters": run.parameters,
        "parent_task_run_id": run.parent_task_run_id,
        "task_runs": [task_run_record(each) for each in task_runs],
    }


def task_run_record(run: TaskRun) -> dict[str, Any]:
    """A task run."""
    return {
        "kind": "task",
        **_run_record(run),
        "task_key": run.task_key,
        "task_version": run.task_version,
        "flow_run_id": run.flow_run_id,
        "task_inputs": run.task_inputs,
    }


def state_record(state: State) -> dict[str, Any]:
    """A state of a run."""
    return {
        "id": state.id,
        "type": state.type.value,
        "name": state.name,
        "timestamp": iso_time(state.at),
        "message": state.message,
    }


def _run_record(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "state_type": run.state.type.value,
        "state_name": run.state.name,
        "message": run.state.message,
        "run_count": run.run_count,
        "tags": sorted(run.tags),
        "created": iso_time(run.created_at),
        "expected_start_time": iso_time(run.expected_start_at),
        "start_time": iso_time(run.started_at),
        "end_time": iso_time(run.ended_at),
        "total_run_time": run.run_time / MICROSECONDS,
        "duration": _seconds(run),
    }


def _seconds(run: Run) -> float | None:
    if run.started_at is None or run.ended_at is None:
        return None
    return (run.ended_at - run.started_at) / MICROSECONDS
