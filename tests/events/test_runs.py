"""The events of real runs: what subscribers hear while tasks and flows run, and that the history says the same."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, identifiers, tags, task
from mainspring.client import get_client
from mainspring.clock import use_clock
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.events import (
    Event,
    emit_event,
    events_of,
    get_events_subscriber,
    publish_event,
    states_of,
    subscribe,
)
from mainspring.exceptions import SupersededRun
from mainspring.flow_engine import run_flow_sync
from mainspring.recording import current_recorder
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import Crashed, Pending, State
from mainspring.store.protocol import Change
from mainspring.task_engine import SyncTaskRunEngine, run_task_sync
from mainspring.transactions import transaction
from tests.engine.clocks import JumpingClock
from tests.engine.history import flow_runs, only_task_run, query, task_runs
from tests.engine.history import states_of as recorded_states
from tests.events.listening import heard, names, related

TASK_RUNS = "mainspring.task-run."


class BoomError(Exception):
    """What goes wrong."""


def called(function: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
    """The function, or an async one that does the same."""

    async def asynchronous(*args: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args)

    return asynchronous if is_async else function


def call(subject: Any, *args: Any) -> Any:
    """Call a task or flow of either kind; an exception is what comes of it."""
    try:
        result = subject(*args)
        return asyncio.run(result) if hasattr(result, "__await__") else result
    except (BoomError, KeyboardInterrupt) as error:
        return error


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Both engines tell of the same."""
    kind: bool = request.param
    return kind


def flaky(failures: int, error: BaseException | None = None) -> Callable[[], str]:
    """A function that fails so many times before it returns."""
    left = iter(range(failures))

    def function() -> str:
        if next(left, None) is not None:
            raise error or BoomError("no")
        return "at last"

    return function


