"""Flows that are started with ``submit``: in flows, outside of them, and when the program ends meanwhile."""

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import allow_failure, flow, resume_flow_run, tags, task
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import ParameterBindError, UpstreamTaskError
from mainspring.futures import (
    FlowRunFuture,
    FutureList,
    as_completed,
    resolve_futures_to_results,
    resolve_futures_to_states,
    wait,
)
from mainspring.runs import TaskRunResult
from mainspring.transactions import transaction
from tests.engine.history import flow_runs, only_flow_run, sequence, task_runs
from tests.engine.scenarios import BoomError, Meteor


@task
def double(x: int) -> int:
    return 2 * x


@flow
def doubled(x: int) -> int:
    return double.submit(x).result()


@flow
async def adoubled(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@flow
def counted(x: int) -> Iterator[int]:
    yield from range(x)


@flow
async def acounted(x: int) -> Any:
    for number in range(x):
        yield number


@flow
def boom() -> None:
    raise BoomError("in a flow")


class Meeting:
    """Flows that all have to have begun before any of them ends."""

    def __init__(self, size: int) -> None:
        barrier = threading.Barrier(size, timeout=30)

        @flow
        def meet(x: int) -> int:
            barrier.wait()
            return x

        self.flow = meet


# Inside of a flow


@pytest.mark.contract("FU-28", "F-36", "F-67")
@pytest.mark.parametrize("is_async", [False, True])
def test_subflows_at_the_same_time(is_async: bool) -> None:
    """They all go on at once, in any number, each with a task run that stands for it in the flow."""
    meet = Meeting(12).flow

    @flow
    def parent() -> list[int]:
        futures = [meet.submit(x) for x in range(12)]
        return [future.result() for future in futures]

    @flow
    async def aparent() -> list[int]:
        futures = [meet.submit(x) for x in range(12)]
        return [await future.aresult() for future in futures]

    assert (asyncio.run(aparent()) if is_async else parent()) == list(range(12))
    top, *inner = flow_runs()
    stand_ins = task_runs()
    assert {run.flow_run_id for run in stand_ins} == {top.id}
    assert {run.parent_task_run_id for run in inner} == {run.id for run in stand_ins}
    assert {sequence(run) for run in [*inner, *stand_ins]} == {"Pending Running Completed"}


@pytest.mark.contract("FU-28")
def test_all_kinds_of_flows() -> None:
    """Async flows run to their end, and what generator flows yield is collected."""

    @flow
    def parent() -> list[Any]:
        return [each.submit(3).result() for each in (doubled, adoubled, counted, acounted)]

    assert parent() == [6, 6, [0, 1, 2], [0, 1, 2]]


@pytest.mark.contract("FU-28")
def test_the_id_is_known_at_once() -> None:
    """It is the one under which the run is found later, also by other handles."""

    @flow
    def parent() -> None:
        future = doubled.submit(1)
        run_id = future.flow_run_id
        assert isinstance(future, FlowRunFuture)
        future.wait()
        assert future.flow_run_id == run_id
        assert FlowRunFuture[int](run_id).state.is_completed()
        assert future.state.state_details.flow_run_id == run_id

    parent()


@pytest.mark.contract("FU-28", "FU-16", "FU-18", "FU-19", "FU-20")
def test_where_futures_can_be_used() -> None:
    """Waiting for many, lists, values with futures in them, arguments of tasks and flows, and what flows return."""

    @flow
    def parent() -> Any:
        futures = [doubled.submit(1), adoubled.submit(2)]
        assert wait(futures).done == set(futures)
        assert set(as_completed(futures)) == set(futures)
        assert FutureList(futures).result() == [2, 4]  # type: ignore[arg-type]
        assert resolve_futures_to_results({"a": futures}) == {"a": [2, 4]}
        assert [state.result() for state in resolve_futures_to_states(futures)] == [2, 4]
        assert double(futures[0]) == 4  # type: ignore[arg-type]
        assert double.submit(futures[0], wait_for=futures).result() == 4  # type: ignore[arg-type]
        assert doubled(futures[1], wait_for=futures) == 8  # type: ignore[arg-type]
        return [doubled.submit(5), double.submit(6)]

    assert [state.result() for state in parent()] == [10, 12]


@pytest.mark.contract("FU-28", "T-80")
def test_where_values_come_from() -> None:
    """Whoever gets the future or the value of a subflow has the task run as input that stands for it."""

    @flow
    def listed() -> list[int]:
        return [1]

    @task
    def consume(value: Any) -> None: ...

    @flow
    def parent() -> None:
        future = listed.submit()
        consume(future)
        consume(future.result())

    parent()
    stand_in, first, second = task_runs()
    assert first.task_inputs["value"] == second.task_inputs["value"] == [TaskRunResult(id=stand_in.id)]


def test_a_run_waits_for_its_inputs_without_being_there() -> None:
    """It begins when its inputs are there, and until then its future is pending."""
    gate = threading.Event()

    @flow
    def slow() -> int:
        gate.wait(30)
        return 1

    @flow
    def parent() -> int:
        first = slow.submit()
        second = doubled.submit(first)
        third = doubled.submit(4, wait_for=[second])
        assert second.state.is_pending()
        assert third.state.is_pending()
        assert [run.flow_name for run in flow_runs()].count("doubled") == 0
        gate.set()
        return second.result() + third.result()

    assert parent() == 10


@pytest.mark.contract("F-17")
def test_an_input_that_failed() -> None:
    """The run is not ready, unless the failure is allowed."""

    @flow
    def gentle(x: Any) -> str:
        return type(x).__name__

    @flow
    def parent() -> str:
        failed = boom.submit()
        blocked = doubled.submit(failed)
        with pytest.raises(UpstreamTaskError, match=f"Upstream flow run '{failed.flow_run_id}'"):
            doubled(failed)  # type: ignore[arg-type]
        blocked.wait()
        assert blocked.state.name == "NotReady"
        return gentle.submit(allow_failure(failed)).result()

    assert parent() == "BoomError"


@pytest.mark.contract("FU-6")
def test_a_run_that_fails() -> None:
    """Its exception belongs to whoever asks for the result; the flow around does not fail by it."""

    @flow
    def parent() -> str:
        future = boom.submit()
        with pytest.raises(BoomError, match="in a flow"):
            future.result()
        assert isinstance(future.result(raise_on_failure=False), BoomError)
        return future.state.name

    assert parent() == "Failed"


def test_a_generator_that_fails() -> None:
    """Its future has the state of the run, though there was nobody to get the values."""

    @flow
    def steps() -> Iterator[int]:
        yield 1
        raise BoomError

    future = steps.submit()
    with pytest.raises(BoomError):
        future.result()
    assert future.state.is_failed()


def test_a_run_that_crashes() -> None:
    """What ends it from outside is raised as it is, and its state says so."""

    @flow
    def hit() -> None:
        raise Meteor("hit")

    future = hit.submit()
    with pytest.raises(Meteor):
        future.result()
    assert future.state.is_crashed()
    assert only_flow_run().state.is_crashed()


@pytest.mark.contract("FU-4", "FU-5")
def test_giving_up() -> None:
    """A future that takes too long says which flow run it is of."""
    gate = threading.Event()

    @flow
    def slow() -> None:
        gate.wait(30)

    future = slow.submit()
    future.wait(0.01)
    with pytest.raises(
        TimeoutError, match=rf"Flow run {future.flow_run_id} did not complete within 0.01 sec"
    ):
        future.result(timeout=0.01)

    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"within 0\.01 second"):
            await future.aresult(timeout=0.01)

    asyncio.run(main())
    gate.set()
    future.wait()


