"""What a task finds around it, and who hears of what it says."""

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, tags, task
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.events import Event, subscribe
from mainspring.logging import LogEavesdropper
from mainspring.recording import current_recorder
from mainspring.runs import Run
from mainspring.runtime import flow_run, task_run
from mainspring.settings import temporary_settings
from mainspring.states import State
from mainspring.task_runners import TaskRunner
from tests.engine.history import messages, only_flow_run, task_runs
from tests.runners import remote
from tests.runners.conformance.kinds import Traits
from tests.runners.conformance.tasks import value
from tests.runners.making import eventually

Runner = TaskRunner[Any]


@pytest.mark.contract("TR-28", "TR-21", "TR-14", "C-5")
def test_the_flow_run_its_tags_and_settings(pool: Runner) -> None:
    """They are those of the submitter when it submitted, also if a parameter of the flow cannot be pickled."""

    @flow
    def outer(size: int, handle: object) -> Any:
        with tags("abroad"), temporary_settings({"debug_mode": True}):
            future = pool.submit(remote.surroundings, {})
        return value(future)

    told = outer(3, (name for name in "ab"))
    assert (told["flow"], told["parameters"]["size"], told["tags"]) == ("outer", 3, ["abroad"])
    assert told["debug_mode"]
    (run,) = task_runs()
    assert (run.flow_run_id, set(run.tags)) == (only_flow_run().id, {"abroad"})
    assert not value(pool.submit(remote.surroundings, {}))["debug_mode"]


@pytest.mark.contract("TR-28")
def test_tags_that_are_set_around_the_runner(runner: Runner) -> None:
    """Tasks see them as the tags of their run, beside their own, sync and async."""

    @task(tags=["own"])
    def look() -> Any:
        return sorted(task_run.tags)

    @task(tags=["own"])
    async def alook() -> Any:
        return sorted(task_run.tags)

    with tags("around"), runner:
        assert value(runner.submit(look, {})) == value(runner.submit(alook, {})) == ["around", "own"]
    assert [set(run.tags) for run in task_runs()] == [{"around", "own"}] * 2


@pytest.mark.contract("C-6", "V-33")
def test_the_run_itself(pool: Runner) -> None:
    """Its id, name, attempt and parameters are those of its record, and the context is that of the run."""

    @task(task_run_name="look at {x}", retries=1)
    def look(x: int) -> Any:
        context = TaskRunContext.get()
        assert context is not None
        assert context.task_run.state.is_running()
        return str(task_run.id), task_run.name, task_run.run_count, dict(task_run.parameters)

    future = pool.submit(look, {"x": 3})
    assert value(future) == (str(future.task_run_id), "look at 3", 1, {"x": 3})
    assert task_runs()[0].name == "look at 3"


@pytest.mark.contract("C-5")
def test_nothing_of_a_run_is_left_for_the_next(pool: Runner) -> None:
    """A run that is submitted outside of a flow, after one of a flow, sees neither its flow run nor its tags."""

    @flow
    def first() -> Any:
        with tags("first"):
            return value(pool.submit(remote.surroundings, {}))

    assert first()["flow"] == "first"
    for _ in range(4):
        told = value(pool.submit(remote.surroundings, {}))
        assert (told["flow"], told["tags"], told["detached"]) == (None, [], False)


@pytest.mark.contract("TR-23", "L-1")
def test_lines_of_run_loggers(pool: Runner, traits: Traits, caplog: pytest.LogCaptureFixture) -> None:
    """They are stored once with their run, and reach the handlers of the submitter once, as other lines do."""
    caplog.set_level(logging.INFO)
    future = pool.submit(remote.say, {"text": "hello"})
    value(future)
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count("said hello") == texts.count("user said hello") == 1
    record = next(record for record in caplog.records if record.getMessage() == "said hello")
    assert vars(record)["task_run_id"] == str(future.task_run_id)
    assert (record.process == os.getpid()) is traits.in_this_process
    assert eventually(lambda: messages() == ["said hello"])


@pytest.mark.contract("TR-23", "L-12")
def test_prints(pool: Runner) -> None:
    """With ``log_prints`` they are lines of the run; a logger passes on what it does for the submitter."""
    with LogEavesdropper("mainspring.task_runs") as heard:
        logging.getLogger("mainspring.task_runs").setLevel(logging.ERROR)
        value(pool.submit(remote.show, {"text": "first"}))
        logging.getLogger("mainspring.task_runs").setLevel(logging.INFO)
        value(pool.submit(remote.show, {"text": "second"}))
    assert heard.text() == "[INFO]: second"


@pytest.mark.contract("TR-23", "V-22")
def test_events(pool: Runner) -> None:
    """Events of states and of users reach subscribers in their order, before the result is there."""
    seen: list[Event] = []
    with subscribe(seen.append):
        future = pool.submit(remote.say, {"text": "hello"})
        value(future)
        names = [event.event for event in seen]
    prefix = "mainspring.task-run"
    assert names == [f"{prefix}.Pending", f"{prefix}.Running", "tests.said", f"{prefix}.Completed"]
    value(pool.submit(remote.say, {"text": "nobody listens"}))
    assert len(seen) == 4


def test_listeners_of_the_recorder(pool: Runner) -> None:
    """Who listens to the recorder hears of all states, in their order."""
    heard: list[tuple[Run, State, str]] = []

    def hear(run: Run, state: State) -> None:
        heard.append((run, state, run.state.name))

    with current_recorder().listen(hear):
        future = pool.submit(remote.echo, {"value": "large"})
        value(future)
    assert [state.name for _, state, _ in heard] == ["Pending", "Running", "Completed"]
    assert all(then == state.name for _, state, then in heard)
    assert {run.id for run, _, _ in heard} == {future.task_run_id}


def test_the_store_of_the_submitter(pool: Runner, tmp_path: Path) -> None:
    """A run is recorded where the settings say when it is submitted."""
    with temporary_settings({"home": tmp_path / "elsewhere"}):
        value(pool.submit(remote.add, {"x": 1, "y": 1}))
        assert len(task_runs()) == 1
    assert task_runs() == []
    value(pool.submit(remote.add, {"x": 1, "y": 1}))
    assert len(task_runs()) == 1


@pytest.mark.parametrize("place", ["flow", "method", "task"])
def test_what_is_around_need_not_travel(runner: Runner, place: str) -> None:
    """Tasks run though the flow around them, its object or the task that submits them cannot be pickled."""
    lock = threading.Lock()

    class Pipeline:
        def __init__(self) -> None:
            self.lock = lock

        @flow(task_runner=runner)
        def pipeline(self) -> Any:
            return remote.surroundings.submit().result()

    @flow(task_runner=runner)
    def pipeline() -> Any:
        with lock:
            return remote.surroundings.submit().result()

    @task
    def around() -> Any:
        with lock, runner:
            return value(runner.submit(remote.surroundings, {}))

    told = {"flow": pipeline, "method": Pipeline().pipeline, "task": around}[place]()
    assert told["flow"] == (None if place == "task" else "pipeline")


def test_the_active_flow_run_is_left_as_it_was(pool: Runner) -> None:
    """Submitting and waiting change nothing in the context of the submitter."""

    @flow
    def pipeline() -> bool:
        before = FlowRunContext.get(), str(flow_run.id)
        value(pool.submit(remote.call_others, {"x": 2}))
        return (FlowRunContext.get(), str(flow_run.id)) == before and TaskRunContext.get() is None

    assert pipeline()
