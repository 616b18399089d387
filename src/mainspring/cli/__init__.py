"""The command ``mainspring``.

What a command looks like from outside is in the modules named after its noun, which import next to nothing, so
that the command answers at once; what it does is in the modules below them, loaded when it is called for::

    run         mainspring run           execution, on top of
                                         progress      what the runs of this process are up to, counted
                                         reports       progress as lines
                                         live          progress as bars on a terminal
                                         streams       what the flow prints, above the bars
                                         loglines      what runs log, likewise
                                         inputs        what a paused run waits for
    runs        mainspring runs ls       listing
                mainspring runs show     showing, on top of trees, folding, timeline, treetable and waiting
                mainspring runs logs     logbook
                mainspring runs resume   execution
                mainspring runs suspend  execution
                mainspring runs cancel   cancelling
                mainspring runs reap     burying
    cache       mainspring cache why     caching
    config      mainspring config view   viewing
                mainspring config set    editing
                mainspring config unset  editing
    limits      mainspring limits        limiting
    database    mainspring database      upkeep
    events      mainspring events        eventlog
    version     mainspring version

    histories   the run store as reading commands open it: nothing is made
    records     runs as JSON; its fields are a public format
    durations   30d and 12h
    moments     12h ago, or a time
    confirming  asking before something is gone
    rendering   consoles, tables, times; plain text in a pipe
    failures    an exception without our frames
    errors      from an exception to a line and an exit code
"""

from __future__ import annotations

import sys

import typer

from mainspring.cli.cache import cache
from mainspring.cli.config import config
from mainspring.cli.database import database
from mainspring.cli.errors import catch_errors
from mainspring.cli.events import events
from mainspring.cli.limits import limits
from mainspring.cli.run import run
from mainspring.cli.runs import runs
from mainspring.cli.version import version

__all__ = ["app", "main"]

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


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    with catch_errors():
        app(prog_name="mainspring")
    sys.exit(0)
