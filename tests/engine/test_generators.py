"""Generator tasks: what the consumer gets, what the run goes through, what is active between two steps.

As in `scenarios`, each text is written once, for async code, and both engines run it.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mainspring import clock, task
from mainspring.context import TaskRunContext, get_run_context
from mainspring.exceptions import CrashedRun
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.tasks import Task
from mainspring.transactions import get_transaction, transaction
from tests.engine.clocks import JumpingClock
from tests.engine.history import only_task_run, sequence, states_of, task_runs
from tests.engine.scenarios import BoomError, Meteor
from tests.engine.traces import AsyncWorld, Event, SyncWorld, Trace, World, block

Text = Callable[[Trace, World], AsyncIterator[Any]]
END = "end"


def as_sync(world: SyncWorld, text: Callable[[], Any]) -> Callable[..., Any]:
    """A sync generator function that does what the async one does."""

    def function() -> Iterator[Any]:
        steps = text()
        step, argument = steps.asend, None
        while True:
            try:
                value = world.run(step(argument))
            except StopAsyncIteration:
                return
            try:
                step, argument = steps.asend, (yield value)
            except GeneratorExit:
                world.run(steps.aclose())
                raise
            except BaseException as error:
                step, argument = steps.athrow, error

    return function


async def perform_step(steps: Any, action: Any, is_async: bool) -> Any:
    """Take one step of an iterator: "next", "close", ("send", value) or ("throw", error)."""
    match action:
        case "next":
            answer = steps.asend(None) if is_async else steps.send(None)
        case "close":
            answer = steps.aclose() if is_async else steps.close()
        case ("send", value):
            answer = steps.asend(value) if is_async else steps.send(value)
        case ("throw", error):
            answer = steps.athrow(error) if is_async else steps.throw(error)
    return await answer if is_async else answer


async def consume(trace: Trace, steps: Any, actions: list[Any], is_async: bool) -> None:
    for action in actions:
        try:
            value = await perform_step(steps, action, is_async)
        except (StopIteration, StopAsyncIteration):
            value = END
        except RuntimeError as error:
            # a StopIteration of the sync generator may not leave this coroutine as such
            value = END if isinstance(error.__cause__, StopIteration) else repr(error)
        except BaseException as error:
            value = repr(error)
        trace.add("consumed", value)


# Texts


async def two_values(trace: Trace, world: World) -> AsyncIterator[Any]:
    yield 1
    yield 2


async def nothing(trace: Trace, world: World) -> AsyncIterator[Any]:
    for never in ():
        yield never


async def with_cleanup(trace: Trace, world: World) -> AsyncIterator[Any]:
    try:
        yield 1
        yield 2
    finally:
        trace.add("cleanup")


async def failing_cleanup(trace: Trace, world: World) -> AsyncIterator[Any]:
    try:
        yield 1
    finally:
        trace.add("cleanup")
        raise BoomError("in cleanup")


async def stubborn(trace: Trace, world: World) -> AsyncIterator[Any]:
    try:
        yield 1
    finally:
        yield "not yet"


async def boom_after_two(trace: Trace, world: World) -> AsyncIterator[Any]:
    yield 1
    yield 2
    raise BoomError("after two")


async def boom_at_once(trace: Trace, world: World) -> AsyncIterator[Any]:
    raise BoomError("at once")
    yield


async def meteor(trace: Trace, world: World) -> AsyncIterator[Any]:
    yield 1
    raise Meteor("hit")


async def echo(trace: Trace, world: World) -> AsyncIterator[Any]:
    received = yield "begin"
    while received != "stop":
        received = yield f"got {received}"


async def handles_errors(trace: Trace, world: World) -> AsyncIterator[Any]:
    try:
        yield 1
    except BoomError as error:
        yield f"handled {error}"


async def sleepy(trace: Trace, world: World) -> AsyncIterator[Any]:
    yield 1
    await world.pause(5)
    yield 2


@dataclass(frozen=True)
class Scenario:
    """One row: a text, what the consumer does, what it gets for it, and the states of the run."""

    name: str
    text: Text
    actions: list[Any]
    consumed: list[Any]
    states: str
    options: Callable[[Trace], dict[str, Any]] = lambda trace: {}
    clauses: tuple[str, ...] = ()


P = "Pending Running"
TIMED_OUT = repr(TaskRunTimeoutError("The run timed out after 0.02 second(s)."))


def hooks(trace: Trace) -> dict[str, Any]:
    return {
        name: [trace.hook(name)]
        for name in ("on_running", "on_completion", "on_failure", "on_commit", "on_rollback")
    }


SCENARIOS = [
    Scenario("is exhausted", two_values, ["next"] * 4, [1, 2, END, END], f"{P} Completed", hooks, ("G-17",)),
    Scenario("yields nothing", nothing, ["next"], [END], f"{P} Completed", hooks),
    Scenario(
        "is closed early",
        with_cleanup,
        ["next", "close", "next"],
        [1, None, END],
        f"{P} Completed",
        hooks,
        ("G-10", "G-11", "G-12", "X-18"),
    ),
    Scenario(
        "is closed before its first step", two_values, ["close", "next"], [None, END], "", hooks, ("E-22",)
    ),
    Scenario("is left running", two_values, ["next"], [1], P, hooks, ("G-1", "G-17")),
    Scenario(
        "fails while it is closed",
        failing_cleanup,
        ["next", "close", "next"],
        [1, repr(BoomError("in cleanup")), END],
        f"{P} Failed",
        hooks,
    ),
    Scenario(
        "fails while it is closed with retries left",
        failing_cleanup,
        ["next", "close", "next"],
        [1, repr(BoomError("in cleanup")), END],
        f"{P} Failed",
        lambda trace: {"retries": 2, "retry_delay_seconds": 1},
    ),
    Scenario(
        "fails",
        boom_after_two,
        ["next"] * 4,
        [1, 2, repr(BoomError("after two")), END],
        f"{P} Failed",
        hooks,
        ("G-5", "G-6", "G-18"),
    ),
    Scenario("fails at once", boom_at_once, ["next"], [repr(BoomError("at once"))], f"{P} Failed", hooks),
    Scenario(
        "is retried",
        boom_after_two,
        ["next"] * 7,
        [1, 2, 1, 2, 1, 2, repr(BoomError("after two"))],
        f"{P} Retrying Retrying Failed",
        lambda trace: hooks(trace) | {"retries": 2},
        ("G-7",),
    ),
    Scenario(
        "is retried after a delay",
        boom_after_two,
        ["next"] * 3,
        [1, 2, 1],
        f"{P} AwaitingRetry Retrying",
        lambda trace: {"retries": 2, "retry_delay_seconds": 3},
    ),
    Scenario(
        "is exhausted with retries left",
        two_values,
        ["next"] * 3,
        [1, 2, END],
        f"{P} Completed",
        lambda trace: {"retries": 2},
        ("G-7",),
    ),
    Scenario(
        "is sent values",
        echo,
        ["next", ("send", 1), ("send", None), ("send", "stop")],
        ["begin", "got 1", "got None", END],
        f"{P} Completed",
        hooks,
        ("G-13",),
    ),
    Scenario(
        "handles an error thrown in",
        handles_errors,
        ["next", ("throw", BoomError("thrown")), "next"],
        [1, "handled thrown", END],
        f"{P} Completed",
        hooks,
        ("G-13",),
    ),
    Scenario(
        "does not handle an error thrown in",
        with_cleanup,
        ["next", ("throw", BoomError("thrown")), "next"],
        [1, repr(BoomError("thrown")), END],
        f"{P} Failed",
        hooks,
        ("G-13",),
    ),
    Scenario(
        "is ended by a meteor",
        meteor,
        ["next", "next", "next"],
        [1, repr(Meteor("hit")), END],
        f"{P} Crashed",
        lambda trace: hooks(trace) | {"retries": 2},
        ("X-15",),
    ),
    Scenario(
        "has a meteor thrown in",
        with_cleanup,
        ["next", ("throw", Meteor("thrown"))],
        [1, repr(Meteor("thrown"))],
        f"{P} Crashed",
    ),
    Scenario(
        "takes too long",
        sleepy,
        ["next", "next", "next"],
        [1, TIMED_OUT, END],
        f"{P} TimedOut",
        lambda trace: hooks(trace) | {"timeout_seconds": 0.02},
        ("G-20",),
    ),
]


def perform(scenario: Scenario, world: World, kind: type[Any] = Task) -> tuple[list[Event], list[Event]]:
    """The trace and the history that a task (or flow) leaves, the consumer doing what the scenario says."""
    trace = Trace()

    def text() -> AsyncIterator[Any]:
        return scenario.text(trace, world)

    async def function() -> AsyncIterator[Any]:
        steps: Any = text()
        step, argument = steps.asend, None
        while True:
            try:
                value = await step(argument)
            except StopAsyncIteration:
                return
            try:
                step, argument = steps.asend, (yield value)
            except GeneratorExit:
                await steps.aclose()
                raise
            except BaseException as error:
                step, argument = steps.athrow, error

    async def main() -> None:
        steps = subject()
        await consume(trace, steps, scenario.actions, world.is_async)
        kept.append(steps)

    kept: list[Any] = []
    with trace.recording():
        options = scenario.options(trace)
        if kind is not Task:  # flows have no such hooks
            options = {
                name: each for name, each in options.items() if name not in ("on_commit", "on_rollback")
            }
        subject: Any = kind(
            function if isinstance(world, AsyncWorld) else as_sync(world, text), name="the-task", **options
        )
        if isinstance(world, AsyncWorld):
            with asyncio.Runner() as runner:
                runner.run(main())
                result = list(trace.events), trace.stored()
                runner.run(kept.pop().aclose())
        else:
            world.run(main())
            result = list(trace.events), trace.stored()
            kept.pop().close()
    return result


SCENARIO = pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.contract(*each.clauses)] if each.clauses else [])
        for each in SCENARIOS
    ],
)


@SCENARIO
@pytest.mark.parametrize("world", [SyncWorld(), AsyncWorld()], ids=["sync", "async"])
def test_scenario(scenario: Scenario, world: World) -> None:
    """The consumer gets what the table says, and the run goes through its states, in memory and on disk."""
    events, stored = perform(scenario, world)
    assert [event[1] for event in events if event[0] == "consumed"] == scenario.consumed
    assert " ".join(event[3] for event in events if event[0] == "state") == scenario.states
    if scenario.states:
        assert " ".join(state[1] for state in stored[0][1]) == scenario.states


@SCENARIO
def test_sync_and_async_are_alike(scenario: Scenario) -> None:
    """Both engines leave the same trace and the same history."""
    assert perform(scenario, SyncWorld()) == perform(scenario, AsyncWorld())


# Order and values


@pytest.mark.contract("G-10")
def test_the_users_cleanup_comes_before_the_end_of_the_run() -> None:
    """On an early close the function's ``finally`` has run when the run is completed and its hooks are called."""
    scenario = next(each for each in SCENARIOS if each.name == "is closed early")
    for world in (SyncWorld(), AsyncWorld()):
        events, _ = perform(scenario, world)
        kinds = [event[1] if event[0] == "hook" else event[0] for event in events if event[0] != "log"]
        assert kinds[-6:] == ["cleanup", "state", "on_commit", "on_completion", "consumed", "consumed"]


