"""A runner: what it is, and from when to when it takes runs."""

import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mainspring import flow
from mainspring.context import FlowRunContext
from mainspring.task_runners import InlineTaskRunner, TaskRunner, ThreadPoolTaskRunner
from tests.engine.history import task_runs
from tests.engine.stopping import until
from tests.runners import remote
from tests.runners.conformance import tasks
from tests.runners.conformance.kinds import AT_ONCE
from tests.runners.conformance.tasks import Kept, notes, opened_when, value

Runner = TaskRunner[Any]


@pytest.mark.contract("TR-1", "TR-2", "TR-5", "TR-32")
def test_a_runner_is_its_configuration(runner: Runner) -> None:
    """Duplicates and pickles are equal and not started, and each kind is different from the others."""
    assert isinstance(runner, TaskRunner)
    assert runner.name == type(runner).__name__.lower().removesuffix("taskrunner")
    assert runner.logger.name == f"mainspring.task_runner.{runner.name}"
    assert repr(runner).startswith(f"{type(runner).__name__}(")
    with runner:
        for copy in (runner.duplicate(), pickle.loads(cloudpickle.dumps(runner))):
            assert type(copy) is type(runner)
            assert copy == runner
            assert copy is not runner
            with pytest.raises(RuntimeError, match="not started"):
                copy.submit(tasks.add, {"x": 1, "y": 1})
    others = [
        other
        for other in (InlineTaskRunner(), ThreadPoolTaskRunner(AT_ONCE))
        if type(other) is not type(runner)
    ]
    assert all(runner != other and other != runner for other in others)
    assert runner != "a runner"


@pytest.mark.contract("TR-3", "TR-4", "TR-7", "TR-27")
def test_a_runner_is_started_by_its_block(runner: Runner) -> None:
    """It cannot be used before or after, nor be entered twice; it can be entered again."""
    for _ in range(2):
        for submit in (
            lambda: runner.submit(tasks.add, {"x": 1, "y": 1}),
            lambda: runner.map(tasks.add, {"x": [1], "y": 1}),
        ):
            with pytest.raises(RuntimeError, match="not started"):
                submit()
        with runner as entered:
            assert entered is runner
            with pytest.raises(RuntimeError, match="already started"):
                runner.__enter__()
            assert value(runner.submit(tasks.add, {"x": 1, "y": 1})) == 2
    assert len(task_runs()) == 2


def test_a_runner_without_a_flow(runner: Runner) -> None:
    """Its runs belong to no flow run, and are recorded all the same; results are there after the block."""
    with runner:
        futures = [runner.submit(tasks.add, {"x": x, "y": 1}) for x in range(3)]
        for future in futures:
            value(future)
    assert [future.result() for future in futures] == [1, 2, 3]
    assert {run.flow_run_id for run in task_runs()} == {None}
    assert {run.state.name for run in task_runs()} == {"Completed"}


@pytest.mark.contract("F-9", "F-55")
def test_a_flow_uses_a_copy(runner: Runner) -> None:
    """Each run of a flow starts one for itself, and leaves the given one as it is."""
    seen: list[Any] = []

    @flow(task_runner=runner)
    def pipeline() -> int:
        context = FlowRunContext.get()
        assert context is not None
        seen.append(context.task_runner)
        return tasks.add.submit(1).result()  # type: ignore[no-any-return]

    assert pipeline() == pipeline() == 2
    assert all(each == runner and each is not runner for each in seen)
    assert seen[0] is not seen[1]
    with pytest.raises(RuntimeError, match="not started"):
        runner.submit(tasks.add, {"x": 1, "y": 1})


@pytest.mark.contract("TR-16", "F-55", "T-50")
@pytest.mark.needs("at_once")
@pytest.mark.parametrize("fails", [False, True])
def test_leaving_the_block(runner: Runner, tmp_path: Path, fails: bool) -> None:
    """What has begun is waited for; what waits for its turn or its inputs is Cancelled, and has no run."""
    futures = Kept()
    try:
        with (
            opened_when(
                tmp_path / "go", lambda: futures and all(each.is_done() for each in futures[AT_ONCE:])
            ),
            runner,
        ):
            started = [
                runner.submit(tasks.begin_and_wait, {"folder": tmp_path, "name": name, "go": "go"})
                for name in range(AT_ONCE)
            ]
            until(lambda: len(notes(tmp_path)) == AT_ONCE)
            queued = [runner.submit(tasks.note_down, {"folder": tmp_path, "what": x}) for x in range(3)]
            blocked = runner.submit(tasks.note_down, {"folder": tmp_path, "what": started[0]})
            mapped = runner.map(tasks.note_down, {"folder": [tmp_path] * 3, "what": "mapped"})
            futures.extend([*started, *queued, blocked, *mapped])
            if fails:
                raise LookupError("left early")
    except LookupError:
        assert fails
    names = [future.state.name for future in futures]
    assert names == ["Completed"] * AT_ONCE + ["Cancelled"] * 7
    assert len(notes(tmp_path)) == 2 * AT_ONCE
    assert [run.state.name for run in task_runs()] == ["Completed"] * AT_ONCE


@pytest.mark.contract("TR-16")
@pytest.mark.needs("at_once", "whole_runs")
def test_leaving_tells_what_goes_on(runner: Runner, tmp_path: Path) -> None:
    """A task that asks is told that its runner is left."""
    with runner:
        future = runner.submit(remote.wait_for_cancellation, {"folder": tmp_path})
        until((tmp_path / "begun").exists)
    assert future.result() is True


@pytest.mark.contract("TR-16", "F-55")
@pytest.mark.needs("at_once")
def test_a_flow_that_ends_before_its_tasks(runner: Runner, tmp_path: Path) -> None:
    """What has begun is waited for, so the run of the flow ends last; what has not begun never does."""
    futures = Kept()

    @flow(task_runner=runner)
    def pipeline() -> None:
        first = tasks.begin_and_wait.submit(tmp_path, "first")
        until(lambda: len(notes(tmp_path)) == 1)
        futures.extend([first, tasks.note_down.submit(tmp_path, first)])

    with opened_when(tmp_path / "go", lambda: futures and futures[1].is_done()):
        pipeline()
    assert [future.state.name for future in futures] == ["Completed", "Cancelled"]
    assert notes(tmp_path) == ["begin first", "end first"]


def test_two_runners_at_once(runner: Runner) -> None:
    """Runners of one kind do not disturb each other, whichever is left first."""
    other = runner.duplicate()
    with runner:
        with other:
            futures = [each.submit(tasks.add, {"x": 1, "y": 1}) for each in (runner, other)]
            assert [value(future) for future in futures] == [2, 2]
        assert value(runner.submit(tasks.add, {"x": 2, "y": 1})) == 3
