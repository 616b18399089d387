"""Isolated calls at their deadline: whatever they do, they are killed, and the attempt has timed out."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, get_client, task
from mainspring._engine.isolation import _shared
from mainspring.runs import TaskRun
from mainspring.states import State
from mainspring.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine, TaskRunTimeoutError
from mainspring.task_runners import InlineTaskRunner, ThreadPoolTaskRunner
from tests.engine.history import query, sequence, states_of, task_runs
from tests.isolation import subjects
from tests.runners.making import eventually
from tests.runners.remote import notes
from tests.runners.test_process_ends import is_running

LIMIT = 0.4
MESSAGE = f"Task run exceeded timeout of {LIMIT} second(s)"


def called(how: str, folder: Path) -> State:
    return subjects.go_on.with_options(timeout_seconds=LIMIT)(how, folder, return_state=True)


def in_other_thread(how: str, folder: Path) -> State:
    states: list[State] = []
    thread = threading.Thread(target=lambda: states.append(called(how, folder)))
    thread.start()
    thread.join()
    return states[0]


def on_runner(runner: Any) -> Callable[[str, Path], State]:
    def submit(how: str, folder: Path) -> State:
        states: list[State] = []

        @flow(task_runner=runner)
        def pipeline() -> None:
            limited = subjects.go_on.with_options(timeout_seconds=LIMIT)
            states.append(limited.submit(how, folder, return_state=True))

        pipeline()
        return states[0]

    return submit


def in_a_loop(how: str, folder: Path) -> State:
    limited = subjects.block_the_loop.with_options(timeout_seconds=LIMIT)
    return asyncio.run(limited(how, folder, return_state=True))


PLACES = {
    "main": called,
    "thread": in_other_thread,
    "threads": on_runner(ThreadPoolTaskRunner()),
    "inline": on_runner(InlineTaskRunner()),
    "loop": in_a_loop,
}


@pytest.fixture(autouse=True)
def warm() -> None:
    """There is a process before the clock runs."""
    subjects.process_id()


@pytest.mark.contract("E-70", "E-71")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", subjects.ENDLESS)
def test_killed_at_the_deadline(place: str, how: str, tmp_path: Path) -> None:
    """The run has timed out, soon after its deadline, and the process is gone."""
    state = PLACES[place](how, tmp_path)
    assert (state.name, state.message) == ("TimedOut", MESSAGE)
    run = task_runs()[-1]
    assert sequence(run) == "Pending Running TimedOut"
    running, timed_out = states_of(run)[1:]
    took = (timed_out.timestamp - running.timestamp).total_seconds()
    assert LIMIT <= took < LIMIT + 3
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)), 20)


def test_the_time_is_up_while_all_processes_are_busy(one_worker: None, tmp_path: Path) -> None:
    """To wait for a process counts, too; whoever has it is left alone."""
    subjects.process_id()
    thread = threading.Thread(
        target=lambda: subjects.tidy_up.with_options(timeout_seconds=2)(tmp_path, return_state=True)
    )
    thread.start()
    assert eventually(lambda: notes(tmp_path) == ["begun"], 20)
    with pytest.raises(TaskRunTimeoutError):
        subjects.add.with_options(timeout_seconds=0.1)(1)
    thread.join()
    assert {run.state.name for run in task_runs("tidy_up")} == {"TimedOut"}


def test_the_time_is_up_while_a_process_starts(one_worker: None) -> None:
    """The process is not lost: it goes on starting, and is there for the next call."""
    with pytest.raises(TaskRunTimeoutError):
        subjects.process_id.with_options(timeout_seconds=0.01)()
    subjects.process_id()
    assert _shared._crew is not None
    assert _shared._crew._started == 1


def test_a_deadline_that_is_missed_costs_a_retry(tmp_path: Path) -> None:
    """Another attempt is made, in another process."""
    retried = subjects.go_on.with_options(timeout_seconds=6, retries=1)  # with time to start another process
    assert retried("spin", tmp_path, return_state=True).name == "TimedOut"
    # A process that does not end in time is lost, and whoever goes on with a lost run waits for its time.
    states = sequence(task_runs("go_on")[-1]).replace("AwaitingRetry Retrying", "Retrying")
    assert states == "Pending Running Retrying TimedOut"
    assert len(set(notes(tmp_path))) == 2


def test_the_deadline_of_a_run_around(tmp_path: Path) -> None:
    """A child has no more time than its parent: what has no limit of its own is killed when the flow's time is over."""

    @flow(timeout_seconds=1)
    def pipeline() -> None:
        subjects.go_on("hold_the_interpreter", tmp_path)

    assert pipeline(return_state=True).name == "TimedOut"
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)), 20)