@pytest.mark.contract("G-4")
def test_the_return_value_of_a_sync_generator() -> None:
    """It is what ``yield from`` gives, and the result of the run's state."""
    ended = []

    @task(on_completion=[lambda task, run, state: ended.append(state.result())])
    def steps() -> Iterator[int]:
        yield 1
        return "the end"

    def consumer() -> Iterator[Any]:
        yield (yield from steps())

    assert list(consumer()) == [1, "the end"]
    assert ended == ["the end"]


@pytest.mark.contract("G-5")
def test_the_result_of_an_async_generator_is_none() -> None:
    """An async generator cannot return anything, so its run completes with None."""
    ended = []

    @task(on_completion=[lambda task, run, state: ended.append(state.result())])
    async def steps() -> AsyncIterator[int]:
        yield 1

    async def main() -> list[int]:
        return [value async for value in steps()]

    assert asyncio.run(main()) == [1]
    assert ended == [None]


@pytest.mark.contract("G-1", "E-22")
def test_nothing_happens_before_the_first_step() -> None:
    """Calling a generator task gives an iterator and creates no run."""

    @task
    def steps() -> Iterator[int]:
        yield 1

    iterator = steps()
    assert task_runs() == []
    assert next(iterator) == 1
    assert sequence() == "Pending Running"
    iterator.close()


