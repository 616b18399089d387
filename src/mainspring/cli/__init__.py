"""The command ``mainspring``.

What a command looks like from outside is in the modules named after its noun, which import next to nothing, so
that the command answers at once; ``commands`` has them all. What a command does is in the modules below them, loaded
when it is called for. ``shortcuts`` knows the two commands that are typed most, and calls what they do without
loading the others::

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
    outputs     standard output and error, to which all is written
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mainspring.cli.errors import catch_errors
from mainspring.cli.outputs import write_whole
from mainspring.cli.shortcuts import answer_at_once

if TYPE_CHECKING:
    from mainspring.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    write_whole()
    with catch_errors():
        is_answered = answer_at_once(sys.argv[1:])
        if not is_answered:
            __getattr__("app")(prog_name="mainspring")
    if is_answered:
        # All is written, and for Python to take itself apart lasts longer than to read the history.
        os._exit(0)
    sys.exit(0)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mainspring.cli.commands import app  # start-up

    return app
