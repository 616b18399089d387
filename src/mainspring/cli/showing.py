"""What ``mainspring runs show`` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring import clock, identifiers
from mainspring._imports import modules_on_use
from mainspring.cli.histories import open_history
from mainspring.cli.rendering import (
    Column,
    describe_types,
    facts_table,
    format_age,
    format_duration,
    one_line,
    open_output,
    show,
    state_text,
    table,
)
from mainspring.cli.texts import Text
from mainspring.cli.trees import RunTree, find_run
from mainspring.cli.treetable import tree_table
from mainspring.cli.waiting import pause_records, pauses_of, tell_pauses
from mainspring.client import Client
from mainspring.runs import FlowRun, Run, TaskRun, TaskRunResult
from mainspring.states import State

if TYPE_CHECKING:
    from mainspring.cli import records as printed
    from mainspring.cli.rendering import Output
else:
    printed = modules_on_use("mainspring.cli", "records")

__all__ = ["show_found"]

Fact = tuple[str, Text | str]


def show_found(run_id: str, full: bool, as_json: bool) -> None:
    """Print the run whose id begins or ends with ``run_id``.

    Raises:
        ObjectNotFound: There is none.
        AmbiguousId: There are several.
        StoreError: The run store cannot be read.
    """
    with open_history() as client:
        run = find_run(client, run_id)
        assert client is not None
        states = client.store.read_states(run.key)
        if isinstance(run, TaskRun):
            if as_json:
                printed.print_json(
                    {
                        **printed.task_run_record(run),
                        "states": [printed.state_record(state) for state in states],
                    }
                )
            else:
                _show_task_run(client, run, states)
            return
        tree = RunTree.read(client, run)
        if as_json:
            waiting = pause_records(pauses_of(client, run))
            printed.print_json(
                {
                    **_tree_record(tree),
                    "states": [printed.state_record(state) for state in states],
                    "waits_for": waiting,
                }
            )
        else:
            _show_flow_run(client, tree, full)


def _tree_record(tree: RunTree) -> dict[str, Any]:
    """A flow run with its task runs, and below those that stand for subflows ``subflow_run``, the same again."""
    records = {run.key: printed.task_run_record(run) for run in tree.task_runs}
    flows = {run.key: printed.flow_run_record(run, ()) for run in tree.flow_runs}
    for task_run in tree.task_runs:
        flows[task_run.flow_run_key or b""]["task_runs"].append(records[task_run.key])
    for flow_run in tree.flow_runs[1:]:
        records[flow_run.parent_task_run_key or b""]["subflow_run"] = flows[flow_run.key]
    return flows[tree.flow_runs[0].key]


def _show_flow_run(client: Client, tree: RunTree, full: bool) -> None:
    run = tree.flow_runs[0]
    console = open_output()
    counts = client.count_task_runs([run.id])[run.id]
    facts: list[Fact] = [
        ("flow run", str(run.id)),
        ("flow", one_line(run.flow_name)),
        *_parent(client, run),
        *_parameters(run.parameters),
        *_common(run),
        *tell_pauses(pauses_of(client, run)),
        ("task runs", describe_types(counts) if counts else "none"),
    ]
    _show_header(console, run, facts)
    if tree.roots:
        show(console, Text())
        show(console, tree_table(client, tree, console, full))


def _show_task_run(client: Client, run: TaskRun, states: list[State]) -> None:
    console = open_output()
    facts: list[Fact] = [("task run", str(run.id)), ("task", run.task_key.rpartition("-")[0] or run.task_key)]
    if run.flow_run_id is not None:
        facts.append(("flow run", _reference(client.read_flow_run(run.flow_run_id))))
    facts += _inputs(client, run)
    facts += _common(run)
    _show_header(console, run, facts)
    show(console, Text())
    show(console, table(console, _STATE_COLUMNS, _state_rows(states)))


def _show_header(console: Output, run: Run, facts: Iterable[Fact]) -> None:
    """Name, state and duration on a line, what the state says, then the facts."""
    head = Text.assemble((one_line(run.name), "bold"), "  ").append_text(state_text(run.state))
    if run.started_at is not None:
        end = run.ended_at or clock.current().now()
        head.append(f" {'in' if run.state.is_final() else 'for'} {format_duration(end - run.started_at)}")
    if run.run_count > 1:
        head.append(f", {run.run_count} attempts")
    show(console, head)
    if run.state.message:
        show(console, Text(f"{one_line(run.state.message)}"))
    show(console, Text())
    show(console, facts_table(list(facts)))


def _common(run: Run) -> Iterator[Fact]:
    if run.tags:
        yield "tags", ", ".join(sorted(map(one_line, run.tags)))
    if run.started_at is None:
        yield "created", _moment(run.created_at)
    else:
        yield "started", _moment(run.started_at)


def _moment(at: int) -> str:
    age = format_age(at, clock.current().now())
    return f"{clock.to_datetime(at).astimezone():%Y-%m-%d %H:%M:%S} ({age})"


def _parameters(parameters: Mapping[str, Any]) -> Iterator[Fact]:
    heading = "parameters"
    for name, value in parameters.items():
        yield heading, one_line(f"{name} = {msgspec.json.encode(value).decode()}")
        heading = ""


def _parent(client: Client, run: FlowRun) -> Iterator[Fact]:
    if run.parent_task_run_id is not None:
        stand_in = client.read_task_run(run.parent_task_run_id)
        if stand_in.flow_run_id is not None:
            yield "subflow of", _reference(client.read_flow_run(stand_in.flow_run_id))


def _inputs(client: Client, run: TaskRun) -> Iterator[Fact]:
    """The task runs that parameters came from, those waited for, and the one that called this one."""
    names = {"wait_for": "after", "__parents__": "called by"}
    for name, inputs in run.task_inputs.items():
        sources = [
            _reference(client.read_task_run(each.id)) for each in inputs if isinstance(each, TaskRunResult)
        ]
        if sources:
            more = f" and {len(sources) - _MOST_SOURCES} more" if len(sources) > _MOST_SOURCES else ""
            heading = names.get(name, f"{one_line(name)} from")
            yield heading, ", ".join(sources[:_MOST_SOURCES]) + more


def _reference(run: Run) -> str:
    return f"{one_line(run.name)} ({identifiers.shorten(run.key)})"


_MOST_SOURCES = 8

_STATE_COLUMNS = [
    Column("time"),
    Column("state"),
    Column("attempt", right=True),
    Column("lasted", right=True),
    Column("message", yields=True),
]


def _state_rows(states: list[State]) -> Iterator[list[Text | str]]:
    attempt = 0
    for index, state in enumerate(states):
        attempt += state.is_running()
        until = states[index + 1].at if index + 1 < len(states) else None
        if until is None and not state.is_final():
            until = clock.current().now()
        yield [
            f"{clock.to_datetime(state.at).astimezone():%H:%M:%S.%f}"[:-3],
            state_text(state),
            str(attempt) if attempt else "",
            "" if until is None else format_duration(until - state.at),
            one_line(state.message or ""),
        ]
