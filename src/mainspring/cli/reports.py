"""The progress of runs for people: a report, and the one that writes lines."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.text import Text

from mainspring import clock
from mainspring.cli.progress import Notice, Progress
from mainspring.cli.rendering import describe_counts, format_duration, one_line

__all__ = ["Announcer", "LineReport", "Report", "run_line"]

SUMMARY_SECONDS = 5.0
MOST_NOTICES = 40
_LOOK_SECONDS = 0.2


class Report(Protocol):
    """Reports progress inside its ``with`` block."""

    def catch_up(self) -> None:
        """Tell now what was noted up to now, because something else is about to be told."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Announcer:
    """Turns notices into lines, and stops when one kind of them becomes a flood.

    Args:
        kinds: The kinds of notices that deserve a line; None for all.
    """

    def __init__(self, kinds: Collection[str] | None = None) -> None:
        self._kinds = kinds
        self._told: Counter[str] = Counter()

    def lines(self, notices: Iterator[Notice]) -> Iterator[Text]:
        """The lines that the notices are worth."""
        for notice in notices:
            if self._kinds is not None and notice.kind not in self._kinds:
                continue
            self._told[notice.kind] += 1
            if self._told[notice.kind] <= MOST_NOTICES:
                yield run_line(notice.at, notice.name, notice.text, _NOTICE_STYLES[notice.kind])
            elif self._told[notice.kind] == MOST_NOTICES + 1:
                yield run_line(notice.at, "", f"more has {notice.kind}, from here only counted", "dim")


_NOTICE_STYLES = {"started": "", "retried": "yellow", "failed": "red", "finished": ""}


def run_line(at: int, name: str, text: str, style: str = "") -> Text:
    """A line about a run: the time, its name, and what there is to say."""
    moment = clock.to_datetime(at).astimezone()
    line = Text(f"{moment:%H:%M:%S}", "dim")
    if name:
        line.append("  ").append(one_line(name), "cyan")
    return line.append("  ").append(text, style)


class LineReport:
    """Progress as lines: what began, failed, was retried and ended, and now and then how far it is.

    Args:
        progress: What to report.
        console: Where to.
    """

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._announcer = Announcer()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._report, name="mainspring-progress", daemon=True)
        self._summarised = time.monotonic()

    def _print(self, line: Text) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more; the run goes on
            self._console.print(line, soft_wrap=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self.catch_up()

    def catch_up(self) -> None:
        """See `Report.catch_up`."""
        with self._progress.lock:
            for line in self._announcer.lines(self._progress.take_in()):
                self._print(line)

    def _report(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            self.catch_up()
            if time.monotonic() - self._summarised >= SUMMARY_SECONDS:
                self._summarise()

    def _summarise(self) -> None:
        self._summarised = time.monotonic()
        with self._progress.lock:
            flow = self._progress.first
            if flow is None or flow.state.is_final():
                return
            counts = describe_counts(self._progress.totals()[0])
        now = clock.current().now()
        line = run_line(now, flow.run.name, f"{format_duration(now - flow.run.created_at)}: ")
        self._print(line.append_text(counts or Text("no task runs yet")))
