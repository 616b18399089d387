"""Programs that run in a process of their own, and are told by lines when to go on."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Self

HEAD = """
import sys
from mainspring import flow, task
from mainspring.context import FlowRunContext, TaskRunContext, get_run_context

def tell(line):
    print(line, flush=True)

def ids():
    context = TaskRunContext.get() or FlowRunContext.get()
    run = context.task_run if isinstance(context, TaskRunContext) else context.flow_run
    tell(run.id)

def wait():
    sys.stdin.readline()
"""


class Program:
    """A process that records to the home of the test; ended with its ``with`` block, whatever it does."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "program.py"
        self.file.write_text(HEAD + dedent(text))

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(self.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(os.environ),
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def read(self) -> str:
        """The next line that the program tells."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let the program go on where it waits."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End the program like ``kill -9``."""
        self.process.kill()
        self.process.wait()

    def finish(self) -> int:
        """Wait for the end of the program; its exit code."""
        return self.process.wait(60)
