"""Runs in pools that are cancelled: nothing begins any more, what has begun ends, and the pool is as good as before."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring._cancel_scopes import live
from mainspring.cancellation import is_cancelled
from mainspring.exceptions import CancelledRun, RunCancelled
from mainspring.runtime import flow_run
from mainspring.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from tests.engine.history import only_flow_run, task_runs
from tests.engine.stopping import PATIENCE, Canceller, linger, until


@task
def cooperative(folder: Path, number: int) -> None:
    """Go on in a worker process until it is told to stop."""
    (folder / str(number)).touch()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if is_cancelled():
            raise RunCancelled("as asked")
        time.sleep(0.01)


@flow(task_runner=ProcessPoolTaskRunner(2))
def in_processes(folder: Path) -> None:
    for future in [cooperative.submit(folder, number) for number in range(4)]:
        future.wait()


def test_a_pool_goes_on_after_a_task_was_cancelled() -> None:
    """The one thread that there is takes the next task."""
    canceller = Canceller()

    @task
    def work() -> None:
        linger(canceller.begin)

    @task
    def other(number: int) -> int:
        return number

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def around() -> tuple[str, list[int]]:
        first = work.submit()
        others = [other.submit(number) for number in range(5)]
        return (first.wait() or first.state.name), [future.result() for future in others]

    with canceller.at_work():
        assert around() == ("Cancelled", [0, 1, 2, 3, 4])


def test_an_open_map() -> None:
    """A map over an endless iterator ends with its flow; no element begins after that."""
    canceller = Canceller()
    begun: list[int] = []

    def numbers() -> Any:
        number = 0
        while True:
            yield number
            number += 1

    @task
    def work(number: int, run_id: str) -> None:
        begun.append(number)
        if number == 5:
            canceller.begin(run_id)

    @flow(task_runner=ThreadPoolTaskRunner(2))
    def around() -> None:
        for future in work.map(numbers(), str(flow_run.id)):
            future.wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    count = len(begun)
    time.sleep(0.3)
    assert len(begun) == count
    assert all(run.state.is_final() for run in task_runs())


def test_a_map_of_more_than_goes_on_at_a_time() -> None:
    """Of a long map only what is under way has to be stopped; all futures end."""
    canceller = Canceller()
    begun: list[int] = []
    futures: list[Any] = []

    @task
    def work(number: int, run_id: str) -> None:
        begun.append(number)
        linger(lambda: canceller.begin(run_id) if len(begun) == 4 else None)

    @flow(task_runner=ThreadPoolTaskRunner(4))
    def around() -> None:
        futures.extend(work.map(range(200), str(flow_run.id)))
        futures[-1].wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    assert len(begun) == 4
    assert {future.state.name for future in futures} == {"Cancelled"}
    assert len(task_runs()) == 4


def test_what_waits_for_inputs_does_not_begin() -> None:
    """A run that waits for another one's result without a thread ends with it."""
    canceller = Canceller()
    futures: list[Any] = []

    @task
    def first(run_id: str) -> None:
        linger(lambda: canceller.begin(run_id))

    @task
    def second(_: Any) -> None:
        raise AssertionError

    @flow
    def around() -> None:
        future = first.submit(str(flow_run.id))
        futures.extend([future, second.submit(future), second.submit(future)])
        for each in futures:
            each.wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    assert [future.state.name for future in futures] == ["Cancelled"] * 3
    assert len(task_runs()) == 1


def test_a_runner_of_its_own() -> None:
    """Leaving a runner that the code has made waits for its threads, and nothing interrupts that."""
    canceller = Canceller()
    ended: list[int] = []

    @task
    def stuck(run_id: str) -> None:
        canceller.begin(run_id)
        time.sleep(1)  # in a thread, nothing interrupts it
        ended.append(time.time_ns() // 1000)

    @flow
    def around() -> None:
        with ThreadPoolTaskRunner(1) as runner:
            runner.submit(stuck, {"run_id": str(flow_run.id)}).wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    run, (inner,) = only_flow_run(), task_runs()
    assert inner.state.name == "Cancelled"
    assert inner.ended_at is not None
    assert run.ended_at is not None
    assert inner.ended_at <= run.ended_at


@pytest.mark.slow
def test_worker_processes(tmp_path: Path) -> None:
    """Tasks in worker processes are told when their runner is left, and end before the flow is Cancelled."""
    canceller = Canceller()

    def look() -> None:
        until(lambda: sum(1 for _ in tmp_path.glob("[0-9]")) >= 2)
        canceller.begin(only_flow_run().id)

    looker = threading.Thread(target=look)
    looker.start()
    with canceller.at_work(), pytest.raises(CancelledRun):
        in_processes(tmp_path)
    looker.join()
    root = only_flow_run()
    assert root.ended_at is not None
    assert root.state.name == "Cancelled"
    inner = task_runs()
    assert all(run.state.is_final() and (run.ended_at or 0) <= root.ended_at for run in inner)
    assert sum(1 for _ in tmp_path.glob("[0-9]")) == 2


def test_nothing_is_left_of_queued_runs() -> None:
    """Runs that never began leave no scope, and their threads end."""
    canceller = Canceller()
    before, scopes = set(threading.enumerate()), set(live)

    @task
    def work(run_id: str) -> None:
        linger(lambda: canceller.begin(run_id))

    @flow(task_runner=ThreadPoolTaskRunner(2))
    def around() -> None:
        futures = [work.submit(str(flow_run.id)) for _ in range(100)]
        futures[0].wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    assert set(live) <= scopes
    until(
        lambda: (
            not [each for each in threading.enumerate() if "threadpool" in each.name and each not in before]
        )
    )
