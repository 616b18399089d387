"""``mainspring runs resume``: going on with a run from the command line."""

from pathlib import Path

import pytest

from tests.cli.commands import answer, command, write_flow_file

FLOW = """
    from pathlib import Path

    @task
    def step(x):
        with open("journal", "a") as file:
            file.write(f"{x}\\n")
        return x

    @flow(persist_result=True)
    def pipeline(size=2):
        total = sum(step(x) for x in range(size))
        if not Path("mended").exists():
            raise ValueError("broken")
        return total
"""


def newest() -> str:
    run_id: str = answer("runs", "ls", "--limit", "1")[0]["id"]
    return run_id


@pytest.mark.slow
def test_resume(tmp_path: Path) -> None:
    """A failed run is gone on with by the end of its id, from another folder; the exit code says how it ended."""
    write_flow_file(tmp_path, FLOW)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert command("run", "pipeline.py", cwd=tmp_path).returncode == 1
    again = command("runs", "resume", newest()[-8:], cwd=folder)
    assert again.returncode == 1
    assert "ValueError: broken" in again.stderr
    (folder / "mended").touch()
    done = command("runs", "resume", newest()[-8:], cwd=folder)
    assert done.returncode == 0
    assert "Completed" in done.stderr
    assert (tmp_path / "journal").read_text() == "0\n1\n"
    assert not (folder / "journal").exists()
    shown = answer("runs", "show", newest())
    assert [state["name"] for state in shown["states"]] == [
        *("Pending", "Running", "Failed"),
        *("Running", "Failed", "Running", "Completed"),
    ]


@pytest.mark.slow
def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    """Exit code 2 and one line that says why."""
    nothing = command("runs", "resume", "abc", cwd=tmp_path)
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    write_flow_file(tmp_path, FLOW)
    (tmp_path / "mended").touch()
    assert command("run", "pipeline.py", cwd=tmp_path).returncode == 0
    for text, reason in [("xyz", "No run has an id"), (newest(), "has completed")]:
        refused = command("runs", "resume", text, cwd=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert reason in refused.stderr
