"""What users see in their editors: the examples of tests/typing pass a strict type checker."""

import subprocess
import sys

import pytest

from tests.architecture.source import ROOT

pytest.importorskip("mypy", reason="`make check` installs the type checkers")


@pytest.mark.slow
@pytest.mark.contract("V-38")
def test_calls_have_the_types_that_the_examples_say() -> None:
    """Decorated functions keep their signature; `submit`, `map` and `run_task` have the type of what they give."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typing"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
