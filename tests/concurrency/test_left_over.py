"""Nothing is left behind: exceptions at every step, cancellations at every moment, time limits, runs that end."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mainspring import clock, flow, task
from mainspring._interruption import take_back
from mainspring.client import Client
from mainspring.concurrency import arelease_left_over, release_left_over, take_tag_slots
from mainspring.concurrency import asyncio as async_form
from mainspring.concurrency import sync as sync_form
from mainspring.concurrency._slots import Slots
from mainspring.concurrency._terms import Terms
from mainspring.context import TaskRunContext
from mainspring.identifiers import new_id
from mainspring.recording import Recorder, use_recorder
from mainspring.runs import TaskRun
from mainspring.states import Pending
from mainspring.store import RunStore, open_store
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.timeouts import timeout, timeout_async
from tests.concurrency.usage import in_use, wait_for
from tests.engine.clocks import JumpingClock

OURS = "/src/mainspring/"


class StruckError(BaseException):
    """Comes from outside, at any moment."""


class Striker:
    """Raises an exception where the interpreter would for a signal: at the n-th start of a function of the
    package, or return from a built-in one to it, in this thread.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __enter__(self) -> None:
        sys.setprofile(self._profile)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event in ("call", "c_return") and OURS in code.co_filename and code.co_name != "<genexpr>":
            self.left -= 1
            if self.left == 0:
                raise StruckError


@pytest.fixture
def store() -> Iterator[RunStore]:
    """A quick store with limits "a" and "b", and "tag:x", used by this context."""
    recorder = Recorder(open_store("sqlite://"))
    with use_recorder(recorder):
        for name in ("a", "b", "tag:x"):
            recorder.store.write_limit(name, 1, True, 0)
        yield recorder.store
    recorder.close()


@pytest.fixture
def run() -> Iterator[TaskRun]:
    """A task run, whose context is active."""
    run = TaskRun(new_id(), "work", Pending(), "tests:work", None)

    class Work:
        name = "work"

    with TaskRunContext(Work(), run):
        yield run


def taken(store: RunStore) -> int:
    """The slots that are held or waited for."""
    return sum(limit.active_slots + limit.denied_slots for limit in store.read_limits())


def at_every_step(store: RunStore, run: TaskRun, body: Callable[[], object], but: int = 0) -> int:
    """Strike at each step of what ``body`` does; after each time the end of the run leaves nothing. How many."""
    take_back()  # an interrupt of another test that was dropped would make the interpreter stand still
    gc.collect()  # what other tests have left is not to be struck while the collector is at it
    gc.disable()
    try:
        at = 0
        while True:
            at += 1
            striker = Striker(at)
            with suppress(StruckError), striker:
                body()
            release_left_over(run.key)
            assert taken(store) == but, f"step {at}"
            if striker.left > 0:
                return at
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.contract("CC-8", "CC-9", "X-9")
def test_exception_at_any_step(store: RunStore, run: TaskRun) -> None:
    """Wherever an exception strikes while slots are taken or given back, the end of the run frees them."""

    def body() -> None:
        with sync_form.concurrency(["a", "b"]):
            pass

    assert at_every_step(store, run, body) > 100


@pytest.mark.slow
@pytest.mark.contract("CC-8", "CC-9", "X-9")
def test_exception_at_any_step_of_waiting(store: RunStore, run: TaskRun) -> None:
    """The same while somebody waits in vain, with a limit of time, or is granted slots at last."""
    blocker = Slots(Terms("b"), store, None, None)

    def body() -> None:
        try:
            with sync_form.concurrency(["a", "b"], timeout_seconds=0.01):
                pass
        except TimeoutError:
            blocker.release()
            with sync_form.concurrency(["a", "b"]):
                pass
        finally:
            blocker.release()

    def blocked() -> None:
        with suppress(StruckError):
            blocker.acquire()
        body()

    with clock.use_clock(JumpingClock()):  # not inside of what is struck: a clock would stay, not a slot
        assert at_every_step(store, run, blocked) > 200


@pytest.mark.slow
@pytest.mark.contract("CC-9", "CC-26")
def test_exception_at_any_step_of_tag_slots(store: RunStore, run: TaskRun) -> None:
    """Slots for tags are freed at the end of their task run, too."""

    def body() -> None:
        slots = take_tag_slots(["x", "y"], run.id)
        assert slots is not None
        slots.release()

    assert at_every_step(store, run, body) > 100


