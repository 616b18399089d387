"""Runs that are cancelled while their code goes on: whatever they are in the middle of, they end, and say so."""

import asyncio
import contextvars
import signal
import threading
import time
from typing import Any
from uuid import UUID

import pytest

from mainspring import flow, get_client, task
from mainspring._cancel_scopes import Stop, StopKind
from mainspring._engine.stopping import stop_run
from mainspring._portal import finish
from mainspring.cancellation import is_cancelled, raise_if_cancelled
from mainspring.concurrency.sync import concurrency
from mainspring.exceptions import CancelledRun, RunCancelled
from mainspring.runtime import flow_run, task_run
from mainspring.task_runners import ThreadPoolTaskRunner
from mainspring.transactions import transaction
from tests.engine.history import flow_runs, only_flow_run, only_task_run, sequence, task_runs
from tests.engine.stopping import PATIENCE, Canceller, linger, until

ENDED = "Pending Running Cancelling Cancelled"


def test_a_task_in_the_main_thread() -> None:
    """Its code is interrupted, and its caller gets the one exception of cancelled runs."""
    canceller = Canceller()

    @task
    def work() -> None:
        linger(canceller.begin)

    with canceller.at_work("changed my mind"), pytest.raises(CancelledRun, match="changed my mind"):
        work()
    assert sequence() == ENDED
    assert canceller.found is not None
    assert canceller.found.state.message == "changed my mind"


