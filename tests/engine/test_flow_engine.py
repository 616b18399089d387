"""The flow engine: its surface, and what flows do at the edges of their time."""

import asyncio
import inspect
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from mainspring import Flow, flow, flow_engine, get_client, task
from mainspring.cache_policies import NO_CACHE
from mainspring.concurrency.sync import concurrency
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import (
    ConfigurationError,
    NotResumable,
    ObjectNotFound,
    SupersededRun,
    TerminationSignal,
)
from mainspring.flow_engine import AsyncFlowRunEngine, FlowRunEngine, FlowRunTimeoutError
from mainspring.results import get_result_store
from mainspring.resumption import load_flow_and_flow_run
from mainspring.states import Failed
from tests.engine.history import flow_runs, messages, only_flow_run, sequence, task_runs
from tests.engine.scenarios import BoomError
from tests.engine.test_recording import settle_elsewhere

ENGINES = pytest.mark.parametrize("engine", [FlowRunEngine, AsyncFlowRunEngine])


@task
def same(x: Any) -> Any:
    return x


@task
async def asame(x: Any) -> Any:
    return x


@flow(persist_result=True)
def kept(n: int) -> int:
    return n


def in_thread(call: Callable[[], Any]) -> Any:
    """What a call comes to in a thread of its own."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


# Surface


@pytest.mark.contract("F-1")
def test_options() -> None:
    """Flow and its decorator have all options with their defaults, and the decorator may be used bare."""
    wanted = {
        "name": None,
        "version": None,
        "flow_run_name": None,
        "retries": None,
        "retry_delay_seconds": None,
        "task_runner": None,
        "description": None,
        "timeout_seconds": None,
        "validate_parameters": True,
        "persist_result": None,
        "result_storage": None,
        "result_serializer": None,
        "result_storage_key": None,
        "cache_result_in_memory": True,
        "log_prints": None,
        "on_completion": None,
        "on_failure": None,
        "on_cancellation": None,
        "on_crashed": None,
        "on_running": None,
    }
    for made in (Flow, flow):
        parameters = list(inspect.signature(made).parameters.values())[1:]
        assert {p.name: p.default for p in parameters if p.name in wanted} == wanted

    @flow
    def bare(x: int) -> int:
        return x

    @flow()
    def called(x: int) -> int:
        return x

    assert (bare(1), called(2)) == (1, 2)


@pytest.mark.contract("F-54")
@pytest.mark.parametrize("is_async", [False, True])
def test_what_the_context_of_a_flow_run_gives_its_tasks(is_async: bool) -> None:
    """Flow, run, parameters, a client, a started runner, where results go, and where values came from."""
    seen: list[Any] = []

    @task
    def look(x: object) -> list[int]:
        context = FlowRunContext.get()
        assert context is not None
        seen.append(context)
        assert context.task_runner.submit(other, {}).result() == 5
        return [1]

    @task
    def other() -> int:
        return 5

    def note(x: int, made: object) -> None:
        context = FlowRunContext.get()
        assert context is seen[0]
        assert context.flow_run is not None
        assert context.flow.name == "looking"
        assert context.flow_run.state.is_running()
        assert context.parameters == {"x": x}
        assert (context.log_prints, context.detached) == (True, False)
        assert context.result_store is not None
        assert context.run_results.origin_of(made) is not None

    if is_async:

        @flow(name="looking", log_prints=True)
        async def anasync(x: int) -> str:
            note(x, look(x))
            found = await seen[0].client.read_flow_run(seen[0].flow_run.id)
            return str(found.state_name)

        assert asyncio.run(anasync(3)) == "Running"
    else:

        @flow(name="looking", log_prints=True)
        def plain(x: int) -> str:
            note(x, look(x))
            return str(seen[0].client.read_flow_run(seen[0].flow_run.id).state_name)

        assert plain(3) == "Running"


@pytest.mark.contract("F-52")
@ENGINES
def test_what_an_engine_needs(engine: Any) -> None:
    """A flow; and no client is there before it has started."""
    with pytest.raises(ValueError, match="needs a flow"):
        engine()
    with pytest.raises(ObjectNotFound):
        engine(flow_run_id=uuid4())
    with pytest.raises(RuntimeError, match="Engine has not started"):
        _ = engine(kept).client
    with pytest.raises(ObjectNotFound):
        engine(kept, flow_run_id=uuid4())


@pytest.mark.contract("F-51")
def test_the_names_of_the_module() -> None:
    """What runs flows of each kind takes the same arguments, and what finds a recorded run is there."""
    for name in (
        "run_flow",
        "run_flow_sync",
        "run_flow_async",
        "run_generator_flow_sync",
        "run_generator_flow_async",
    ):
        parameters = list(inspect.signature(getattr(flow_engine, name)).parameters)
        assert parameters[:5] == ["flow", "flow_run", "parameters", "wait_for", "return_type"]
    assert issubclass(flow_engine.FlowRunTimeoutError, TimeoutError)
    assert flow_engine.load_flow_and_flow_run is load_flow_and_flow_run


@pytest.mark.contract("F-51")
@ENGINES
def test_an_engine_made_of_an_id(engine: Any) -> None:
    """It finds the run, and the flow by where it was defined."""
    assert kept(1) == 1
    made = engine(parameters={"n": 2}, flow_run_id=only_flow_run().id)
    assert made.flow is kept
    assert made.flow_run.id == only_flow_run().id


@pytest.mark.contract("F-51")
def test_an_engine_for_a_recorded_run() -> None:
    """The run is found by its id, its flow by where it was defined; then it can be executed again."""
    assert kept(1) == 1
    run_id = only_flow_run().id
    found, run = load_flow_and_flow_run(run_id)
    assert found is kept
    assert run.id == run_id
    engine = FlowRunEngine(found, {"n": 2}, flow_run_id=run_id)
    assert engine.flow_run is not None
    assert engine.flow_run.id == run_id


def test_runs_whose_flow_is_not_known() -> None:
    """A run of a flow inside of a function, or one that keeps nothing, cannot be loaded, nor one that is not there."""

    @flow(persist_result=True)
    def inside() -> None: ...

    @flow
    def forgetful() -> None: ...

    inside()
    with pytest.raises(NotResumable, match="defined inside of a function"):
        load_flow_and_flow_run(only_flow_run().id)
    forgetful()
    with pytest.raises(NotResumable, match="was not noted"):
        load_flow_and_flow_run(flow_runs()[-1].id)
    with pytest.raises(ObjectNotFound):
        load_flow_and_flow_run(uuid4())


@pytest.mark.contract("F-19")
def test_the_life_of_a_run() -> None:
    """It is pending, running, final; each of these is proposed to the store, whose refusal ends the run."""

    @flow
    def pipeline(settle: bool) -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        assert context.flow_run.state.is_running()
        if settle:
            settle_elsewhere(context.flow_run, Failed(message="elsewhere"))

    pipeline(False)
    assert sequence(only_flow_run()) == "Pending Running Completed"
    with pytest.raises(SupersededRun):
        pipeline(True)
    refused = next(run for run in flow_runs() if not run.state.is_completed())
    assert (sequence(refused), refused.state.message) == ("Pending Running Failed", "elsewhere")


def test_what_the_context_of_a_flow_run_has() -> None:
    """Tasks find the flow, its run, parameters, runner and store there."""

    @flow
    def pipeline(n: int) -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow is pipeline
        assert context.flow_run is not None
        assert context.flow_run.state.is_running()
        assert context.parameters == {"n": 1}
        assert context.task_runner.submit(same, {"x": 3}).result() == 3
        assert context.result_store is not None
        assert context.log_prints is False
        assert context.detached is False
        value = [n]
        same(value)
        assert context.run_results.origin_of(value) is not None

    pipeline(1)


@pytest.mark.contract("R-82")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_storage_key(is_async: bool) -> None:
    """A flow names its results by a template; what runs inside of it has names of its own."""

    def body(n: int) -> int:
        return n

    async def abody(n: int) -> int:
        return n

    @flow(result_storage_key="{flow_run.flow_name}/{parameters[n]}")
    def report(n: int) -> int:
        same(n)
        inner: Any = flow(name="inner")(abody if is_async else body)(7)
        return n + (asyncio.run(inner) if is_async else inner)

    assert report("3") == 10
    assert report.persist_result
    assert get_result_store().read("report/3").result == 10
    assert report.with_options(result_storage_key=None).result_storage_key is None
    wrong: Any = report.with_options(result_storage_key="{parameters[m]}")
    with pytest.raises(ConfigurationError, match="cannot be rendered"):
        wrong(1)
    with pytest.raises(TypeError, match="result_storage_key"):
        report.with_options(result_storage_key=5)


# Time


@pytest.mark.contract("F-33")
def test_a_flow_that_overran_in_a_thread() -> None:
    """Where a call that blocks cannot be interrupted, the flow fails before its next task, which does not run."""
    ran: list[str] = []

    @task
    def late() -> None:
        ran.append("task")

    @flow(timeout_seconds=0.02)
    def pipeline() -> None:
        time.sleep(0.1)
        late()

    assert isinstance(in_thread(pipeline), FlowRunTimeoutError)
    assert ran == []
    assert task_runs() == []
    assert only_flow_run().state.name == "TimedOut"


@pytest.mark.contract("F-65")
@pytest.mark.parametrize("in_main_thread", [True, False])
def test_slots_of_a_flow_that_timed_out(in_main_thread: bool) -> None:
    """A slot that the flow held when its time was over is free, and can be had at once."""
    get_client().create_or_update_concurrency_limit("door", 1)

    @flow(timeout_seconds=0.05)
    def pipeline() -> None:
        with concurrency("door"):
            end = time.monotonic() + 5
            while time.monotonic() < end:
                time.sleep(0.001)

    if in_main_thread:
        with pytest.raises(FlowRunTimeoutError):
            pipeline()
    else:
        assert isinstance(in_thread(pipeline), FlowRunTimeoutError)
    assert get_client().read_concurrency_limit("door").active_slots == 0
    with concurrency("door", timeout_seconds=0):
        pass


# What is awaited, branched, told


@pytest.mark.contract("F-68")
def test_async_runs_in_a_sync_flow() -> None:
    """A sync flow can await async subflows and tasks, and submit async tasks; all belong to its run."""

    @flow
    async def child(n: int) -> Any:
        return await asame(n)

    @flow
    def parent() -> Any:
        return asyncio.run(child(1)), asyncio.run(asame(2)), asame.submit(3).result()

    assert parent() == (1, 2, 3)
    top = next(run for run in flow_runs() if run.parent_task_run_id is None)
    assert [run.flow_run_id == top.id for run in task_runs()].count(True) == 3  # one stands for the subflow


@pytest.mark.contract("F-68")
@pytest.mark.parametrize("options", [{}, {"cache_policy": NO_CACHE}], ids=["cached", "not cached"])
@pytest.mark.parametrize("persist", [True, False])
def test_a_retry_that_takes_another_branch(options: Any, persist: bool) -> None:
    """The tasks of each branch have their own results, however many there are of them in each attempt."""
    attempts: list[int] = []
    branch = same.with_options(**options)

    @flow(retries=1, persist_result=persist)
    def pipeline() -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            assert (branch("left"), branch("first")) == ("left", "first")
            raise BoomError
        return branch("right"), branch("left")

    assert pipeline() == ("right", "left")
    assert sequence(only_flow_run()) == "Pending Running Retrying Completed"


@pytest.mark.contract("F-68")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_timeout_of_the_user_is_not_the_flow_s(is_async: bool) -> None:
    """An error of the type, raised by the user's code in time, does not claim that the limit was exceeded."""

    def body() -> None:
        raise TimeoutError("the server is slow")

    async def abody() -> None:
        raise TimeoutError("the server is slow")

    made: Any = flow(timeout_seconds=10)(abody if is_async else body)
    with pytest.raises(TimeoutError, match="the server is slow") as caught:
        asyncio.run(made()) if is_async else made()
    assert not isinstance(caught.value, FlowRunTimeoutError)
    message = str(only_flow_run().state.message)
    assert "failed due to timeout" in message
    assert "exceeded" not in message


