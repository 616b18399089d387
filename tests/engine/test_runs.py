"""What the record of a task run shows: counters, times, names, inputs, and its state seen from inside."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from mainspring import clock, flow, runtime, tags, task
from mainspring.annotations import quote
from mainspring.client import get_client
from mainspring.context import TaskRunContext, get_run_context
from mainspring.identifiers import use_id_source
from mainspring.runs import TaskRun, TaskRunResult
from mainspring.settings import temporary_settings
from mainspring.states import Completed, State
from tests.engine.clocks import JumpingClock
from tests.engine.history import (
    flow_runs,
    only_flow_run,
    only_task_run,
    sequence,
    states_of,
    task_runs,
)
from tests.engine.scenarios import BoomError
from tests.engine.traces import SteadyIds


def inputs(run: TaskRun) -> dict[str, list[UUID]]:
    """The ids of the task runs among the inputs of a run."""
    return {
        name: [each.id for each in found if isinstance(each, TaskRunResult)]
        for name, found in run.task_inputs.items()
    }


# Counters and times


@pytest.mark.contract("E-109", "E-110", "E-111", "E-112", "E-114")
def test_times_of_a_run_with_one_attempt() -> None:
    """Times are those of the states: created with Pending, started with Running, ended with the final state."""
    fake = JumpingClock()
    seen = []

    @task
    def work() -> None:
        run = get_run_context().task_run  # type: ignore[union-attr]
        seen.append((run.run_count, run.start_time, run.end_time))
        fake.advance(2)

    with clock.use_clock(fake):
        work()
    run = only_task_run()
    pending, running, completed = (state.timestamp for state in states_of(run))
    assert run.created == run.expected_start_time == pending
    assert run.start_time == running
    assert run.end_time == run.updated == completed
    assert run.total_run_time == completed - running
    assert seen == [(1, running, None)]
    assert run.run_count == 1


@pytest.mark.contract("E-89", "V-1", "V-2", "E-88", "E-98")
def test_times_of_a_run_with_delayed_retries() -> None:
    """Each attempt counts; waiting is no run time; the start is the first one, the end the last."""
    fake = JumpingClock(tick=1)

    @task(retries=2, retry_delay_seconds=[10, 20])
    def work() -> None:
        fake.advance(3)
        raise BoomError

    with clock.use_clock(fake), pytest.raises(BoomError):
        work()
    run = only_task_run()
    states = states_of(run)
    running = [(a, b) for a, b in itertools.pairwise(states) if a.is_running()]
    assert run.run_count == len(running) == 3
    assert run.total_run_time == sum((b.timestamp - a.timestamp for a, b in running), timedelta())
    assert run.total_run_time.total_seconds() == pytest.approx(9, abs=1e-3)
    assert (run.start_time, run.end_time) == (states[1].timestamp, states[-1].timestamp)
    assert [round(seconds, 3) for seconds in fake.slept] == [10, 20]


class CountingClock(JumpingClock):
    """Counts for how long it was asked to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.asked.append(round(seconds, 3))
        super().sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        self.asked.append(round(seconds, 3))
        self.time += round(seconds * 1_000_000)


@pytest.mark.contract("T-125", "E-78")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_sleeping_between_attempts_goes_through_the_clock(asynchronous: bool) -> None:
    """Whoever puts in a clock sees each sleep between attempts, of both engines, and nobody really sleeps."""

    @task(retries=3, retry_delay_seconds=[10, 20])
    def work() -> None:
        raise BoomError

    @task(retries=3, retry_delay_seconds=[10, 20])
    async def awork() -> None:
        raise BoomError

    fake = CountingClock()
    with clock.use_clock(fake), pytest.raises(BoomError):
        asyncio.run(awork()) if asynchronous else work()
    assert fake.asked == [10, 20, 20]


