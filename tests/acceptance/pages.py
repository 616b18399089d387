"""Figures in pages of the documentation."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["circumstances", "milliseconds", "percentile", "put", "table"]


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of the values is; not a number if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else float("nan")


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def circumstances() -> str:
    """When and on what this is measured."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" PostgreSQL 18, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|---{'|--:' * (len(head) - 1)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def put(page: Path, name: str, text: str) -> None:
    """Put a text between the marks of its name in a page, in place of the one there."""
    content = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    assert begin in content, f"{page} has no {begin}"
    assert end in content, f"{page} has no {end}"
    before, _, rest = content.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
