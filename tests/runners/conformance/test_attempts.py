"""Attempts: retries, deaths and time limits."""

import os
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, runtime, task
from mainspring.task_runners import TaskRunner
from tests.engine.history import only_task_run, sequence, states_of, task_runs
from tests.runners import remote
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import note, notes, settled, value
from tests.runners.making import eventually

Runner = TaskRunner[Any]


@pytest.mark.contract("E-90", "T-120")
def test_retries(pool: Runner, tmp_path: Path) -> None:
    """Attempts go on until one succeeds, under one id; each knows its number, and the run counts them."""
    future = pool.submit(tasks.fail_until, {"folder": tmp_path, "attempt": 3})
    assert value(future) == 3
    assert notes(tmp_path) == ["attempt 1", "attempt 2", "attempt 3"]
    assert sequence() == "Pending Running Retrying Retrying Completed"
    run = only_task_run()
    assert (run.run_count, run.id) == (3, future.task_run_id)


@pytest.mark.contract("E-90")
def test_retries_that_are_used_up(pool: Runner, tmp_path: Path) -> None:
    """After the last one the run is Failed, with the last exception."""
    future = pool.submit(
        tasks.fail_until.with_options(retries=1, retry_delay_seconds=0), {"folder": tmp_path, "attempt": 9}
    )
    with pytest.raises(ConnectionError, match="attempt 2"):
        value(future)
    assert sequence() == "Pending Running Retrying Failed"
    assert only_task_run().run_count == 2


@pytest.mark.contract("E-91", "T-123")
def test_retries_after_a_delay(pool: Runner, tmp_path: Path) -> None:
    """Between the attempts the run is AwaitingRetry."""
    delayed = tasks.fail_until.with_options(retry_delay_seconds=[0.01, 0.02])
    assert value(pool.submit(delayed, {"folder": tmp_path, "attempt": 3})) == 3
    assert sequence() == "Pending Running AwaitingRetry Retrying AwaitingRetry Retrying Completed"


@pytest.mark.contract("T-126", "E-92")
def test_a_retry_condition(pool: Runner, tmp_path: Path) -> None:
    """It is asked for each failed attempt with task, run and state, and what it says is done."""

    def once(task_: Any, run: Any, state: Any) -> bool:
        note(tmp_path, f"asked {task_.name} {run.run_count} {state.name}")
        return bool(run.run_count == 1)

    asking = tasks.fail_until.with_options(retry_condition_fn=once)
    assert settled(pool.submit(asking, {"folder": tmp_path, "attempt": 9})) == "Failed"
    assert [line for line in notes(tmp_path) if line.startswith("asked")] == [
        "asked fail_until 1 Failed",
        "asked fail_until 2 Failed",
    ]
    assert only_task_run().run_count == 2


@pytest.mark.contract("E-73", "S-39")
@pytest.mark.needs("survives_deaths", "whole_runs")
def test_a_death_costs_an_attempt(pool: Runner, tmp_path: Path) -> None:
    """Its run is Crashed, or attempted again if a retry is left; the others complete."""
    futures = pool.map(remote.die_if, {"victim": 3, "x": range(6)})
    assert [settled(future) for future in futures] == ["Completed"] * 3 + ["Crashed"] + ["Completed"] * 2
    retried = pool.submit(remote.die_once, {"folder": tmp_path, "x": 3, "victim": 3, "after": 0})
    assert value(retried) == 3
    run = task_runs("die_once")[0]
    assert (run.id, run.run_count) == (retried.task_run_id, 2)
    assert sequence(run).startswith("Pending Running AwaitingRetry Retrying Completed")