@pytest.mark.contract("E-77", "E-78")
@pytest.mark.parametrize("delays", [[1, 2], 0.25, [0.5, 0, 3]])
def test_an_awaited_retry_is_scheduled_for_its_time(delays: Any) -> None:
    """The scheduled time is the time of the failure and the delay, to the microsecond."""
    fake = JumpingClock(tick=1)

    @task(retries=3, retry_delay_seconds=delays)
    def work() -> None:
        raise BoomError

    with clock.use_clock(fake), pytest.raises(BoomError):
        work()
    waits = [
        (state.state_details.scheduled_time - state.timestamp).total_seconds()  # type: ignore[operator]
        for state in states_of(only_task_run())
        if state.name == "AwaitingRetry"
    ]
    each = list(work.retry_delay_seconds)
    wanted = [delay for delay in (each + each[-1:] * 3)[:3] if delay]
    assert waits == wanted


@pytest.mark.contract("W-11")
def test_jitter_is_applied() -> None:
    """With a random number of 0.75 and a factor of 0.5 a delay is a quarter longer."""
    fake = JumpingClock(tick=1)

    @task(retries=2, retry_delay_seconds=[4, 8], retry_jitter_factor=0.5)
    def work() -> None:
        raise BoomError

    with clock.use_clock(fake), use_id_source(SteadyIds()), pytest.raises(BoomError):
        work()
    assert [round(seconds, 3) for seconds in fake.slept] == [5, 10]


@pytest.mark.contract("E-113")
def test_a_crash_before_running_leaves_no_end() -> None:
    """A run that never ran has neither start nor end."""

    def name() -> str:
        raise SystemExit

    @task(task_run_name=name)
    def work() -> None: ...

    with pytest.raises(SystemExit):
        work()
    run = only_task_run()
    assert sequence(run) == "Pending Crashed"
    assert (run.start_time, run.end_time, run.run_count) == (None, None, 0)
    assert run.total_run_time == timedelta()


@pytest.mark.contract("E-47")
def test_a_run_that_is_not_ready_never_started() -> None:
    """No attempt, no start, no retry."""

    @task(retries=2)
    def work(x: Any) -> None: ...

    work(State("FAILED"), return_state=True)
    run = only_task_run()
    assert (run.run_count, run.start_time, run.end_time) == (0, None, None)


@pytest.mark.contract("E-72", "V-2")
def test_a_timed_out_run_has_an_end() -> None:
    """The end of a timeout is recorded like any other."""

    @task
    def work() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        work()
    run = only_task_run()
    assert run.end_time == run.state.timestamp
    assert run.total_run_time == run.end_time - run.start_time  # type: ignore[operator]


@pytest.mark.contract("E-51")
def test_the_attempt_of_the_flow_run_is_noted() -> None:
    """A task run knows in which attempt of its flow run it was made."""

    @task
    def work() -> None: ...

    attempts = iter([BoomError(), None])

    @flow(retries=1)
    def pipeline() -> None:
        work()
        if error := next(attempts):
            raise error

    pipeline()
    assert [run.flow_run_run_count for run in task_runs()] == [1, 2]
    work()
    assert task_runs()[-1].flow_run_run_count == 0


# Seen from inside


@pytest.mark.contract("E-56", "E-87", "E-154")
def test_the_run_seen_from_inside() -> None:
    """Inside the n-th attempt the count is n; the name tells first attempts from retries; contexts are fresh."""
    fake = JumpingClock(tick=1)
    seen: list[Any] = []

    @task(retries=2, retry_delay_seconds=[0, 1])
    def work() -> None:
        context = get_run_context()
        assert isinstance(context, TaskRunContext)
        run = context.task_run
        assert (run.state_id, run.state_type, run.state_name) == (
            run.state.id,
            run.state.type,
            run.state.name,
        )
        assert run.state.state_details.task_run_id == run.id
        assert run.state.state_details.flow_run_id is None
        seen.append((run.run_count, run.state_name, context.start_time))
        raise BoomError

    with clock.use_clock(fake), pytest.raises(BoomError):
        work()
    assert [each[:2] for each in seen] == [(1, "Running"), (2, "Retrying"), (3, "Retrying")]
    times = [each[2] for each in seen]
    assert times == sorted(set(times))


