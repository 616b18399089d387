"""Nothing keeps running once the run tree is shown as cancelled: a tree of hundreds of runs, cancelled from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainspring.client import Client, open_client
from mainspring.filters import ALL
from mainspring.runs import FlowRun, TaskRun

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds that a slow machine may take for what takes a moment."""

THREADS, COROUTINES, PROCESSES, ISOLATED = 200, 296, 2, 2


@contextmanager
def tree(folder: Path, *counts: int) -> Iterator[subprocess.Popen[str]]:
    """The program, running in the folder of the database; killed at the end of the block."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    folder.mkdir(exist_ok=True)
    with (
        (folder / "stderr").open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.trees", *map(str, counts)],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": paths,
                "MAINSPRING_TASKS_RUNNER_ISOLATION_MAX_WORKERS": str(counts[-1]),
            },
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], what: str, folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        problems = (folder / "stderr").read_text()
        assert time.monotonic() < end, f"{what} did not happen in {PATIENCE} seconds. {problems}"
        time.sleep(0.02)


def beats(folder: Path) -> dict[str, list[int]]:
    """The signs of life of each task, by the id of its run."""
    found = {each.name: each.read_text().splitlines() for each in (folder / "beats").iterdir()}
    return {name: [int(line) for line in lines] for name, lines in found.items()}


def inside(client: Client) -> tuple[list[FlowRun], list[TaskRun]]:
    return client.read_flow_runs(limit=ALL), client.read_task_runs(limit=ALL)


@pytest.mark.timeout(4 * PATIENCE)
def test_a_tree_of_threads_coroutines_and_processes(mainspring_home: Path) -> None:
    """Every task is silent from the moment on in which the root is Cancelled, and every run has said so before."""
    count = THREADS + COROUTINES + PROCESSES + ISOLATED
    with tree(mainspring_home, THREADS, COROUTINES, PROCESSES, ISOLATED) as process:
        assert process.stdout is not None
        _, run_id = process.stdout.readline().split()
        begun = mainspring_home / "beats"
        until(lambda: len(list(begun.iterdir())) == count, "the beginning of all tasks", mainspring_home)
        with open_client() as client:
            root = client.cancel_run(run_id, "no longer needed", timeout=PATIENCE)
            assert (root.state.name, root.state.message) == ("Cancelled", "no longer needed")
            time.sleep(1)
            before = beats(mainspring_home)
            out, _ = process.communicate(timeout=PATIENCE)
            assert beats(mainspring_home) == before
            flow_runs, task_runs = inside(client)
            states = [state.name for state in client.read_flow_run_states(root.id)]
    assert process.returncode == 0, (mainspring_home / "stderr").read_text()
    assert out.splitlines()[0] == "cancelled no longer needed"
    assert root.ended_at is not None
    assert states == ["Pending", "Running", "Cancelling", "Cancelled"]
    late = {name: times[-1] - root.ended_at for name, times in before.items() if times[-1] > root.ended_at}
    assert not late
    assert len(flow_runs) == 5
    assert len(task_runs) == count + 4  # four of them stand for subflows
    assert all(run.ended_at is not None and run.ended_at <= root.ended_at for run in [*flow_runs, *task_runs])
    assert {run.state.name for run in [*flow_runs, *task_runs]} == {"Cancelled"}
    told = (mainspring_home / "hooks").read_text().split("\n")[:-1]
    hooked = [run for run in [*flow_runs, *task_runs] if run.state.state_details.child_flow_run_id is None]
    assert sorted(told) == sorted(f"{run.id} Cancelled" for run in hooked)