def by_run(events: list[Event]) -> dict[str, list[Event]]:
    """Events by the run that they are about."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.resource.id, []).append(event)
    return found


def rebuilt() -> Iterator[list[Event]]:
    """The events of each run of the history."""
    client = get_client()
    flows = {run.id: run for run in flow_runs()}
    for run in task_runs():
        around = flows.get(run.flow_run_id) if run.flow_run_id else None
        yield events_of(run, client.read_task_run_states(run.id), around)
    for flow_run in flows.values():
        yield events_of(flow_run, client.read_flow_run_states(flow_run.id))


def require_one_story(events: list[Event]) -> None:
    """What subscribers heard is what the history says, and each links to the one before."""
    heard_of = by_run(events)
    assert {told[0].resource.id: told for told in rebuilt()} == heard_of
    for told in heard_of.values():
        assert told[0].payload["intended"]["from"] is None
        for before, after in pairwise(told):
            assert after.payload["initial_state"].items() <= before.payload["validated_state"].items()


# The sequence


@pytest.mark.contract("E-28", "EV-26")
def test_the_first_event_is_pending(is_async: bool) -> None:
    """A run begins with one Pending event that has no state before it and follows nothing."""
    with heard(TASK_RUNS) as events:
        call(task(called(flaky(0), is_async)))
    assert names(events) == "Pending Running Completed"
    assert events[0].payload["initial_state"] is None
    assert events[0].follows is None
    assert [event.follows for event in events[1:]] == [events[0].id, events[1].id]


@pytest.mark.contract("E-28")
@pytest.mark.invariants(by_hand=True)
def test_a_run_whose_history_has_begun_has_no_second_pending_event() -> None:
    """An engine that takes up a recorded run goes on where its history ends."""
    subject = task(flaky(1))
    with heard(TASK_RUNS) as events:
        call(subject)
        run = only_task_run()
        run_task_sync(subject, task_run=run, parameters={})
    assert names(events) == "Pending Running Failed Running Completed"
    assert [event.follows for event in events[1:]] == [event.id for event in events[:-1]]


@pytest.mark.contract("E-28", "V-21")
def test_a_submitted_run_begins_with_pending() -> None:
    """Whoever makes the record of a run, its first event is there and knows the flow run."""

    @task
    def work() -> None: ...

    @task
    def count() -> Any:
        yield 1
        yield 2

    @flow
    def pipeline() -> None:
        work.submit().result()
        count.submit().result()

    with heard(TASK_RUNS) as events:
        pipeline()
    (flow_run,) = flow_runs()
    for told in by_run(events).values():
        assert names(told) == "Pending Running Completed"
        assert related(told[0])[0] == ("flow-run", f"mainspring.flow-run.{flow_run.id}", flow_run.name)
    assert len(events) == 6


@pytest.mark.contract("E-58", "EV-21", "EV-26")
def test_retries_are_told_in_order(is_async: bool) -> None:
    """Each state is one event, with the state before it, and follows the event of that one."""
    with use_clock(JumpingClock(tick=1)), heard(TASK_RUNS) as events:
        call(task(called(flaky(2), is_async), retries=2, retry_delay_seconds=[0, 1]))
    assert names(events) == "Pending Running Retrying AwaitingRetry Retrying Completed"
    for before, after in pairwise(events):
        assert after.follows == before.id
        assert after.payload["initial_state"]["name"] == before.payload["validated_state"]["name"]
        assert after.occurred > before.occurred
    assert [event.resource["mainspring.run-count"] for event in events] == list("012233")


@pytest.mark.contract("E-121", "EV-6")
def test_the_chain_breaks_at_a_long_wait() -> None:
    """An event five minutes or more after the one before follows nothing."""
    with use_clock(JumpingClock(tick=1)), heard(TASK_RUNS) as events:
        call(task(flaky(1), retries=1, retry_delay_seconds=300))
    linked = {event.event.rpartition(".")[2]: event.follows is not None for event in events}
    assert linked == {
        "Pending": False,
        "Running": True,
        "AwaitingRetry": True,
        "Retrying": False,
        "Completed": True,
    }


@pytest.mark.contract("E-74", "H-11")
def test_the_history_ends_with_the_rollback() -> None:
    """A run whose transaction is rolled back has one more event, after its rollback hooks."""
    story: list[str] = []

    @task(on_rollback=[lambda txn: story.append("hook")])
    def work() -> None: ...

    @flow
    def trip() -> None:
        with transaction():
            work()
            raise BoomError

    with (
        subscribe(lambda event: story.append(event.event.removeprefix(TASK_RUNS)), TASK_RUNS),
        heard(TASK_RUNS) as events,
    ):
        call(trip)
    assert story == ["Pending", "Running", "Completed", "hook", "RolledBack"]
    assert events[-1].follows == events[-2].id
    assert events[-1].payload["intended"] == {"from": "COMPLETED", "to": "COMPLETED"}


@pytest.mark.contract("V-21")
def test_every_event_of_a_run_knows_where_it_belongs(is_async: bool) -> None:
    """From Pending on, related resources are the run's own, not those of the task that called it."""
    inner = task(flaky(0), name="inner", tags=["small"])
    outer = task(called(lambda: inner(), is_async), name="outer", tags=["big"])
    pipeline = flow(lambda: call(outer), name="pipeline")
    with heard(TASK_RUNS) as events, tags("nightly"):
        if is_async:

            @flow(name="pipeline")
            async def pipeline() -> None:
                await outer()

        call(pipeline)
    (flow_run,) = flow_runs()
    for told in by_run(events).values():
        own = "small" if told[0].resource.name.startswith("inner") else "big"  # type: ignore[union-attr]
        expected = [
            ("flow-run", f"mainspring.flow-run.{flow_run.id}", flow_run.name),
            ("flow", "mainspring.flow.pipeline", "pipeline"),
            *(("tag", f"mainspring.tag.{tag}", None) for tag in sorted([own, "nightly"])),
        ]
        assert [related(event) for event in told] == [expected] * 3