@pytest.mark.contract("E-73")
@pytest.mark.needs("survives_deaths")
def test_attempts_for_deaths_alone(pool: Runner, tmp_path: Path) -> None:
    """``retry_on_crash`` is for them, and leaves the retries to failures."""

    @task(retries=1, retry_on_crash=2)
    def fragile() -> int:
        count = runtime.task_run.run_count
        note(tmp_path, count)
        if count in (1, 3):
            os.kill(os.getpid(), 9)
        if count == 2:
            raise ConnectionError
        return int(count)

    assert value(pool.submit(fragile, {})) == 4
    assert notes(tmp_path) == ["1", "2", "3", "4"]
    assert only_task_run().run_count == 4


@pytest.mark.contract("E-70", "X-1")
@pytest.mark.parametrize("work", [tasks.sleep, tasks.asleep, tasks.compute], ids=lambda work: work.name)
def test_a_time_limit(pool: Runner, work: Any) -> None:
    """A task that sleeps, awaits or computes for longer is TimedOut, which is a TimeoutError, and its code ends."""
    future = pool.submit(work.with_options(timeout_seconds=0.2), {"seconds": tasks.LIMIT})
    with pytest.raises(TimeoutError):
        value(future)
    assert (future.state.name, sequence()) == ("TimedOut", "Pending Running TimedOut")
    assert value(pool.submit(tasks.add, {"x": 1, "y": 1})) == 2


@pytest.mark.contract("E-70", "X-1")
@pytest.mark.parametrize("work", [tasks.sleep_and_note, tasks.asleep_and_note], ids=lambda work: work.name)
def test_a_time_limit_ends_the_code(pool: Runner, tmp_path: Path, work: Any) -> None:
    """The function is interrupted wherever it runs, or its worker killed, and gives back what it runs on."""
    assert settled(pool.submit(work.with_options(timeout_seconds=1), {"folder": tmp_path})) == "TimedOut"
    pid, *_ = notes(tmp_path)
    # A worker that takes a moment too long, as it may on a loaded machine, is killed.
    assert eventually(lambda: len(notes(tmp_path)) == 2 or not Path(f"/proc/{pid}").exists())
    assert notes(tmp_path)[1:] in ([], ["TaskRunTimeoutError"], ["CancelledError"])


@pytest.mark.contract("E-70")
def test_a_time_limit_of_each_attempt(pool: Runner) -> None:
    """An attempt that was timed out is followed by the next one, which has all of its time again."""

    @task(timeout_seconds=1, retries=1)
    def quick_at_last() -> int:
        if runtime.task_run.run_count == 1:
            tasks.sleep.fn(tasks.LIMIT)
        return int(runtime.task_run.run_count)

    assert value(pool.submit(quick_at_last, {})) == 2
    # A worker that does not end in time is lost, and whoever goes on with a lost run waits for its time.
    names = [state.name for state in states_of(only_task_run()) if state.name != "AwaitingRetry"]
    assert names[1:] == ["Running", "Retrying", "Completed"]


@pytest.mark.contract("E-70", "X-2")
@pytest.mark.needs("interrupts_calls")
def test_a_time_limit_interrupts_a_call(pool: Runner, tmp_path: Path) -> None:
    """A call that blocks in the system ends at the deadline."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    future = pool.submit(tasks.block.with_options(timeout_seconds=0.2), {"fifo": fifo})
    assert settled(future) == "TimedOut"
    assert value(pool.submit(tasks.add, {"x": 1, "y": 1})) == 2


@pytest.mark.contract("E-70", "F-43")
def test_a_time_limit_of_the_flow(runner: Runner) -> None:
    """It ends the tasks as well."""

    @flow(task_runner=runner, timeout_seconds=1)
    def pipeline() -> None:
        tasks.sleep.submit(tasks.LIMIT).wait()

    with pytest.raises(TimeoutError):
        pipeline()
    assert all(run.state.is_final() for run in task_runs())


@pytest.mark.contract("E-70")
def test_the_time_that_is_left(pool: Runner) -> None:
    """A task can ask for it."""
    left = value(pool.submit(remote.time_left.with_options(timeout_seconds=60), {}))
    assert 0 < left <= 60
    assert value(pool.submit(remote.time_left, {})) is None
