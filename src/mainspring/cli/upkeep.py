"""What ``mainspring database`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

import mainspring
from mainspring.cli.confirming import confirm
from mainspring.cli.durations import parse_duration
from mainspring.cli.histories import NO_RUNS, open_history
from mainspring.cli.records import print_json
from mainspring.cli.rendering import is_terminal, open_console, show
from mainspring.client import Client
from mainspring.exceptions import StoreUnavailable
from mainspring.pruning import Pruned, prune
from mainspring.settings import get_current_settings
from mainspring.settings.secrets import without_secrets
from mainspring.store.addresses import describe, migrate, vacuum
from mainspring.store.protocol import RunFilter

__all__ = ["Pruning", "describe_database", "migrate_database", "prune_database", "vacuum_database"]

_GOING_ON = ("PENDING", "RUNNING", "CANCELLING")


class Pruning(msgspec.Struct, frozen=True):
    """What to prune: the options of the command, of the same names."""

    older_than: str
    states: Sequence[str] | None
    keep: int
    results: bool
    orphans: bool
    dry_run: bool
    yes: bool


# Version and schema


def describe_database(as_json: bool) -> None:
    """Print what the database is.

    Raises:
        ConfigurationError: The settings name none.
        StoreError: It cannot be read, or is no run store.
    """
    settings = get_current_settings()
    found = describe(settings.run_store_url)
    location = without_secrets(settings, found.location)  # also those that a driver takes from options
    if as_json:
        print_json(
            {"mainspring": mainspring.__version__, **msgspec.structs.asdict(found), "location": location}
        )
        return
    grid = _grid()
    grid.add_row("database", location)
    grid.add_row("kind", found.kind)
    known = f"this mainspring ({mainspring.__version__}) knows {found.known_version}"
    if found.schema_version is None:
        grid.add_row("version", Text(f"none: there is no database yet; {known}"))
    else:
        behind = found.schema_version != found.known_version
        grid.add_row("version", Text(f"{found.schema_version}; {known}", "yellow" if behind else ""))
        grid.add_row("size", "unknown" if found.size is None else format_size(found.size))
        grid.add_row("flow runs", f"{found.flow_runs:,}")
        grid.add_row("task runs", f"{found.task_runs:,}")
    show(open_console(), grid)


def migrate_database(as_json: bool) -> None:
    """Bring the database up to date, and say what was done.

    Raises:
        ConfigurationError: The settings name none.
        StoreError: It cannot be written, is no run store, or is too new.
    """
    url = get_current_settings().run_store_url
    done = migrate(url)
    if as_json:
        print_json(msgspec.structs.asdict(done))
        return
    if not done.before:
        told = f"Made the database, version {done.after}."
    elif done.before == done.after:
        told = f"The database is up to date, version {done.after}. Nothing was changed."
    else:
        told = f"Brought the database from version {done.before} to version {done.after}."
    show(open_console(), Text(told))


# Space


def vacuum_database(force: bool, as_json: bool) -> None:
    """Give free space back, and print the size before and after.

    Raises:
        StoreUnavailable: Runs go on, or somebody else reads or writes.
        StoreError: It is not there, or cannot be written.
    """
    url = get_current_settings().run_store_url
    if not force and describe(url).kind == "sqlite":  # others let runs go on meanwhile
        with open_history() as client:
            going_on = 0 if client is None else _count_going_on(client)
        if going_on:
            raise StoreUnavailable(
                f"{going_on} run(s) go on, and would have to wait until the database was written anew, or fail if that"
                f" takes longer than half a minute. Nothing was changed. `mainspring runs ls --state running` lists"
                f" them; --force does not wait for them."
            )
    done = vacuum(url)
    if as_json:
        print_json(msgspec.structs.asdict(done))
        return
    freed = max(0, done.before - done.after)
    show(
        open_console(),
        Text(
            f"{format_size(done.before)} before, {format_size(done.after)} now: {format_size(freed)} freed."
        ),
    )


def _count_going_on(client: Client) -> int:
    store = client.store
    flow_runs = store.read_flow_runs(RunFilter(states=_GOING_ON, top_level=True))
    task_runs = store.read_task_runs(RunFilter(states=_GOING_ON, top_level=True))
    return len(flow_runs) + sum(run.state.name != "NotReady" for run in task_runs)


def prune_database(pruning: Pruning, as_json: bool) -> None:
    """Delete what is old, once somebody has agreed, and print what was deleted.

    Raises:
        ConfigurationError: An option cannot work, or nobody can be asked.
        StoreError: The database cannot be read or written.
    """
    older_than = parse_duration(pruning.older_than, "--older-than")
    with open_history() as client:
        if client is None:
            done = Pruned()
        else:
            options: dict[str, Any] = {
                "states": pruning.states,
                "keep": pruning.keep,
                "cached_results": pruning.results,
                "orphaned_files": pruning.orphans,
                "store": client.store,
            }
            if pruning.dry_run:
                done = prune(older_than, dry_run=True, **options)
            else:
                if not pruning.yes:
                    planned = prune(older_than, dry_run=True, **options)
                    if _has_nothing(planned):
                        return _tell(planned, pruning, as_json)
                    if not confirm(f"Delete {_counted(planned)} for ever?", yes=False):
                        return None
                with _progress_bar(as_json) as progress:
                    done = prune(older_than, progress=progress, **options)
    if client is None and not as_json:
        show(open_console(), Text(NO_RUNS))
    else:
        _tell(done, pruning, as_json)


def _has_nothing(pruned: Pruned) -> bool:
    return not (pruned.runs or pruned.results or pruned.files)


def _tell(pruned: Pruned, pruning: Pruning, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": pruning.dry_run, **msgspec.structs.asdict(pruned)})
        return
    console = open_console()
    if _has_nothing(pruned):
        show(
            console,
            Text("Nothing is that old." if pruning.states is None else "Nothing of that kind is that old."),
        )
    else:
        show(console, Text(f"{'Would delete' if pruning.dry_run else 'Deleted'} {_counted(pruned)}."))
    if pruned.orphans:
        show(
            console,
            Text(
                f"No row leads to {_plural(pruned.orphans, 'file')} in the folder for large results"
                f" ({format_size(pruned.orphan_bytes)}). If no other database has its files there, --orphans removes"
                f" them."
            ),
        )
    if pruned.runs and not pruning.dry_run:
        show(console, Text("`mainspring database vacuum` gives the room back to the disk.", "dim"))


def _counted(pruned: Pruned) -> str:
    parts = [_plural(pruned.runs, "run")] if pruned.runs else []
    if pruned.results:
        parts.append(_plural(pruned.results, "result"))
    if pruned.files:
        parts.append(f"{_plural(pruned.files, 'file')} ({format_size(pruned.file_bytes)})")
    return " and ".join(parts)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@contextmanager
def _progress_bar(as_json: bool) -> Generator[Callable[[int, int], None] | None]:
    """What shows how far it has come, on a terminal."""
    if as_json or not is_terminal(sys.stderr):
        yield None
        return
    columns = TextColumn("Deleting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=open_console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def format_size(size: int) -> str:
    """Bytes with about three digits: ``512 bytes``, ``12.3 kB``, ``4.56 GB``; a kB is 1000 bytes."""
    if size < 1000:
        return f"{size} bytes"
    value, units = size / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {units[0]}"
