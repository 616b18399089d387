"""The example for processes does what it says."""

from pathlib import Path

from tests.examples.script import run


def test_prints_the_same_everywhere(mainspring_home: Path) -> None:
    """The answer does not depend on which process drew what, and the work was done in other processes."""
    script = run("processes.py", mainspring_home)
    assert script.exit_code == 0, script.log
    assert script.output.startswith("half of the customers waited ")
    assert "with 95% confidence that median is between" in script.output
    assert "4,000 resamples in " in script.log
    assert run("processes.py", mainspring_home / "again").output == script.output


def test_leaves_a_history(mainspring_home: Path) -> None:
    """All runs are found Completed afterwards."""
    script = run("processes.py", mainspring_home)
    with script.history() as client:
        task_runs = client.read_task_runs()
    assert len(task_runs) == 9
    assert {task_run.state_name for task_run in task_runs} == {"Completed"}
