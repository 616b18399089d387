"""``mainspring database``: looking after the database of runs."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["database"]

database = typer.Typer(
    help="Look after the database of runs: its version, its size, what is old.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_state(incomplete: str) -> list[str]:
    """Types of states in which runs are over."""
    states = ("completed", "failed", "crashed", "cancelled")
    return [state for state in states if state.startswith(incomplete.lower())]


AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


@database.command("version")
def show_version(as_json: AsJson = False) -> None:
    """Show where the database is, its version, its size and how many runs it has. Nothing is made or changed."""
    from mainspring.cli.upkeep import describe_database  # start-up

    describe_database(as_json)


@database.command("migrate")
def migrate_schema(as_json: AsJson = False) -> None:
    """Bring the database up to date, or make it. Other versions of mainspring may not be able to use it then."""
    from mainspring.cli.upkeep import migrate_database  # start-up

    migrate_database(as_json)


@database.command("vacuum")
def vacuum_file(
    force: Annotated[
        bool, typer.Option("--force", help="Even if runs go on, which have to wait meanwhile.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give the room that deleted runs have left back to the disk. Needs as much free space as the database takes."""
    from mainspring.cli.upkeep import vacuum_database  # start-up

    vacuum_database(force, as_json)


@database.command("prune")
def prune_runs(
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Delete what ended longer ago: 30d, 12h, 90m, 2w.",
            show_default=False,
        ),
    ],
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            "-s",
            metavar="STATE",
            help="Only runs whose state has this type or name, in any case. May be repeated.",
            show_default=False,
            autocompletion=_complete_state,
        ),
    ] = None,
    keep: Annotated[
        int, typer.Option("--keep", min=0, metavar="N", help="Keep the newest N runs of each flow and task.")
    ] = 0,
    results: Annotated[
        bool, typer.Option("--results", help="Also delete cached results that later runs may use.")
    ] = False,
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans",
            help="Also remove files of large results that no row leads to. Only if no other database has files there.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete runs that ended long ago, with all that is inside of them, their states, logs and results."""
    from mainspring.cli.upkeep import Pruning, prune_database  # start-up

    prune_database(Pruning(older_than, state, keep, results, orphans, dry_run, yes), as_json)
