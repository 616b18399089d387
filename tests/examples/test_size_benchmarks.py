"""The benchmarks of reading and of sizes work. What they measure is nobody's business here."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.examples.script import ROOT


def figures_of(name: str) -> Any:
    command = [sys.executable, "-m", "benchmarks", name, "--json", "-", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["tables"][name]


@pytest.mark.slow
def test_measures_reads_and_commands() -> None:
    """Lists and views of runs are measured as reads and as commands, beside the start of an interpreter."""
    bare, *others = figures_of("reading")
    assert bare["path"] == "bare interpreter"
    assert {figure["path"].partition(":")[0] for figure in others} == {"read", "command"}
    assert all(figure["seconds"] > 0 and figure["budget"] == 100 for figure in others)


@pytest.mark.slow
def test_measures_sizes() -> None:
    """Each way to run tasks has its bytes in the database and in memory."""
    found = figures_of("sizes")
    assert [each["path"] for each in found] == [
        f"{way} task, in {where}"
        for way in ("inline", "submit", "map")
        for where in ("the database", "memory")
    ]
    assert all(each["seconds"] > 0 for each in found if each["path"].endswith("database"))