def test_a_call_that_blocks_the_main_thread() -> None:
    """It is interrupted there, as Ctrl-C would."""
    canceller = Canceller()

    @flow
    def work() -> None:
        canceller.begin()
        time.sleep(PATIENCE)

    began = time.monotonic()
    with canceller.at_work(), pytest.raises(CancelledRun):
        work()
    assert time.monotonic() - began < PATIENCE / 2
    assert sequence(only_flow_run()) == ENDED


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["ignores", "handles"])
def test_a_call_that_blocks_a_program_without_ctrl_c(handler: Any) -> None:
    """It is interrupted all the same if Ctrl-C is ignored, as in the background of a shell, or means something else."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        test_a_call_that_blocks_the_main_thread()
        assert signal.getsignal(signal.SIGINT) == handler
        assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_call_that_blocks_an_event_loop() -> None:
    """Sync code in an event loop of the main thread, which handles Ctrl-C itself, is interrupted, too."""

    async def main() -> str:
        test_a_call_that_blocks_the_main_thread()
        await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(main()) == "went on"


def test_state_instead_of_an_exception() -> None:
    """With `return_state` the caller of what was cancelled gets its state."""
    canceller = Canceller()

    @task
    def work() -> None:
        linger(canceller.begin)

    @flow
    def around() -> str:
        state = work(return_state=True)
        return f"{state.name}: {state.message}"

    with canceller.at_work():
        assert around() == "Cancelled: enough"
    assert only_flow_run().state.name == "Completed"


def test_the_tree_inside_in_one_thread() -> None:
    """Flow, subflow and task all end, from the inside out, and the stand-in of the subflow shows the same."""
    canceller = Canceller()

    @task
    def work(run_id: str) -> None:
        linger(lambda: canceller.begin(run_id))

    @flow
    def inner(run_id: str) -> None:
        work(run_id)

    @flow
    def outer() -> None:
        inner(str(flow_run.id))

    with canceller.at_work(), pytest.raises(CancelledRun):
        outer()
    root = flow_runs()[0]
    assert sequence(root) == ENDED
    assert sequence(flow_runs()[1]) == ENDED
    assert [sequence(run) for run in task_runs()] == [ENDED, ENDED]
    assert all(run.ended_at <= root.ended_at for run in [*flow_runs(), *task_runs()])


def test_a_subflow_alone() -> None:
    """Only what is cancelled ends; the flow around it may go on, and the stand-in is shown in the same states."""
    canceller = Canceller()

    @flow
    def inner() -> None:
        linger(canceller.begin)

    @flow
    def outer() -> str:
        try:
            inner()
        except CancelledRun as error:
            return str(error)
        return "not cancelled"

    with canceller.at_work():
        assert outer() == "enough"
    assert sequence(flow_runs()[1]) == ENDED
    assert sequence(only_task_run()) == ENDED


def test_the_task_run_that_stands_for_a_subflow() -> None:
    """To cancel it is to cancel the subflow."""
    canceller = Canceller()

    @flow
    def inner() -> None:
        stand_in = None
        until(lambda: task_runs(), "the stand-in")
        stand_in = only_task_run()
        linger(lambda: canceller.begin(stand_in.id))

    @flow
    def outer() -> Any:
        return inner(return_state=True).name

    with canceller.at_work():
        assert outer() == "Cancelled"
    assert canceller.found is not None
    assert canceller.found.state.name == "Cancelled"


def test_nothing_goes_on_when_the_root_is_cancelled() -> None:
    """A thread inside that blocks is waited for: until it has ended, the run is Cancelling."""
    canceller = Canceller()
    ended: list[int] = []

    @task
    def stuck(run_id: str) -> None:
        canceller.begin(run_id)
        try:
            time.sleep(1)  # in a thread, nothing interrupts it
        finally:
            ended.append(time.time_ns() // 1000)

    @flow(task_runner=ThreadPoolTaskRunner(2))
    def work() -> None:
        stuck.submit(str(flow_run.id)).wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        work()
    root, inner = only_flow_run(), only_task_run()
    assert (sequence(root), sequence(inner)) == (ENDED, ENDED)
    assert ended[0] <= root.ended_at
    assert inner.ended_at <= root.ended_at


def test_a_thread_of_the_users_is_waited_for() -> None:
    """Runs in threads that the code has started belong to it, if they have its context."""
    canceller = Canceller()
    ended: list[int] = []

    @task
    def inner(run_id: str) -> None:
        canceller.begin(run_id)
        time.sleep(0.7)  # in a thread, nothing interrupts it
        ended.append(time.time_ns() // 1000)

    def call(run_id: str) -> None:
        with pytest.raises(CancelledRun):
            inner(run_id)

    @flow
    def around() -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(call, str(flow_run.id))).start()
        linger()

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    assert sequence() == ENDED
    assert ended or only_task_run().ended_at
    assert only_task_run().ended_at <= only_flow_run().ended_at


def test_what_is_queued_never_begins() -> None:
    """Runs that wait for a thread are not even recorded, and their futures end."""
    canceller = Canceller()
    begun: list[int] = []
    futures: list[Any] = []

    @task
    def work(number: int, run_id: str) -> None:
        begun.append(number)
        linger(lambda: canceller.begin(run_id))

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def around() -> None:
        futures.extend(work.submit(number, str(flow_run.id)) for number in range(3))
        futures.extend(work.map([3, 4, 5], str(flow_run.id)))
        for future in futures:
            future.wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    assert begun == [0]
    assert [future.state.name for future in futures] == ["Cancelled"] * 6
    for future in futures:
        with pytest.raises(CancelledRun):
            future.result()
    assert sequence() == ENDED


def test_children_of_a_cancelled_task_never_begin() -> None:
    """A task that is cancelled alone takes along what it has submitted; its flow goes on."""
    canceller = Canceller()
    begun: list[int] = []
    futures: list[Any] = []

    @task
    def child(number: int) -> None:
        begun.append(number)
        linger()

    @task
    def parent() -> None:
        futures.extend(child.submit(number) for number in range(4))
        futures.extend(child.map([4, 5]))
        until(lambda: begun)
        linger(canceller.begin)

    @task
    def other() -> str:
        return "went on"

    @flow(task_runner=ThreadPoolTaskRunner(2))
    def around() -> Any:
        future = parent.submit()
        future.wait()
        state = future.state
        for each in futures:
            each.wait()
        return state.name, other.submit().result()

    with canceller.at_work():
        assert around() == ("Cancelled", "went on")
    assert begun == [0]
    assert [future.state.name for future in futures] == ["Cancelled"] * 6
    for future in futures:
        with pytest.raises(CancelledRun):
            future.result()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_waiting_for_an_input(asynchronous: bool) -> None:
    """A run that waits for the result of another ends at once."""
    canceller = Canceller()
    release = threading.Event()

    @task
    def slow() -> None:
        release.wait(PATIENCE)

    @task
    def needs(_: Any) -> None:
        raise AssertionError

    @task
    async def aneeds(_: Any) -> None:
        raise AssertionError

    @flow(task_runner=ThreadPoolTaskRunner(4))
    def around() -> str:
        future = slow.submit()

        def look() -> None:
            until(lambda: [run for run in task_runs() if "needs" in run.name])
            (run,) = [run for run in task_runs() if "needs" in run.name]
            canceller.begin(run.id)

        looker = threading.Thread(target=look)
        looker.start()
        chosen: Any = aneeds if asynchronous else needs
        state = finish(chosen(future, return_state=True))
        release.set()
        looker.join()
        return state.name

    with canceller.at_work():
        assert around() == "Cancelled"


def test_waiting_for_a_future_in_a_thread() -> None:
    """A task in a thread that waits for what is not cancelled ends at once, not when that is over."""
    canceller = Canceller()
    release = threading.Event()
    states: list[str] = []

    @task
    def slow() -> None:
        release.wait(2 * PATIENCE)

    @task
    def waits(futures: list[Any]) -> None:
        canceller.begin()
        futures_of_others[0].wait()

    futures_of_others: list[Any] = []

    @flow(task_runner=ThreadPoolTaskRunner(4))
    def around() -> None:
        futures_of_others.append(slow.submit())
        future = waits.submit([])
        future.wait(PATIENCE / 2)
        states.append(future.state.name)
        release.set()

    with canceller.at_work():
        around()
    assert states == ["Cancelled"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("submitted", [False, True])
def test_waiting_for_a_slot(asynchronous: bool, submitted: bool) -> None:
    """A run that waits for a limit on its tags ends at once, and nothing of the limit is taken."""
    get_client().create_or_update_concurrency_limit("tag:narrow", 1)
    canceller = Canceller()

    @task(tags=["narrow"])
    def work() -> None:
        raise AssertionError

    @task(tags=["narrow"])
    async def awork() -> None:
        raise AssertionError

    @flow(task_runner=ThreadPoolTaskRunner(4))
    def around() -> str:
        def look() -> None:
            until(task_runs)
            canceller.begin(only_task_run().id)

        looker = threading.Thread(target=look)
        looker.start()
        chosen: Any = awork if asynchronous else work
        # In here, so that a run that nobody ends fails, and is not waited for.
        with concurrency("tag:narrow"):
            if submitted:
                future = chosen.submit()
                future.wait(PATIENCE)
                state = future.state
            elif asynchronous:
                state = asyncio.run(chosen(return_state=True))
            else:
                state = chosen(return_state=True)
        looker.join()
        return state.name

    began = time.monotonic()
    with canceller.at_work():
        assert around() == "Cancelled"
    assert time.monotonic() - began < PATIENCE / 2
    assert get_client().read_concurrency_limit("tag:narrow").active_slots == 0
    assert sequence() == "Pending Cancelling Cancelled"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("submitted", [False, True])
def test_between_two_attempts(asynchronous: bool, submitted: bool) -> None:
    """A run that waits for its next attempt makes none any more."""
    canceller = Canceller()
    attempts: list[int] = []

    def body() -> None:
        attempts.append(1)
        threading.Timer(0.2, canceller.begin, [task_run.id]).start()
        raise ValueError

    @task(retries=3, retry_delay_seconds=PATIENCE)
    def work() -> None:
        body()

    @task(retries=3, retry_delay_seconds=PATIENCE)
    async def awork() -> None:
        body()

    @flow
    def around() -> str:
        chosen: Any = awork if asynchronous else work
        if submitted:
            future = chosen.submit()
            future.wait(PATIENCE)
            return future.state.name
        if asynchronous:
            return asyncio.run(chosen(return_state=True)).name
        return chosen(return_state=True).name

    with canceller.at_work():
        assert around() == "Cancelled"
    assert len(attempts) == 1
    assert sequence() == "Pending Running AwaitingRetry Cancelling Cancelled"


def test_an_exception_instead() -> None:
    """Code that answers an interruption with another exception is cancelled all the same, and not tried again."""
    canceller = Canceller()

    @task(retries=2)
    def work() -> None:
        try:
            linger(canceller.begin)
        except BaseException:
            raise ValueError("something else") from None

    with canceller.at_work(), pytest.raises(CancelledRun):
        work()
    assert sequence() == ENDED


def test_code_that_swallows_the_interruption() -> None:
    """It is interrupted again."""
    canceller = Canceller()
    swallowed: list[str] = []

    @task
    def work() -> None:
        canceller.begin()
        while True:
            try:
                linger()
            except BaseException as error:
                swallowed.append(type(error).__name__)
                if len(swallowed) == 3:
                    raise

    with canceller.at_work(), pytest.raises(CancelledRun):
        work()
    assert len(swallowed) == 3
    assert sequence() == ENDED


@pytest.mark.parametrize("submitted", [False, True])
def test_cooperative_code(submitted: bool) -> None:
    """Code that asks knows at once, and can end in order."""
    canceller = Canceller()
    seen: list[bool] = []

    @task
    def work() -> None:
        canceller.begin()
        while True:
            try:
                time.sleep(0.01)
                raise_if_cancelled()
            except RunCancelled:
                seen.append(is_cancelled())
                raise
            except BaseException:
                seen.append(is_cancelled())
                raise

    @flow
    def around() -> str:
        if submitted:
            future = work.submit()
            future.wait()
            return future.state.name
        return work(return_state=True).name

    with canceller.at_work():
        assert around() == "Cancelled"
    assert seen == [True]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("submitted", [False, True])
def test_clearing_up(asynchronous: bool, submitted: bool) -> None:
    """Code in `finally` blocks has time to end in order, in all runs on the way out."""
    canceller = Canceller()
    cleared: list[str] = []

    def clear_up(name: str) -> None:
        for _ in range(60):
            time.sleep(0.01)
        cleared.append(name)

    @task
    def work(run_id: str) -> None:
        try:
            linger(lambda: canceller.begin(run_id))
        finally:
            clear_up("task")

    @task
    async def awork(run_id: str) -> None:
        try:
            canceller.begin(run_id)
            await asyncio.sleep(PATIENCE)
        finally:
            await asyncio.sleep(0.6)
            cleared.append("task")

    @flow
    def around() -> None:
        try:
            if submitted:
                (awork if asynchronous else work).submit(str(flow_run.id)).wait()
            else:
                work(str(flow_run.id))
        finally:
            clear_up("flow")

    @flow
    async def aaround() -> None:
        try:
            await awork(str(flow_run.id))
        finally:
            await asyncio.sleep(0.6)
            cleared.append("flow")

    with canceller.at_work(), pytest.raises(CancelledRun):
        asyncio.run(aaround()) if asynchronous and not submitted else around()
    assert sorted(cleared) == ["flow", "task"]


def test_a_value_that_is_returned_in_spite_of_it() -> None:
    """What returns before it is stopped has completed."""
    canceller = Canceller()

    @task
    def work() -> str:
        canceller.begin()
        try:
            linger()
        except BaseException:
            pass
        return "done"

    with canceller.at_work():
        try:
            value = work()
        except CancelledRun:
            value = "cancelled"
    assert value in {"done", "cancelled"}
    assert only_task_run().state.is_final()


def stop_here() -> None:
    """Tell the calling run to stop at this very moment, as the supervisor would."""
    stop_run(UUID(str(task_run.id)).bytes, Stop(StopKind.CANCELLED, "right now"))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_when_a_retry_is_being_granted(asynchronous: bool) -> None:
    """A run that is shown as Cancelling in between is not attempted again, and nothing else is raised."""
    attempts: list[int] = []

    def condition(*_: Any) -> bool:
        stop_here()
        return True

    def body() -> None:
        attempts.append(1)
        raise ValueError

    @task(retries=2, retry_condition_fn=condition)
    def work() -> None:
        body()

    @task(retries=2, retry_condition_fn=condition)
    async def awork() -> None:
        body()

    with pytest.raises(CancelledRun, match="right now"):
        finish(awork() if asynchronous else work())
    assert len(attempts) == 1
    assert sequence() == ENDED


@pytest.mark.parametrize("asynchronous", [False, True])
def test_when_the_next_attempt_is_about_to_begin(asynchronous: bool) -> None:
    """A run that is shown as Cancelling between two attempts is cancelled, not left behind as it is."""
    attempts: list[int] = []

    def begins(_: Any, __: Any, state: Any) -> None:
        if state.name == "Retrying":
            stop_here()

    def body() -> None:
        attempts.append(1)
        raise ValueError

    @task(retries=2, on_running=[begins])
    def work() -> None:
        body()

    @task(retries=2, on_running=[begins])
    async def awork() -> None:
        body()

    with pytest.raises(CancelledRun, match="right now"):
        finish(awork() if asynchronous else work())
    assert len(attempts) == 1
    assert sequence() == "Pending Running Retrying Cancelling Cancelled"


def test_a_run_inside_that_is_about_to_begin() -> None:
    """Code that swallows the interruption can begin no more runs: they are Cancelled before they are Running."""

    @task
    def inner() -> None:
        raise AssertionError

    @flow
    def work() -> None:
        try:
            stop_run(UUID(str(flow_run.id)).bytes, Stop(StopKind.CANCELLED, "right now"))
            linger()
        except BaseException:
            inner()

    with pytest.raises(CancelledRun, match="right now"):
        work()
    assert sequence() == "Pending Cancelling Cancelled"
    assert sequence(only_flow_run()) == ENDED


# Hooks and transactions


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("submitted", [False, True])
def test_hooks_are_called_and_not_interrupted(asynchronous: bool, submitted: bool) -> None:
    """Hooks have the time that they need, and may call tasks; they are told the final state."""
    canceller = Canceller()
    told: list[Any] = []

    @task
    def cleaning() -> str:
        time.sleep(0.6)
        return "clean"

    def hook(subject: Any, run: Any, state: Any) -> None:
        for _ in range(60):
            time.sleep(0.01)
        told.append((subject.name, state.name, cleaning()))

    @task(on_cancellation=[hook])
    def work(run_id: str) -> None:
        linger(lambda: canceller.begin(run_id))

    @task(on_cancellation=[hook])
    async def awork(run_id: str) -> None:
        canceller.begin(run_id)
        await asyncio.sleep(PATIENCE)

    @flow(on_cancellation=[hook])
    def around() -> None:
        chosen: Any = awork if asynchronous else work
        if submitted:
            chosen.submit(str(flow_run.id)).wait()
        elif asynchronous:
            asyncio.run(chosen(str(flow_run.id)))
        else:
            chosen(str(flow_run.id))

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    name = "awork" if asynchronous else "work"
    assert told == [(name, "Cancelled", "clean"), ("around", "Cancelled", "clean")]


@pytest.mark.parametrize("submitted", [False, True])
def test_transactions_are_rolled_back(submitted: bool) -> None:
    """What was done inside is undone, the last first, and nothing interrupts that."""
    canceller = Canceller()
    undone: list[str] = []

    @task
    def step(name: str) -> str:
        return name

    @step.on_rollback
    def undo(txn: Any) -> None:
        time.sleep(0.6)
        undone.append(txn.get("name", "?"))

    @task
    def work() -> None:
        with transaction() as txn:
            for name in ("first", "second"):
                txn.set("name", name)
                step(name)
            linger(canceller.begin)

    @flow
    def around() -> str:
        if submitted:
            future = work.submit()
            future.wait()
            return future.state.name
        return work(return_state=True).name

    with canceller.at_work():
        assert around() == "Cancelled"
    assert len(undone) == 2
    assert [sequence(run) for run in task_runs() if "step" in run.name] == [
        "Pending Running Completed RolledBack"
    ] * 2


# Async code


def test_an_async_tree() -> None:
    """Runs in all tasks of an event loop end, and the caller's asyncio task can go on."""
    canceller = Canceller()

    @task
    async def work(run_id: str, number: int) -> None:
        if number == 3:
            canceller.begin(run_id)
        await asyncio.sleep(PATIENCE)

    @flow
    async def around() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(work(str(flow_run.id), number))

    async def main() -> int:
        with pytest.raises(CancelledRun):
            await around()
        await asyncio.sleep(0)
        this = asyncio.current_task()
        assert this is not None
        return this.cancelling()

    with canceller.at_work():
        assert asyncio.run(main()) == 0
    assert sequence(only_flow_run()) == ENDED
    assert [sequence(run) for run in task_runs()] == [ENDED] * 4


