"""What maps add to the most memory that a process needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "mapped.py"
FEW, MANY = 1_000, 30_000


def peak(way: str, count: int, home: Path) -> int:
    """The most memory that a fresh process needs for a map, in bytes."""
    done = subprocess.run(
        [sys.executable, PROGRAM, way, str(count)],
        env={**os.environ, "MAINSPRING_HOME": str(home / f"{way}-{count}")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.contract("TR-34", "TR-36")
@pytest.mark.parametrize(("way", "each"), [("list", 1_100), ("results", 250)])
def test_memory_of_a_map(way: str, each: int, tmp_path: Path) -> None:
    """A list keeps little besides values, states and futures; a stream keeps nothing of what was handed out."""
    added = peak(way, MANY, tmp_path) - peak(way, FEW, tmp_path)
    assert added / (MANY - FEW) < each
