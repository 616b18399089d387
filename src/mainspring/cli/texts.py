"""What is printed, wherever it goes: texts with styles, tables of them, one below the other.

On a terminal rich draws them. In a pipe, where nobody sees a colour, they are lines of plain text: then rich is not
loaded, which takes longer than to read the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self, TextIO

__all__ = ["Cell", "Pipe", "Stack", "Table", "Text"]

_GAP = "  "


class Text:
    """A text, parts of which have a style; line ends are allowed.

    Args:
        text: What it says.
        style: How that looks on a terminal, as rich calls it; the room that is left in a column, too.
    """

    __slots__ = ("_parts", "_style")

    def __init__(self, text: str = "", style: str = "") -> None:
        self._parts: list[tuple[str, str]] = [(text, "")] if text else []
        self._style = style

    @classmethod
    def assemble(cls, *parts: str | tuple[str, str] | Text) -> Text:
        """One text made of several, each a plain one, one with its style, or a `Text`."""
        made = cls()
        for part in parts:
            if isinstance(part, Text):
                made.append_text(part)
            else:
                made.append(*((part,) if isinstance(part, str) else part))
        return made

    def append(self, text: str, style: str = "") -> Self:
        """Put something behind it, and return it."""
        if text:
            self._parts.append((text, style))
        return self

    def append_text(self, text: Text) -> Self:
        """Put another text behind it, and return it."""
        self._parts += [(part, style or text._style) for part, style in text._parts]
        return self

    def join(self, texts: Iterable[Text]) -> Text:
        """Several texts with this one in between."""
        made = Text()
        for index, text in enumerate(texts):
            if index:
                made.append_text(self)
            made.append_text(text)
        return made

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def plain(self) -> str:
        """What it says."""
        return "".join(text for text, _ in self._parts)

    @property
    def cell_len(self) -> int:
        """How much room it takes on one line."""
        return _width(self.plain)

    def lines(self) -> Iterator[str]:
        """Its lines without styles."""
        yield from self.plain.split("\n")

    def __rich__(self) -> Any:
        from rich.text import Text as RichText  # start-up: on a terminal only

        return RichText.assemble(*self._parts, style=self._style)


Cell = Text | str


class Table:
    """Columns that are aligned by spaces alone.

    Args:
        columns: By column, whether it is aligned to the right.
        headings: What stands above them; None for nothing.
        rows: The cells of each row, from left to right.
        draw: Makes rich's table of it, with all that matters on a terminal only.
    """

    __slots__ = ("_columns", "_draw", "_headings", "_rows")

    def __init__(
        self,
        columns: Sequence[bool],
        headings: Sequence[str] | None,
        rows: Sequence[Sequence[Any]],
        draw: Callable[[], Any],
    ) -> None:
        self._columns = columns
        self._headings = headings
        self._rows = rows
        self._draw = draw

    def lines(self) -> Iterator[str]:
        """Its lines without styles."""
        rows = [[cell if isinstance(cell, str) else cell.plain for cell in row] for row in self._rows]
        if self._headings is not None:
            rows.insert(0, list(self._headings))
        widths = [max(map(_width, cells)) for cells in zip(*rows, strict=True)]
        for row in rows:
            yield _GAP.join(map(_padded, row, widths, self._columns))

    def __rich__(self) -> Any:
        return self._draw()


class Stack:
    """Contents one below the other."""

    __slots__ = ("_parts",)

    def __init__(self, *parts: Text | Table) -> None:
        self._parts = parts

    def lines(self) -> Iterator[str]:
        """Their lines without styles."""
        for part in self._parts:
            yield from part.lines()

    def __rich__(self) -> Any:
        from rich.console import Group  # start-up: on a terminal only

        return Group(*self._parts)


class Pipe:
    """Where output goes that is no terminal: what a console is otherwise.

    Args:
        file: The stream.
        width: How long a line may be.
    """

    is_terminal = False

    def __init__(self, file: TextIO, width: int) -> None:
        self.file = file
        self.width = width
        self.encoding = (getattr(file, "encoding", None) or "utf-8").lower()


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # start-up: hardly any text needs it, and it is quick to load

    return cell_len(text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
