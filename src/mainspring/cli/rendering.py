"""How things look: consoles, states, times and tables. Colours only on a terminal, plain text in a pipe."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from mainspring import clock, identifiers
from mainspring.cli.texts import Pipe, Stack, Table, Text
from mainspring.clock import MICROSECONDS
from mainspring.states import State, StateType

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    Output = Console | Pipe

__all__ = [
    "PLAIN_WIDTH",
    "STYLES",
    "Column",
    "brief",
    "can_show",
    "describe_counts",
    "describe_types",
    "facts_table",
    "format_age",
    "format_duration",
    "is_terminal",
    "one_line",
    "open_console",
    "open_output",
    "short_ids",
    "show",
    "state_text",
    "table",
]

STYLES: dict[StateType, str] = {
    StateType.SCHEDULED: "yellow",
    StateType.PENDING: "yellow",
    StateType.RUNNING: "cyan",
    StateType.COMPLETED: "green",
    StateType.FAILED: "red",
    StateType.CANCELLED: "magenta",
    StateType.CRASHED: "bold red",
    StateType.PAUSED: "yellow",
    StateType.CANCELLING: "magenta",
}

PLAIN_WIDTH = 10_000  # in a pipe nothing is cut off or wrapped
_MOST_LETTERS = 100
_LONG_WORDS = re.compile(r"^\w+ run encountered an exception: ")  # whose run it was is told beside it
_MINUTE, _HOUR, _DAY, _MONTH = 60, 3600, 86_400, 30 * 86_400


def is_terminal(stream: TextIO) -> bool:
    """True if somebody looks at the stream on a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def open_console(stream: TextIO | None = None) -> Console:
    """A console on ``stream``, standard output by default: in colour on a terminal unless NO_COLOR is set."""
    from mainspring.cli.consoles import make_console  # start-up

    return make_console(stream or sys.stdout)


def open_output() -> Output:
    """Standard output for `show` alone, which needs a console on a terminal only."""
    return open_console() if is_terminal(sys.stdout) else Pipe(sys.stdout, PLAIN_WIDTH)


def can_show(console: Output, glyphs: str) -> bool:
    """Whether the console's encoding has all of these characters."""
    try:
        glyphs.encode(console.encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def show(console: Output, content: Text | Table | Stack | RenderableType) -> None:
    """Print to the console; in a pipe, lines end where their text ends."""
    if console.is_terminal and not isinstance(console, Pipe):
        console.print(content)
        return
    if isinstance(content, Text | Table | Stack):
        lines: Iterable[str] = content.lines()
    else:
        assert not isinstance(console, Pipe)
        with console.capture() as captured:
            console.print(content)
        lines = captured.get().splitlines()
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    encoding = console.encoding
    console.file.write(text.encode(encoding, "backslashreplace").decode(encoding))


# Tables


class Column:
    """A column of a table.

    Args:
        heading: What stands above it.
        right: Aligned to the right.
        most: The most room it takes on a terminal.
        yields: On a terminal that is too narrow for the table, this one gives way.
    """

    def __init__(
        self, heading: str, *, right: bool = False, most: int | None = None, yields: bool = False
    ) -> None:
        self.heading = heading
        self.right = right
        self.most = most
        self.yields = yields


def table(console: Output, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Table:
    """Columns that are aligned by spaces alone, under dim headings. Cells are texts, ours or rich's."""
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]

    def draw() -> RichTable:
        from mainspring.cli.consoles import draw_table  # start-up

        return draw_table(columns, cells, can_show(console, "…"), console.is_terminal)

    return Table([column.right for column in columns], [column.heading for column in columns], cells, draw)


def facts_table(facts: Sequence[tuple[str, Text | str]]) -> Table:
    """What is known about something: names, dim, and beside them what is behind these."""

    def draw() -> RichTable:
        from mainspring.cli.consoles import draw_facts  # start-up

        return draw_facts(facts)

    return Table([False, False], None, facts, draw)


# Values


def one_line(text: str) -> str:
    """``text`` without line ends and control characters, for a place that has one line."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def brief(reason: str) -> str:
    """What a state says, in some words on one line; all of it is shown with the run itself."""
    first, *more = _LONG_WORDS.sub("", reason.strip()).splitlines() or [""]
    text = one_line(first)
    if len(text) > _MOST_LETTERS:
        return f"{text[:_MOST_LETTERS]} ..."
    return f"{text} ..." if more else text


def state_text(state: State) -> Text:
    """The name of a state in the colour of its type."""
    return Text(one_line(state.name), STYLES[state.type])


def short_ids(ids: Collection[UUID]) -> dict[UUID, str]:
    """The end of each id, long enough to tell it from the others."""
    shortened: dict[UUID, str] = {}
    for length in range(identifiers.SHORT_LENGTH, 33):
        left = [each for each in ids if each not in shortened]
        ends = Counter(identifiers.shorten(each, length) for each in ids)
        for each in left:
            end = identifiers.shorten(each, length)
            if ends[end] == 1 or length == 32:
                shortened[each] = end
        if len(shortened) == len(ids):
            break
    return shortened


def format_duration(microseconds: int) -> str:
    """A duration with about three digits: ``0.03ms``, ``412ms``, ``4.2s``, ``3m 12s``, ``2h 5m``, ``4d 3h``."""
    seconds = max(microseconds, 0) / MICROSECONDS
    if seconds < 0.000995:
        return f"{seconds * 1000:.2f}ms"
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // 60}m {whole % 60}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // 60}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def format_age(at: int, now: int) -> str:
    """How long ago a moment was, for people: ``2 min ago``; the date if it is more than a month."""
    seconds = (now - at) // MICROSECONDS
    if seconds < 0:
        return f"in {format_duration(at - now)}"
    if seconds < 5:
        return "just now"
    for limit, unit, name in ((_MINUTE, 1, "sec"), (_HOUR, _MINUTE, "min"), (_DAY, _HOUR, "hour")):
        if seconds < limit:
            count = seconds // unit
            return f"{count} {name}{'s' if name == 'hour' and count > 1 else ''} ago"
    if seconds < _MONTH:
        days = seconds // _DAY
        return "yesterday" if days == 1 else f"{days} days ago"
    return f"{clock.to_datetime(at).astimezone():%Y-%m-%d}"


_COUNTED = ["completed", "running", "waiting", "not ready", "failed", "crashed", "cancelled"]
_COUNT_STYLES = {"failed": "red", "crashed": "bold red", "cancelled": "magenta", "running": "cyan"}


def describe_counts(counts: Mapping[str, int]) -> RichText:
    """``28 completed, 1 failed``, from numbers of runs by what they are."""
    from rich.text import Text as RichText  # start-up: whoever shows these has a console

    parts = [
        RichText(f"{counts[what]} {what}", _COUNT_STYLES.get(what, ""))
        for what in _COUNTED
        if counts.get(what)
    ]
    return RichText(", ").join(parts)


def describe_types(counts: Mapping[str, int]) -> Text:
    """``31``, and how many of them did not complete: ``31 (1 failed)``."""
    total = sum(counts.values())
    others = [
        Text(f"{count} {kind.lower()}", STYLES[StateType(kind)])
        for kind, count in sorted(counts.items())
        if kind != StateType.COMPLETED.value
    ]
    text = Text(str(total) if total else "")
    return text.append(" (").append_text(Text(", ").join(others)).append(")") if others else text
