"""The progress of runs on a terminal: a bar per flow run, redrawn in place below everything that is printed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mainspring import clock
from mainspring.cli.progress import FlowProgress, Progress
from mainspring.cli.rendering import STYLES, can_show, describe_counts, one_line
from mainspring.cli.reports import Announcer
from mainspring.cli.streams import GuardedStream

__all__ = ["LiveReport"]

REFRESHES_PER_SECOND = 8
MOST_FLOWS = 10

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_BAR = "━"
_BAR_PARTS = (
    ("green", ("completed",)),
    ("red", ("failed", "crashed", "cancelled", "not ready")),
    ("cyan", ("running",)),
)


class LiveReport:
    """A line with a bar per flow run, redrawn in place, with everything else that is printed above it.

    Args:
        progress: What to report.
        console: The terminal.
        guards: The streams whose lines are to appear above.
    """

    def __init__(self, progress: Progress, console: Console, guards: Sequence[GuardedStream]) -> None:
        self._progress = progress
        self._console = console
        self._guards = guards
        self._announcer = Announcer({"retried", "failed"})  # the bars show the rest
        self._scopes = ExitStack()
        self._fancy = can_show(console, _SPINNER + _BAR)
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        for guard in self._guards:
            self._scopes.enter_context(guard.divert(self._write_line))
        self._scopes.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.refresh()
        self._scopes.close()

    def catch_up(self) -> None:
        """See `Report.catch_up`."""
        with self._progress.lock:
            lines = list(self._announcer.lines(self._progress.take_in()))
        # Without the lock: printing waits for the display, whose refreshing thread waits for the lock.
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def _write_line(self, line: str) -> None:
        self._console.print(_Raw(line), soft_wrap=True)

    def _render(self) -> RenderableType:
        """What the display shows now; called by its refreshing thread."""
        self.catch_up()
        with self._progress.lock:
            shown, hidden = self._choose(list(self._progress.flows.values()))
            now = clock.current().now()
            rows = [self._row(flow, now) for flow in shown]
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(16, self._console.width * 2 // 5))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        for row in rows:
            grid.add_row(*row)
        begun = [Text.from_ansi(text) for guard in self._guards for text in guard.unfinished]
        more = [Text(f"  and {hidden} more flow runs", "dim")] if hidden else []
        return Group(*begun, grid, *more)

    def _choose(self, flows: list[FlowProgress]) -> tuple[list[FlowProgress], int]:
        """The flow runs that there is room for: the outermost, then those that are not done."""
        most = max(1, min(MOST_FLOWS, self._console.height - 3))
        if len(flows) <= most:
            return flows, 0
        ranked = sorted(range(len(flows)), key=lambda i: (i > 0, flows[i].state.is_final(), i))
        return [flows[i] for i in sorted(ranked[:most])], len(flows) - most

    def _row(self, flow: FlowProgress, now: int) -> tuple[Text, Text, Text]:
        indent = "  " * flow.depth
        ended = flow.state.at if flow.state.is_final() else now
        counts = describe_counts(flow.counts)
        elapsed = Text(format_elapsed(ended - flow.run.created_at), "dim")
        what = Text("  ").join([elapsed, counts]) if counts else elapsed
        return (
            Text.assemble(indent, self._sign(flow), " ", one_line(flow.run.name)),
            self._bar(flow.counts, max(10, min(30, self._console.width // 5))),
            what,
        )

    def _sign(self, flow: FlowProgress) -> tuple[str, str]:
        style = STYLES[flow.state.type]
        if flow.state.is_completed():
            return ("✓" if can_show(self._console, "✓") else "+", style)
        if flow.state.is_final():
            return ("✗" if can_show(self._console, "✗") else "x", style)
        frames = _SPINNER if self._fancy else "-\\|/"
        return (frames[int(time.monotonic() * REFRESHES_PER_SECOND) % len(frames)], style)

    def _bar(self, counts: Counter[str], width: int) -> Text:
        """How the task runs known by now stand: done, failed, running, and what is still to come."""
        total = max(sum(counts.values()), 1)
        bar = Text()
        used = 0
        begun = 0
        for style, kinds in _BAR_PARTS:
            begun += sum(counts[kind] for kind in kinds)
            end = begun * width // total
            bar.append((_BAR if self._fancy else "=") * (end - used), style)
            used = end
        return bar.append((_BAR if self._fancy else "-") * (width - used), "bright_black")


def format_elapsed(microseconds: int) -> str:
    """A duration that grows without jumping about: ``0:04``, ``12:34``, ``1:02:03``."""
    minutes, seconds = divmod(max(microseconds, 0) // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class _Raw:
    """A line for the terminal exactly as the program wrote it."""

    def __init__(self, line: str) -> None:
        self._line = line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._line)
        yield Segment.line()
