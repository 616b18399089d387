"""The tree of a flow run as a table, with a bar for each row that shows when it ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring import clock
from mainspring.cli.folding import Row, tree_rows
from mainspring.cli.rendering import (
    STYLES,
    Column,
    brief,
    can_show,
    format_duration,
    one_line,
    short_ids,
    state_text,
    table,
)
from mainspring.cli.texts import Stack, Table, Text
from mainspring.cli.timeline import Span, Timeline
from mainspring.cli.trees import RunTree
from mainspring.client import Client
from mainspring.runs import Run

if TYPE_CHECKING:
    from mainspring.cli.rendering import Output

__all__ = ["tree_table"]

PLAIN_TIMELINE = 40
LEAST_TIMELINE = 12
FAIR_TIMELINE = 18

_LEAST_NAME = 14
_GAP = 2
_MOST_REASONS = 10
_TIMES = "\N{MULTIPLICATION SIGN}"
_MOST_HISTORIES = 500  # retried runs whose states are read, to draw the waits between their attempts

Cells = list[Text]


def tree_table(client: Client, tree: RunTree, console: Output, full: bool) -> Stack:
    """What ran inside of a flow run.

    Args:
        client: Reads the states of runs that were retried.
        tree: The flow run.
        console: Where it is to be shown.
        full: A row for each run, however many there are.

    Raises:
        StoreError: The run store cannot be read.
    """
    rows = tree_rows(tree, full)
    facts = _facts(rows, console)
    headings = ["run", "id", "state", "tries", "duration"]
    if not any(cells[3] for cells in facts):
        headings.remove("tries")
        facts = [[*cells[:3], cells[4]] for cells in facts]
    widths = [
        max(len(heading), *(cells[index].cell_len for cells in facts))
        for index, heading in enumerate(headings)
    ]
    room = console.width - sum(widths[1:]) - _GAP * len(widths)
    if console.is_terminal:
        widths[0] = min(widths[0], max(_LEAST_NAME, room - FAIR_TIMELINE))
        width = room - widths[0]
    else:
        width = PLAIN_TIMELINE
    columns = [
        Column(heading, right=heading in ("tries", "duration"), most=widths[index])
        for index, heading in enumerate(headings)
    ]
    if width >= LEAST_TIMELINE:
        bars = Bars(client, tree, width, can_show(console, Timeline.GLYPHS))
        columns.append(Column(bars.timeline.axis(ruled=console.is_terminal)))
        facts = [[*cells, bars.of(row)] for cells, row in zip(facts, rows, strict=True)]
    parts: list[Text | Table] = [table(console, columns, facts)]
    if any(row.is_folded for row in rows):
        note = "Of runs alike the shortest, median and longest duration is shown; --full shows each run."
        parts.append(Text(f"\n{note}", "dim"))
    if reasons := _reasons(rows):
        parts += [Text(), *reasons]
    return Stack(*parts)


def _reasons(rows: Sequence[Row]) -> list[Text]:
    """Why runs did not complete, a line each; of a run and the runs inside of it, the innermost tells."""
    lines: list[Text] = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        is_innermost = following is None or following.depth <= row.depth
        if row.state.message and is_innermost and not row.state.is_completed():
            name = one_line(row.runs[0].name)
            lines.append(Text.assemble((name, STYLES[row.state.type]), "  ", brief(row.state.message)))
    left_out = len(lines) - _MOST_REASONS
    more = [Text(f"... and {left_out} more", "dim")] if left_out > 0 else []
    return lines[:_MOST_REASONS] + more


def _facts(rows: Sequence[Row], console: Output) -> list[Cells]:
    """Name, id, state, attempts and duration of each row."""
    ids = short_ids([row.runs[0].id for row in rows if not row.is_folded])
    times, dot = (_TIMES, " · ") if can_show(console, f"{_TIMES}·") else ("x", " / ")
    now = clock.current().now()
    cells: list[Cells] = []
    for row in rows:
        indent = "  " * row.depth
        if row.is_folded:
            spread = row.spread()
            cells.append(
                [
                    Text.assemble(
                        indent, one_line(row.nodes[0].label), (f" {times} {len(row.nodes)}", "bold")
                    ),
                    Text(),
                    state_text(row.state),
                    Text(),
                    Text(dot.join(map(format_duration, spread)) if spread else ""),
                ]
            )
            continue
        run = row.runs[0]
        cells.append(
            [
                Text(indent + one_line(run.name)),
                Text(ids[run.id], "dim"),
                state_text(run.state),
                Text(str(run.run_count), "yellow") if run.run_count > 1 else Text(),
                Text(_duration(run, now)),
            ]
        )
    return cells


def _duration(run: Run, now: int) -> str:
    if run.started_at is None:
        return ""
    return format_duration(_end(run, now) - run.started_at)


def _end(run: Run, now: int) -> int:
    """When the run ended, or else now; a run that waits for nobody knows what has done so since its last state."""
    if run.ended_at is not None:
        return run.ended_at
    return run.updated_at if run.state.is_final() else now


class Bars:
    """Draws the rows of one flow run on its timeline."""

    def __init__(self, client: Client, tree: RunTree, width: int, fancy: bool) -> None:
        self._now = clock.current().now()
        root = tree.flow_runs[0]
        begin = root.started_at or root.created_at
        self.timeline = Timeline(begin, max(_end(root, self._now), begin), width, fancy)
        self._client = client
        self._histories = 0

    def of(self, row: Row) -> Text:
        """The bar of a row: one for all of its runs."""
        spans = [span for run in row.runs for span in self._spans(run)]
        return self.timeline.bar(spans, STYLES[row.state.type])

    def _spans(self, run: Run) -> list[Span]:
        if run.started_at is None:
            return []
        end = _end(run, self._now)
        if run.run_count < 2 or self._histories >= _MOST_HISTORIES:
            return [(run.started_at, end, "running")]
        self._histories += 1
        states = self._client.store.read_states(run.key)
        ends = [state.at for state in states[1:]] + [end]
        return [
            (state.at, until, "running" if state.is_running() else "waiting")
            for state, until in zip(states, ends, strict=True)
            if state.is_running() or state.name == "AwaitingRetry"
        ]