def test_gathered_tasks_that_are_left_behind() -> None:
    """What an async flow has started and does not wait for ends before the flow is Cancelled."""
    canceller = Canceller()
    ended: list[int] = []

    @task
    async def stubborn(run_id: str) -> None:
        try:
            canceller.begin(run_id)
            await asyncio.sleep(PATIENCE)
        finally:
            await asyncio.sleep(0.2)
            ended.append(time.time_ns() // 1000)

    @flow
    async def around() -> None:
        left = asyncio.create_task(stubborn(str(flow_run.id)))
        await asyncio.sleep(PATIENCE)
        await left

    with canceller.at_work(), pytest.raises(CancelledRun):
        asyncio.run(around())
    assert ended
    assert ended[0] <= only_flow_run().ended_at
    assert sequence() == ENDED


def test_an_async_task_alone() -> None:
    """Its caller goes on in the same asyncio task, which nobody cancels any more."""
    canceller = Canceller()

    @task
    async def work() -> None:
        canceller.begin()
        await asyncio.sleep(PATIENCE)

    @flow
    async def around() -> str:
        state = await work(return_state=True)
        await asyncio.sleep(0.6)
        this = asyncio.current_task()
        assert this is not None
        return f"{state.name} {this.cancelling()}"

    with canceller.at_work():
        assert asyncio.run(around()) == "Cancelled 0"


def test_sync_work_inside_of_an_async_flow() -> None:
    """Code that holds up the event loop is interrupted in its thread."""
    canceller = Canceller()

    @task
    def work(run_id: str) -> None:
        linger(lambda: canceller.begin(run_id))

    @flow
    async def around() -> None:
        work(str(flow_run.id))

    with canceller.at_work(), pytest.raises(CancelledRun):
        asyncio.run(around())
    assert sequence(only_flow_run()) == ENDED
    assert sequence() == ENDED


# Generators


@pytest.mark.parametrize("kind", ["task", "flow"])
def test_a_suspended_generator(kind: str) -> None:
    """The consumer's code is not interrupted for it; the generator ends at its next step."""
    canceller = Canceller()

    def steps() -> Any:
        yield (task_run.id if kind == "task" else flow_run.id)
        raise AssertionError

    subject: Any = (task if kind == "task" else flow)(steps)
    with canceller.at_work():
        iterator = subject()
        canceller.begin(next(iterator))
        run = only_task_run if kind == "task" else only_flow_run
        until(lambda: run().state.name == "Cancelling")
        time.sleep(0.6)  # nobody interrupts this
        with pytest.raises(CancelledRun):
            next(iterator)
    assert sequence(run()) == ENDED


@pytest.mark.parametrize("kind", ["task", "flow"])
def test_a_suspended_generator_inside_of_a_cancelled_run(kind: str) -> None:
    """It ends with the run around it, although nobody closes it."""
    canceller = Canceller()
    kept: list[Any] = []

    def steps() -> Any:
        yield 1
        raise AssertionError

    subject: Any = (task if kind == "task" else flow)(steps)

    @flow
    def around() -> None:
        iterator = subject()
        kept.append(iterator)
        next(iterator)
        linger(lambda: canceller.begin(flow_run.id))

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    root = flow_runs()[0]
    inner = only_task_run()
    assert sequence(root) == ENDED
    assert sequence(inner) == ENDED
    assert inner.ended_at <= root.ended_at
    kept.clear()


def test_a_generator_in_a_loop() -> None:
    """It is closed when the code around it is interrupted."""
    canceller = Canceller()
    closed: list[str] = []

    @task
    def steps() -> Any:
        try:
            yield 1
        finally:
            closed.append("closed")

    @flow
    def around() -> None:
        for _ in steps():
            linger(lambda: canceller.begin(flow_run.id))

    with canceller.at_work(), pytest.raises(CancelledRun):
        around()
    assert closed == ["closed"]
    assert sequence(only_flow_run()) == ENDED
    assert only_task_run().state.is_final()


# Flows in the background


def test_flows_in_the_background() -> None:
    """They end with the flow that has started them, and their futures say how."""
    canceller = Canceller()
    futures: list[Any] = []

    @task
    def work(run_id: str) -> None:
        linger(lambda: canceller.begin(run_id))

    @flow
    def inner(run_id: str) -> None:
        work.submit(run_id).wait()

    @flow
    def outer() -> None:
        futures.append(inner.submit(str(flow_run.id)))
        futures[0].wait()

    with canceller.at_work(), pytest.raises(CancelledRun):
        outer()
    assert futures[0].state.name == "Cancelled"
    with pytest.raises(CancelledRun):
        futures[0].result()
    assert [sequence(run) for run in [*flow_runs(), *task_runs()]] == [ENDED] * 4


def test_a_flow_in_the_background_alone() -> None:
    """Whoever has started it goes on, and gets the exception of cancelled runs from its future."""
    canceller = Canceller()

    @flow
    def inner() -> None:
        linger(lambda: canceller.begin(flow_run.id))

    @flow
    def outer() -> str:
        with pytest.raises(CancelledRun, match="enough"):
            inner.submit().result()
        return "went on"

    with canceller.at_work():
        assert outer() == "went on"
