"""Flows of a flow: find the longest functions of some packages, all packages at the same time, until there are enough.

The packages are those of the standard library. Each is measured by a subflow in the background, with a task for each
of its files. A generator flow gives the results away as they come, so whoever reads them decides when to stop.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mainspring import flow, task
from mainspring.futures import as_completed

PACKAGES = ["json", "logging", "asyncio", "sqlite3", "tomllib", "unittest"]


class Found(NamedTuple):
    """The longest function of a package."""

    lines: int
    name: str
    package: str


@task
def longest_in(file: Path, package: str) -> Found:
    """The longest function of one file."""
    longest, name, depth, length = (0, ""), "", 0, 0
    for line in file.read_text(encoding="utf-8").splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent <= depth:
            name = ""  # the function has ended
        if found := re.match(r"\s*(?:async )?def (\w+)", line):
            name, depth, length = found[1], indent, 0
        length += 1
        longest = max(longest, (length, name)) if name and line.strip() else longest
    return Found(*longest, package)


@flow(flow_run_name="measure {package}")
def measure(package: str) -> Found:
    """The longest function of a package: a task for each of its files."""
    spec = importlib.util.find_spec(package)
    folder = Path((spec and spec.origin) or "").parent
    futures = [longest_in.submit(file, package) for file in sorted(folder.glob("*.py"))]
    return max(future.result() for future in futures)


@flow
def survey(packages: list[str]) -> Iterator[Found]:
    """The longest function of each package, as soon as it is known."""
    for future in as_completed([measure.submit(package) for package in packages]):
        yield future.result()


@flow
def find_long_functions(wanted: int = 4) -> list[Found]:
    """The results of the first packages that are measured."""
    found = []
    for each in survey(PACKAGES):
        found.append(each)
        if len(found) == wanted:
            break
    return sorted(found, reverse=True)


if __name__ == "__main__":
    for each in find_long_functions():
        print(f"{each.lines:5} lines  {each.package}: {each.name}")
