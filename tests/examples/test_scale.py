"""The example about maps at scale does what it says."""

from pathlib import Path

import pytest

from mainspring.filters import ALL
from tests.examples.script import run


@pytest.mark.slow
@pytest.mark.contract("TR-36")
def test_counts_a_corpus(mainspring_home: Path) -> None:
    """It prints what it found, and leaves a run for each page and for no more than were under way beside."""
    script = run("scale.py", mainspring_home)
    assert script.exit_code == 0, script.log
    assert script.output == "1,000,000 words, most of them 'pinion'\npage 10 is the first one about jewels\n"
    assert "garbage collected" not in script.log
    with script.history() as client:
        runs = {run.flow_name: run for run in client.read_flow_runs()}
        pages = client.read_task_runs([runs["corpus"].id], limit=ALL)
        others = client.read_task_runs([runs["first-page-about"].id], limit=ALL)
    assert len(pages) == 5_000
    assert {run.state_name for run in pages} == {"Completed"}
    assert 11 <= sum(run.name.startswith("most_common") for run in others) <= 11 + 8