@pytest.mark.slow
@pytest.mark.contract("CC-34", "CC-9")
@pytest.mark.parametrize("times", [1, 2])
def test_cancellation_at_any_moment(store: RunStore, run: TaskRun, times: int) -> None:
    """Whenever an asyncio task is cancelled, even twice, it leaves nothing behind."""

    async def body() -> str:
        async with async_form.concurrency(["a", "b"]):
            await asyncio.sleep(0)
        return "done"

    async def main(steps: int) -> bool:
        working = asyncio.create_task(body())
        for _ in range(steps):
            await asyncio.sleep(0)
        for _ in range(times):
            working.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([working])
        await arelease_left_over(run.key)
        assert taken(store) == 0
        return not working.cancelled()

    completed = [asyncio.run(main(steps)) for steps in [*range(60), 200, 500, 2_000]]
    assert not completed[0]


@pytest.mark.contract("CC-34")
def test_cancelled_waiter_leaves_the_queue(store: RunStore) -> None:
    """Somebody who is cancelled while waiting is in nobody's way when that is told."""

    async def body() -> None:
        async with async_form.concurrency(["a", "b"]):
            pytest.fail("was not to get in")

    async def main() -> None:
        async with async_form.concurrency("b"):
            working = asyncio.create_task(body())
            waiting = partial(wait_for, lambda: store.read_limits(["a"])[0].denied_slots)
            await asyncio.to_thread(waiting)
            working.cancel()
            await asyncio.wait([working])
            assert working.cancelled()
            assert taken(store) == 1

    asyncio.run(main())


@pytest.mark.contract("CC-9")
def test_release_that_is_cancelled_happens(store: RunStore) -> None:
    """A cancellation during the release does not stop it, also outside of runs."""

    async def body(inside: asyncio.Event) -> None:
        async with async_form.concurrency("a"):
            inside.set()

    async def main() -> None:
        inside = asyncio.Event()
        working = asyncio.create_task(body(inside))
        await inside.wait()
        working.cancel()
        await asyncio.wait([working])

    asyncio.run(main())
    wait_for(lambda: taken(store) == 0)


@pytest.mark.contract("CC-9")
def test_end_of_a_run_frees_its_slots_only(store: RunStore, run: TaskRun) -> None:
    """What other runs hold stays held, and what was released is released once."""
    block = sync_form.concurrency("a")
    block.__enter__()
    with TaskRunContext(
        TaskRunContext.get().task, TaskRun(new_id(), "other", Pending(), "tests:other", None)
    ):
        other = sync_form.concurrency("b")
        other.__enter__()
    release_left_over(run.key)
    assert [limit.active_slots for limit in store.read_limits(["a", "b"])] == [0, 1]
    block.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert taken(store) == 0


@pytest.mark.contract("CC-39")
def test_block_with_a_time_limit(client: Client) -> None:
    """A time limit around the block leaves no slot taken."""
    client.create_or_update_concurrency_limit("db", 1)

    def work() -> None:
        with timeout(0.05), sync_form.concurrency("db"):
            while True:
                pass

    with pytest.raises(TimeoutError):
        work()
    assert in_use("db") == 0

    async def main() -> None:
        with timeout_async(0.05):
            async with async_form.concurrency("db"):
                await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert in_use("db") == 0


@pytest.mark.contract("X-29", "X-9")
@pytest.mark.parametrize("runs", [task, flow])
def test_slots_of_a_run_that_times_out(client: Client, runs: Any) -> None:
    """Right after a task or flow has timed out inside of the block, the slots are free."""
    client.create_or_update_concurrency_limit("db", 1)

    @runs(timeout_seconds=0.1)
    def work() -> None:
        with sync_form.concurrency("db"):
            while True:
                pass

    @runs(timeout_seconds=0.1)
    async def awork() -> None:
        async with async_form.concurrency("db"):
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        work()
    assert in_use("db") == 0
    with pytest.raises(TimeoutError):
        asyncio.run(awork())
    assert in_use("db") == 0


@pytest.mark.contract("X-29", "X-9")
def test_slots_of_a_submitted_task_that_times_out(client: Client) -> None:
    """The same in another thread than the main one."""
    client.create_or_update_concurrency_limit("db", 1)

    @task(timeout_seconds=0.1)
    def work() -> None:
        with sync_form.concurrency("db"):
            while True:
                pass

    @flow
    def main() -> None:
        with pytest.raises(TaskRunTimeoutError):
            work.submit().result()
        assert in_use("db") == 0

    main()


def test_waiting_ends_with_its_time_limit(client: Client, tmp_path: Path) -> None:
    """A task that waits for slots when its time is over leaves the queue."""
    client.create_or_update_concurrency_limit("db", 1)

    @task(timeout_seconds=0.1)
    def work() -> None:
        with sync_form.concurrency("db"):
            pytest.fail("was not to get in")

    with sync_form.concurrency("db"):
        with pytest.raises(TaskRunTimeoutError):
            work()
        assert client.read_concurrency_limit("db").denied_slots == 0