def test_a_timeout_of_the_function_is_its_own(tmp_path: Path) -> None:
    """A time limit inside of the function, or a TimeoutError that it raises, is not taken for that of the run."""
    with pytest.raises(TaskRunTimeoutError):
        call_limited.with_options(timeout_seconds=60)()
    (outer,) = [run for run in task_runs() if run.name == "call_limited"]
    assert outer.state.name == "TimedOut"
    assert (outer.state.message or "").startswith("Task run failed due to timeout")


@task(timeout_seconds=0.1)
def limited() -> None:
    time.sleep(60)


@task(isolation="process")
def call_limited() -> None:
    limited()


def test_hooks_are_called_here() -> None:
    """The engine is in this process, and so is all that it does about a timeout."""
    told: list[tuple[int, str]] = []

    def tell(task: object, run: TaskRun, state: State) -> None:
        told.append((os.getpid(), state.name))

    limited = subjects.go_on.with_options(timeout_seconds=LIMIT, on_failure=[tell])
    limited("sleep_in_c", return_state=True)
    assert told == [(os.getpid(), "TimedOut")]


def test_what_ran_inside_is_settled(tmp_path: Path) -> None:
    """A run inside of the call is crashed with its process, and its slots are free."""
    get_client().create_or_update_concurrency_limit("seats", 1)
    subjects.hold_a_slot_inside.with_options(timeout_seconds=1)(tmp_path, return_state=True)
    states = {run.name: run.state.name for run in task_runs() if run.name != "process_id"}
    assert states == {"hold_a_slot_inside": "TimedOut", "hold_a_slot": "Crashed"}
    assert query("SELECT count(*) FROM slots") == [(0,)]


def test_what_the_function_has_started_is_killed(tmp_path: Path) -> None:
    """Programs and processes that it started end with it."""
    subjects.start_others.with_options(timeout_seconds=3)(tmp_path, return_state=True)
    *pids, begun = notes(tmp_path)
    assert (len(pids), begun) == (2, "begun")
    assert eventually(lambda: not any(is_running(int(pid)) for pid in pids), 20)


def test_a_deadline_just_when_a_start_begins(one_worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that the limit keeps from beginning does not count: the next call gets its process."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "mainspring-starter" and _shared._crew is not None and _shared._crew._started == 1:
            raise TaskRunTimeoutError
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(TaskRunTimeoutError):
        subjects.process_id()
    assert subjects.process_id() > 0


class InterruptedEngine(SyncTaskRunEngine[Any, Any]):
    """An engine whose thread is kept waiting by the system when an attempt is about to begin."""

    def new_limit(self, kind: Any) -> Any:
        limit = super().new_limit(kind)
        time.sleep(0.1)
        return limit


class AsyncInterruptedEngine(AsyncTaskRunEngine[Any, Any]):
    """The same for async code."""

    def new_limit(self, kind: Any) -> Any:
        limit = super().new_limit(kind)
        time.sleep(0.1)
        return limit


def test_a_beginning_that_takes_long() -> None:
    """Whoever ends the call and the limit of the attempt mean the same deadline, so the run has timed out."""
    engine = InterruptedEngine(
        task=subjects.go_on.with_options(timeout_seconds=LIMIT), parameters={"how": "spin", "folder": None}
    )
    with engine.start():
        while engine.is_running():
            with engine.run_context(), engine.transaction_context() as transaction:
                engine.call_task_fn(transaction)
    assert (engine.state.name, engine.state.message) == ("TimedOut", MESSAGE)


def test_a_beginning_that_takes_long_in_async_code() -> None:
    """The same for a task that is awaited."""
    engine = AsyncInterruptedEngine(
        task=subjects.block_the_loop.with_options(timeout_seconds=LIMIT),
        parameters={"how": "spin", "folder": None},
    )

    async def run() -> None:
        async with engine.start():
            while engine.is_running():
                async with engine.run_context(), engine.transaction_context() as transaction:
                    await engine.call_task_fn(transaction)

    asyncio.run(run())
    assert (engine.state.name, engine.state.message) == ("TimedOut", MESSAGE)
