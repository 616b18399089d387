"""What ``mainspring runs reap`` does."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

from mainspring.cli.records import flow_run_record, print_json, task_run_record
from mainspring.cli.rendering import Column, one_line, open_console, short_ids, show, state_text, table
from mainspring.cli.texts import Text
from mainspring.crash_hooks import CalledHooks
from mainspring.reaping import Reaped, reap
from mainspring.runs import FlowRun, TaskRun

__all__ = ["bury"]

_COLUMNS = [Column("id"), Column("name"), Column("kind"), Column("state"), Column("why", yields=True)]
_NOTHING = "Nothing: no process has died with unfinished runs, and there are no hooks to be called."


def bury(as_json: bool) -> None:
    """Settle what dead processes have left, call the hooks of their runs, and print what was found.

    Raises:
        StoreError: The run store cannot be opened, read or written.
    """
    if as_json:
        with redirect_stdout(sys.stderr):  # what hooks print is no JSON
            found = reap()
        print_json(
            {
                "runs": [_record(run) for run in found.runs],
                "hooks": [_hooks_record(each) for each in found.hooks],
            }
        )
        return
    _show(reap())


def _show(found: Reaped) -> None:
    console = open_console()
    if not found.runs and not found.hooks:
        show(console, Text(_NOTHING))
        return
    if found.runs:
        ids = short_ids([run.id for run in found.runs])
        rows: list[list[Text | str]] = [
            [
                Text(ids[run.id], "bold"),
                one_line(run.name),
                _kind(run),
                state_text(run.state),
                one_line(run.state.message or ""),
            ]
            for run in found.runs
        ]
        show(console, table(console, _COLUMNS, rows))
    for each in found.hooks:
        whose = f"{_kind(each.run)} run {one_line(each.run.name)} ({each.run.id.hex[-8:]})"
        if each.problem is None:
            show(
                console,
                Text(f"Called the hooks of {whose}: {', '.join(each.names) or 'there are none any more'}."),
            )
        else:
            show(
                console,
                Text(f"The hooks of {whose} cannot be called here: {one_line(each.problem)}", "yellow"),
            )


def _kind(run: TaskRun | FlowRun) -> str:
    return "flow" if isinstance(run, FlowRun) else "task"


def _record(run: TaskRun | FlowRun) -> dict[str, Any]:
    return task_run_record(run) if isinstance(run, TaskRun) else flow_run_record(run, [])


def _hooks_record(each: CalledHooks) -> dict[str, Any]:
    return {
        "kind": _kind(each.run),
        "run_id": each.run.id,
        "run_name": each.run.name,
        "called": list(each.names),
        "problem": each.problem,
    }