def test_asking_for_the_state() -> None:
    """``return_state=True`` waits, and gives the final state."""
    assert doubled.submit(1, return_state=True).result() == 2
    assert boom.submit(return_state=True).is_failed()


def test_callbacks() -> None:
    """Each is called once with the future."""
    calls: list[Any] = []
    future = doubled.submit(1)
    future.add_done_callback(calls.append)
    future.wait()
    future.add_done_callback(calls.append)
    assert calls == [future, future]


def test_the_future_travels() -> None:
    """In another place it is a handle to the recorded run."""
    future = doubled.submit(1)
    copy = pickle.loads(pickle.dumps(future))
    copy.wait(30)
    assert copy.flow_run_id == future.flow_run_id
    assert copy.state.is_completed()


def test_an_event_loop_that_is_closed_before_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Who has given up waiting is not looked for when the run is over."""
    gate = threading.Event()

    @flow
    def slow() -> None:
        gate.wait(30)

    future = slow.submit()
    asyncio.run(future.wait_async(0.01))
    asyncio.run(FlowRunFuture[Any](future.flow_run_id).wait_async(0.01))
    gate.set()
    future.wait()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_arguments_that_do_not_fit() -> None:
    """They are refused where the flow is submitted."""
    with pytest.raises(ParameterBindError):
        doubled.submit()


def test_the_context_of_the_submitter() -> None:
    """Tags hold in the run, and a task that submits is named by the task run that stands for it."""

    @task
    def submit() -> int:
        return doubled.submit(1).result()

    @flow
    def parent() -> int:
        with tags("a"):
            return submit.submit().result()

    parent()
    outer, inner = flow_runs()
    assert set(inner.tags) == {"a"}
    submitting = next(run for run in task_runs() if run.name.startswith("submit"))
    stand_in = next(run for run in task_runs() if run.id == inner.parent_task_run_id)
    assert stand_in.task_inputs["__parents__"] == [TaskRunResult(id=submitting.id)]
    assert stand_in.flow_run_id == outer.id


def test_a_subflow_in_a_transaction_is_part_of_it() -> None:
    """What was submitted inside of a block is rolled back with it."""

    @flow
    def parent() -> None:
        try:
            with transaction():
                doubled.submit(1).wait()
                raise BoomError
        except BoomError:
            pass

    parent()
    assert sequence(flow_runs()[1]) == "Pending Running Completed RolledBack"


@pytest.mark.contract("F-67")
def test_recursion() -> None:
    """A flow that waits for itself at any depth finds a thread each time."""

    @flow
    def down(x: int) -> int:
        return 0 if x == 0 else 1 + down.submit(x - 1).result()

    assert down(12) == 12


@pytest.mark.contract("FU-28", "F-45")
def test_a_run_that_is_among_its_own_inputs() -> None:
    """It says so instead of waiting for ever."""
    inputs: list[Any] = []
    gate = threading.Event()

    @flow
    def first() -> None:
        gate.wait(30)

    inputs.append(first.submit())
    future = doubled.submit(1, wait_for=inputs)
    inputs.append(future)
    gate.set()
    with pytest.raises(ValueError, match="depending on itself"):
        future.result(timeout=30)


# The end of the flow around


@pytest.mark.contract("F-55", "TR-16")
def test_the_end_of_the_flow_around() -> None:
    """What has begun is waited for, what waits for its inputs is cancelled, and nothing more is taken."""
    begun, gate = threading.Event(), threading.Event()
    kept: list[Any] = []

    @flow
    def slow() -> int:
        begun.set()
        kept.append(FlowRunContext.get())
        gate.wait(30)
        return 1

    @flow
    def parent() -> None:
        running = slow.submit()
        kept.extend([FlowRunContext.get(), running, doubled.submit(running)])
        assert begun.wait(30)
        threading.Timer(0.01, gate.set).start()

    parent()
    context, running, waiting = (each for each in kept if not _is_of(each, "slow"))
    assert running.result(timeout=0) == 1
    assert waiting.state.is_cancelled()
    assert "cancelled before it began" in waiting.state.message
    assert [run.flow_name for run in flow_runs()] == ["parent", "slow"]
    with context.model_copy(), pytest.raises(RuntimeError, match="'doubled' was not submitted"):
        doubled.submit(1)


def _is_of(each: object, flow_name: str) -> bool:
    return isinstance(each, FlowRunContext) and each.flow is not None and each.flow.name == flow_name


def test_tasks_of_the_flow_around_may_still_submit() -> None:
    """The runner of its tasks is left first, so that what these start is waited for, too."""
    gate = threading.Event()

    @task
    def late() -> int:
        gate.wait(30)
        return doubled.submit(1).result()

    begun = threading.Event()

    @task
    def early() -> None:
        begun.set()
        late()

    @flow
    def parent() -> None:
        early.submit()
        begun.wait(30)
        threading.Timer(0.01, gate.set).start()

    parent()
    assert [run.state_name for run in flow_runs()] == ["Completed", "Completed"]


def test_each_attempt_has_its_own() -> None:
    """A retry starts its subflows anew, after those of the attempt before have ended."""
    attempts: list[int] = []

    @flow(retries=1)
    def parent() -> int:
        attempts.append(1)
        future = doubled.submit(len(attempts))
        if len(attempts) == 1:
            raise BoomError
        return future.result()

    assert parent() == 4
    assert {run.state_name for run in flow_runs()} == {"Completed"}


# Steps of resumed runs

calls: list[str] = []


@task
def note(line: str) -> int:
    calls.append(line)
    return len(calls)


@flow
def noted(line: str) -> int:
    return note(line)


@pytest.fixture(autouse=True)
def nothing_noted() -> Iterator[None]:
    calls.clear()
    yield
    calls.clear()


@pytest.mark.contract("F-38", "F-60")
def test_equal_subflows_of_a_resumed_run() -> None:
    """They are told apart by the order in which they were submitted, and each is answered by its own run."""
    broken = [True]

    @flow(persist_result=True)
    def parent() -> list[int]:
        futures = [noted.submit("same") for _ in range(4)]
        values = [future.result() for future in futures]
        ids.append([future.flow_run_id for future in futures])
        if broken:
            broken.clear()
            results.append(values)
            raise BoomError
        return values

    ids: list[Any] = []
    results: list[list[int]] = []
    with pytest.raises(BoomError):
        parent()
    assert resume_flow_run(flow_runs()[0].id, flow=parent) == results[0]
    assert calls == ["same"] * 4
    assert ids[0] == ids[1]


@pytest.mark.contract("F-38")
def test_a_subflow_with_inputs_of_a_resumed_run() -> None:
    """One that had to wait for its inputs is found all the same, and so is its id."""
    broken = [True]

    @flow
    def later(x: int) -> int:
        calls.append("later")
        if broken:
            broken.clear()
            raise BoomError
        return x

    @flow(persist_result=True)
    def parent() -> int:
        first = noted.submit("first")
        future, done = later.submit(first), noted.submit(f"after {first.result()}")
        done.wait()
        future.wait()
        ids.append((future.flow_run_id, done.flow_run_id))
        return future.result()

    ids: list[Any] = []
    with pytest.raises(BoomError):
        parent()
    assert resume_flow_run(flow_runs()[0].id, flow=parent) == 1
    assert sorted(calls) == ["after 1", "first", "later", "later"]
    assert ids[0] == ids[1]
    assert len(flow_runs()) == 4


# Outside of flows


@pytest.mark.contract("FU-28")
@pytest.mark.parametrize("is_async", [False, True])
def test_outside_of_flows(is_async: bool) -> None:
    """It is a flow run like one that is called, and no thread is left when it has ended."""

    async def main() -> int:
        return await doubled.submit(1).aresult()

    assert (asyncio.run(main()) if is_async else doubled.submit(1).result()) == 2
    assert only_flow_run().parent_task_run_id is None


def test_in_a_task_outside_of_flows() -> None:
    """There, too, it belongs to the process, and to no flow."""

    @task
    def submit() -> Any:
        assert TaskRunContext.get() is not None
        return doubled.submit(1)

    assert submit().result() == 2


def test_in_a_hook_of_a_flow() -> None:
    """A hook is called after the attempts, so what it starts is waited for by the process."""
    futures: list[Any] = []

    @flow(on_completion=[lambda flow, run, state: futures.append(doubled.submit(1))])
    def parent() -> None: ...

    parent()
    assert futures[0].result() == 2


ENDING = """
import asyncio, atexit, threading
from mainspring import flow, task

@task
def double(x):
    return 2 * x

@flow
def slow(x):
    ending.wait(30)
    return double.submit(x).result()

@flow
async def aslow(x):
    await asyncio.to_thread(ending.wait, 30)
    future = double.submit(x)
    await future.wait_async()
    return future.result()

@flow
def after(x):
    return x

ending = threading.Event()
first = slow.submit(1)
aslow.submit(2)
after.submit(first)

@atexit.register
def too_late():
    try:
        after.submit(1)
    except RuntimeError as error:
        print(error)

threading._register_atexit(ending.set)  # called when the main thread is done, before anything is waited for
"""


@pytest.mark.skipif(
    sys.version_info[:3] in {(3, 12, 0), (3, 12, 1)},
    reason="Python 3.12.0 and 3.12.1 refuse threads as soon as the main one has ended; later ones do not",
)
def test_the_end_of_the_program(tmp_path: Path) -> None:
    """The process waits for what was started, sync or async, with all that it still has to do."""
    file = tmp_path / "program.py"
    file.write_text(ENDING)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "The flow 'after' was not submitted" in done.stdout
    assert {run.flow_name: run.state_name for run in flow_runs()} == {
        "slow": "Completed",
        "aslow": "Completed",
        "after": "Completed",
    }
