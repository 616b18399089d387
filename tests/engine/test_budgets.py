"""How much time runs have: over all attempts, inside of each other, and in other threads and processes."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mainspring import clock, flow, task
from mainspring.cancellation import remaining_time
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.task_runners import ProcessPoolTaskRunner
from tests.engine.clocks import JumpingClock
from tests.engine.history import messages, only_task_run, sequence, task_runs
from tests.engine.scenarios import BoomError
from tests.runners.remote import time_left

PATIENCE = 20.0


def in_thread(body: Callable[[], Any]) -> Any:
    """What something comes to in another thread."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(body()))
    thread.start()
    thread.join(PATIENCE)
    (result,) = results
    return result


# Options


@pytest.mark.parametrize("kind", [task, flow])
@pytest.mark.parametrize("option", ["timeout_seconds", "retry_timeout_seconds"])
@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), -float("inf")])
def test_limits_that_are_none(kind: Any, option: str, value: float) -> None:
    """A negative limit, or one that is no number, is refused where it is given."""
    with pytest.raises(ValueError, match=option):
        kind(name="work", **{option: value})(lambda: None)


@pytest.mark.parametrize("option", ["timeout_seconds", "retry_timeout_seconds"])
@pytest.mark.parametrize("value", [0, 0.0, None])
def test_no_limit(option: str, value: Any) -> None:
    """Zero and None are no limit."""

    @task(**{option: value})
    def work() -> float | None:
        return remaining_time()

    assert work() is None


# All attempts together


@pytest.mark.parametrize("is_async", [False, True])
def test_the_budget_of_all_attempts(is_async: bool) -> None:
    """A retry that would begin when the time is over is not granted, and the run fails with its own error."""
    at = []

    def body() -> None:
        at.append((time_now.time - began) / 1e6)
        raise BoomError

    async def abody() -> None:
        body()

    options: dict[str, Any] = {"retries": 10, "retry_delay_seconds": 10, "retry_timeout_seconds": 35}
    work: Any = task(**options)(abody if is_async else body)
    time_now = JumpingClock()
    began = time_now.time
    with clock.use_clock(time_now), pytest.raises(BoomError):
        asyncio.run(work()) if is_async else work()
    assert at == pytest.approx([0, 10, 20, 30], abs=0.01)
    assert only_task_run().state.name == "Failed"
    (line,) = [each for each in messages() if each.startswith("Task run failed with exception")]
    assert line.splitlines()[0].endswith("No time is left for a retry")


def test_an_attempt_gets_what_is_left_of_the_budget() -> None:
    """Of the limit of the attempt and the rest of the budget it is the shorter that counts."""
    left = []

    @task(retries=3, retry_delay_seconds=10, timeout_seconds=50, retry_timeout_seconds=75)
    def work() -> None:
        left.append(remaining_time())
        time_now.advance(20)
        raise BoomError

    time_now = JumpingClock()
    with clock.use_clock(time_now), pytest.raises(BoomError):
        work()
    assert [round(seconds or 0) for seconds in left] == [50, 45, 15]


def test_a_budget_that_is_used_up_is_the_end() -> None:
    """An attempt that the budget ends is not followed by another one, and the state says what has ended it."""
    calls = []

    @task(retries=5, retry_timeout_seconds=0.1)
    def work() -> None:
        calls.append(1)
        time.sleep(PATIENCE)

    with pytest.raises(TaskRunTimeoutError):
        work()
    assert calls == [1]
    run = only_task_run()
    assert run.state.name == "TimedOut"
    assert run.state.message == "Task run exceeded the 0.1 second(s) that all attempts together may take"
    assert sequence() == "Pending Running TimedOut"


def test_a_budget_of_a_submitted_run() -> None:
    """It spans the threads that make the attempts."""
    block = threading.Event()
    left = []

    @task(retries=9, timeout_seconds=0.2, retry_timeout_seconds=0.5)
    def work() -> None:
        left.append(remaining_time() or 0)
        block.wait(PATIENCE)

    @flow
    def around() -> None:
        future = work.submit()
        with pytest.raises(TaskRunTimeoutError):
            future.result(timeout=PATIENCE)
        block.set()

    around()
    assert 1 <= len(left) <= 3
    assert all(seconds <= 0.2 for seconds in left)
    assert only_task_run().state.name == "TimedOut"


def test_the_budget_of_a_flow() -> None:
    """It holds for flows, too."""
    time_now = JumpingClock()
    calls = []

    @flow(retries=5, retry_delay_seconds=10, retry_timeout_seconds=25)
    def work() -> None:
        calls.append(remaining_time())
        raise BoomError

    with clock.use_clock(time_now), pytest.raises(BoomError):
        work()
    assert [round(seconds or 0) for seconds in calls] == [25, 15, 5]


# Inside of each other


def test_remaining_time_outside_of_runs() -> None:
    """There is no limit there."""
    assert remaining_time() is None


@pytest.mark.parametrize("place", ["called", "submitted", "in a thread", "subflow", "async"])
def test_a_child_has_no_more_time_than_its_parent(place: str) -> None:
    """Its own limit of an hour counts for nothing inside of a limit of a minute, wherever it runs."""

    def body() -> float | None:
        return remaining_time()

    async def abody() -> float | None:
        return remaining_time()

    patient: Any = (flow if place == "subflow" else task)(name="patient", timeout_seconds=3600)(
        abody if place == "async" else body
    )

    @flow(timeout_seconds=60)
    def around() -> Any:
        if place == "submitted":
            return patient.submit().result()
        if place == "async":
            return asyncio.run(patient())
        if place == "in a thread":
            context = contextvars.copy_context()
            return in_thread(lambda: context.run(patient))
        return patient()

    left = around()
    assert left is not None
    assert 0 < left <= 60


def test_a_child_in_another_process_has_no_more_time_than_its_parent() -> None:
    """What is left is told to the worker process with the run."""

    @flow(timeout_seconds=60, task_runner=ProcessPoolTaskRunner(max_workers=1))
    def around() -> Any:
        return [
            each.submit().result(timeout=3 * PATIENCE)
            for each in (time_left, time_left.with_options(timeout_seconds=3600))
        ]

    for left in around():
        assert left is not None
        assert 0 < left <= 60


def test_a_limit_beyond_that_of_the_parent_in_another_thread() -> None:
    """The child has timed out with its parent, and the state says whose time was over."""
    block = threading.Event()

    @task(name="patient", timeout_seconds=3600, retries=3)
    def patient() -> None:
        block.wait(PATIENCE)

    @flow(timeout_seconds=0.3)
    def around() -> None:
        patient.submit().wait()

    assert around(return_state=True).name == "TimedOut"
    block.set()
    (run,) = task_runs()
    assert run.state.is_final()
    assert run.run_count == 1
    if run.state.name == "TimedOut":  # else the cancellation by the flow was quicker
        assert "left to the run around it" in (run.state.message or "")


def test_remaining_time_is_none_of_the_childs_business_afterwards() -> None:
    """A limit of a child does not shorten the time of its parent."""

    @task(timeout_seconds=1)
    def inner() -> None: ...

    @task(timeout_seconds=60)
    def outer() -> float:
        inner()
        left = remaining_time()
        assert left is not None
        return left

    assert 30 < outer() <= 60