@pytest.mark.contract("G-2", "G-21")
def test_a_state_cannot_be_asked_for() -> None:
    """``return_state=True`` is refused at the first step, for both kinds, and creates no run."""

    @task
    def steps() -> Iterator[int]:
        yield 1

    @task
    async def asteps() -> AsyncIterator[int]:
        yield 1

    iterator: Any = steps(return_state=True)
    with pytest.raises(ValueError, match="The return_type for a generator task must be 'result'"):
        next(iterator)
    aiterator: Any = asteps(return_state=True)
    with pytest.raises(ValueError, match="The return_type for a generator task must be 'result'"):
        asyncio.run(aiterator.__anext__())
    assert task_runs() == []


@pytest.mark.contract("T-37")
def test_arguments_are_bound_before_the_first_step() -> None:
    """A call that does not fit is refused at the call, not at the first step."""

    @task
    def steps(x: int) -> Iterator[int]:
        yield x

    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        steps()  # type: ignore[call-arg]


# What is active between the steps


@pytest.mark.contract("G-14", "W-16")
def test_the_consumer_is_not_inside_the_run() -> None:
    """Between two steps no context and no transaction of the generator's run is active in the consumer."""

    @task
    def steps() -> Iterator[Any]:
        for _ in range(2):
            assert get_transaction() is not None
            yield get_run_context()

    iterator = steps()
    with transaction() as own:
        first = next(iterator)
        assert TaskRunContext.get() is None
        assert get_transaction() is own
        assert next(iterator) is first
        assert list(iterator) == []
        assert get_transaction() is own
    assert isinstance(first, TaskRunContext)
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("G-14", "W-16")
def test_the_consumer_of_an_async_generator_is_not_inside_the_run() -> None:
    """The same holds for async generators, whose steps share the consumer's context."""

    @task
    async def steps() -> AsyncIterator[Any]:
        for _ in range(2):
            assert get_transaction() is not None
            yield get_run_context()

    async def main() -> None:
        async for context in steps():
            assert isinstance(context, TaskRunContext)
            assert TaskRunContext.get() is None
            assert get_transaction() is None

    asyncio.run(main())
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("W-16")
def test_a_consumer_in_another_task_keeps_its_context() -> None:
    """A generator begun outside and stepped inside of another task leaves that task's context alone."""

    @task
    def steps() -> Iterator[str]:
        yield get_run_context().task_run.name  # type: ignore[union-attr]
        yield get_run_context().task_run.name  # type: ignore[union-attr]

    @task
    def consumer(iterator: Iterator[str]) -> list[str]:
        seen = [next(iterator), get_run_context().task_run.name]  # type: ignore[union-attr]
        return [*seen, *iterator, get_run_context().task_run.name]  # type: ignore[union-attr]

    iterator = steps()
    assert next(iterator) == "steps"
    assert consumer(iterator) == ["steps", "consumer", "consumer"]
    assert TaskRunContext.get() is None


