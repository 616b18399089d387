"""``mainspring version``."""

from __future__ import annotations

import platform
import sys
from typing import Annotated

import typer

import mainspring

__all__ = ["version"]


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show the versions in use and where the database is."""
    import sqlite3  # only this command needs it: start-up

    from mainspring.settings import get_current_settings  # start-up
    from mainspring.settings.secrets import without_secrets  # start-up

    settings = get_current_settings()
    facts = {
        "mainspring": mainspring.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "database": without_secrets(settings, settings.run_store_url).removeprefix("sqlite:///"),
    }
    if as_json:
        import msgspec  # start-up

        typer.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2))
        return
    for name, value in facts.items():
        sys.stdout.write(f"{name:<11} {value}\n")
