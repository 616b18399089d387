"""Generator flows: what the consumer gets, what the run goes through, what is active between two steps."""

import asyncio
import builtins
import gc
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, resume_flow_run, tags, task
from mainspring.context import FlowRunContext, TaskRunContext, get_run_context
from mainspring.exceptions import UpstreamTaskError
from mainspring.flow_engine import FlowRunTimeoutError
from mainspring.flows import Flow
from mainspring.runs import TaskRunResult
from mainspring.states import Failed
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.transactions import get_transaction, transaction
from tests.engine.history import flow_runs, only_flow_run, sequence, task_runs
from tests.engine.scenarios import BoomError
from tests.engine.test_generators import SCENARIOS, Scenario, perform
from tests.engine.traces import AsyncWorld, SyncWorld, World, block

RUN_NAME = re.compile(r"the-task-[0-9a-f]{8}")
SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@task
def double(x: int) -> int:
    return 2 * x


# The scenarios of generator tasks hold for flows


@pytest.mark.contract("F-47", "F-48")
@SCENARIO
@pytest.mark.parametrize("world", [SyncWorld(), AsyncWorld()], ids=["sync", "async"])
def test_scenario(scenario: Scenario, world: World) -> None:
    """The consumer of a flow gets what that of a task gets, and the run goes through the same states."""
    events, stored = perform(scenario, world, Flow)
    wanted = [
        each.replace(TaskRunTimeoutError.__name__, FlowRunTimeoutError.__name__)
        if isinstance(each, str)
        else each
        for each in scenario.consumed
    ]
    assert [event[1] for event in events if event[0] == "consumed"] == wanted
    assert " ".join(event[3] for event in events if event[0] == "state") == scenario.states
    if scenario.states:
        assert " ".join(state[1] for state in stored[0][1]) == scenario.states


@SCENARIO
def test_sync_and_async_are_alike(scenario: Scenario) -> None:
    """Both engines leave the same trace and the same history, but for the ids in the names of runs."""
    sync, asynchronous = (repr(perform(scenario, world, Flow)) for world in (SyncWorld(), AsyncWorld()))
    assert RUN_NAME.sub("the-run", sync) == RUN_NAME.sub("the-run", asynchronous)


# Values


@pytest.mark.contract("F-47")
def test_the_return_value() -> None:
    """It is what ``yield from`` gives, and the result of the run's state."""
    ended = []

    @flow(on_completion=[lambda flow, run, state: ended.append(state.result())])
    def steps() -> Iterator[int]:
        yield 1
        return "the end"

    def consumer() -> Iterator[Any]:
        yield (yield from steps())

    assert list(consumer()) == [1, "the end"]
    assert ended == ["the end"]


def test_returned_futures_are_waited_for() -> None:
    """The state of a run that returns futures is made of theirs, as for any flow."""

    @task
    def boom() -> None:
        raise BoomError

    @flow
    def steps() -> Iterator[int]:
        yield 1
        return [double.submit(1), boom.submit()]

    with pytest.raises(BoomError):
        list(steps())
    assert only_flow_run().state.message == "1/2 states failed."


@pytest.mark.contract("F-49")
def test_a_state_cannot_be_asked_for() -> None:
    """``return_state=True`` is refused at the first step, for both kinds, and creates no run."""

    @flow
    def steps() -> Iterator[int]:
        yield 1

    @flow
    async def asteps() -> AsyncIterator[int]:
        yield 1

    iterator: Any = steps(return_state=True)
    with pytest.raises(ValueError, match="The return_type for a generator flow must be 'result'"):
        next(iterator)
    aiterator: Any = asteps(return_state=True)
    with pytest.raises(ValueError, match="The return_type for a generator flow must be 'result'"):
        asyncio.run(aiterator.__anext__())
    assert flow_runs() == []


def test_a_run_that_is_not_ready() -> None:
    """Without its inputs a generator flow does not begin; its first step says why."""

    @flow
    def steps(x: Any) -> Iterator[Any]:
        yield x

    with pytest.raises(UpstreamTaskError):
        next(steps(Failed()))
    assert only_flow_run().state_name == "NotReady"


@pytest.mark.contract("F-73")
def test_a_generator_that_an_ordinary_flow_returns() -> None:
    """It reaches the caller as it is, and nothing has read from it."""
    steps = []

    def numbers() -> Iterator[int]:
        for number in range(2):
            steps.append(number)
            yield number

    @flow
    def plain() -> Iterator[int]:
        return numbers()

    returned = plain()
    assert steps == []
    assert list(returned) == [0, 1]


