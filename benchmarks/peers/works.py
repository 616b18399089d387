"""What each peer is asked to do, and the process that does it, under the peer's own interpreter.

The function is `benchmarks.measuring.answer` for everybody. Each work is done once before it is timed, but for less.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

__all__ = ["CALL", "FLOW", "FOUND", "IMPORT", "KEPT", "SUBMIT", "TASKS", "WORKS", "Variant", "Works", "main"]

CALL = "one call"
SUBMIT = "1,000 submitted, each"
KEPT = "result kept"
FOUND = "result found again"
FLOW = "flow of 10 tasks"
IMPORT = "import"

WORKS = (CALL, SUBMIT, KEPT, FOUND, FLOW, IMPORT)

TASKS = 10
"""Tasks of the flow."""

Works = Mapping[str, Callable[[int], object]]
"""What does each work so many times. It is timed from outside, unless it returns the seconds that it has taken.

A work that a peer does not offer is left out.
"""


class Variant(NamedTuple):
    """One way to set a peer up.

    Attributes:
        name: What to call it.
        leaves: What a call leaves behind, and where.
        open: Entered with a new folder; gives the works.
        calls: How many times each work is done, but for what is submitted.
        share: The flow is done a ``share``-th part of these times.
    """

    name: str
    leaves: str
    open: Callable[[Path], AbstractContextManager[Works]]
    calls: int
    share: int = 10


SUBMITTED = 1_000


def counts(variant: Variant, is_quick: bool) -> dict[str, int]:
    """How many times each work is done."""
    few = 3 if is_quick else variant.calls
    return {
        CALL: few,
        KEPT: few,
        FOUND: few,
        FLOW: max(1, few // variant.share),
        SUBMIT: 20 if is_quick else SUBMITTED,
    }


def measured(variant: Variant, folder: Path, is_quick: bool) -> dict[str, object]:
    """The seconds per time that each work takes, and what went wrong."""
    seconds: dict[str, float] = {}
    problems: dict[str, str] = {}
    folder.mkdir(parents=True)
    with variant.open(folder) as works:
        for work, do in works.items():
            count = counts(variant, is_quick)[work]
            try:
                do(max(1, count // 20))
                start = time.perf_counter()
                found = do(count)
                outside = time.perf_counter() - start
                seconds[work] = (found if isinstance(found, float) else outside) / count
            except Exception as error:  # the other works are to be done, and the table will tell
                problems[work] = textwrap.shorten(f"{type(error).__name__}: {error}", 120, placeholder=" ...")
    return {"name": variant.name, "leaves": variant.leaves, "seconds": seconds, "problems": problems}


def main(distribution: str, *variants: Variant) -> None:
    """Do all works and write what they took into ``FOLDER/figures.json``: ``python -m MODULE FOLDER [--quick]``."""
    parser = argparse.ArgumentParser(description=f"What {distribution} takes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = [
        measured(variant, options.folder / str(number), options.quick)
        for number, variant in enumerate(variants)
    ]
    text = json.dumps({"version": version(distribution), "variants": found})
    (options.folder / "figures.json").write_text(text, encoding="utf-8")
