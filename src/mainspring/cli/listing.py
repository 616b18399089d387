"""What ``mainspring runs ls`` does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.cli.histories import NO_RUNS, open_history
from mainspring.cli.rendering import (
    Column,
    describe_types,
    format_age,
    format_duration,
    one_line,
    open_output,
    short_ids,
    show,
    state_text,
    table,
)
from mainspring.cli.texts import Text
from mainspring.client import Client
from mainspring.exceptions import MainspringError
from mainspring.filters import ALL
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import StateType

if TYPE_CHECKING:
    from mainspring.cli import moments
    from mainspring.cli import records as printed
else:
    moments, printed = modules_on_use("mainspring.cli", "moments", "records")

__all__ = ["Selection", "complete_id", "list_selected", "select_runs"]

_COMPLETIONS = 50

_COLUMNS = [
    Column("id"),
    Column("name", yields=True),
    Column("kind"),
    Column("state"),
    Column("started"),
    Column("duration", right=True),
    Column("task runs"),
]
_KIND = 2

Order = Literal["created", "ended", "name"]

# How runs of one kind are sorted by the client, and by what and in which direction both kinds are merged.
_ORDERS: Mapping[Order, tuple[str, Callable[[Run], Any], bool]] = {
    "created": ("ID_DESC", lambda run: run.key, True),
    "ended": ("END_TIME_DESC", lambda run: run.ended_at or 0, True),
    "name": ("NAME_ASC", lambda run: run.name, False),
}


class Selection(msgspec.Struct, frozen=True):
    """Which runs to list.

    Args:
        states: Types or names of states, in any case; None for all.
        limit: At most so many runs, the newest.
        kind: Only runs of flows or only of tasks.
        everything: Also what ran inside of flow runs.
        name: Only runs with this somewhere in their name.
        tags: Only runs with all of these tags.
        since: Only runs that were to begin then or later: how long ago, or a time, as text.
        order: Which come first: those that were "created" last, those that "ended" last, or by "name".
    """

    states: Sequence[str] | None = None
    limit: int = 20
    kind: Literal["flow", "task"] | None = None
    everything: bool = False
    name: str | None = None
    tags: Sequence[str] | None = None
    since: str | None = None
    order: Order = "created"

    @property
    def narrows(self) -> bool:
        """Whether runs are left out for more than their state."""
        return bool(self.name or self.tags or self.since)

    def members(self) -> dict[str, Any]:
        """What a filter of runs of either kind says.

        Raises:
            ConfigurationError: The time is none.
        """
        members: dict[str, Any] = {}
        if self.name:
            members["name"] = {"like_": self.name}
        if self.tags:
            members["tags"] = {"all_": self.tags}
        if self.since:
            since = moments.parse_moment(self.since, "--since")
            if isinstance(since, timedelta):
                since = clock.to_datetime(clock.current().now()) - since
            members["expected_start_time"] = {"after_": since}
        return members


def list_selected(selection: Selection, as_json: bool) -> None:
    """Print the runs that fit, in the order that was asked for.

    Raises:
        ConfigurationError: An option is not understood.
        StoreError: The run store cannot be read.
    """
    with open_history() as client:
        runs = select_runs(client, selection)
        shown = runs[: selection.limit]
        flow_run_ids = [run.id for run in shown if isinstance(run, FlowRun)]
        if as_json:
            task_runs = _task_runs(client, flow_run_ids)
            printed.print_json([_record(run, task_runs) for run in shown])
            return
        console = open_output()
        if client is None or not shown:
            show(console, Text(_why_none(selection)))
            return
        counts = client.count_task_runs(flow_run_ids)
    columns, rows = list(_COLUMNS), list(_rows(shown, counts))
    if console.is_terminal and len({type(run) for run in shown}) == 1:  # room is scarce there
        del columns[_KIND]
        for row in rows:
            del row[_KIND]
    show(console, table(console, columns, rows))
    if len(runs) > len(shown) and console.is_terminal:
        which = "newest" if selection.order == "created" else "first"
        show(console, Text(f"\nThe {which} {len(shown)} of more; --limit N shows more.", "dim"))


def complete_id(incomplete: str, task_runs: bool = False) -> list[tuple[str, str]]:
    """Short ids of the newest runs that begin with what was typed, each with the run's name.

    Args:
        incomplete: What was typed.
        task_runs: Only task runs, those inside of flows included.
    """
    selection = (
        Selection(limit=_COMPLETIONS, kind="task", everything=True)
        if task_runs
        else Selection(limit=_COMPLETIONS)
    )
    try:
        with open_history() as client:
            runs = select_runs(client, selection)
    except MainspringError:
        return []  # whoever runs the command is told
    ends = short_ids([run.id for run in runs])
    return [(ends[run.id], run.name) for run in runs if ends[run.id].startswith(incomplete.lower())]


def select_runs(client: Client | None, selection: Selection) -> list[Run]:
    """The runs that fit, in their order, and one more than asked for if there are more."""
    sort, value, falls = _ORDERS[selection.order]
    members = selection.members()
    where: dict[str, Any] = {
        "states": selection.states,
        "top_level": not selection.everything,
        "limit": selection.limit + 1,
        "sort": sort,
    }
    found: list[Run] = []
    if client is None:
        return found
    if selection.kind != "task":
        found += client.read_flow_runs(flow_run_filter=members, **where)
    if selection.kind != "flow":
        found += client.read_task_runs(task_run_filter=members, **where)
    found.sort(key=lambda run: run.key, reverse=True)  # what is equal comes newest first
    return sorted(found, key=value, reverse=falls)[: selection.limit + 1]


def _task_runs(client: Client | None, flow_run_ids: Iterable[UUID]) -> Mapping[bytes, list[TaskRun]]:
    """The task runs of flow runs by the key of the flow run, oldest first."""
    found: defaultdict[bytes, list[TaskRun]] = defaultdict(list)
    if client is not None:
        for run in reversed(client.read_task_runs(flow_run_ids=flow_run_ids, limit=ALL)):
            found[run.flow_run_key or b""].append(run)
    return found


def _record(run: Run, task_runs: Mapping[bytes, list[TaskRun]]) -> dict[str, Any]:
    if isinstance(run, FlowRun):
        return printed.flow_run_record(run, task_runs.get(run.key, []))
    assert isinstance(run, TaskRun)
    return printed.task_run_record(run)


def _why_none(selection: Selection) -> str:
    """What to say when nothing fits."""
    kind = f"{selection.kind} runs" if selection.kind else "runs"
    if selection.states:
        wanted = " or ".join(repr(state) for state in selection.states)
        types = sorted(each.value for each in StateType)
        known = all(state.upper() in types for state in selection.states)
        more = "" if known else f" The types of states are {', '.join(types).lower()}."
        like = " that are like this" if selection.narrows else ""
        return f"No {kind}{like} in state {wanted}.{more}"
    if selection.narrows:
        return f"No {kind} that are like this."
    if selection.kind == "task" and not selection.everything:
        return "No task runs outside of flows. Those inside are listed with --all."
    return NO_RUNS


def _rows(runs: Sequence[Run], counts: Mapping[UUID, Mapping[str, int]]) -> Iterator[list[Text | str]]:
    ids = short_ids([run.id for run in runs])
    now = clock.current().now()
    for run in runs:
        began = run.started_at or run.created_at
        ended = now if run.state.is_running() else run.ended_at
        yield [
            Text(ids[run.id], "bold"),
            Text(one_line(run.name)),
            "flow" if isinstance(run, FlowRun) else "task",
            state_text(run.state),
            format_age(began, now),
            "" if ended is None else format_duration(ended - began),
            describe_types(counts.get(run.id, {})),
        ]
