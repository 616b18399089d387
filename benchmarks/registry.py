"""All families by name, and the tables that they are in.

A family is a module of this package. It has either a ``FAMILY`` of cases, whose rounds are interleaved with those of
all other families, or a function ``measure(meter, home)``, which returns its figures when it has taken them by itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import Family
from benchmarks.measuring import Figure, Meter

__all__ = ["ALONE", "TABLES", "family", "measuring", "names_of", "table_of"]

TABLES: dict[str, tuple[str, ...]] = {
    "calls": (
        "floors",
        "inline",
        "submitted",
        "maps",
        "generators",
        "hooks",
        "logs",
        "flows",
        "processes",
    ),
    "results": ("kept", "cached", "resuming"),
    "postgres": ("postgres",),
    "starting": ("starting",),
    "many": ("many",),
    "hashing": ("hashing",),
    "reading": ("reading",),
    "sizes": ("sizes",),
}
"""The families in each table of a page, in their order."""

ALONE = frozenset({"many", "hashing", "reading", "sizes"})
"""Those that measure by themselves, after all others."""


def names_of(names: list[str]) -> list[str]:
    """The families of these names, which may also be names of tables; all if there are none.

    Raises:
        ValueError: There is no such name.
    """
    known = [each for families in TABLES.values() for each in families]
    wanted: set[str] = set()
    for name in names:
        if name not in known and name not in TABLES:
            raise ValueError(f"There is no benchmark {name!r}. There are {', '.join(known)}.")
        wanted.update([name] if name in known else TABLES[name])
    return [each for each in known if each in wanted or not names]


def table_of(name: str) -> str:
    """The table that a family is in."""
    return next(table for table, families in TABLES.items() if name in families)


def family(name: str) -> Family:
    """The cases of a family."""
    found: Family = importlib.import_module(f"benchmarks.{name}").FAMILY
    return found


def measuring(name: str) -> Callable[[Meter, Path], list[Figure]]:
    """What measures a family that does it by itself."""
    found: Callable[[Meter, Path], list[Figure]] = importlib.import_module(f"benchmarks.{name}").measure
    return found