@pytest.mark.contract("EV-9")
def test_what_user_code_emits_belongs_to_its_run(is_async: bool) -> None:
    """An event from inside of a task comes between those of the run, and names it."""
    subject = task(called(lambda: emit_event("shop.paid", {"mainspring.resource.id": "x"}), is_async))
    with heard() as events:
        call(subject)
    assert names(events) == "Pending Running shop.paid Completed"
    assert related(events[2]) == [("task-run", events[0].resource.id, only_task_run().name)]


def test_the_events_of_a_flow_run() -> None:
    """The resource of a flow run selects its own events and those of what runs in it."""
    work = task(flaky(0), name="work")
    pipeline = flow(lambda: work(), name="pipeline")
    run = FlowRun(identifiers.new_id(), "mine", Pending(), "pipeline")
    with heard(resource=f"mainspring.flow-run.{run.id}") as events:
        run_flow_sync(pipeline, flow_run=run, parameters={})
        pipeline()
    assert [(event.event.split(".")[1], event.event.split(".")[2]) for event in events] == [
        ("flow-run", "Pending"),
        ("flow-run", "Running"),
        ("task-run", "Pending"),
        ("task-run", "Running"),
        ("task-run", "Completed"),
        ("flow-run", "Completed"),
    ]
    assert {event.resource.name for event in events if "flow-run" in event.event} == {"mine"}


# One story


def subflow() -> str:
    return flow(flaky(0), name="inner")()


def failing_after_it() -> None:
    with transaction():
        task(flaky(0), name="undone")()
        raise BoomError("after it")


@pytest.mark.contract("E-122", "E-58", "E-115")
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: flaky(0), {}),
        (lambda: flaky(2), {"retries": 1}),
        (lambda: flaky(2), {"retries": 2, "retry_delay_seconds": [1000, 0]}),
        (lambda: flaky(1, KeyboardInterrupt()), {}),
        (lambda: subflow, {}),
        (lambda: failing_after_it, {}),
    ],
    ids=["completes", "fails", "retries", "crashes", "has a subflow", "is rolled back"],
)
def test_what_was_heard_is_what_the_history_says(
    make: Callable[[], Callable[[], Any]], options: dict[str, Any], is_async: bool
) -> None:
    """Events rebuilt from the history are those that subscribers got, for every run and to the last field."""

    def subject() -> Any:
        return task(called(make(), is_async), name="work", tags=["big"], **options)

    async def body() -> None:
        await subject()()

    with use_clock(JumpingClock(tick=1)), heard() as events, tags("nightly"):
        call(subject())
        call(flow(body if is_async else lambda: subject()(), name="pipeline"))
    assert len(by_run(events)) >= 3
    require_one_story(events)


@pytest.mark.contract("E-122", "EV-23", "EV-29")
def test_the_history_from_events() -> None:
    """States and counters of a run are in its events, however often these were told, and as the store has them."""
    with use_clock(JumpingClock(tick=1)), heard(TASK_RUNS) as events:
        call(task(flaky(2), retries=2, retry_delay_seconds=1))
        for event in list(events):
            publish_event(event)
    run = only_task_run()
    recorded = recorded_states(run)
    assert len(events) == 2 * len(recorded)
    assert states_of(events) == recorded
    assert {event.id for event in events} == {state.id for state in recorded}
    assert run.state.id == recorded[-1].id
    facts = events[-1].payload["task_run"]
    assert facts["run_count"] == run.run_count == 3
    assert facts["total_run_time"] == run.total_run_time.total_seconds()
    assert facts["start_time"] == run.start_time.isoformat()  # type: ignore[union-attr]
    assert facts["end_time"] == run.end_time.isoformat()  # type: ignore[union-attr]


def test_rebuilt_events_have_the_newest_name() -> None:
    """A run that is named while it begins has that name in all events that are made from the history."""
    with heard(TASK_RUNS) as events:
        task(lambda x: x, name="work", task_run_name="work on {x}")(7)
    (told,) = rebuilt()
    assert [event.resource.name for event in events] == ["work", "work on 7", "work on 7"]
    assert [event.resource.name for event in told] == ["work on 7"] * 3
    assert [event.id for event in told] == [event.id for event in events]


