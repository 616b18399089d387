"""Asking for a run to be cancelled: who may be asked, what becomes of requests, and what a signal adds to them."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, get_client, resume_flow_run, task
from mainspring._cancel_scopes import CancelScope, Stop, StopKind, inside, live
from mainspring._engine.cancelling import see_to_cancellations
from mainspring.exceptions import CancelledRun, NotCancellable, ObjectNotFound, TerminationSignal
from mainspring.identifiers import new_id
from mainspring.recording import current_recorder
from mainspring.runtime import flow_run
from mainspring.settings import temporary_settings
from mainspring.states import Cancelled
from mainspring.store.cancellations import CancellationRequest
from tests.engine.history import flow_runs, only_flow_run, only_task_run, sequence, task_runs
from tests.engine.stopping import PATIENCE, Canceller, linger, until

ENDED = "Pending Running Cancelling Cancelled"
LOOPS = int(os.environ.get("CANCEL_LOOPS", "60"))
"""How many runs are cancelled one by one, to see whether anything is left behind."""

AT_ONCE = 20


def requests() -> list[CancellationRequest]:
    return current_recorder().store.read_cancellations()


def count_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@task
def nothing() -> None:
    """Do nothing."""


@pytest.mark.parametrize("kind", ["task", "flow"])
def test_a_run_that_is_over(kind: str) -> None:
    """It cannot be cancelled; the error says so, and nothing is changed."""
    subject: Any = nothing if kind == "task" else flow(nothing.fn)
    subject()
    run: Any = only_task_run() if kind == "task" else only_flow_run()
    with pytest.raises(
        NotCancellable, match=f"The {kind} run .* is over, and Completed. Nothing was changed"
    ):
        get_client().cancel_run(run.id)
    assert sequence(run) == "Pending Running Completed"
    assert requests() == []


def test_an_unknown_run() -> None:
    """There is an error for it, and nobody is asked for anything."""
    nothing()
    with pytest.raises(ObjectNotFound, match="There is no run with the id"):
        get_client().cancel_run("018f3a44-0000-7000-8000-000000000000")
    assert requests() == []


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", True])
def test_bad_patience(timeout: Any) -> None:
    """A timeout that is no time is refused before anything is asked for."""
    with pytest.raises(ValueError, match="`timeout` must be at least 0"):
        get_client().cancel_run(nothing(return_state=True).state_details.task_run_id, timeout=timeout)


def test_without_patience() -> None:
    """With a timeout of 0 the request is made, and the run is returned as it is."""
    begun, seen = threading.Event(), []

    @flow
    def work() -> None:
        begun.set()
        linger()

    def ask() -> None:
        begun.wait(PATIENCE)
        until(lambda: flow_runs() and only_flow_run().state.is_running())
        seen.append(get_client().cancel_run(only_flow_run().id, timeout=0).state.is_final())

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(CancelledRun, match=r"Somebody has cancelled it\."):
        work()
    thread.join()
    assert seen == [False]


def test_patience_that_ends_first() -> None:
    """When the patience of the caller ends before the run does, it is returned as it is then."""
    begun, leave, seen = threading.Event(), threading.Event(), []

    @flow
    def stubborn() -> None:
        try:
            linger(begun.set)
        finally:
            leave.wait(PATIENCE)

    def ask() -> None:
        begun.wait(PATIENCE)
        until(lambda: flow_runs() and only_flow_run().state.is_running())
        seen.append(get_client().cancel_run(only_flow_run().id, timeout=3).state.name)
        leave.set()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(CancelledRun):
        stubborn()
    thread.join()
    assert seen == ["Cancelling"]


def test_from_inside_of_the_run() -> None:
    """A run may have itself cancelled, in the code that it consists of."""

    @flow
    def work() -> None:
        get_client().cancel_run(flow_run.id, "my own wish", timeout=PATIENCE)
        linger()

    with pytest.raises(CancelledRun, match="my own wish"):
        work()
    assert sequence(only_flow_run()) == ENDED


def test_several_at_once() -> None:
    """Whoever asks first gives the reason; all get the run when it is over."""
    begun = threading.Event()
    found: list[Any] = []

    @flow
    def work() -> None:
        begun.set()
        linger()

    def ask(reason: str) -> None:
        begun.wait(PATIENCE)
        until(flow_runs)
        try:
            found.append(get_client().cancel_run(only_flow_run().id, reason, timeout=PATIENCE).state.message)
        except NotCancellable:
            found.append(None)

    threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    with pytest.raises(CancelledRun) as caught:
        work()
    for thread in threads:
        thread.join()
    assert set(found) <= {str(caught.value), None}
    assert sequence(only_flow_run()) == ENDED
    until(lambda: not requests(), "the end of the request")


def test_a_history_in_memory() -> None:
    """Without a file for the history it is the same, within the process."""
    with temporary_settings({"database_url": "sqlite://"}):

        @flow
        def work() -> None:
            nothing()
            linger()

        @flow
        def outer() -> None:
            threading.Timer(0.3, ask, [flow_run.id]).start()
            work()

        client = get_client()

        def ask(run_id: Any) -> None:
            client.cancel_run(run_id, "enough", timeout=PATIENCE)

        with pytest.raises(CancelledRun):
            outer()
        assert {run.state.name for run in client.read_flow_runs()} == {"Cancelled"}


def test_a_run_that_waits_for_inputs_that_never_come() -> None:
    """A run that is NotReady goes on nowhere: it is Cancelled at once, by whoever asks."""

    @task
    def failing() -> None:
        raise ValueError

    state = nothing(wait_for=[failing(return_state=True)], return_state=True)
    assert state.name == "NotReady"
    found = get_client().cancel_run(state.state_details.task_run_id, "not needed", timeout=0)
    assert (found.state.name, found.state.message) == ("Cancelled", "not needed")
    assert sequence(found) == "Pending NotReady Cancelling Cancelled"


def test_a_request_that_came_too_late_does_not_end_a_resumed_run() -> None:
    """What was asked of an attempt that has ended is not asked of the one that goes on with it."""
    fails = [True]

    @flow(persist_result=True)
    def work() -> str:
        if fails.pop():
            current_recorder().flush()
            asked = CancellationRequest(only_flow_run().key, "late")
            assert current_recorder().store.request_cancellation(asked, 1)
            raise ValueError
        time.sleep(0.5)
        return "went on"

    state = work(return_state=True)
    run = only_flow_run()
    assert state.name in {"Failed", "Cancelled"}  # the latter if somebody has looked in between
    fails.append(False)
    assert resume_flow_run(run.id, flow=work) == "went on"
    assert requests() == []


def test_requests_are_forgotten_when_the_run_is_over() -> None:
    """The look of the supervisor after the end of a run takes its request along."""
    nothing()
    run = only_task_run()
    store = current_recorder().store
    see_to_cancellations(store)
    assert requests() == []
    assert run.state.is_completed()


# Signals


@pytest.mark.contract("F-46")
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_signal(asked: bool, asynchronous: bool) -> None:
    """SIGTERM makes haste what was asked for: Cancelled, with its hooks. Whatever nobody has cancelled has Crashed."""
    told: list[str] = []
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))

    def crashed(*_: Any) -> None:
        told.append("crashed")

    def cancelled(*_: Any) -> None:
        told.append("cancelled")

    def send() -> None:
        if asked:
            current_recorder().flush()
            store = current_recorder().store
            assert store.request_cancellation(CancellationRequest(only_flow_run().key, "asked"), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    @flow(on_crashed=[crashed], on_cancellation=[cancelled])
    def work() -> None:
        send()
        linger()

    @flow(on_crashed=[crashed], on_cancellation=[cancelled])
    async def awork() -> None:
        send()
        await asyncio.sleep(PATIENCE)

    try:
        with pytest.raises((TerminationSignal, asyncio.CancelledError, CancelledRun)):
            asyncio.run(awork()) if asynchronous else work()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert told == ["cancelled" if asked else "crashed"]
    assert sequence(only_flow_run()) == (ENDED if asked else "Pending Running Crashed")


def test_an_interrupt_from_the_keyboard_during_a_cancellation() -> None:
    """Ctrl-C while a cancelled run waits for a thread inside ends the wait, and the run is Cancelled all the same."""
    canceller = Canceller()

    @task
    def stuck(run_id: str) -> None:
        canceller.begin(run_id)
        time.sleep(3)  # in a thread, nothing interrupts it

    @flow
    def work() -> None:
        stuck.submit(str(flow_run.id)).wait()

    def press() -> None:
        until(lambda: flow_runs() and only_flow_run().state.name == "Cancelling")
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with canceller.at_work(), pytest.raises((CancelledRun, KeyboardInterrupt)):
        work()
    thread.join()
    until(lambda: only_task_run().state.is_final())
    assert only_flow_run().state.name == "Cancelled"


# Scopes


def test_callbacks_of_a_scope() -> None:
    """Whoever waits is told once a scope around is stopped, also if that was before, and nothing is left behind."""
    outer = CancelScope(new_id())
    inner = CancelScope(new_id(), outer)
    told: list[str] = []
    stop = Stop(StopKind.CANCELLED, "why")
    with inner.calling(lambda given: told.append(given.reason)):
        assert outer.stop(stop)
        assert not outer.stop(Stop(StopKind.LOST, "too late"))
    with inner.calling(lambda given: told.append(given.reason)):
        pass
    assert told == ["why", "why"]
    assert (inner._callbacks, outer._callbacks) == ([], [])
    assert inner.stopped() is stop
    assert inner.stopped_by is None


def test_states_made_by_hand_stop_nothing() -> None:
    """A task that returns a Cancelled state has not been cancelled by anybody: its flow goes on."""

    @task
    def gives_up() -> Any:
        return Cancelled(message="I give up")

    @flow
    def around() -> str:
        state = gives_up(return_state=True)
        nothing()
        return state.message or ""

    assert around() == "I give up"
    assert [run.state.name for run in task_runs()] == ["Cancelled", "Completed"]


@pytest.mark.timeout(max(60, LOOPS))
@pytest.mark.parametrize("asynchronous", [False, True])
def test_nothing_is_left_behind(asynchronous: bool) -> None:
    """After many cancellations there are no more threads, files and scopes than after one."""

    @task
    def work(event: threading.Event) -> None:
        event.set()
        linger()

    @task
    async def awork(event: threading.Event) -> None:
        event.set()
        await asyncio.sleep(PATIENCE)

    chosen: Any = awork if asynchronous else work
    events: list[threading.Event] = []

    @flow
    def around() -> list[str]:
        events[:] = [threading.Event() for _ in range(AT_ONCE)]
        futures = [chosen.submit(event) for event in events]
        for event in events:
            event.wait(PATIENCE)
        store = current_recorder().store
        current_recorder().flush()
        for future in futures:
            assert store.request_cancellation(CancellationRequest(future.run_key, "one by one"), 1)
        return [future.state.name for future in futures if future.wait() is None]

    assert set(around()) == {"Cancelled"}
    threads, files, scopes = threading.active_count(), count_files(), set(live)
    for _ in range(LOOPS // AT_ONCE):
        assert set(around()) == {"Cancelled"}
    assert set(live) <= scopes
    until(lambda: threading.active_count() <= threads, "the end of the threads")
    until(lambda: count_files() < files + AT_ONCE, "the end of the files")  # connections for reading are kept
    scope = CancelScope(None)
    assert inside(scope) == []
