"""The benchmarks of reading and of sizes work. What they measure is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.examples.script import ROOT


def answer(script: str, *options: str) -> Any:
    command = [sys.executable, ROOT / "benchmarks" / f"{script}.py", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_measures_reads_and_commands(mainspring_home: Path) -> None:
    """Lists and views of runs are measured as reads and as commands, beside the start of an interpreter."""
    bare, *others = answer("reading", "--quick")["figures"]
    assert bare["path"] == "bare interpreter"
    assert {figure["path"].partition(":")[0] for figure in others} == {"read", "command"}
    assert all(figure["seconds"] > 0 and figure["budget"] == 100 for figure in others)


@pytest.mark.slow
def test_measures_sizes(mainspring_home: Path) -> None:
    """Each way to run tasks has its bytes in the database, by table where SQLite tells, and in memory."""
    found = answer("sizes", "--tasks", "200")
    assert [each["way"] for each in found] == ["inline", "submit", "map"]
    assert all(each["database"] > sum(each["tables"].values()) > 0 or not each["tables"] for each in found)