def test_two_generators_interleaved() -> None:
    """Runs whose steps alternate do not mix up their contexts."""

    @task(task_run_name="{name}")
    def steps(name: str) -> Iterator[str]:
        for _ in range(3):
            yield get_run_context().task_run.name  # type: ignore[union-attr]

    pairs = list(zip(steps("a"), steps("b"), strict=True))
    assert pairs == [("a", "b")] * 3
    assert TaskRunContext.get() is None
    assert [sequence(run) for run in task_runs()] == ["Pending Running Completed"] * 2


def test_a_generator_task_in_a_generator_task() -> None:
    """Delegation to an inner generator task nests the runs, and their parents are recorded."""

    @task
    def inner() -> Iterator[int]:
        yield 1
        yield 2

    @task
    def outer() -> Iterator[int]:
        yield from inner()

    assert list(outer()) == [1, 2]
    outer_run, inner_run = task_runs()
    assert [each.id for each in inner_run.task_inputs["__parents__"]] == [outer_run.id]  # type: ignore[union-attr]


@pytest.mark.contract("G-10")
def test_a_generator_that_nobody_keeps_is_closed() -> None:
    """A forgotten iterator completes its run when it is collected, in whatever context that happens."""
    closed = []

    @task
    def steps() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    assert next(iter(steps())) == 1
    gc.collect()
    assert closed == [True]
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("G-12")
def test_an_async_generator_left_by_break_is_closed() -> None:
    """An iterator left early is closed by asyncio, with time for an async cleanup."""
    closed = []

    @task
    async def steps() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main() -> None:
        async for _ in steps():
            break
        for _ in range(5):  # as much time as asyncio needs to close any async generator
            await asyncio.sleep(0)

    asyncio.run(main())
    assert closed == [True]
    assert sequence() == "Pending Running Completed"


