"""Attempts that do not end at their deadline: who settles them, once, and what becomes of what they still do."""

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, get_run_logger, points, task
from mainspring._cancel_scopes import live
from mainspring.cache_policies import INPUTS
from mainspring.client import get_client
from mainspring.concurrency.sync import concurrency
from mainspring.events import emit_event, get_events_subscriber
from mainspring.exceptions import RunCancelled
from mainspring.locking.memory import MemoryLockManager
from mainspring.settings import temporary_settings
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.task_runners import ThreadPoolTaskRunner
from mainspring.transactions import CommitMode, IsolationLevel, transaction
from tests.engine.history import flow_runs, messages, query, sequence, task_runs
from tests.engine.scenarios import BoomError

LIMIT = 0.1
PATIENCE = 20.0


class Stuck:
    """What a function waits for that hears of nothing: each attempt waits until `release`, unless told to go on."""

    def __init__(self) -> None:
        self._released = threading.Event()
        self.left = threading.Semaphore(0)
        self.entered = 0

    def wait(self) -> None:
        """Block like a call that no exception ends: what comes meanwhile is swallowed."""
        self.entered += 1
        while not self._released.is_set():
            with contextlib.suppress(TimeoutError, RunCancelled):
                self._released.wait(PATIENCE)

    def leave(self) -> None:
        """Say that the late code has come to its end."""
        self.left.release()

    def release(self, late: int = 0) -> None:
        """Let them go on, and wait for the end of so many."""
        self._released.set()
        for _ in range(late):
            assert self.left.acquire(timeout=PATIENCE)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    blocked = Stuck()
    yield blocked
    blocked.release()


