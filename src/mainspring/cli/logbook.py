"""What ``mainspring runs logs`` does."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mainspring import clock, identifiers
from mainspring.cli.histories import open_history
from mainspring.cli.records import iso_time, print_json
from mainspring.cli.rendering import one_line, open_console, show
from mainspring.cli.trees import RunTree, find_run
from mainspring.client import Client
from mainspring.filters import ALL
from mainspring.runs import FlowRun, TaskRun
from mainspring.store.protocol import LogEntry

__all__ = ["follow_logbook", "show_logbook"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5

_STYLES = {
    logging.DEBUG: "dim",
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "bold red",
}


def show_logbook(run_id: str, as_json: bool) -> None:
    """Print the log lines of a run, oldest first; those of a flow run with all that ran inside of it.

    Raises:
        ObjectNotFound: There is no such run.
        AmbiguousId: There are several.
        StoreError: The run store cannot be read.
    """
    with open_history() as client:
        run = find_run(client, run_id)
        assert client is not None
        names, entries = _read(client, run)
    if as_json:
        print_json([_record(entry, names) for entry in entries])
        return
    console = open_console()
    if not entries:
        show(console, Text(f"{one_line(run.name)} has logged nothing."))
    elif console.is_terminal:
        console.print(_grid(entries, names))
    else:
        show(console, Text("\n").join(_plain_line(entry, names) for entry in entries))


def follow_logbook(run_id: str, as_json: bool) -> None:
    """Print the log lines of a run as they come, until it is over. Raises as `show_logbook` does."""
    console = open_console()
    seen: Counter[LogEntry] = Counter()
    pause = _FIRST_PAUSE
    with open_history() as client:
        run = find_run(client, run_id)
        assert client is not None
        while True:
            began = time.monotonic()
            is_over = (
                run.state.is_final()
            )  # before the lines are read, which come with the state at the latest
            names, entries = _read(client, run)
            found = Counter(entries)
            new = found - seen
            seen = found
            for entry in entries:
                if new[entry] > 0:
                    new[entry] -= 1
                    _print_entry(console, entry, names, as_json)
                    pause = _FIRST_PAUSE
            sys.stdout.flush()
            if is_over:
                return
            # A long log takes long to read: no more than a fifth of the time is spent with it.
            pause = min(2 * pause, _LONGEST_PAUSE)
            time.sleep(max(pause, 4 * (time.monotonic() - began)))
            run = client.store.read_run(run.key) or run


def _print_entry(console: Console, entry: LogEntry, names: Mapping[bytes, str], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{msgspec.json.encode(_record(entry, names)).decode()}\n")
    elif console.is_terminal:
        style = _STYLES.get(entry.level, "")
        line = Text.assemble(
            (_local_time(entry.at), "dim"),
            f"  {logging.getLevelName(entry.level):<8} ",
            (one_line(_name(entry, names)), "cyan"),
            "  ",
            (entry.message.rstrip(), style),
        )
        console.print(line, soft_wrap=True)
    else:
        show(console, _plain_line(entry, names))


def _read(client: Client, run: FlowRun | TaskRun) -> tuple[Mapping[bytes, str], list[LogEntry]]:
    """The log lines, and the names of the runs they are from by key."""
    if isinstance(run, TaskRun):
        return {run.key: run.name}, client.read_logs(run.id, ALL)
    tree = RunTree.read(client, run)
    entries = [entry for flow in tree.flow_runs for entry in client.read_logs(flow.id, ALL)]
    names = {each.key: each.name for each in (*tree.flow_runs, *tree.task_runs)}
    return names, sorted(entries, key=lambda entry: entry.at)


def _name(entry: LogEntry, names: Mapping[bytes, str]) -> str:
    return names.get(entry.task_run_key or entry.flow_run_key or b"", "")


def _record(entry: LogEntry, names: Mapping[bytes, str]) -> dict[str, Any]:
    return {
        "timestamp": iso_time(entry.at),
        "level": logging.getLevelName(entry.level),
        "run_name": _name(entry, names),
        "message": entry.message,
        "logger": entry.logger,
        "flow_run_id": identifiers.to_uuid(entry.flow_run_key),
        "task_run_id": identifiers.to_uuid(entry.task_run_key),
    }


def _local_time(at: int) -> str:
    return f"{clock.to_datetime(at).astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _plain_line(entry: LogEntry, names: Mapping[bytes, str]) -> Text:
    level = logging.getLevelName(entry.level)
    return Text(f"{_local_time(entry.at)}  {level:<8} {one_line(_name(entry, names))}  {entry.message}")


def _grid(entries: Sequence[LogEntry], names: Mapping[bytes, str]) -> Table:
    """Messages wrapped beside when and where they were logged; the day only where it changes."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, max_width=28, overflow="ellipsis")
    grid.add_column(overflow="fold")
    today = ""
    for entry in entries:
        day, _, moment = _local_time(entry.at).partition(" ")
        if day != today:
            grid.add_row(Text(day, "dim"))
            today = day
        style = _STYLES.get(entry.level, "")
        grid.add_row(
            Text(moment, "dim"),
            Text(logging.getLevelName(entry.level), style),
            Text(one_line(_name(entry, names)), "cyan"),
            Text(entry.message.rstrip(), style if entry.level >= logging.WARNING else ""),
        )
    return grid