# Durability


@pytest.mark.contract("EV-28")
def test_a_final_state_is_on_disk_before_it_is_told(is_async: bool) -> None:
    """Whoever hears of a final state finds it in the history, by whatever connection."""
    found: list[Any] = []

    def look(event: Event) -> None:
        if event.event.endswith(".Completed"):
            found.extend(query("SELECT count(*) FROM states WHERE id = ?", event.id.bytes))

    with subscribe(look):
        call(task(called(flaky(0), is_async)))
    assert found == [(1,)]


@pytest.mark.contract("EV-28")
def test_events_of_a_process_that_died(tmp_path: Path, mainspring_home: Path) -> None:
    """Nobody heard the last events of a process that was killed, and the history has them all."""
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(
            """
            import os
            from mainspring import task

            @task
            def work(): ...

            work()
            os.kill(os.getpid(), 9)
            """
        )
    )
    environment = {**os.environ, "MAINSPRING_HOME": str(mainspring_home)}
    assert subprocess.run([sys.executable, path], env=environment, check=False).returncode == -9
    (told,) = rebuilt()
    assert names(told) == "Pending Running Completed"


def test_a_refused_state_is_not_told() -> None:
    """A state that the store refused did not happen."""

    @task
    def work() -> None:
        recorder = current_recorder()
        recorder.flush()
        run = TaskRunContext.get().task_run  # type: ignore[union-attr]
        theirs = Crashed(message="settled by somebody else")
        assert recorder.store.write([Change(run, [theirs], run.recorded)], []) == []

    with heard(TASK_RUNS) as events, pytest.raises(SupersededRun):
        work()
    assert names(events) == "Pending Running"


# Subscribers and runs


def test_a_subscriber_that_fails_does_not_disturb_the_run(is_async: bool) -> None:
    """The run completes, and other subscribers hear of everything."""

    def fail(event: Event) -> None:
        raise BoomError("no line")

    with subscribe(fail), heard(TASK_RUNS) as events:
        assert call(task(called(flaky(0), is_async))) == "at last"
    assert names(events) == "Pending Running Completed"


def test_a_time_limit_ends_a_call_of_a_subscriber() -> None:
    """A flow is timed out at its deadline, also if that comes while a subscriber is called."""

    @flow(timeout_seconds=0.5)
    def pipeline() -> None:
        task(flaky(0), name="work")()
        time.sleep(60)

    with subscribe(lambda event: time.sleep(60), f"{TASK_RUNS}Running"):
        state = pipeline(return_state=True)
    assert state.name == "TimedOut"
    assert flow_runs()[0].total_run_time.total_seconds() < 30


def test_a_queue_over_many_threads() -> None:
    """With tasks on many threads the events of each run are in order, and a small queue loses none."""
    got: list[Event] = []
    work = task(flaky(0), name="work")

    @flow
    def pipeline() -> None:
        for future in [work.submit() for _ in range(20)]:
            future.result()

    with get_events_subscriber(TASK_RUNS, capacity=2, patience=60) as subscriber:
        reader = threading.Thread(target=lambda: got.extend(subscriber))
        reader.start()
        pipeline()
    reader.join()
    told = by_run(got)
    assert len(told) == 20
    assert {names(events) for events in told.values()} == {"Pending Running Completed"}


def test_an_engine_driven_by_hand() -> None:
    """States that a user enters on an engine are told as well."""
    engine: SyncTaskRunEngine[Any, Any] = SyncTaskRunEngine(task=task(flaky(0)))
    with heard(TASK_RUNS) as events, engine.start():
        engine.set_state(State("COMPLETED", name="Done"))
    assert names(events) == "Pending Running Done"
    assert FlowRunContext.get() is None
    assert isinstance(engine.task_run, TaskRun)
