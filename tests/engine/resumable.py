"""A program whose flow can be made to fail or die anywhere, and processes that run and resume it."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
DEADLINE = 120

HEAD = '''
import asyncio, os, signal, sys
from pathlib import Path
from mainspring import flow, task
from mainspring.cache_policies import INPUTS, NO_CACHE
from mainspring.task_runners import ThreadPoolTaskRunner

JOURNAL = Path(__file__).with_name("journal")
JOURNAL.touch()

def note(line):
    """Write a line, unless this is where the process is to die or the step to fail."""
    if len(JOURNAL.read_text().splitlines()) == int(os.environ.get("DIE_AT", -1)):
        os.kill(os.getpid(), signal.SIGKILL)
    if line == os.environ.get("FAIL_AT"):
        raise ConnectionError(line)
    with JOURNAL.open("a") as file:
        file.write(line + "\\n")
    return len(JOURNAL.read_text().splitlines())

@task
def step(x):
    note(f"step {x}")
    return x

@task(cache_policy=NO_CACHE)
def draw():
    return note("draw")
'''
TAIL = """
if __name__ == "__main__":
    made = main()
    asyncio.run(made) if hasattr(made, "__await__") else made
"""
RESUME = "import sys; from mainspring import resume_flow_run; print(resume_flow_run(sys.argv[1]))"
ARESUME = (
    "import asyncio, sys; from mainspring import aresume_flow_run;"
    " print(asyncio.run(aresume_flow_run(sys.argv[1])))"
)


class Program:
    """A file with a flow ``main``, in a folder of its own, where the journal is, too."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "pipeline_with_a_journal.py"
        self.file.write_text(HEAD + dedent(text) + TAIL)

    @property
    def journal(self) -> list[str]:
        """The lines of the steps that were not stopped before their end, in alphabetical order."""
        return sorted(self.file.with_name("journal").read_text().splitlines())

    def run(self, **environment: str) -> int:
        """Run the program in a process; its exit code."""
        return _process([str(self.file)], environment).returncode

    def resume(self, run_id: object, code: str = RESUME, **environment: str) -> str:
        """Resume a run in a process that knows nothing but its id; what the flow returns, as text."""
        done = _process(["-c", code, str(run_id)], environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fail_to_resume(self, run_id: object, **environment: str) -> str:
        """Likewise, where that is to end in an exception; the traceback."""
        done = _process(["-c", RESUME, str(run_id)], environment)
        assert done.returncode != 0
        return done.stderr


def _process(arguments: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