def in_thread(body: Callable[[], Any]) -> Any:
    """What something comes to in another thread."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(body()))
    thread.start()
    thread.join(PATIENCE)
    (result,) = results
    return result


def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def late(stuck: Stuck, action: Callable[[], Any]) -> list[Any]:
    """What the late code of a given-up attempt gets when it does something: a value, or an exception."""
    found: list[Any] = []

    @task(name="late", timeout_seconds=LIMIT)
    def work() -> None:
        stuck.wait()
        try:
            found.append(action())
        except BaseException as error:
            found.append(error)
        finally:
            stuck.leave()

    @flow(name="around")
    def around() -> None:
        future = work.submit()
        future.wait(timeout=PATIENCE)
        assert future.state.name == "TimedOut"
        stuck.release(late=1)

    around()
    return found


# The settlement


@pytest.mark.contract("X-5", "X-10", "E-70")
def test_a_submitted_run_is_settled_while_its_function_is_blocked(stuck: Stuck) -> None:
    """Whoever waits gets the timeout, and it is on disk by then, although the call has not returned."""

    @task(timeout_seconds=LIMIT)
    def work() -> None:
        stuck.wait()

    @flow
    def around() -> str:
        future = work.submit()
        with pytest.raises(TaskRunTimeoutError):
            future.result(timeout=PATIENCE)
        (row,) = query("select state_name from task_runs where name like 'work%'")
        return str(row[0])

    assert around() == "TimedOut"
    assert sequence() == "Pending Running TimedOut"


@pytest.mark.contract("E-70", "E-75")
def test_a_flow_that_asks_for_the_result_of_a_blocked_run_fails(stuck: Stuck) -> None:
    """The error is that of a task, though the limit it comes from is still around a call in another thread."""

    @task(timeout_seconds=LIMIT)
    def work() -> None:
        stuck.wait()

    @flow
    def whole() -> None:
        work.submit().result()

    state = whole(return_state=True)
    assert state.is_failed()
    assert isinstance(state.result(raise_on_failure=False), TaskRunTimeoutError)


def test_another_thread_makes_the_next_attempt(stuck: Stuck) -> None:
    """The retry does not wait for the blocked thread, and what it returns is the result."""
    threads = []

    @task(timeout_seconds=LIMIT, retries=1)
    def work() -> str:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            stuck.wait()
        return "second"

    @flow
    def around() -> str:
        return work.submit().result(timeout=PATIENCE)

    assert around() == "second"
    assert threads[0] is not threads[1]
    assert sequence() == "Pending Running AwaitingRetry Retrying Completed"


def test_a_delayed_retry_of_a_blocked_run(stuck: Stuck) -> None:
    """The next attempt waits for its time, and the runner has room for others meanwhile."""
    calls = []

    @task(timeout_seconds=LIMIT, retries=1, retry_delay_seconds=0.3)
    def work() -> str:
        calls.append(time.monotonic())
        if len(calls) == 1:
            stuck.wait()
        return "second"

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def around() -> str:
        return work.submit().result(timeout=PATIENCE)

    assert around() == "second"
    assert calls[1] - calls[0] >= 0.3
    assert sequence() == "Pending Running AwaitingRetry Retrying Completed"


def test_a_cancelled_flow_ends_what_awaits_its_retry(stuck: Stuck) -> None:
    """A run whose attempt was given up and that waits for the next one ends with the flow around it."""

    @task(timeout_seconds=LIMIT, retries=1, retry_delay_seconds=3 * PATIENCE)
    def work() -> None:
        stuck.wait()

    @flow(timeout_seconds=5 * LIMIT)
    def around() -> None:
        work.submit().wait()

    assert around(return_state=True).name == "TimedOut"
    (run,) = task_runs()
    assert run.state.is_final()


def test_the_caller_of_a_blocked_run_goes_on_when_the_call_returns(stuck: Stuck) -> None:
    """In a thread that nobody can do without, the run is recorded at its deadline, and the caller gets it later."""

    @task(timeout_seconds=LIMIT)
    def work() -> None:
        stuck.wait()

    def body() -> str:
        return work(return_state=True).name

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(body()))
    thread.start()
    until(lambda: [run.state.name for run in task_runs()] == ["TimedOut"])
    assert thread.is_alive()
    stuck.release()
    thread.join(PATIENCE)
    assert results == ["TimedOut"]


def test_a_blocked_run_is_retried_by_its_own_thread(stuck: Stuck) -> None:
    """Where no other thread can go on, the next attempt is awaited, and made when the call returns."""
    calls = []

    @task(timeout_seconds=LIMIT, retries=1)
    def work() -> str:
        calls.append(1)
        if len(calls) == 1:
            stuck.wait()
        return "second"

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    until(lambda: [run.state.name for run in task_runs()] == ["AwaitingRetry"])
    stuck.release()
    thread.join(PATIENCE)
    assert results == ["second"]
    assert sequence() == "Pending Running AwaitingRetry Retrying Completed"


@pytest.mark.parametrize("submitted", [True, False])
def test_hooks_of_a_run_that_is_given_up_are_called_once(stuck: Stuck, submitted: bool) -> None:
    """Each in its turn: on_running for each attempt, on_failure at the end, whoever makes the attempts."""
    calls = []

    def note(_: Any, __: Any, state: Any) -> None:
        calls.append(state.name)

    @task(timeout_seconds=LIMIT, retries=1, on_running=[note], on_failure=[note], on_completion=[note])
    def work() -> None:
        if submitted:
            stuck.wait()
        else:
            time.sleep(3 * LIMIT)

    @flow
    def around() -> str:
        if submitted:
            future = work.submit()
            future.wait(timeout=PATIENCE)
            return str(future.state.name)
        return in_thread(lambda: work(return_state=True).name)

    assert around() == "TimedOut"
    stuck.release()
    assert calls == ["Running", "Retrying", "TimedOut"]


def test_hooks_that_run_tasks(stuck: Stuck) -> None:
    """A hook of a run that was given up may run tasks and write lines, like any other hook."""
    calls = []

    @task
    def report() -> str:
        return "reported"

    def hook(_: Any, __: Any, ___: Any) -> None:
        get_run_logger().info("a line of the hook")
        calls.append(report())

    @task(timeout_seconds=LIMIT, on_failure=[hook])
    def work() -> None:
        stuck.wait()

    @flow
    def around() -> None:
        work.submit().wait(timeout=PATIENCE)

    around()
    assert calls == ["reported"]
    assert any("a line of the hook" in messages(run) for run in task_runs())


def test_hooks_after_an_attempt_that_was_given_up_may_run_tasks() -> None:
    """The next attempt of the same thread is not bound by what became of the one before."""
    calls = []

    @task
    def report() -> str:
        return "reported"

    def hook(_: Any, __: Any, state: Any) -> None:
        get_run_logger().info("a line of the hook")
        calls.append((report(), state.name))

    @task(timeout_seconds=LIMIT, retries=1, on_running=[hook], on_completion=[hook])
    def work() -> None:
        if len(calls) == 1:
            time.sleep(3 * LIMIT)

    @flow
    def around() -> None:
        in_thread(work)

    around()
    assert calls == [("reported", "Running"), ("reported", "Retrying"), ("reported", "Completed")]
    lines = [line for run in task_runs() for line in messages(run) if line == "a line of the hook"]
    assert len(lines) == 3


def test_the_retry_condition_is_asked_once_for_each_attempt(stuck: Stuck) -> None:
    """By the thread that settles; with no as its answer the run has timed out."""
    asked = []

    def condition(_: Any, __: Any, state: Any) -> bool:
        asked.append(state.name)
        return len(asked) == 1

    @task(timeout_seconds=LIMIT, retries=5, retry_condition_fn=condition)
    def work() -> None:
        stuck.wait()

    @flow
    def around() -> str:
        future = work.submit()
        future.wait(timeout=PATIENCE)
        return str(future.state.name)

    assert around() == "TimedOut"
    assert asked == ["TimedOut", "TimedOut"]


def test_a_run_is_named_once(stuck: Stuck) -> None:
    """The thread that goes on with a run does not name it again."""
    names = iter(["first", "second"])

    @task(timeout_seconds=LIMIT, retries=1, task_run_name=lambda: next(names))
    def work() -> None:
        stuck.wait()

    @flow
    def around() -> None:
        work.submit().wait(timeout=PATIENCE)

    around()
    assert [run.name for run in task_runs()] == ["first"]


def test_a_map_goes_on_without_blocked_threads(stuck: Stuck) -> None:
    """Elements that block hold up neither their runner, which has room for one, nor the other elements."""

    @task(timeout_seconds=LIMIT, retries=1)
    def work(number: int) -> int:
        if number % 2:
            stuck.wait()
        return number

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def around() -> list[str]:
        futures = work.map(range(5))
        futures.wait(timeout=PATIENCE)
        return [future.state.name for future in futures]

    assert around() == ["Completed", "TimedOut", "Completed", "TimedOut", "Completed"]
    assert stuck.entered == 4


# Runs inside of runs


def test_a_run_inside_of_a_blocked_one_ends_with_it(stuck: Stuck) -> None:
    """It has crashed, its hooks are called once, and the one around has timed out."""
    calls = []

    def note(_: Any, __: Any, state: Any) -> None:
        calls.append(state.name)

    @task(on_crashed=[note], on_completion=[note])
    def inner() -> None:
        stuck.wait()

    @task(timeout_seconds=LIMIT, on_failure=[note])
    def outer() -> None:
        inner()

    @flow
    def around() -> None:
        outer.submit().wait(timeout=PATIENCE)
        stuck.release()

    around()
    assert {run.name.split("-")[0]: run.state.name for run in task_runs()} == {
        "outer": "TimedOut",
        "inner": "Crashed",
    }
    assert calls == ["Crashed", "TimedOut"]


def test_two_limits_around_a_blocked_call(stuck: Stuck) -> None:
    """The inner run has timed out before the outer one does, and nothing is done twice."""
    calls = []

    def note(_: Any, run: Any, state: Any) -> None:
        calls.append((run.name.split("-")[0], state.name))

    @task(timeout_seconds=LIMIT, on_failure=[note], on_crashed=[note])
    def inner() -> None:
        stuck.wait()

    @task(timeout_seconds=4 * LIMIT, on_failure=[note], on_crashed=[note])
    def outer() -> None:
        inner()

    @flow
    def around() -> None:
        outer.submit().wait(timeout=PATIENCE)
        stuck.release()

    around()
    assert calls == [("inner", "TimedOut"), ("outer", "TimedOut")]


def test_an_inner_run_that_awaits_its_retry_ends_with_the_run_around_it(stuck: Stuck) -> None:
    """Its own thread would make the next attempt, and is not coming back in time."""

    @task(timeout_seconds=LIMIT, retries=1)
    def inner() -> None:
        stuck.wait()

    @task(timeout_seconds=4 * LIMIT)
    def outer() -> None:
        inner()

    @flow
    def around() -> None:
        outer.submit().wait(timeout=PATIENCE)
        states = {run.name.split("-")[0]: run.state.name for run in task_runs()}
        assert states == {"outer": "TimedOut", "inner": "Crashed"}

    around()


def test_a_hook_that_blocks_when_the_limit_around_expires(stuck: Stuck) -> None:
    """The inner run has ended, and its hooks are not called again by whoever settles the one around."""
    calls = []

    def hook(_: Any, __: Any, state: Any) -> None:
        calls.append(state.name)
        stuck.wait()

    @task(on_completion=[hook])
    def inner() -> None: ...

    @task(timeout_seconds=3 * LIMIT)
    def outer() -> None:
        inner()

    @flow
    def around() -> str:
        future = outer.submit()
        future.wait(timeout=PATIENCE)
        stuck.release()
        return str(future.state.name)

    assert around() == "TimedOut"
    assert calls == ["Completed"]


def test_tasks_on_other_threads_end_with_a_blocked_run(stuck: Stuck) -> None:
    """A child that has no limit, or more time than its parent, has no more time than its parent."""

    @task(timeout_seconds=1000)
    def patient() -> None:
        stuck.wait()

    @task
    def unlimited() -> None:
        stuck.wait()

    @task(timeout_seconds=2 * LIMIT)
    def outer() -> None:
        patient.submit()
        unlimited.submit()
        stuck.wait()

    @flow
    def around() -> None:
        outer.submit().wait(timeout=PATIENCE)
        until(lambda: all(run.state.is_final() for run in task_runs()))

    around()
    states = {run.name.split("-")[0]: run.state.name for run in task_runs()}
    assert states["outer"] == "TimedOut"
    assert set(states.values()) <= {"TimedOut", "Crashed"}


# What comes too late


@pytest.mark.parametrize("retries", [0, 1])
def test_a_late_result_is_refused(stuck: Stuck, retries: int) -> None:
    """What a blocked call returns in the end changes neither the state nor the result."""
    calls = []

    @task(timeout_seconds=LIMIT, retries=retries)
    def work() -> str:
        calls.append(1)
        if len(calls) == 1:
            try:
                stuck.wait()
            finally:
                stuck.leave()
            return "late"
        return "in time"

    @flow
    def around() -> Any:
        future = work.submit()
        future.wait(timeout=PATIENCE)
        stuck.release(late=1)
        return future.state

    state = around(return_state=True)
    assert state.name == ("Completed" if retries else "Failed")
    (run,) = task_runs()
    assert run.state.name == ("Completed" if retries else "TimedOut")
    assert "late" not in repr(state.result(raise_on_failure=False))


def test_late_lines_are_not_kept(stuck: Stuck) -> None:
    """A run logger in the code of an attempt that was given up writes nothing into the history."""

    def action() -> None:
        get_run_logger().info("a late line")

    assert late(stuck, action) == [None]
    assert not any("a late line" in messages(run) for run in [*task_runs(), *flow_runs()])


def test_late_events_are_not_emitted(stuck: Stuck) -> None:
    """Nobody hears of what happens in an attempt that was given up."""
    with get_events_subscriber() as subscriber:
        heard = late(stuck, lambda: emit_event("late.event", {"mainspring.resource.id": "x"}))
        emit_event("last.event", {"mainspring.resource.id": "x"})
        names = []
        for event in subscriber:
            names.append(event.event)
            if event.event == "last.event":
                break
    assert heard == [None]
    assert "late.event" not in names


def test_late_code_gets_no_slots(stuck: Stuck) -> None:
    """Nobody would give them back if it got stuck again."""
    get_client().create_or_update_concurrency_limit("db", 1)

    def action() -> None:
        with concurrency("db"):
            pass

    (error,) = late(stuck, action)
    assert isinstance(error, RunCancelled)


def test_late_transactions_are_rolled_back(stuck: Stuck) -> None:
    """Even one that would commit whatever is around it."""
    calls = []

    def action() -> None:
        with transaction(commit_mode=CommitMode.EAGER) as late_one:
            late_one.stage(
                "x",
                on_rollback_hooks=[lambda _: calls.append("rolled back")],
                on_commit_hooks=[lambda _: calls.append("committed")],
            )

    assert late(stuck, action) == [None]
    assert calls == ["rolled back"]


@pytest.mark.parametrize("kind", [task, flow])
@pytest.mark.parametrize("how", ["called", "submitted", "in a thread"])
def test_late_runs_do_not_begin(stuck: Stuck, kind: Any, how: str) -> None:
    """A task or flow that an attempt calls after it was given up does not run, and there is no record of it."""
    calls = []

    @kind(name="too-late")
    def inner() -> None:
        calls.append(1)

    def action() -> None:
        if how == "called":
            inner()
        elif how == "submitted":
            inner.submit().result(timeout=PATIENCE)
        else:
            context = contextvars.copy_context()
            errors: list[BaseException] = []

            def body() -> None:
                try:
                    context.run(inner)
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=body)
            thread.start()
            thread.join(PATIENCE)
            raise errors[0]

    (error,) = late(stuck, action)
    assert isinstance(error, BaseException)
    if how != "submitted":
        assert isinstance(error, RunCancelled)
    assert calls == []
    assert not [run for run in [*task_runs(), *flow_runs()] if run.name.startswith("too-late")]


def test_late_results_of_inner_runs_are_not_written(stuck: Stuck, tmp_path: Path) -> None:
    """A task that was inside of a given-up attempt keeps nothing of what it returns then."""

    @task(persist_result=True, result_storage_key="inner.txt", result_storage=tmp_path)
    def inner() -> str:
        stuck.wait()
        return "late"

    @task(timeout_seconds=LIMIT)
    def outer() -> None:
        try:
            inner()
        finally:
            stuck.leave()

    @flow
    def around() -> None:
        outer.submit().wait(timeout=PATIENCE)
        stuck.release(late=1)

    around()
    assert not list(tmp_path.glob("**/inner*"))


def test_slots_are_free_at_the_deadline(stuck: Stuck) -> None:
    """A slot that a blocked attempt holds is given to somebody else before the call returns."""
    get_client().create_or_update_concurrency_limit("db", 1)

    @task(timeout_seconds=LIMIT)
    def holder() -> None:
        with concurrency("db"):
            stuck.wait()

    @flow
    def around() -> str:
        holder.submit().wait(timeout=PATIENCE)
        with concurrency("db", timeout_seconds=PATIENCE):
            return "mine"

    assert around() == "mine"


def test_transactions_of_a_blocked_attempt_are_rolled_back(stuck: Stuck) -> None:
    """At the deadline, with its hooks, once; one that the function has open ends the same way."""
    calls = []

    def attempt_hook(_: object) -> None:
        calls.append("attempt")

    @task(timeout_seconds=LIMIT)
    def work() -> None:
        try:
            with transaction() as inner:
                inner.stage("x", on_rollback_hooks=[lambda _: calls.append("inner")])
                stuck.wait()
        finally:
            stuck.leave()

    work.on_rollback(attempt_hook)

    @flow
    def around() -> None:
        work.submit().wait(timeout=PATIENCE)
        stuck.release(late=1)

    around()
    assert calls == ["inner"]


def test_a_locked_key_is_free_at_the_deadline(stuck: Stuck) -> None:
    """A SERIALIZABLE key of a blocked attempt is free for the next attempt."""
    calls = []
    policy = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=MemoryLockManager())

    @task(timeout_seconds=5 * LIMIT, retries=1, cache_policy=policy, persist_result=True)
    def work() -> str:
        calls.append(1)
        if len(calls) == 1:
            stuck.wait()
        return "second"

    @flow
    def around() -> str:
        return work.submit().result(timeout=PATIENCE)

    assert around() == "second"


def test_a_retried_step_is_the_same_step(stuck: Stuck) -> None:
    """A run that another thread goes on with keeps its result under the key that it began with."""
    calls = []

    @task(timeout_seconds=2 * LIMIT, retries=1)
    def work(number: int, _: Any = None) -> int:
        calls.append(number)
        if calls.count(number) == 1:
            stuck.wait()
        return number

    @task
    def nothing() -> None:
        time.sleep(LIMIT)

    attempts = []

    @flow(persist_result=True, retries=1)
    def around() -> list[int]:
        attempts.append(1)
        first = nothing.submit()
        found = [future.result(timeout=PATIENCE) for future in [work.submit(1, first), work.submit(2, first)]]
        if len(attempts) == 1:
            raise BoomError
        return found

    assert around() == [1, 2]
    assert sorted(calls) == [1, 1, 2, 2]


# Async


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_attempt_that_is_settled_before_its_function_is_called(
    is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose own record keeps it past its deadline is tried again, and does not crash what is around it."""
    waits = [5 * LIMIT]

    def observe(name: str, about: object) -> None:
        if name == "transaction.call" and waits:
            time.sleep(waits.pop())

    monkeypatch.setattr(points, "observer", observe)

    if is_async:

        @task(timeout_seconds=LIMIT, retries=1, persist_result=True)
        async def astep() -> int:
            return 1

        @flow
        async def awhole() -> int:
            return await astep()

        assert asyncio.run(awhole()) == 1
    else:

        @task(timeout_seconds=LIMIT, retries=1, persist_result=True)
        def step() -> int:
            return 1

        @flow
        def whole() -> int:
            return step()

        assert whole() == 1
    (run,) = task_runs()
    assert sequence(run).replace("AwaitingRetry ", "") == "Pending Running Retrying Completed"


