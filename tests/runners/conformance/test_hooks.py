"""Hooks and transactions of submitted tasks."""

from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.task_runners import TaskRunner
from mainspring.transactions import transaction
from tests.engine.history import sequence, task_runs
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import note, notes, settled, value

Runner = TaskRunner[Any]


def noting(folder: Path, name: str) -> Any:
    """A hook that notes what it is told."""

    def hook(task_: Any, run: Any, state: Any) -> None:
        note(folder, f"{name}: {task_.name} {run.run_count} {state.name}")

    return hook


@pytest.mark.contract("H-1", "H-2", "H-4")
def test_hooks_are_called_once_and_in_order(pool: Runner, tmp_path: Path) -> None:
    """Those for running before the function, those for the end after it; each sees task, run and state."""
    hooks = {name: [noting(tmp_path, name)] for name in ("on_running", "on_completion", "on_failure")}
    value(pool.submit(tasks.note_down.with_options(**hooks), {"folder": tmp_path, "what": "work"}))
    assert notes(tmp_path) == [
        "on_running: note_down 1 Running",
        "work",
        "on_completion: note_down 1 Completed",
    ]


@pytest.mark.contract("H-1", "H-5")
def test_hooks_of_a_task_that_is_retried(pool: Runner, tmp_path: Path) -> None:
    """Those for a failure are called at the end only, those for running for each attempt."""
    hooks = {name: [noting(tmp_path, name)] for name in ("on_running", "on_completion", "on_failure")}
    failing = tasks.fail_until.with_options(retries=1, **hooks)
    assert settled(pool.submit(failing, {"folder": tmp_path, "attempt": 9})) == "Failed"
    assert [line for line in notes(tmp_path) if line.startswith("on_")] == [
        "on_running: fail_until 1 Running",
        "on_running: fail_until 2 Retrying",
        "on_failure: fail_until 2 Failed",
    ]


@pytest.mark.contract("H-3", "X-24")
def test_async_hooks_and_those_that_raise(pool: Runner, tmp_path: Path) -> None:
    """Async hooks are awaited; one that raises is logged, and changes nothing."""

    async def later(task_: Any, run: Any, state: Any) -> None:
        note(tmp_path, f"later {state.name}")

    def broken(task_: Any, run: Any, state: Any) -> None:
        raise LookupError("a hook")

    hooked = tasks.add.with_options(on_completion=[broken, later])
    assert value(pool.submit(hooked, {"x": 1, "y": 1})) == 2
    assert notes(tmp_path) == ["later Completed"]


@pytest.mark.contract("H-1")
def test_the_history_that_hooks_see(pool: Runner, tmp_path: Path) -> None:
    """The final state is on disk before completion hooks are called, and the result is in it."""

    def look(task_: Any, run: Any, state: Any) -> None:
        note(tmp_path, " ".join([sequence(run), str(state.result())]))

    value(pool.submit(tasks.add.with_options(on_completion=[look]), {"x": 1, "y": 1}))
    assert notes(tmp_path) == ["Pending Running Completed 2"]


@pytest.mark.contract("H-2")
@pytest.mark.needs("survives_deaths")
def test_hooks_for_a_death_are_called_here(pool: Runner, tmp_path: Path) -> None:
    """The process of the task cannot call them any more, so the submitter does, once."""
    told: list[str] = []

    def die() -> None:
        import os

        os.kill(os.getpid(), 9)

    dying = task(die, on_crashed=[lambda task, run, state: told.append(state.name)])
    assert settled(pool.submit(dying, {})) == "Crashed"
    assert told == ["Crashed"]


# Transactions


@pytest.mark.contract("TX-26")
@pytest.mark.needs("whole_runs")
def test_a_task_commits(pool: Runner, tmp_path: Path) -> None:
    """Its commit hooks are called once, after its function, with the values that this has set."""
    assert value(pool.submit(tasks.reserve, {"folder": tmp_path})) == "reserved"
    assert notes(tmp_path) == ["reserve", "commit"]


@pytest.mark.contract("TX-28")
def test_a_transaction_inside_of_a_task(pool: Runner, tmp_path: Path) -> None:
    """What it calls in a block that fails is rolled back, by its own hooks, and recorded as RolledBack."""
    assert settled(pool.submit(tasks.reserve_and_fail, {"folder": tmp_path})) == "Failed"
    assert notes(tmp_path) == ["reserve", "rollback"]
    assert sequence(task_runs("reserve")[0]) == "Pending Running Completed RolledBack"


@pytest.mark.contract("TX-28", "TR-14")
@pytest.mark.needs("in_this_process")
def test_a_transaction_around_a_submitted_task(runner: Runner, tmp_path: Path) -> None:
    """The task is part of it: it is rolled back with the block."""

    @flow(task_runner=runner)
    def pipeline() -> None:
        with transaction():
            tasks.reserve.submit(tmp_path).wait()
            raise LookupError("not enough money")

    pipeline(return_state=True)
    assert notes(tmp_path) == ["reserve", "rollback"]
    assert sequence() == "Pending Running Completed RolledBack"


@pytest.mark.needs("travels", "whole_runs")
def test_a_transaction_stays_behind(runner: Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A task that runs elsewhere commits by itself, and a warning says so, once."""
    with runner, transaction() as around:
        for _ in range(2):
            value(runner.submit(tasks.reserve, {"folder": tmp_path}))
        around.rollback()
    assert notes(tmp_path) == ["reserve", "commit"] * 2
    assert caplog.text.count("commit by themselves") == 1