@pytest.mark.contract("E-154")
def test_states_in_a_flow_name_the_flow_run() -> None:
    """In a flow, state details hold both ids, in memory and on disk."""
    seen = []

    @task
    def work() -> None:
        seen.append(get_run_context().task_run.state.state_details)  # type: ignore[union-attr]

    @flow
    def pipeline() -> None:
        work()

    pipeline()
    run = only_task_run()
    assert seen[0].flow_run_id == run.flow_run_id == only_flow_run().id
    assert [state.state_details.flow_run_id for state in states_of(run)] == [run.flow_run_id] * 3


# Names


@pytest.mark.contract("T-76")
def test_names_outside_of_flows() -> None:
    """A run is called like its task, its dynamic key begins with the task key."""

    @task(name="my task")
    def work() -> None: ...

    work()
    work()
    first, second = task_runs()
    assert first.name == second.name == "my task"
    assert first.dynamic_key.startswith(f"{work.task_key}-")
    assert first.dynamic_key != second.dynamic_key


@pytest.mark.contract("T-77")
def test_names_in_flows() -> None:
    """A run is called like its task with the first three characters of its dynamic key."""

    @task
    def work() -> None: ...

    @flow
    def pipeline() -> None:
        work()
        work()

    pipeline()
    first, second = task_runs()
    assert first.dynamic_key != second.dynamic_key
    for run in (first, second):
        assert UUID(run.dynamic_key)
        assert run.name == f"work-{run.dynamic_key[:3]}"


@pytest.mark.contract("T-97", "E-136", "E-35", "V-4", "E-36")
def test_a_name_template() -> None:
    """A template is filled with the resolved parameters, defaults and variadic ones included."""

    @task(task_run_name="{x} {y} {args} {self.name} {kwargs[z]}")
    def work(self: Any, x: Any, *args: int, y: int = 2, **kwargs: int) -> None: ...

    work(work, Completed(data="five"), 7, z=3)
    assert only_task_run().name == "five 2 (7,) work 3"


@pytest.mark.contract("T-97", "T-99")
def test_a_name_function() -> None:
    """It is called once per run, not once per attempt, and may look at the run's parameters."""
    calls = []

    def name() -> str:
        calls.append(dict(runtime.task_run.parameters))
        return f"run {len(calls)}"

    @task(task_run_name=name, retries=1)
    def work(x: Any) -> None:
        raise BoomError

    for x in (1, Completed(data=2)):
        with pytest.raises(BoomError):
            work(x)
    assert [run.name for run in task_runs()] == ["run 1", "run 2"]
    assert calls == [{"x": 1}, {"x": 2}]


@pytest.mark.contract("V-4")
def test_a_name_function_that_takes_the_parameters() -> None:
    """A function with a parameter called ``parameters`` is given them."""

    def name(parameters: dict[str, Any]) -> str:
        return f"run of {parameters['x']}"

    @task(task_run_name=name)  # type: ignore[arg-type]
    def work(x: int) -> None: ...

    work(3)
    assert only_task_run().name == "run of 3"


