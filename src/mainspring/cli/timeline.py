"""When something ran, as a bar below a common axis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from mainspring.cli.rendering import format_duration
from mainspring.cli.texts import Text

__all__ = ["Span", "Timeline"]

Kind = Literal["running", "waiting"]
Span = tuple[int, int, Kind]
"""Beginning and end in microseconds since the epoch, and what was done in between."""

_GLYPHS = {"both": "█", "left": "▌", "right": "▐", "waiting": "░", "axis": "─"}
_ASCII = {"both": "#", "left": "#", "right": "#", "waiting": ".", "axis": "-"}


class Timeline:
    """A scale from one moment to another, on which bars are drawn.

    Args:
        begin: The moment at the left, in microseconds since the epoch.
        end: The moment at the right.
        width: How many characters there are.
        fancy: Whether the output can show blocks, which double the resolution.
    """

    GLYPHS = "".join(_GLYPHS.values())

    def __init__(self, begin: int, end: int, width: int, fancy: bool) -> None:
        self._begin = begin
        self._length = max(end - begin, 1)
        self._width = width
        self._glyphs = _GLYPHS if fancy else _ASCII

    def axis(self, ruled: bool) -> str:
        """The heading: where the scale begins and how long it is, with a line in between if it is ``ruled``."""
        total = format_duration(self._length)
        rule = (self._glyphs["axis"] if ruled else " ") * (self._width - len(total) - 3)
        return f"0 {rule} {total}" if rule else total.rjust(self._width)

    def bar(self, spans: Iterable[Span], style: str) -> Text:
        """The bar of something that ran in some spans; each shows, however short."""
        halves = 2 * self._width
        running: set[int] = set()
        waiting: set[int] = set()
        for begin, end, kind in spans:
            first = min(max((begin - self._begin) * halves // self._length, 0), halves - 1)
            last = min(max(-((self._begin - end) * halves // self._length), first + 1), halves)
            (running if kind == "running" else waiting).update(range(first, last))
        bar = Text()
        for left in range(0, halves, 2):
            has = (left in running, left + 1 in running)
            if any(has):
                bar.append(self._glyphs["both" if all(has) else "left" if has[0] else "right"], style)
            elif left in waiting or left + 1 in waiting:
                bar.append(self._glyphs["waiting"], "dim")
            else:
                bar.append(" ")
        return bar
