"""``mainspring limits``: what runs share, and who holds it."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["limits"]

limits = typer.Typer(
    help="Look after concurrency limits, and find out who holds their slots.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_name(incomplete: str) -> list[tuple[str, str]]:
    """Names of limits that begin with what was typed, each with how much of it is taken."""
    from mainspring.cli.limiting import complete_name  # start-up

    return complete_name(incomplete)


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The name of a limit.", show_default=False, autocompletion=_complete_name
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@limits.command("ls")
def list_limits(as_json: AsJson = False) -> None:
    """List all limits, and how much of each is in use."""
    from mainspring.cli.limiting import list_all  # start-up

    list_all(as_json)


@limits.command("show")
def show_limit(name: Name, as_json: AsJson = False) -> None:
    """Show a limit: who holds slots of it, who waits for some, and since when."""
    from mainspring.cli.limiting import show_found  # start-up

    show_found(name, as_json)


# So that -1 is told to be no limit, instead of no option.
@limits.command("set", context_settings={"ignore_unknown_options": True})
def set_limit(
    name: Name,
    limit: Annotated[
        int,
        typer.Argument(
            metavar="N", help="How many slots there are; 0: whoever asks is refused.", show_default=False
        ),
    ],
    decay: Annotated[
        float | None,
        typer.Option(
            "--decay",
            metavar="X",
            help="So many slots become free by themselves each second; 0: they have to be given back.",
            show_default=False,
        ),
    ] = None,
    active: Annotated[
        bool | None,
        typer.Option("--active/--inactive", help="Whether it stops anybody.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a limit, or change the one of that name. What is held stays held; what is not given stays as it is."""
    from mainspring.cli.limiting import write  # start-up

    write(name, limit, decay, active, as_json)


@limits.command("rm")
def remove_limit(
    name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a limit. Whoever holds slots of it or waits for some goes on."""
    from mainspring.cli.limiting import remove  # start-up

    remove(name, yes)
