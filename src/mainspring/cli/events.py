"""``mainspring events``: what happens in all processes that share the run store, and what has happened."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["events"]

events = typer.Typer(
    help="Follow what happens in all processes that share the run store, and list what has happened.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_id(incomplete: str) -> list[tuple[str, str]]:
    """Short ids of the newest runs that begin with what was typed, each with the run's name."""
    from mainspring.cli.listing import complete_id  # start-up

    return complete_id(incomplete)


Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="WHEN",
        help="Begin then: how long ago (90s, 10m, 2h, 3d), or a time (2026-07-01T12:30).",
        show_default=False,
    ),
]
Prefixes = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        "-e",
        metavar="PREFIX",
        help="Only events whose names begin like this: mainspring.task-run.Failed. May be repeated.",
        show_default=False,
    ),
]
RunId = Annotated[
    str | None,
    typer.Option(
        "--run",
        "-r",
        metavar="ID",
        help="Only what happens in this run, with all that runs inside of it.",
        show_default=False,
        autocompletion=_complete_id,
    ),
]


@events.command("tail")
def tail_events(
    since: Since = None,
    follow: Annotated[
        bool,
        typer.Option("--follow/--no-follow", "-f/-F", help="Wait for what is still to happen, or end there."),
    ] = True,
    prefixes: Prefixes = None,
    run_id: RunId = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, metavar="N", help="End after so many.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each event.")] = False,
) -> None:
    """Print events while they happen, one per line, from now on or from a moment in the past.

    Ctrl-C ends it, and so does the end of whoever reads the output.
    """
    from mainspring.cli.eventlog import Wanted, tail  # start-up
    from mainspring.cli.moments import parse_moment  # start-up

    begin = None if since is None else parse_moment(since, "--since")
    tail(Wanted(prefixes, run_id, begin, limit), follow, as_json)


@events.command("ls")
def list_events(
    since: Since = None,
    prefixes: Prefixes = None,
    run_id: RunId = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many, the newest.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what has happened, the newest events last."""
    from mainspring.cli.eventlog import Wanted, list_wanted  # start-up
    from mainspring.cli.moments import parse_moment  # start-up

    begin = None if since is None else parse_moment(since, "--since")
    list_wanted(Wanted(prefixes, run_id, begin, limit), as_json)
