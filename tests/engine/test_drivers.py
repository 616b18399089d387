"""Sync and async engines proved alike: the same scenario leaves the same trace in both.

The traces hold every state, hook, log line and sleep in order, how the call ended, and what the store has.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mainspring.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine
from mainspring.tasks import Task
from tests.engine.scenarios import SCENARIOS, Scenario, Stage
from tests.engine.traces import AsyncWorld, Event, SyncWorld, Trace, World, outcome

Caller = Callable[..., Awaitable[Any]]


async def by_call(task: Task[..., Any], stage: Stage, **arguments: Any) -> Any:
    """The call as users write it."""
    return await stage.call(task, **arguments)


async def by_hand(task: Task[..., Any], stage: Stage, **arguments: Any) -> Any:
    """The loop of the reference page, written by hand."""
    wait_for = arguments.pop("wait_for", None)
    wants_state = arguments.pop("return_state", False)
    parameters = task.arguments.bind((), arguments)
    if stage.world.is_async:
        engine = AsyncTaskRunEngine[Any, Any](task=task, parameters=parameters, wait_for=wait_for)
        async with engine.start():
            while engine.is_running():
                async with engine.run_context(), engine.transaction_context() as transaction:
                    await engine.call_task_fn(transaction)
        return engine.state if wants_state else await engine.result()
    engine = SyncTaskRunEngine[Any, Any](task=task, parameters=parameters, wait_for=wait_for)
    with engine.start():
        while engine.is_running():
            with engine.run_context(), engine.transaction_context() as transaction:
                engine.call_task_fn(transaction)
    return engine.state if wants_state else engine.result()


@pytest.fixture(autouse=True)
def in_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt whose time is up is ended by its own thread, also if a busy machine keeps that waiting."""
    monkeypatch.setattr("mainspring._engine.overdue.GRACE", 20.0)


def perform(scenario: Scenario, world: World, caller: Caller = by_call) -> tuple[list[Event], list[Event]]:
    """The trace of a scenario, and what the store has of it."""
    trace = Trace()
    stage = Stage(trace, world)

    async def text(x: Any) -> Any:
        stage.attempt += 1
        trace.add("attempt", stage.attempt)
        return await scenario.text(stage, x)

    function = world.function(text)
    with trace.recording():
        task = Task(function, name="the-task", **scenario.options(stage))

        async def call(**more: Any) -> Any:
            return await caller(task, stage, **scenario.call(), **more)

        trace.events.append(world.run(outcome(scenario.around(stage, call))))
        return trace.events, trace.stored()


SCENARIO = pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.contract(*each.clauses)] if each.clauses else [])
        for each in SCENARIOS
    ],
)
WORLDS = pytest.mark.parametrize("world", [SyncWorld(), AsyncWorld()], ids=["sync", "async"])


@SCENARIO
@WORLDS
@pytest.mark.invariants(by_hand=True, is_over=False)
def test_scenario(scenario: Scenario, world: World) -> None:
    """The run goes through the states that the table names, in memory and on disk, and the call ends as it says."""
    events, stored = perform(scenario, world)
    of_run = [event for event in events if event[0] == "state" and event[1] != "inner"]
    assert " ".join(event[3] for event in of_run) == scenario.states
    assert events[-1] == scenario.ends
    _, states, _ = next(each for each in stored if each[0] != "inner")
    assert [state[:3] for state in states] == [event[2:] for event in of_run]


@pytest.mark.contract("E-32")
@SCENARIO
@pytest.mark.invariants(by_hand=True, is_over=False)
def test_all_forms_are_alike(scenario: Scenario) -> None:
    """Sync and async, called and looped by hand, leave the same trace and the same history."""
    wanted = perform(scenario, SyncWorld())
    assert perform(scenario, AsyncWorld()) == wanted
    assert perform(scenario, SyncWorld(), by_hand) == wanted
    assert perform(scenario, AsyncWorld(), by_hand) == wanted