@pytest.mark.contract("E-35", "L-20")
def test_renaming_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A DEBUG line tells the old and the new name, and later lines carry the new one."""

    @task(task_run_name="new name")
    def work() -> None: ...

    with (
        caplog.at_level("DEBUG", "mainspring.task_runs"),
        temporary_settings({"logging.internal_level": "DEBUG"}),
    ):
        work()
    assert "Renamed task run 'work' to 'new name'" in caplog.messages
    assert caplog.records[-1].task_run_name == "new name"  # type: ignore[attr-defined]


# Inputs and parents


@pytest.mark.contract("T-80", "T-81", "T-82")
def test_inputs_are_recorded_per_parameter() -> None:
    """Futures and states of runs are found at any depth, keys included, once per parameter, not inside quotes."""

    @task
    def upstream() -> int:
        return 1

    @task
    def work(a: Any, b: Any, *args: Any, c: Any = 5, **kwargs: Any) -> None: ...

    ids = []

    @flow
    def pipeline() -> None:
        future = upstream.submit()
        state = upstream(return_state=True)
        ids.extend([future.task_run_id, state.state_details.task_run_id])
        work([future, {"x": (future, state)}], {state: 1}, quote(future), d=future, wait_for=[state, 5])

    pipeline()
    future_id, state_id = ids
    run = next(each for each in task_runs() if each.task_key == work.task_key)
    assert inputs(run) == {
        "a": [future_id, state_id],
        "b": [state_id],
        "args": [],
        "c": [],
        "kwargs": [future_id],
        "wait_for": [state_id],
    }


@pytest.mark.contract("T-81")
def test_a_state_made_by_hand_is_no_input() -> None:
    """Only states of runs say where a value came from."""

    @task
    def work(x: Any) -> Any:
        return x

    assert work(Completed(data=4)) == 4
    assert inputs(only_task_run()) == {"x": []}


@pytest.mark.contract("E-138", "T-87")
def test_parents() -> None:
    """A nested call records its caller, level by level; the outermost run has no inputs at all."""

    @task
    def inner() -> None: ...

    @task
    def middle() -> None:
        inner()

    @task
    def outer() -> None:
        middle()

    outer()
    runs = {run.name: run for run in task_runs()}
    assert inputs(runs["outer"]) == {}
    assert inputs(runs["middle"]) == {"__parents__": [runs["outer"].id]}
    assert inputs(runs["inner"]) == {"__parents__": [runs["middle"].id]}


@pytest.mark.contract("E-138", "T-87")
def test_parents_in_a_flow() -> None:
    """In a flow the first level has no parent; submitted tasks have the task that submitted them."""

    @task
    def inner() -> None: ...

    @task
    def outer() -> None:
        inner()
        inner.submit().wait()

    @flow
    def pipeline() -> None:
        outer()

    pipeline()
    runs = task_runs()
    assert inputs(runs[0]) == {}
    assert [inputs(run) for run in runs[1:]] == [{"__parents__": [runs[0].id]}] * 2


@pytest.mark.contract("E-139", "F-40")
def test_a_task_in_a_subflow_has_no_parent_outside() -> None:
    """Neither the stand-in of the subflow nor a task around the subflow is a parent of what runs inside."""

    @task
    def inner() -> None: ...

    @flow
    def child() -> None:
        inner()

    @task
    def around() -> None:
        child()

    @flow
    def parent() -> None:
        around()

    parent()
    runs = {run.task_key: run for run in task_runs()}
    assert inputs(runs[inner.task_key]) == {}
    assert inputs(runs["child"]) == {"__parents__": [runs[around.task_key].id]}


# Other fields


@pytest.mark.contract("T-75", "T-79", "T-113")
def test_fields_of_a_run() -> None:
    """A run carries task key, version, tags and policy of its task, and the tags that were active."""

    @task(tags=["own"], version="v1", retries=2, retry_delay_seconds=[1, 2], retry_jitter_factor=0.1)
    def work() -> None: ...

    with tags("outer"), tags("inner", "own") as active:
        assert active == {"outer", "inner", "own"}
        work()
    work()
    tagged, plain = task_runs()
    assert set(tagged.tags) == {"own", "outer", "inner"}
    assert set(plain.tags) == {"own"}
    assert (tagged.task_key, tagged.task_version) == (work.task_key, "v1")
    assert tagged.empirical_policy == {"retries": 2, "retry_delay": [1, 2], "retry_jitter_factor": 0.1}


@pytest.mark.contract("T-79", "F-35", "C-13")
def test_tags_around_a_flow_reach_its_tasks() -> None:
    """Tags active at the call of a flow are on the flow run and on its task runs, submitted ones too."""

    @task
    def work() -> None: ...

    @flow
    def pipeline() -> None:
        work()
        with tags("inside"):
            work.submit().wait()

    with tags("around"):
        pipeline()
    assert set(only_flow_run().tags) == {"around"}
    assert [set(run.tags) for run in task_runs()] == [{"around"}, {"around", "inside"}]


@pytest.mark.contract("T-74")
def test_create_local_run_tells_nobody() -> None:
    """A run record is made from what is active, is Pending, and is not in the store."""

    @task
    def work(x: int) -> None: ...

    key = UUID(int=7)
    run = work.create_local_run(id=key, parameters={"x": 1}, extra_task_inputs={"y": [TaskRunResult(id=key)]})
    assert (run.id, run.state.name, run.flow_run_id) == (key, "Pending", None)
    assert inputs(run) == {"x": [], "y": [key]}
    assert task_runs() == []


@pytest.mark.contract("T-97")
def test_runtime_facts() -> None:
    """Facts about the active runs are there inside, and empty outside."""
    seen = []

    @task(tags=["t"])
    def work(x: int) -> None:
        facts, flow_facts = runtime.task_run, runtime.flow_run
        seen.append(
            (facts.id, facts.name, facts.task_name, dict(facts.parameters), facts.tags, facts.run_count)
        )
        seen.append((flow_facts.id, flow_facts.flow_name, dict(flow_facts.parameters), flow_facts.run_count))

    @flow
    def pipeline(y: int) -> None:
        work(5)

    pipeline(6)
    run = only_task_run()
    assert seen == [
        (run.id, run.name, "work", {"x": 5}, ["t"], 1),
        (only_flow_run().id, "pipeline", {"y": 6}, 1),
    ]
    facts, flow_facts = runtime.task_run, runtime.flow_run
    assert [facts.id, facts.name, facts.task_name, facts.run_count] == [None] * 4
    assert [flow_facts.id, flow_facts.name, flow_facts.flow_name, flow_facts.run_count] == [None] * 4
    assert [facts.parameters, facts.tags, flow_facts.parameters, flow_facts.tags] == [{}, [], {}, []]


@pytest.mark.contract("E-140")
def test_a_result_that_was_not_kept() -> None:
    """A state read from the store says that the run completed, and that its result is not there."""
    from mainspring.exceptions import MissingResult

    @task
    def work() -> int:
        return 1

    work()
    with pytest.raises(MissingResult):
        only_task_run().state.result()


@pytest.mark.contract("T-114")
def test_what_the_store_keeps_of_a_failure() -> None:
    """Type and message of the failure are in the history; reading the result raises."""
    from mainspring.exceptions import FailedRun

    @task
    def work() -> None:
        raise BoomError("no")

    with pytest.raises(BoomError):
        work()
    state = only_task_run().state
    assert state.message == "Task run encountered an exception: BoomError: no"
    with pytest.raises(FailedRun, match="BoomError: no"):
        state.result()


@pytest.mark.contract("E-144")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_the_stored_state_of_a_crash(error: BaseException) -> None:
    """Reading the result of a crashed run raises CrashedRun with the message."""
    from mainspring.exceptions import CrashedRun

    @task
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        work()
    with pytest.raises(CrashedRun, match="Execution was aborted"):
        only_task_run().state.result()


@pytest.mark.contract("X-13", "X-15")
def test_cancelling_the_asyncio_task_crashes_the_run() -> None:
    """The cancellation goes on to whoever cancelled, and the run says why it ended."""

    @task(retries=3)
    async def work() -> None:
        started.set()
        await asyncio.sleep(100)

    async def main() -> None:
        global started
        started = asyncio.Event()
        running = asyncio.create_task(work())
        await started.wait()
        running.cancel("from outside")
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert sequence() == "Pending Running Crashed"
    assert only_task_run().state.message == "Execution was cancelled by the runtime environment."


@pytest.mark.contract("X-13")
def test_cancelling_during_a_retry_sleep_crashes_the_run() -> None:
    """The same holds while the run waits for its next attempt."""

    @task(retries=3, retry_delay_seconds=100)
    async def work() -> None:
        failed.set()
        raise BoomError

    async def main() -> None:
        global failed
        failed = asyncio.Event()
        running = asyncio.create_task(work())
        await failed.wait()
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert sequence() == "Pending Running AwaitingRetry Crashed"


@pytest.mark.contract("X-14")
def test_cancelling_a_flow_crashes_parent_and_child() -> None:
    """Flow run, subflow run and task run end with the same message."""

    @task
    async def work() -> None:
        started.set()
        await asyncio.sleep(100)

    @flow
    async def child() -> None:
        await work()

    @flow
    async def parent() -> None:
        await child()

    async def main() -> None:
        global started
        started = asyncio.Event()
        running = asyncio.create_task(parent())
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    ended: list[Any] = [*task_runs(), *flow_runs()]
    assert len(ended) == 4
    for run in ended:
        assert (run.state.name, run.state.message) == (
            "Crashed",
            "Execution was cancelled by the runtime environment.",
        )


@pytest.mark.contract("T-38")
def test_concurrent_async_tasks_keep_their_contexts_apart() -> None:
    """Runs that interleave in one event loop each see themselves."""

    @task(task_run_name="{x}")
    async def work(x: int) -> str:
        names = set()
        for _ in range(5):
            names.add(get_run_context().task_run.name)  # type: ignore[union-attr]
            await asyncio.sleep(0)
        (name,) = names
        return name

    async def main() -> list[str]:
        return await asyncio.gather(*(work(x) for x in range(20)))

    assert asyncio.run(main()) == [str(x) for x in range(20)]
    assert get_client().count_task_runs([]) == {}


@pytest.mark.contract("T-122")
def test_retries_of_nested_tasks_multiply() -> None:
    """Each attempt of the outer task gives the inner one its full budget."""
    calls = []

    @task(retries=1)
    def inner() -> None:
        calls.append(1)
        raise BoomError

    @task(retries=1)
    def outer() -> None:
        inner()

    with pytest.raises(BoomError):
        outer()
    assert len(calls) == 4


@pytest.mark.contract("E-143", "T-10")
def test_the_default_for_retries() -> None:
    """Tasks that name no retries take the setting, and ``retries=0`` is a value of its own."""
    with temporary_settings({"tasks.default_retries": "1", "tasks.default_retry_delay_seconds": 2}):

        @task
        def default() -> None: ...

        @task(retries=0, retry_delay_seconds=0)
        def none() -> None: ...

    assert (default.retries, default.retry_delay_seconds) == (1, (2,))
    assert (none.retries, none.retry_delay_seconds) == (0, ())


@pytest.mark.contract("E-142", "E-85", "W-10")
def test_any_callable_may_be_a_condition() -> None:
    """Partials, bound methods, callable objects and awaitable answers all work, in both engines."""
    import functools

    class Judge:
        def judge(self, task: Any, run: Any, state: State) -> bool:
            with pytest.raises(BoomError):
                state.result()
            return run.run_count < 2

        async def __call__(self, task: Any, run: Any, state: State) -> bool:
            return self.judge(task, run, state)

    def four(extra: int, task: Any, run: Any, state: State) -> bool:
        return run.run_count < 2

    for condition in (Judge().judge, Judge(), functools.partial(four, 1)):

        @task(retries=5, retry_condition_fn=condition)
        def work() -> None:
            raise BoomError

        @task(retries=5, retry_condition_fn=condition)
        async def awork() -> None:
            raise BoomError

        assert work(return_state=True).is_failed()
        assert asyncio.run(awork(return_state=True)).is_failed()
    assert [run.run_count for run in task_runs()] == [2] * 6


@pytest.mark.contract("T-40")
def test_values_keep_their_identity() -> None:
    """A list passed in is the list that comes out, and changes in place are seen."""

    @task
    def work(x: list[int]) -> list[int]:
        x.append(1)
        return x

    given: list[int] = []
    assert work(given) is given
    assert given == [1]


started: asyncio.Event
failed: asyncio.Event
