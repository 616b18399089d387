"""``mainspring cache``: kept results and what became of them."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["cache"]

cache = typer.Typer(
    help="Find out about cached results.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_id(incomplete: str) -> list[tuple[str, str]]:
    """Short ids of the newest task runs that begin with what was typed, each with the run's name."""
    from mainspring.cli.listing import complete_id  # start-up

    return complete_id(incomplete, task_runs=True)


@cache.callback()
def about() -> None:
    """Find out about cached results."""


@cache.command("why")
def explain_run(
    run_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The id of a task run, or the beginning or end of it.",
            show_default=False,
            autocompletion=_complete_id,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show why a task run used a kept result, or why it did not."""
    from mainspring.cli.caching import explain_found  # start-up

    explain_found(run_id, as_json)
