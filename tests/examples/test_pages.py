"""The example of async tasks."""

from pathlib import Path

import pytest

from mainspring.filters import ALL
from tests.examples.script import run

PAGES = 24


@pytest.mark.slow
def test_asks_for_all_pages(mainspring_home: Path) -> None:
    """All pages are fetched and counted, and answers that broke off were asked for again."""
    script = run("pages.py", mainspring_home)
    assert script.exit_code == 0, script.log
    assert script.output == f"{sum(range(1, PAGES + 1))} words on {PAGES} pages\n"
    with script.history() as client:
        [flow_run] = client.read_flow_runs()
        runs = client.read_task_runs([flow_run.id], limit=ALL)
    assert flow_run.state_name == "Completed"
    fetched = [run for run in runs if run.name.startswith("fetch /")]
    assert len(fetched) == PAGES
    assert len(runs) == 2 * PAGES
    assert {run.state_name for run in runs} == {"Completed"}
    assert sum(run.run_count for run in fetched) > PAGES
