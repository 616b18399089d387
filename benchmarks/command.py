"""The command line of ``python -m benchmarks``, and the options that all benchmarks have."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import plots
from benchmarks.measuring import FULL, Figure, Meter
from benchmarks.registry import ALONE, TABLES, family, measuring, names_of
from benchmarks.reports import Report, as_json, write_into
from benchmarks.rounds import Progress, steps_of, take_rounds

__all__ = ["main", "main_alone", "measure", "options_for", "progress_of", "show"]


def options_for(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write JSON, too; - is the standard output")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables and plots into this page")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw plots into this folder")
    parser.add_argument("--rounds", type=int, default=Meter().rounds, help="of how many the fastest counts")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    return parser


def meter_for(options: argparse.Namespace) -> Meter:
    """How much is to be measured."""
    return Meter(1, FULL // 100) if options.quick else Meter(options.rounds)


def show(tables: Mapping[str, Sequence[Figure]], options: argparse.Namespace) -> None:
    """Print tables and put them where they are wanted; plots go beside the page, too."""
    reports = {name: Report.of(list(figures)) for name, figures in tables.items()}
    if options.json is not None:
        text = as_json(tables)
        if str(options.json) == "-":
            print(text)
        else:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(text + "\n", encoding="utf-8")
    if options.page is not None:
        for name, report in reports.items():
            write_into(options.page, name, report.as_markdown())
    folder = options.plots or (options.page and options.page.parent)
    if folder is not None:
        plots.draw(tables, folder)
    if str(options.json) == "-":
        return
    if not options.markdown:
        print(next(iter(reports.values())).circumstances)
    for name, report in reports.items():
        print(f"\n{name}\n\n{report.as_markdown() if options.markdown else report.as_table()}")


@contextmanager
def progress_of(total: int) -> Iterator[Progress]:
    """Shows on a terminal how far it has come."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as progress:
        shown = progress.add_task("", total=total)
        yield lambda text: progress.update(shown, description=text, advance=1)


def measure(names: Sequence[str], meter: Meter, home: Path, progress: Progress) -> dict[str, list[Figure]]:
    """The figures of some families, by table."""
    families = {name: family(name) for name in names if name not in ALONE}
    found = take_rounds(families, meter, home, progress)
    for name in names:
        if name in ALONE:
            progress(name)
            (home / name).mkdir(parents=True, exist_ok=True)
            found[name] = measuring(name)(meter, home / name)
    return {
        table: merged([found[name] for name in of_table if name in found])
        for table, of_table in TABLES.items()
        if any(name in found for name in of_table)
    }


def merged(families: Sequence[list[Figure]]) -> list[Figure]:
    """The figures of one table, with each unit told once, before the first that is a multiple of it."""
    found: list[Figure] = []
    for unit, *others in families:
        found += [*([] if unit in found else [unit]), *others]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show, and return the exit code."""
    parser = options_for("What mainspring costs, in multiples of what was measured in the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"families or tables: {', '.join(TABLES)}")
    options = parser.parse_args(arguments)
    try:
        names = names_of(options.names)
    except ValueError as error:
        parser.error(str(error))
    meter = meter_for(options)
    families = {name: family(name) for name in names if name not in ALONE}
    total = steps_of(families, meter.rounds) + len(ALONE.intersection(names))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        progress_of(total) as progress,
    ):
        tables = measure(names, meter, Path(folder), progress)
    show(tables, options)
    return 0


def main_alone(
    measure: Callable[[Meter, Path], list[Figure]], name: str, options: argparse.Namespace
) -> None:
    """Measure and show one table."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figures = measure(meter_for(options), Path(folder))
    show({name: figures}, options)
