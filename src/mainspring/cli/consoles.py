"""What rich draws: consoles, and tables on terminals."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from mainspring.cli.rendering import PLAIN_WIDTH, Column, is_terminal

__all__ = ["draw_facts", "draw_table", "make_console"]


def make_console(file: TextIO) -> Console:
    """A console on a stream: in colour on a terminal unless NO_COLOR is set."""
    terminal = is_terminal(file)
    return _Console(
        file=file,
        force_terminal=terminal,
        width=None if terminal else PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the caller know, instead of leaving the program: a run goes on when nobody looks any more."""
        raise BrokenPipeError(errno.EPIPE, "Nobody reads the output any more.")


def draw_table(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], has_ellipsis: bool, is_narrow: bool
) -> Table:
    """Columns that are aligned by spaces alone, under dim headings.

    Args:
        columns: The columns.
        rows: Their cells, texts of ours or of rich.
        has_ellipsis: Whether the output can show one, where something is cut off.
        is_narrow: Whether columns have a most that they take.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, column in enumerate(columns):
        width = max(len(column.heading), *(row[index].cell_len for row in rows), 0)
        made.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis" if has_ellipsis else "crop",
            min_width=None if column.yields or column.most is not None else width,
            max_width=column.most if is_narrow else None,
        )
    for row in rows:
        made.add_row(*row)
    return made


def draw_facts(facts: Iterable[Sequence[Any]]) -> Table:
    """Names, dim, and beside them what is known under these, which may take several lines."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, value)
    return grid