# Time limits


@pytest.mark.contract("G-9")
def test_the_limit_covers_the_whole_iteration() -> None:
    """A deadline that passes in the consumer ends the run at the next step, and never hits the consumer."""

    @task(timeout_seconds=0.02)
    def steps() -> Iterator[int]:
        yield 1
        yield 2

    iterator = steps()
    assert next(iterator) == 1
    time.sleep(0.03)
    with pytest.raises(TaskRunTimeoutError):
        next(iterator)
    assert sequence() == "Pending Running TimedOut"


@pytest.mark.contract("G-9")
def test_the_limit_of_an_async_generator_covers_the_whole_iteration() -> None:
    """The same for async generators."""

    @task(timeout_seconds=0.02)
    async def steps() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def main() -> None:
        iterator = steps()
        assert await anext(iterator) == 1
        await asyncio.sleep(0.03)
        with pytest.raises(TaskRunTimeoutError):
            await anext(iterator)

    asyncio.run(main())
    assert sequence() == "Pending Running TimedOut"


def test_a_step_within_the_limit_after_a_pause() -> None:
    """Suspending and resuming the limit keeps a generator alive that is fast enough."""

    @task(timeout_seconds=100)
    def steps() -> Iterator[int]:
        yield 1
        yield 2

    assert list(steps()) == [1, 2]
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("G-9")
def test_a_generator_can_clean_up_after_its_limit() -> None:
    """The user's ``finally`` runs when the limit ends the generator."""
    closed = []

    @task(timeout_seconds=0.02)
    def steps() -> Iterator[int]:
        try:
            yield 1
            block(5)
        finally:
            closed.append(True)

    with pytest.raises(TaskRunTimeoutError):
        list(steps())
    assert closed == [True]


# Retries and ends


@pytest.mark.contract("G-7")
def test_a_retry_starts_the_body_anew() -> None:
    """Each attempt is a new generator, and the old one is closed before."""
    events = []

    @task(retries=1)
    def steps() -> Iterator[int]:
        events.append("begin")
        try:
            yield 1
            raise BoomError
        finally:
            events.append("end")

    with pytest.raises(BoomError):
        list(steps())
    assert events == ["begin", "end"] * 2


def test_times_of_a_generator_run() -> None:
    """The run lasts from its first step to its last one, the consumer's time included."""
    fake = JumpingClock()

    @task
    def steps() -> Iterator[int]:
        yield 1
        fake.sleep(2)

    with clock.use_clock(fake):
        for _ in steps():
            fake.sleep(3)
    run = only_task_run()
    assert run.total_run_time.total_seconds() == pytest.approx(5)
    assert run.total_run_time == run.state.timestamp - run.start_time  # type: ignore[operator]
    assert run.run_count == 1


@pytest.mark.contract("X-15")
def test_a_crash_between_steps_is_recorded() -> None:
    """An interrupt thrown into the suspended generator crashes the run; its state raises CrashedRun."""

    @task
    def steps() -> Iterator[int]:
        yield 1

    iterator: Any = steps()
    next(iterator)
    with pytest.raises(KeyboardInterrupt):
        iterator.throw(KeyboardInterrupt())
    with pytest.raises(CrashedRun, match="aborted by an interrupt"):
        states_of(only_task_run())[-1].result()


def test_a_stubborn_generator_is_reported() -> None:
    """A generator that yields while it is closed breaks the rules of Python, and is told so."""

    @task
    def steps() -> Iterator[Any]:
        try:
            yield 1
        finally:
            yield "not yet"

    iterator: Any = steps()
    next(iterator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        iterator.close()
    assert sequence() == "Pending Running Failed"
