"""What ``mainspring events`` does."""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from rich.console import Console
from rich.text import Text

from mainspring import clock
from mainspring.cli.histories import open_history
from mainspring.cli.records import print_json
from mainspring.cli.rendering import STYLES, brief, one_line, open_console, show
from mainspring.cli.trees import find_run
from mainspring.client import Client, EventStream, open_client
from mainspring.events import Event
from mainspring.exceptions import StoreMissing
from mainspring.states import StateType

__all__ = ["Wanted", "list_wanted", "tail"]

_LOOK_SECONDS = 0.25
_MOST_LETTERS = 100
_STATE_TYPE = "mainspring.state-type"
_STATE_MESSAGE = "mainspring.state-message"
_LIMIT = "mainspring.concurrency-limit."


class Wanted(msgspec.Struct, frozen=True):
    """Which events to show.

    Args:
        prefixes: How their names begin: in any of these ways; None for all.
        run_id: What happens in this run: the beginning or end of its id.
        since: The first moment, or how long ago it was.
        limit: At most so many.
    """

    prefixes: Sequence[str] | None = None
    run_id: str | None = None
    since: datetime | timedelta | None = None
    limit: int | None = None

    @property
    def prefix(self) -> Sequence[str]:
        """How names of events begin, as clients take it."""
        return self.prefixes or [""]

    def find_run(self, client: Client) -> UUID | None:
        """The id of the run, if one is asked for.

        Raises:
            ObjectNotFound, AmbiguousId: There is none, or several.
        """
        return None if self.run_id is None else find_run(client, self.run_id).id


def list_wanted(wanted: Wanted, as_json: bool) -> None:
    """Print what has happened, oldest first.

    Raises:
        StoreError: The run store cannot be read.
    """
    with open_history() as client:
        found: list[Event] = []
        if client is not None:
            run_id = wanted.find_run(client)
            found = client.read_events(wanted.prefix, run_id, since=wanted.since, limit=wanted.limit)
    if as_json:
        print_json([msgspec.Raw(event.encode()) for event in found])
        return
    console = open_console()
    if not found:
        show(console, Text("No such events."))
    for event in found:
        _print_line(console, event)


def tail(wanted: Wanted, follow: bool, as_json: bool) -> None:
    """Print events as they come.

    Raises:
        StoreError: The run store cannot be read.
        BrokenPipeError: Nobody reads the output any more.
    """
    console = open_console()
    left = wanted.limit
    began = clock.to_datetime(clock.current().now())
    with _opened(follow) as (client, is_new):
        if client is None:
            return
        run_id = wanted.find_run(client)
        since = began if is_new else wanted.since
        with (
            client.follow_events(wanted.prefix, run_id, since, follow) as stream,
            _ended_with_reader(stream) as reader_has_gone,
        ):
            for event in stream:
                if as_json:
                    sys.stdout.write(f"{event.to_json()}\n")
                else:
                    _print_line(console, event)
                sys.stdout.flush()
                if left is not None:
                    left -= 1
                    if not left:
                        break
    if reader_has_gone.is_set():
        raise BrokenPipeError


@contextmanager
def _opened(follow: bool) -> Generator[tuple[Client | None, bool]]:
    """The run store, which whoever follows waits for, and whether they had to; None if there is none."""
    if not follow:
        with open_history() as found:
            yield found, False
        return
    is_new = False
    with ExitStack() as scopes:
        while True:
            try:
                client = scopes.enter_context(open_client())
                break
            except StoreMissing:
                if not is_new:
                    sys.stderr.write("Nothing has run yet; waiting for the first run.\n")
                    sys.stderr.flush()
                is_new = True
                time.sleep(_LOOK_SECONDS)
        yield client, is_new


@contextmanager
def _ended_with_reader(stream: EventStream) -> Generator[threading.Event]:
    """End a stream when whoever reads our output through a pipe has gone, though nothing happens; that is noted."""
    has_gone, is_over = threading.Event(), threading.Event()
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)  # errors are always told
    except (AttributeError, OSError, ValueError):  # not here, or no file
        yield has_gone
        return

    def watch() -> None:
        while not is_over.is_set():
            if any(what & (select.POLLERR | select.POLLNVAL) for _, what in poller.poll(0)):
                has_gone.set()
                stream.close()
                return
            is_over.wait(_LOOK_SECONDS)

    threading.Thread(target=watch, name="mainspring-reader", daemon=True).start()
    try:
        yield has_gone
    finally:
        is_over.set()


def _print_line(console: Console, event: Event) -> None:
    line = _line(event)
    if console.is_terminal:
        console.print(line, soft_wrap=True)
    else:
        show(console, line)


def _line(event: Event) -> Text:
    """Time, what happened, to what, and something more about it."""
    at = f"{event.occurred.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]
    kind = event.resource.get(_STATE_TYPE)
    style = STYLES[StateType(kind)] if kind in StateType.__members__ else "cyan"
    about = one_line(event.resource.name or event.resource.id)
    more = _more(event)
    line = Text.assemble((at, "dim"), "  ", (one_line(event.event), style), "  ", (about, "bold"))
    return line.append(f"  {more}", "dim") if more else line


def _more(event: Event) -> str:
    message = event.resource.get(_STATE_MESSAGE)
    if message is not None:
        return brief(message)
    if event.event.startswith(_LIMIT):
        return f"{event.resource.get('slots-acquired')} of {event.resource.get('limit')}"
    if not event.payload:
        return ""
    text = one_line(msgspec.json.encode(event.payload).decode())
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."