# Tasks and subflows


@pytest.mark.contract("F-47", "F-55")
def test_tasks_between_yields() -> None:
    """Tasks that were submitted before a value was given away go on meanwhile, on the runner of the attempt."""
    begun, gate = threading.Event(), threading.Event()

    @task
    def work() -> str:
        begun.set()
        gate.wait(30)
        return "done"

    @flow
    def steps() -> Iterator[Any]:
        future = work.submit()
        yield 1
        yield future.result()
        yield double.submit(2).result()

    iterator = steps()
    assert next(iterator) == 1
    assert begun.wait(30)
    gate.set()
    assert list(iterator) == ["done", 4]
    assert {run.flow_run_id for run in task_runs()} == {only_flow_run().id}


@pytest.mark.contract("F-48", "F-55")
def test_closing_early_leaves_the_task_runner() -> None:
    """Closing the generator waits for tasks that have begun, and then completes the run."""
    begun, gate = threading.Event(), threading.Event()

    @task
    def work() -> None:
        begun.set()
        gate.wait(30)

    @flow
    def steps() -> Iterator[int]:
        work.submit()
        assert begun.wait(30)
        yield 1

    iterator: Any = steps()
    next(iterator)
    threading.Timer(0.01, gate.set).start()
    iterator.close()
    assert sequence(only_flow_run()) == "Pending Running Completed"
    assert [run.state_name for run in task_runs()] == ["Completed"]


@pytest.mark.contract("F-47", "F-36", "F-37")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_subflow(is_async: bool) -> None:
    """In a flow, a task run stands for it, and goes through its states as they come."""

    @flow
    def steps() -> Iterator[int]:
        yield 1
        yield 2

    @flow
    async def asteps() -> AsyncIterator[int]:
        yield 1
        yield 2

    @flow
    def parent() -> list[int]:
        seen = []
        for value in steps():
            seen.append(value)
            assert sequence(task_runs()[0]) == "Pending Running"
        return seen

    @flow
    async def aparent() -> list[int]:
        seen = []
        async for value in asteps():
            seen.append(value)
            assert sequence(task_runs()[0]) == "Pending Running"
        return seen

    assert (asyncio.run(aparent()) if is_async else parent()) == [1, 2]
    outer, inner = flow_runs()
    (stand_in,) = task_runs()
    assert inner.parent_task_run_id == stand_in.id
    assert stand_in.flow_run_id == outer.id
    assert sequence(stand_in) == sequence(inner) == "Pending Running Completed"


@pytest.mark.contract("F-50", "T-87")
def test_values_are_linked_to_the_run() -> None:
    """What takes a yielded value has the subflow's task run as input, and as parent while that goes on."""

    @flow
    def steps() -> Iterator[list[int]]:
        yield [1]
        yield [2]

    @task
    def consume(value: list[int]) -> None: ...

    @flow
    def parent() -> None:
        values = []
        for value in steps():
            values.append(value)
            consume(value)
        consume(values[0])

    parent()
    stand_in, first, _, late = task_runs()
    assert first.task_inputs["value"] == [TaskRunResult(id=stand_in.id)]
    assert first.task_inputs["__parents__"] == [TaskRunResult(id=stand_in.id)]
    assert late.task_inputs["value"] == [TaskRunResult(id=stand_in.id)]


@pytest.mark.contract("F-50")
def test_values_of_a_run_that_is_no_subflow() -> None:
    """Nothing stands for it, so its values are linked to nothing."""

    @flow
    def steps() -> Iterator[list[int]]:
        yield [1]

    @task
    def consume(value: list[int]) -> None: ...

    for value in steps():
        consume(value)
    (run,) = task_runs()
    assert run.task_inputs == {"value": []}
    assert run.flow_run_id is None


def test_a_generator_flow_in_a_generator_flow() -> None:
    """Delegation to an inner one nests the runs."""

    @flow
    def inner() -> Iterator[int]:
        yield 1
        return 2

    @flow
    def outer() -> Iterator[int]:
        yield (yield from inner())

    assert list(outer()) == [1, 2]
    outer_run, inner_run = flow_runs()
    (stand_in,) = task_runs()
    assert (stand_in.flow_run_id, inner_run.parent_task_run_id) == (outer_run.id, stand_in.id)


# What is active between the steps


