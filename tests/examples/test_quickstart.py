"""The first example does what it says."""

from pathlib import Path

from tests.examples.script import ROOT, run


def test_prints_its_result(mainspring_home: Path) -> None:
    """It ends well and prints the lines of all examples."""
    script = run("quickstart.py", mainspring_home)
    assert script.exit_code == 0, script.log
    files = list((ROOT / "examples").glob("*.py"))
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    assert script.output == f"{lines} lines in {len(files)} files\n"


def test_leaves_a_history(mainspring_home: Path) -> None:
    """The flow run and a task run per file are found Completed afterwards."""
    script = run("quickstart.py", mainspring_home)
    with script.history() as client:
        [flow_run] = client.read_flow_runs()
        task_runs = client.read_task_runs([flow_run.id])
    assert (flow_run.flow_name, flow_run.state_name) == ("quickstart", "Completed")
    assert len(task_runs) == len(list((ROOT / "examples").glob("*.py")))
    assert {task_run.state_name for task_run in task_runs} == {"Completed"}