@pytest.mark.contract("F-68")
def test_tracebacks_are_in_the_run_s_log() -> None:
    """The line that tells of a failure has the user's lines that led to it."""

    @flow
    def pipeline() -> None:
        raise BoomError("here")

    with pytest.raises(BoomError):
        pipeline()
    (line,) = [line for line in messages(only_flow_run()) if "Traceback" in line]
    assert 'raise BoomError("here")' in line
    assert "in pipeline" in line


@pytest.mark.contract("F-73")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_returned_generator_is_not_consumed(is_async: bool) -> None:
    """A flow that is none itself hands a generator on as it is, unless its result is to be kept."""
    steps: list[int] = []

    def count() -> Iterator[int]:
        for n in (1, 2):
            steps.append(n)
            yield n

    def body() -> Any:
        return count()

    async def abody() -> Any:
        return count()

    result: Any = asyncio.run(flow(abody)()) if is_async else flow(body)()
    assert steps == []
    assert list(result) == [1, 2]
    assert steps == [1, 2]


@pytest.mark.contract("F-76")
def test_running_tasks_are_told_of_sigterm() -> None:
    """When SIGTERM ends a flow, the tasks that are running see their cancel event."""
    told: list[bool] = []
    received: list[int] = []
    began = threading.Event()

    @task
    def work() -> None:
        context = TaskRunContext.get()
        assert context is not None
        began.set()
        told.append(context.cancel_event.wait(20))

    @flow
    def pipeline() -> None:
        future = work.submit()
        began.wait(20)
        os.kill(os.getpid(), signal.SIGTERM)
        future.wait()

    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with pytest.raises(TerminationSignal):
            pipeline()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [True]
    assert received == [signal.SIGTERM]
    assert only_flow_run().state.is_crashed()


def test_leaving_a_runner_does_not_block_the_event_loop() -> None:
    """While an async flow waits for a task that it has submitted, the loop goes on: here, it lets the task end."""
    began, released = threading.Event(), threading.Event()
    told: list[bool] = []

    @task
    def work() -> None:
        began.set()
        told.append(released.wait(20))

    @flow
    async def pipeline() -> None:
        future = work.submit()
        await asyncio.to_thread(began.wait, 20)
        assert not future.is_done()
        asyncio.get_running_loop().call_later(0.02, released.set)

    asyncio.run(pipeline())
    assert told == [True]