@pytest.mark.contract("F-47", "W-16")
@pytest.mark.parametrize("is_async", [False, True])
def test_the_consumer_is_not_inside_the_run(is_async: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Between two steps there is no context of the run, its prints go nowhere else, and SIGTERM is nobody's."""
    handler = signal.getsignal(signal.SIGTERM)

    def look() -> Any:
        assert signal.getsignal(signal.SIGTERM) is not handler
        print("inside")
        return get_run_context()

    @flow(log_prints=True)
    def steps() -> Iterator[Any]:
        yield look()
        yield look()

    @flow(log_prints=True)
    async def asteps() -> AsyncIterator[Any]:
        yield look()
        yield look()

    def check(context: Any) -> None:
        assert isinstance(context, FlowRunContext)
        assert FlowRunContext.get() is None
        assert signal.getsignal(signal.SIGTERM) is handler
        print("outside")

    async def consume() -> None:
        async for context in asteps():
            check(context)

    if is_async:
        asyncio.run(consume())
    else:
        for context in steps():
            check(context)
    assert capsys.readouterr().out.splitlines() == ["outside"] * 2
    assert sequence(only_flow_run()) == "Pending Running Completed"


@pytest.mark.contract("F-47", "W-16")
def test_a_consumer_inside_of_a_run_keeps_its_own() -> None:
    """In a flow, and in a task in a flow, the consumer's run is active between the steps and after the last one."""

    @flow(flow_run_name="steps")
    def steps() -> Iterator[str]:
        for _ in range(2):
            assert TaskRunContext.get() is None
            yield get_run_context().flow_run.name  # type: ignore[union-attr]

    def names() -> Any:
        task_context, flow_context = TaskRunContext.get(), FlowRunContext.get()
        return task_context and task_context.task_run.name[:7], flow_context and flow_context.flow_run.name

    @task
    def consume() -> list[Any]:
        return [*((value, *names()) for value in steps()), names()]

    @flow(flow_run_name="parent")
    def parent() -> list[Any]:
        return [*((value, *names()) for value in steps()), *consume()]

    assert parent() == [
        *[("steps", None, "parent")] * 2,
        *[("steps", "consume", "parent")] * 2,
        ("consume", "parent"),
    ]


def test_two_generators_interleaved() -> None:
    """Runs whose steps alternate do not mix up their contexts."""

    @flow(flow_run_name="{name}")
    def steps(name: str) -> Iterator[str]:
        for _ in range(3):
            yield get_run_context().flow_run.name  # type: ignore[union-attr]

    assert list(zip(steps("a"), steps("b"), strict=True)) == [("a", "b")] * 3
    assert FlowRunContext.get() is None
    assert [sequence(run) for run in flow_runs()] == ["Pending Running Completed"] * 2


def test_steps_in_another_thread() -> None:
    """A run that was begun in the main thread is ended in another one, and leaves both as they were."""

    @flow
    def steps() -> Iterator[int]:
        yield 1
        yield double.submit(1).result()

    iterator = steps()
    assert next(iterator) == 1
    rest: list[Any] = []

    def consume() -> None:
        rest.extend(iterator)
        rest.append(FlowRunContext.get())

    thread = threading.Thread(target=consume)
    thread.start()
    thread.join()
    assert rest == [2, None]


@pytest.mark.contract("F-47", "W-16")
def test_transactions_of_the_consumer_and_of_the_flow() -> None:
    """Each finds its own, whichever was opened last."""

    @flow
    def steps() -> Iterator[Any]:
        with transaction() as inner:
            yield 1
            assert get_transaction() is inner
        assert get_transaction() is None
        yield 2

    iterator = steps()
    assert next(iterator) == 1
    assert get_transaction() is None
    with transaction() as own:
        assert next(iterator) == 2
        assert get_transaction() is own
        assert list(iterator) == []
        assert get_transaction() is own


def test_a_generator_in_a_transaction_is_part_of_it() -> None:
    """A subflow that began inside of a transaction that is rolled back is rolled back with it."""

    @flow
    def steps() -> Iterator[int]:
        yield 1

    @flow
    def parent() -> None:
        try:
            with transaction():
                assert list(steps()) == [1]
                raise BoomError
        except BoomError:
            pass

    parent()
    assert sequence(flow_runs()[1]) == "Pending Running Completed RolledBack"


def test_prints_are_not_patched_after_the_end() -> None:
    """The last step leaves ``print`` as it was."""
    before = builtins.print

    @flow(log_prints=True)
    def steps() -> Iterator[int]:
        yield 1

    list(steps())
    assert builtins.print is before


def test_tags_of_the_first_step() -> None:
    """The run is created by the first step, and has the tags that are active there."""

    @flow
    def steps() -> Iterator[int]:
        yield 1

    iterator = steps()
    with tags("a"):
        next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert set(only_flow_run().tags) == {"a"}


# Ends


@pytest.mark.contract("F-48")
def test_a_generator_that_nobody_keeps_is_closed() -> None:
    """A forgotten iterator completes its run when it is collected."""
    closed = []

    @flow
    def steps() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    assert next(iter(steps())) == 1
    gc.collect()
    assert closed == [True]
    assert sequence(only_flow_run()) == "Pending Running Completed"


@pytest.mark.contract("F-48")
def test_an_async_generator_left_by_break_is_closed() -> None:
    """An iterator left early is closed by asyncio, with time for an async cleanup."""
    closed = []
    completed = asyncio.Event()

    @flow(on_completion=[lambda flow, run, state: completed.set()])
    async def steps() -> AsyncIterator[int]:
        try:
            yield double.submit(1).result()
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main() -> None:
        async for _ in steps():
            break
        gc.collect()
        await asyncio.wait_for(completed.wait(), 30)

    asyncio.run(main())
    assert closed == [True]
    assert sequence(only_flow_run()) == "Pending Running Completed"


@pytest.mark.contract("F-32")
def test_the_limit_covers_the_whole_iteration() -> None:
    """A deadline that passes in the consumer ends the run at the next step, and never hits the consumer."""

    @flow(timeout_seconds=0.02)
    def steps() -> Iterator[int]:
        yield 1
        yield 2

    iterator = steps()
    assert next(iterator) == 1
    time.sleep(0.03)
    with pytest.raises(FlowRunTimeoutError):
        next(iterator)
    assert sequence(only_flow_run()) == "Pending Running TimedOut"


def test_a_generator_can_clean_up_after_its_limit() -> None:
    """The user's ``finally`` runs when the limit ends the generator."""
    closed = []

    @flow(timeout_seconds=0.02)
    def steps() -> Iterator[int]:
        try:
            yield 1
            block(5)
        finally:
            closed.append(True)

    with pytest.raises(FlowRunTimeoutError):
        list(steps())
    assert closed == [True]


@pytest.mark.contract("F-48")
def test_a_retry_has_a_task_runner_of_its_own() -> None:
    """Each attempt is a new generator, and its tasks run on the runner of that attempt."""
    events: list[Any] = []

    @flow(retries=1)
    def steps() -> Iterator[int]:
        events.append(FlowRunContext.get().task_runner)  # type: ignore[union-attr]
        yield double.submit(1).result()
        raise BoomError

    iterator = steps()
    assert next(iterator) == 2
    assert next(iterator) == 2
    with pytest.raises(BoomError):
        next(iterator)
    assert events[0] is not events[1]
    assert only_flow_run().run_count == 2


# Resuming


@pytest.mark.contract("G-8", "F-60")
def test_a_resumed_parent_calls_a_generator_again(tmp_path: Path) -> None:
    """What it yielded was not kept: one that had completed runs anew, one that had not goes on under its id."""
    calls: list[str] = []
    broken = [True]

    @task
    def work(name: str) -> str:
        calls.append(name)
        return name

    @flow
    def steps(name: str) -> Iterator[str]:
        yield work(f"{name} 1")
        if name == "b" and broken:
            broken.clear()
            raise BoomError
        yield work(f"{name} 2")

    @flow(persist_result=True)
    def parent() -> list[str]:
        return [*steps("a"), *steps("b")]

    with pytest.raises(BoomError):
        parent()
    top = flow_runs()[0]
    assert resume_flow_run(top.id, flow=parent) == ["a 1", "a 2", "b 1", "b 2"]
    assert calls.count("b 1") == 1
    names = [run.state_name for run in flow_runs()[1:]]
    assert names == ["Completed"] * 3  # both runs of the first one, and the one that went on


def test_resuming_a_generator_flow_by_its_id() -> None:
    """What it yields from its start is collected; tasks that had finished are not done again."""
    calls: list[int] = []
    broken = [True]

    @task
    def work(x: int) -> int:
        calls.append(x)
        return x

    @flow(persist_result=True)
    def steps() -> Iterator[int]:
        yield work(1)
        if broken:
            broken.clear()
            raise BoomError
        yield work(2)

    with pytest.raises(BoomError):
        list(steps())
    run = only_flow_run()
    assert resume_flow_run(run.id, flow=steps) == [1, 2]
    assert calls == [1, 2]
    assert only_flow_run().state_name == "Completed"
