"""The example of flows in flows does what it says."""

import re
from pathlib import Path

from examples.subflows import PACKAGES
from tests.examples.script import run


def test_prints_what_it_has_found(mainspring_home: Path) -> None:
    """It ends well, and prints the longest function of four packages, the longest first."""
    script = run("subflows.py", mainspring_home)
    assert script.exit_code == 0, script.log
    found = [re.fullmatch(r" *(\d+) lines  (\w+): \w+", line) for line in script.output.splitlines()]
    lines = [int(match[1]) for match in found if match is not None]
    assert len(lines) == len(found) == 4
    assert lines == sorted(lines, reverse=True)
    assert {match[2] for match in found if match is not None} <= set(PACKAGES)


def test_leaves_a_history(mainspring_home: Path) -> None:
    """The packages are measured by subflows of a subflow, and all that have begun are completed."""
    script = run("subflows.py", mainspring_home)
    with script.history() as client:
        runs = client.read_flow_runs()
        [top] = [each for each in runs if each.parent_task_run_id is None]
        [survey] = [each for each in runs if each.flow_name == "survey"]
        [stand_in] = client.read_task_runs([top.id])
        measured = client.read_task_runs([survey.id])
    assert survey.parent_task_run_id == stand_in.id
    assert 4 <= len(measured) <= len(PACKAGES)
    names = {each.name for each in runs if each.flow_name == "measure"}
    assert names <= {f"measure {package}" for package in PACKAGES}
    assert len(names) == len(measured)
    assert {each.state_name for each in runs} == {"Completed"}
