"""Flow runs that are gone on with: what was committed is not done again, wherever it ran."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mainspring import aresume_flow_run, flow, resume_flow_run, task, unmapped
from mainspring.cache_policies import NO_CACHE
from mainspring.runtime import task_run
from mainspring.task_runners import TaskRunner
from tests.engine.history import only_flow_run, sequence, task_runs
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import notes

Runner = TaskRunner[Any]


def run_to_its_end(pipeline: Any) -> None:
    """Call a flow that does not end well."""
    try:
        pipeline()
    except (ConnectionError, SystemExit):
        return
    raise AssertionError("nothing was broken")


@pytest.mark.contract("F-60", "F-62")
@pytest.mark.parametrize("end", ["Failed", "Crashed"])
def test_committed_steps_are_not_run_again(runner: Runner, tmp_path: Path, end: str) -> None:
    """Those that were submitted and mapped neither; what had failed is, and the results are those of the first time."""

    @flow(persist_result=True, task_runner=runner)
    def pipeline() -> Any:
        first = tasks.step.submit(tmp_path, "first")
        mapped = tasks.step.map(unmapped(tmp_path), ["a", "b", "a"])
        done = [first.result(), *mapped.result()]
        if end == "Crashed" and not (tmp_path / "mended").exists():
            raise SystemExit(1)
        return [*done, tasks.step.submit(tmp_path, "last").result()]

    run_to_its_end(pipeline)
    assert only_flow_run().state.name == end
    (tmp_path / "mended").touch()
    assert resume_flow_run(only_flow_run().id, flow=pipeline) == ["first", "a", "b", "a", "last"]
    lines = notes(tmp_path)
    assert sorted(lines[:4]) == ["a", "a", "b", "first"]
    assert lines[4:] == (["last"] if end == "Crashed" else ["last", "last"])
    assert only_flow_run().run_count == 2


@pytest.mark.contract("F-60")
def test_a_map_goes_on_where_it_stopped(runner: Runner, tmp_path: Path) -> None:
    """Of its elements only those are run again that did not complete."""

    @flow(persist_result=True, task_runner=runner)
    def pipeline() -> Any:
        futures = tasks.step.map(unmapped(tmp_path), ["a", "last", "b", "c"])
        futures.wait()
        return futures.result()

    run_to_its_end(pipeline)
    assert sorted(notes(tmp_path)) == ["a", "b", "c", "last"]
    (tmp_path / "mended").touch()
    assert resume_flow_run(only_flow_run().id, flow=pipeline) == ["a", "last", "b", "c"]
    assert sorted(notes(tmp_path)) == ["a", "b", "c", "last", "last"]


@pytest.mark.contract("F-60", "TX-28")
def test_steps_inside_of_tasks(runner: Runner, tmp_path: Path) -> None:
    """Those of a task that completed are not run again; those of one that failed are, as they were rolled back."""

    @task
    def around(name: str) -> Any:
        return [tasks.step(tmp_path, f"inside {name}"), tasks.step.submit(tmp_path, name).result()]

    @flow(persist_result=True, task_runner=runner)
    def pipeline() -> Any:
        return [*around.submit("first").result(), *around.submit("last").result()]

    run_to_its_end(pipeline)
    (tmp_path / "mended").touch()
    expected = ["inside first", "first", "inside last", "last"]
    assert resume_flow_run(only_flow_run().id, flow=pipeline) == expected
    assert notes(tmp_path) == [*expected, "inside last", "last"]


@pytest.mark.contract("F-60")
def test_equal_steps_keep_their_order(runner: Runner, tmp_path: Path) -> None:
    """The n-th of equal elements gets what the n-th had come to, whichever began first."""

    @task(cache_policy=NO_CACHE)
    def ticket(x: str) -> str:
        return f"{x}{task_run.id}"

    results: list[Any] = []

    @flow(persist_result=True, task_runner=runner)
    def pipeline() -> None:
        mapped = ticket.map(["a", "b", "a", "a"] * 3).result()
        results.append([*mapped, *(ticket.submit("a").result() for _ in range(2))])
        if len(results) == 1:
            raise ConnectionError("the first time")

    run_to_its_end(pipeline)
    resume_flow_run(only_flow_run().id, flow=pipeline)
    assert len(set(results[0])) == 14
    assert results[1] == results[0]


@pytest.mark.contract("F-60")
def test_an_async_flow(runner: Runner, tmp_path: Path) -> None:
    """Its submitted steps are not run again either."""

    @flow(persist_result=True, task_runner=runner)
    async def pipeline() -> Any:
        done = await tasks.step.map(unmapped(tmp_path), ["a", "b"])
        return [*done, await tasks.step.submit(tmp_path, "last")]

    run_to_its_end(lambda: asyncio.run(pipeline()))
    (tmp_path / "mended").touch()
    assert asyncio.run(aresume_flow_run(only_flow_run().id, flow=pipeline)) == ["a", "b", "last"]
    assert sorted(notes(tmp_path)) == ["a", "b", "last", "last"]


@pytest.mark.contract("F-60")
def test_a_retry_of_the_flow(runner: Runner, tmp_path: Path) -> None:
    """It is answered from what was kept in the attempt before, where the task has a key for it."""

    @flow(persist_result=True, retries=1, task_runner=runner)
    def pipeline() -> Any:
        done = tasks.note_once.submit(tmp_path, 1).result()
        if not (tmp_path / "mended").exists():
            (tmp_path / "mended").touch()
            raise ConnectionError("the first time")
        return done

    assert pipeline() == 2
    assert notes(tmp_path) == ["1"]
    assert [sequence(run).split()[-1] for run in task_runs()] == ["Completed", "Cached"]
