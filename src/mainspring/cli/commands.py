"""All commands, as the library understands them that parses the command line."""

from __future__ import annotations

import typer

from mainspring.cli.cache import cache
from mainspring.cli.config import config
from mainspring.cli.database import database
from mainspring.cli.events import events
from mainspring.cli.limits import limits
from mainspring.cli.run import run
from mainspring.cli.runs import runs
from mainspring.cli.version import version

__all__ = ["app"]

app = typer.Typer(
    name="mainspring",
    help="Run flows of plain Python functions and read their history.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.add_typer(runs, name="runs")
app.add_typer(cache, name="cache")
app.add_typer(config, name="config")
app.add_typer(limits, name="limits")
app.add_typer(database, name="database")
app.add_typer(events, name="events")
app.command()(version)
