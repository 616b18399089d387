"""Figures as a table on the terminal, as a table in a page, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import Figure, circumstances

__all__ = ["Report", "as_json", "microseconds", "write_into"]


class Report(NamedTuple):
    """Figures of one run, and when and with what they were measured."""

    figures: list[Figure]
    circumstances: str

    @classmethod
    def of(cls, figures: list[Figure]) -> Report:
        """Figures that were measured now."""
        return cls(figures, circumstances())

    def as_table(self) -> str:
        """For a terminal."""
        rows = [self._head(), *map(self._row, self.figures)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                f"{cell:{'>' if place else '<'}{width}}"
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*(line.rstrip() for line in lines), *self._problems()])

    def as_markdown(self) -> str:
        """For a page."""
        head = self._head()
        rows = [head, ("---", *("--:" for _ in head[1:])), *map(self._row, self.figures)]
        lines = [f"| {' | '.join(row)} |" if row[0] != "---" else f"|{'|'.join(row)}|" for row in rows]
        return "\n".join([self.circumstances, "", *lines, *(f"\n{problem}" for problem in self._problems())])

    def _head(self) -> tuple[str, ...]:
        spread = ("of all rounds", "of") if self._has_spread() else ()
        budget = ("budget", "verdict") if self._has_budget() else ()
        memory = ("memory",) if self._has_memory() else ()
        amount = "size" if any(figure.is_size for figure in self.figures) else "time"
        return ("path", "multiple", *spread, *budget, amount, *memory)

    def _row(self, figure: Figure) -> tuple[str, ...]:
        multiple = "not measured" if figure.multiple is None else f"{figure.multiple:.2f}"
        spread: tuple[str, ...] = ()
        if self._has_spread():
            rounds = "" if figure.spread is None else f"{figure.spread[0]:.2f} to {figure.spread[1]:.2f}"
            spread = (rounds, "" if figure.seconds is None else microseconds(figure.unit))
        budget: tuple[str, ...] = ()
        if self._has_budget():
            budget = ("" if figure.budget is None else f"{figure.budget:g}", figure.verdict)
        growth = "" if figure.growth is None else f"+{figure.growth:.1f} MB"
        memory = (growth,) if self._has_memory() else ()
        return (figure.path, multiple, *spread, *budget, amount_of(figure), *memory)

    def _has_budget(self) -> bool:
        return any(figure.budget is not None for figure in self.figures)

    def _has_memory(self) -> bool:
        return any(figure.growth is not None for figure in self.figures)

    def _has_spread(self) -> bool:
        return any(figure.spread is not None for figure in self.figures)

    def _problems(self) -> list[str]:
        return [f"Not measured: {figure.path}. {figure.problem}" for figure in self.figures if figure.problem]


def amount_of(figure: Figure) -> str:
    """What was measured, as a text."""
    if figure.seconds is None:
        return ""
    return f"{figure.seconds:,.0f} bytes" if figure.is_size else microseconds(figure.seconds)


def microseconds(seconds: float) -> str:
    """A time as a text."""
    return f"{seconds * 1e6:,.1f} us"


def as_json(tables: Mapping[str, Sequence[Figure]]) -> str:
    """All tables of a run, for programs."""
    found = {
        name: [
            {**figure._asdict(), "multiple": figure.multiple, "verdict": figure.verdict} for figure in figures
        ]
        for name, figures in tables.items()
    }
    return json.dumps({"circumstances": circumstances(), "tables": found}, indent=2)


def write_into(page: Path, name: str, table: str) -> None:
    """Put a table between ``<!-- name -->`` and ``<!-- end of name -->``, in place of what is there."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no place for this table: put {begin.strip()} and {end} there.")
    page.write_text(f"{before}{begin}\n{table}\n\n{end}{after}", encoding="utf-8")
