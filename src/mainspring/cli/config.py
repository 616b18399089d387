"""``mainspring config``: which settings hold, and changing those in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["config"]

config = typer.Typer(
    help="See which settings hold and who has set them, and change them in files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_assignment(incomplete: str) -> list[tuple[str, str]]:
    """The names of settings that begin with what was typed, ready for a value."""
    from mainspring.cli.editing import complete_names  # start-up

    return [(f"{name}=", about) for name, about in complete_names(incomplete)]


def _complete_name(incomplete: str) -> list[tuple[str, str]]:
    """The names of settings that begin with what was typed."""
    from mainspring.cli.editing import complete_names  # start-up

    return complete_names(incomplete)


File = Annotated[
    Path | None,
    typer.Option("--file", metavar="PATH", help="Change this file.", show_default=False),
]
User = Annotated[bool, typer.Option("--user", help="Change your own file in the home folder: the default.")]
Project = Annotated[
    bool,
    typer.Option(
        "--project",
        help="Change the file of the project: mainspring.toml or pyproject.toml in this folder or one around it.",
    ),
]


@config.command("view")
def view_settings(
    sources: Annotated[
        bool, typer.Option("--show-sources/--no-show-sources", help="Who has set each of them.")
    ] = True,
    defaults: Annotated[
        bool, typer.Option("--show-defaults/--no-show-defaults", help="Also settings that nobody has set.")
    ] = False,
    secrets: Annotated[
        bool, typer.Option("--show-secrets/--no-show-secrets", help="Passwords as they are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the settings that hold here, and where they come from."""
    from mainspring.cli.viewing import view  # start-up

    view(sources, defaults, secrets, as_json)


@config.command("set")
def set_settings(
    assignments: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE...",
            help="The dotted name of a setting, and its value.",
            show_default=False,
            autocompletion=_complete_assignment,
        ),
    ],
    file: File = None,
    user: User = False,
    project: Project = False,
) -> None:
    """Set settings in a file: your own, unless an option says otherwise."""
    from mainspring.cli.editing import choose_file, set_values  # start-up

    set_values(assignments, choose_file(file, user, project))


@config.command("unset")
def unset_settings(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="The dotted names of settings.",
            show_default=False,
            autocompletion=_complete_name,
        ),
    ],
    file: File = None,
    user: User = False,
    project: Project = False,
) -> None:
    """Remove settings from a file: your own, unless an option says otherwise."""
    from mainspring.cli.editing import choose_file, unset_values  # start-up

    unset_values(names, choose_file(file, user, project))