def test_a_blocked_event_loop(stuck: Stuck, caplog: pytest.LogCaptureFixture) -> None:
    """The run is recorded while the loop is blocked; that is reported, and so is for how long, in the end."""

    @task(timeout_seconds=LIMIT)
    async def work() -> None:
        stuck.wait()

    thread = threading.Thread(target=lambda: asyncio.run(work(return_state=True)))  # type: ignore[call-overload]
    thread.start()
    until(lambda: [run.state.name for run in task_runs()] == ["TimedOut"])
    until(lambda: "the event loop of thread" in caplog.text)
    assert "is blocked in" in caplog.text
    stuck.release()
    thread.join(PATIENCE)
    assert "was blocked for" in caplog.text
    assert sequence() == "Pending Running TimedOut"


def test_a_loop_that_is_only_slow_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A function that takes its time to end after its cancellation blocks nobody, and hooks run in its loop."""
    loops = []

    async def hook(_: Any, __: Any, ___: Any) -> None:
        loops.append(asyncio.get_running_loop())

    @task(timeout_seconds=LIMIT, on_failure=[hook])
    async def work() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            for _ in range(60):
                await asyncio.sleep(0.01)

    async def main() -> asyncio.AbstractEventLoop:
        assert (await work(return_state=True)).name == "TimedOut"
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    assert loops == [loop]
    assert "blocked" not in caplog.text
    assert sequence() == "Pending Running TimedOut"


def test_a_cancellation_after_the_deadline_is_none_of_ours() -> None:
    """Whoever cancels an asyncio task whose run was settled meanwhile gets the cancellation."""

    @task(timeout_seconds=LIMIT, retries=1)
    async def work() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            await asyncio.sleep(PATIENCE)

    async def main() -> None:
        running = asyncio.ensure_future(work())
        await asyncio.to_thread(until, lambda: [run.state.name for run in task_runs()] == ["AwaitingRetry"])
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert sequence() == "Pending Running AwaitingRetry Crashed"


def test_an_interrupt_after_the_deadline_is_an_interrupt() -> None:
    """What leaves a function that is late and is no ordinary exception is passed on."""

    @task(timeout_seconds=LIMIT)
    def work() -> None:
        try:
            time.sleep(PATIENCE)
        except TimeoutError:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        work()
    assert task_runs()[0].state.is_final()


# Flows


def test_the_future_of_a_background_flow(stuck: Stuck) -> None:
    """It comes to the timeout at the deadline, when no retry is left, and the flow around does not wait longer."""

    @flow(timeout_seconds=LIMIT)
    def inner() -> None:
        stuck.wait()

    @flow
    def around() -> str:
        future = inner.submit()
        future.wait(timeout=PATIENCE)
        assert future.state is not None
        return str(future.state.name)

    assert around() == "TimedOut"
    assert sorted(run.state.name for run in flow_runs()) == ["Completed", "TimedOut"]


def test_a_subflow_in_a_blocked_thread(stuck: Stuck) -> None:
    """It ends with the flow around it, and so does the task run that stands for it."""

    @flow
    def inner() -> None:
        stuck.wait()

    @flow(timeout_seconds=LIMIT)
    def outer() -> None:
        inner()

    outer.submit().wait(timeout=PATIENCE)
    states = {run.flow_name: run.state.name for run in flow_runs()}
    assert states == {"inner": "Crashed", "outer": "TimedOut"}
    assert [run.state.name for run in task_runs()] == ["Crashed"]


# Generators


@pytest.mark.parametrize("submitted", [True, False])
def test_a_generator_that_blocks(stuck: Stuck, submitted: bool) -> None:
    """Its run is settled at the deadline, and no value comes afterwards."""

    @task(timeout_seconds=LIMIT)
    def work() -> Iterator[int]:
        yield 1
        if submitted:
            stuck.wait()
        else:
            time.sleep(5 * LIMIT)
        yield 2

    @flow
    def around() -> list[int]:
        found: list[int] = []
        if submitted:
            future = work.submit()
            with pytest.raises(TaskRunTimeoutError):
                future.result(timeout=PATIENCE)
            return found

        def body() -> list[int]:
            with pytest.raises(TaskRunTimeoutError):
                found.extend(work())
            return found

        return in_thread(body)

    assert around() in ([], [1], [1, 2])
    assert sequence() == "Pending Running TimedOut"


def test_nothing_is_left_of_given_up_attempts(stuck: Stuck) -> None:
    """When the late threads have ended, no scope is there any more."""
    before = set(live)

    @task(timeout_seconds=LIMIT)
    def work() -> None:
        stuck.wait()

    @flow
    def around() -> None:
        for future in [work.submit() for _ in range(5)]:
            future.wait(timeout=PATIENCE)

    with temporary_settings({"durability": "relaxed"}):
        around()
    stuck.release()
    until(lambda: not set(live) - before)
