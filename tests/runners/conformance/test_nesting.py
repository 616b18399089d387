"""Tasks that call, submit and map others, and flows in tasks."""

from typing import Any

import pytest

from mainspring import flow, tags, task
from mainspring.runs import TaskRunResult
from mainspring.task_runners import TaskRunner
from tests.engine.history import flow_runs, only_flow_run, task_runs
from tests.runners import remote
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import value

Runner = TaskRunner[Any]


@pytest.mark.contract("TR-30", "T-47")
def test_nested_submits(runner: Runner) -> None:
    """Each of 33 tasks submits the next one and waits for it, whatever the size of the pool."""

    @flow(task_runner=runner)
    def pipeline() -> Any:
        return tasks.nest.submit(32).result()

    assert pipeline() == 32
    runs = task_runs()
    assert len(runs) == 33
    assert {run.state.name for run in runs} == {"Completed"}
    assert {run.flow_run_id for run in runs} == {only_flow_run().id}


@pytest.mark.contract("T-47")
def test_several_that_wait_for_others(runner: Runner) -> None:
    """More tasks than can go on at a time all submit and wait."""

    @flow(task_runner=runner)
    def pipeline() -> Any:
        return tasks.nest.map([2] * 6).result()

    assert pipeline() == [2] * 6
    assert len(task_runs()) == 18


@pytest.mark.contract("C-21", "T-47")
def test_runs_inside_of_a_run(pool: Runner) -> None:
    """Tasks, flows, submitted and mapped tasks belong to the flow run and to the task, and have its tags."""

    @flow
    def outer() -> Any:
        with tags("outer"):
            return value(pool.submit(remote.call_others, {"x": 2}))

    assert outer() == [3, 4, 3, 3, 3]
    caller, *inner = task_runs()
    assert caller.task_key.startswith("call_others")
    assert len(inner) == 6
    assert all({"inner", "outer"} <= set(run.tags) for run in inner)
    parents = [run for run in inner if run.task_inputs.get("__parents__") == [TaskRunResult(id=caller.id)]]
    assert {run.flow_run_id for run in parents} == {caller.flow_run_id}
    assert len(parents) == 5
    assert {run.state.name for run in task_runs()} == {"Completed"}


@pytest.mark.contract("F-36")
def test_a_flow_in_a_task(pool: Runner) -> None:
    """It is a subflow of the task's flow run, with a task run that stands for it."""

    @flow
    def outer() -> Any:
        return value(pool.submit(tasks.call_flow, {"x": 4}))

    assert outer() == 8
    inner, around = sorted(flow_runs(), key=lambda run: run.parent_task_run_id is None)
    assert inner.flow_name == "double"
    assert around.flow_name == "outer"
    stands_in = next(run for run in task_runs() if run.id == inner.parent_task_run_id)
    assert stands_in.flow_run_id == around.id


@pytest.mark.contract("T-47")
def test_async_tasks_in_async_tasks(pool: Runner) -> None:
    """They are awaited where they are called."""
    assert value(pool.submit(tasks.call_later, {"x": 4})) == 5
    assert len(task_runs()) == 2


@pytest.mark.contract("T-47", "TR-36")
def test_a_map_inside_of_a_task(runner: Runner) -> None:
    """A task that maps and waits gets its results."""

    @flow(task_runner=runner)
    def pipeline() -> Any:
        return tasks.map_inside.map([3, 4]).result()

    assert pipeline() == [[1, 2, 3], [1, 2, 3, 4]]
    assert len(task_runs()) == 9


def test_futures_of_others_in_a_task(runner: Runner) -> None:
    """A future that was resolved for a task can be used in what that submits."""

    @task
    def around(numbers: list[int]) -> Any:
        inner = [tasks.add.submit(number) for number in numbers]
        return tasks.echo.submit(inner).result()

    @flow(task_runner=runner)
    def pipeline() -> Any:
        return around.submit([tasks.add.submit(0), tasks.add.submit(1)]).result()

    assert pipeline() == [2, 3]
    assert len(task_runs()) == 6


@pytest.mark.contract("F-39")
def test_a_subflow_with_submitted_tasks(runner: Runner) -> None:
    """It has a runner of its own, like the one of the flow around it if it names none."""

    @flow
    def inner(x: int) -> Any:
        return tasks.add.map([x, x]).result()

    @flow(task_runner=runner)
    def outer() -> Any:
        return [*inner(1), *tasks.add.map([5]).result()]

    assert outer() == [2, 2, 6]
