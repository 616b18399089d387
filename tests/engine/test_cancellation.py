"""Noticing that a run was cancelled, and hooks for runs that did not end by themselves."""

import asyncio
import threading
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.cancellation import is_cancelled, raise_if_cancelled
from mainspring.exceptions import RunCancelled
from mainspring.states import Cancelled, State
from mainspring.task_engine import run_task
from tests.engine.history import only_task_run, sequence, task_runs


@pytest.mark.contract("W-24")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_can_notice_that_it_is_cancelled(asynchronous: bool) -> None:
    """Code that goes on for long asks, and leaves the run, which crashes."""
    event = threading.Event()
    seen = []

    def body() -> None:
        seen.append(is_cancelled())
        event.set()
        seen.append(is_cancelled())
        raise_if_cancelled()
        raise AssertionError("went on")

    @task
    def work() -> None:
        body()

    @task
    async def awork() -> None:
        body()

    def run() -> None:
        if asynchronous:
            asyncio.run(run_task(awork, context={"cancel_event": event}))
        else:
            run_task(work, context={"cancel_event": event})

    with pytest.raises(RunCancelled, match="cancelled"):
        run()
    assert seen == [False, True]
    assert sequence() == "Pending Running Crashed"


@pytest.mark.contract("W-24")
def test_a_nested_run_notices_the_cancellation_around_it() -> None:
    """What cancels a run cancels those inside of it."""
    event = threading.Event()

    @task
    def inner() -> bool:
        event.set()
        return is_cancelled()

    @task
    def outer() -> bool:
        return inner()

    assert run_task(outer, context={"cancel_event": event}) is True


def test_nobody_is_cancelled_outside_of_runs() -> None:
    """There the answer is no, and nothing is raised."""
    assert is_cancelled() is False
    raise_if_cancelled()


@pytest.mark.contract("W-31")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_hooks_for_crashes_and_cancellations(asynchronous: bool) -> None:
    """Who asks for it is told of crashed and cancelled runs; completion and failure hooks stay silent."""
    told: list[tuple[str, str]] = []

    def hook(name: str) -> Any:
        return lambda task, run, state: told.append((name, state.name))

    hooks = {name: [hook(name)] for name in ("on_completion", "on_failure", "on_crashed", "on_cancellation")}

    def body(end: str) -> State:
        if end == "crash":
            raise KeyboardInterrupt
        return Cancelled()

    @task(**hooks)
    def work(end: str) -> State:
        return body(end)

    @task(**hooks)
    async def awork(end: str) -> State:
        return body(end)

    def run(end: str) -> None:
        asyncio.run(awork(end, return_state=True)) if asynchronous else work(end, return_state=True)

    run("cancel")
    with pytest.raises(KeyboardInterrupt):
        run("crash")
    assert told == [("on_cancellation", "Cancelled"), ("on_crashed", "Crashed")]


def test_crash_hooks_can_be_registered_later() -> None:
    """`on_crashed` and `on_cancellation` of a task are decorators, too, and return what they are given."""

    @task
    def work() -> None:
        raise SystemExit

    told = []

    @work.on_crashed
    def hook(*given: Any) -> None:
        told.append(given)

    with pytest.raises(SystemExit):
        work()
    ((told_task, run, state),) = told
    assert told_task is work
    assert (run.id, state.name) == (only_task_run().id, "Crashed")


@pytest.mark.contract("W-30")
def test_running_a_task_changes_nothing_about_it() -> None:
    """However it is run, what its author said stays as it was."""

    @task(tags=["a"], retries=1)
    def work(x: int) -> int:
        if x:
            raise ValueError
        return x

    def options() -> dict[str, Any]:
        return {name: value for name, value in vars(work).items() if name != "_source_code"}

    before = options()
    work(0)
    work(1, return_state=True)

    @flow(persist_result=True)
    def around() -> None:
        work.submit(0).result()
        work.map([0, 0]).result()

    around()
    assert options() == before
    assert work.persist_result is None
    assert len(task_runs()) == 5
