"""The two ends of a future: settled once, watched from anywhere, and gone without a trace."""

import asyncio
import copy
import gc
import os
import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest

from mainspring import task
from mainspring.exceptions import CancelledRun
from mainspring.futures import ConcurrentFuture, FutureList, as_completed, wait
from mainspring.futures.promises import Promise, postpone
from mainspring.states import Completed
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.runners.making import eventually


def promised() -> tuple[Promise, ConcurrentFuture[Any]]:
    promise = Promise()
    return promise, ConcurrentFuture(bytes(16), promise)


def at_once(*calls: Callable[[], object]) -> list[Any]:
    """What calls return that are made by as many threads at the same time."""
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def make(number: int) -> None:
        barrier.wait(30)
        results[number] = calls[number]()

    threads = [threading.Thread(target=make, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def note(called: list[int], number: int, _: object) -> None:
    called.append(number)


@pytest.fixture
def quick_switches() -> Any:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_either_the_run_begins_or_it_is_cancelled() -> None:
    """Whatever the order, it is never both and never neither."""
    for _ in range(300):
        promise, _ = promised()
        begun, cancelled = at_once(promise.begin, promise.cancel)
        assert begun != cancelled
        assert promise.running() == begun
        assert promise.cancelled() == cancelled


@pytest.mark.usefixtures("quick_switches")
def test_every_callback_is_called_once() -> None:
    """However adding them, removing some and settling fall together."""
    for _ in range(200):
        promise, _ = promised()
        called: list[int] = []
        kept, removed = partial(note, called, 1), partial(note, called, 2)
        promise.add_done_callback(removed)

        def settle(promise: Promise = promise) -> None:
            promise.begin()
            promise.set_result(5)

        at_once(
            settle,
            lambda promise=promise, kept=kept: promise.add_done_callback(kept),
            lambda promise=promise, removed=removed: promise.remove_done_callback(removed),
        )
        assert called.count(1) == 1
        assert called.count(2) <= 1


def test_a_promise_is_settled_once() -> None:
    """What comes later changes nothing, whether it was cancelled or has a result."""
    cancelled, done = Promise(), Promise()
    assert cancelled.cancel()
    cancelled.set_result(1)
    cancelled.set_exception(ValueError())
    assert cancelled.cancelled()
    assert cancelled.cancel()
    with pytest.raises(CancelledError):
        cancelled.result()
    done.begin()
    assert not done.cancel()
    done.set_result(1)
    done.set_exception(ValueError())
    assert not done.cancel()
    assert (done.result(), done.exception()) == (1, None)


@pytest.mark.contract("FU-27")
def test_a_callback_that_raises_keeps_no_other_from_being_called(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and neither who settles the future nor who waits for it learns of it."""
    promise, future = promised()
    called: list[Any] = []
    future.add_done_callback(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    future.add_done_callback(called.append)
    promise.begin()
    promise.set_result(Completed(data=7))
    assert called == [future]
    assert future.result() == 7
    assert "A callback of a future has failed" in caplog.text


def test_the_lock_in_a_forked_child() -> None:
    """A child that is made while another thread holds the lock can use its futures."""
    from mainspring.futures import promises

    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with promises._lock:
            held.set()
            free.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if not child:
        promise, future = promised()
        promise.begin()
        promise.set_result(3)
        os._exit(future.result())
    free.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@pytest.mark.contract("FU-4")
def test_giving_up_leaves_nothing_behind() -> None:
    """Who waits for a moment, again and again and in every way, leaves no callback with the future."""
    promise, future = promised()
    futures = FutureList([future])

    async def look() -> None:
        await future.wait_async(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.ensure_future(future.result_async()), 0.001)
        await futures.wait_async(0)

    for _ in range(3):
        future.wait(0)
        wait([future], timeout=0)
        futures.wait(0.001)
        for waits in (future.result, futures.result):
            with pytest.raises(TimeoutError):
                waits(timeout=0)
        asyncio.run(look())
    assert promise._callbacks is None
    promise.set_result(1)


def test_a_dropped_iterator_leaves_nothing_behind() -> None:
    """Who takes the first few of `as_completed` and drops it leaves a callback until any other run is over."""
    promise, future = promised()
    other, done = promised()
    other.set_result(1)
    for _ in range(3):
        assert next(as_completed([future, done])) is done
    gc.collect()
    Promise().set_result(1)
    assert promise._callbacks is None
    promise.set_result(1)


def test_what_is_postponed_is_done_by_the_next_who_settles() -> None:
    """It is done once, and not where it was postponed."""
    done: list[int] = []
    postpone(lambda: done.append(1))
    assert done == []
    for _ in range(2):
        Promise().set_result(1)
    assert done == [1]


def test_a_collection_under_a_lock() -> None:
    """Results that the collector finds while a thread holds the lock of all futures are let go without that lock."""
    from mainspring.futures import promises

    ahead = [promised() for _ in range(3)]
    futures = FutureList([future for _, future in ahead])
    results = futures.results()
    circle: list[Any] = [results]
    circle.append(circle)
    del results, circle, futures
    with promises._lock:
        gc.collect()
    Promise().set_result(1)
    assert all(promise.cancelled() for promise, _ in ahead)


@pytest.mark.contract("FU-5", "FU-6", "FU-7", "FU-23")
def test_a_result_without_waiting() -> None:
    """No time is enough for what is done; else the error names the run and the time, and the future is as before."""
    promise, future = promised()
    with pytest.raises(TimeoutError, match=rf"{future.task_run_id}.* 0 second"):
        future.result(timeout=0)
    future.wait(0)
    assert not future.is_done()
    promise.begin()
    promise.set_exception(ValueError("x"))
    assert isinstance(future.result(timeout=0, raise_on_failure=False), ValueError)
    with pytest.raises(ValueError, match="x"):
        future.result(timeout=0)


def test_a_future_cannot_be_copied_or_sent() -> None:
    """A copy would never be settled, so it is refused instead of hanging whoever waits for it."""
    promise, future = promised()
    for make in (copy.deepcopy, pickle.dumps):
        for value in (future, [future], FutureList([future])):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                make(value)
    promise.set_result(1)


@pytest.mark.contract("T-42")
def test_awaiting_from_several_loops() -> None:
    """Every loop is woken, also with others waiting at the same time."""
    promise, future = promised()
    awaiting = threading.Barrier(5)

    async def read() -> Any:
        asyncio.get_running_loop().call_soon(
            lambda: asyncio.get_running_loop().run_in_executor(None, awaiting.wait)
        )
        return await future

    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(read()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    awaiting.wait(30)
    promise.set_result(Completed(data=3))
    for thread in threads:
        thread.join(30)
    assert results == [3, 3, 3, 3]


def test_a_loop_that_was_closed() -> None:
    """Who settles a future does not mind that a loop which waited for it is gone."""
    promise, future = promised()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(future.wait_async())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    promise.set_result(Completed(data=1))
    assert future.result() == 1
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # that is the point of the test
    waiting.get_coro().close()  # type: ignore[union-attr]


@pytest.mark.contract("T-42")
def test_tools_of_asyncio() -> None:
    """`wait_for`, `gather`, a task group and a cancellation work on futures as on other awaitables."""
    (first, one), (second, two), (hanging, never) = (promised() for _ in range(3))
    futures = FutureList([one, two])

    async def read() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.005, first.set_result, 1)
        loop.call_later(0.01, second.set_result, 2)
        assert await asyncio.gather(one, two) == [1, 2]
        assert await asyncio.wait_for(futures, 30) == [1, 2]
        assert await futures == [1, 2]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(never, 0.005)
        waiting = asyncio.ensure_future(never.result_async())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not never.is_done()
        async with asyncio.TaskGroup() as group:
            again = group.create_task(never.result_async())
            loop.call_soon(hanging.set_result, 3)
        assert again.result() == 3

    asyncio.run(read())


def test_cancelling_runs() -> None:
    """A run that has not begun is cancelled, also one that waits for inputs; one that has begun is not."""
    gate, begun = threading.Event(), threading.Event()
    called: list[int] = []

    @task
    def hold() -> int:
        begun.set()
        gate.wait(30)
        return 1

    @task
    def work(number: int, after: Any = None) -> int:
        called.append(number)
        return number

    with ThreadPoolTaskRunner(1) as runner:
        running = runner.submit(hold, {})
        begun.wait(30)
        queued = runner.submit(work, {"number": 1, "after": None})
        waiting = runner.submit(work, {"number": 2, "after": running})
        elements = runner.map(work, {"number": [3, 4, 5]})
        assert not running.cancel()
        cancelled = [queued, waiting, elements[1]]
        assert all(future.cancel() and future.cancel() for future in cancelled)
        assert {future.state.name for future in cancelled} == {"Cancelled"}
        with pytest.raises(CancelledRun):
            queued.result(timeout=0)
        gate.set()
        assert [running.result(timeout=30), elements[0].result(30), elements[2].result(30)] == [1, 3, 5]
        assert runner.submit(work, {"number": 6, "after": None}).result(timeout=30) == 6
        assert eventually(lambda: not runner._submissions._waiting)  # type: ignore[union-attr]
    assert called == [3, 5, 6]


@pytest.mark.contract("FU-18", "FU-21", "FU-22", "FU-19")
def test_waiting_for_many_promises() -> None:
    """Each distinct future once, in the order of completion, those that are done first; who is missing is counted."""
    pairs = [promised() for _ in range(4)]
    futures = [future for _, future in pairs]
    pairs[2][0].set_result(2)
    seen: list[int] = []
    order = iter([0, 3, 1])
    for future in as_completed([*futures, *futures], timeout=30):
        seen.append(futures.index(future))
        if (number := next(order, None)) is not None:
            pairs[number][0].set_result(number)
    assert seen == [2, 0, 3, 1]
    hanging, pending = promised()
    found = wait([*futures, pending, pending], timeout=0.01)
    assert (found.done, found.not_done) == (set(futures), {pending})
    hanging.set_result(1)


def test_many_threads_wait_for_one_future() -> None:
    """All of them are woken, by one settling, each with its own time limit or none."""
    promise, future = promised()
    threading.Timer(0.05, lambda: promise.set_result(4)).start()
    assert at_once(*[lambda limit=limit: future.result(limit) for limit in (None, 30, 60) * 3]) == [4] * 9
    assert promise._callbacks is None


def test_copies_of_a_list_are_plain() -> None:
    """A shallow copy, by whatever way, has the same futures."""
    promise, future = promised()
    futures = FutureList([future])
    for copied in (copy.copy(futures), list(futures), futures[:], futures.copy(), [] + futures):  # noqa: RUF005
        assert type(copied) is list
        assert copied == [future]
    promise.set_result(1)


def test_a_list_waits_for_whoever_is_last() -> None:
    """In whatever order its futures are done, and some of them before, the wait for a list ends with the last one."""
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        promises, futures = zip(*(promised() for _ in order), strict=True)
        promises[order[0]].set_result(Completed(data=None))
        whole, over = FutureList(futures), threading.Event()

        def wait_for(futures: FutureList[Any], over: threading.Event) -> None:
            futures.wait()
            over.set()

        waiter = threading.Thread(target=wait_for, args=(whole, over))
        waiter.start()
        for number in order[1:-1]:
            promises[number].set_result(Completed(data=None))
            assert not over.wait(0.02)
        promises[order[-1]].set_result(Completed(data=None))
        waiter.join(30)
        assert over.is_set()


def test_a_list_is_awaited_until_whoever_is_last() -> None:
    """A coroutine that waits for a list goes on when its last future is done, which another thread does."""
    promises, futures = zip(*(promised() for _ in range(100)), strict=True)

    def settle_all() -> None:
        for number in range(100):
            promises[number * 37 % 100].set_result(Completed(data=None))

    thread = threading.Thread(target=settle_all)
    thread.start()
    asyncio.run(asyncio.wait_for(FutureList(futures).wait_async(), 30))
    thread.join(30)
    assert all(future.is_done() for future in futures)


def test_a_list_that_has_waited_in_vain_is_no_burden() -> None:
    """A wait that has run out of time leaves nothing behind at the futures, which may be waited for again."""
    promises, futures = zip(*(promised() for _ in range(3)), strict=True)
    whole = FutureList(futures)
    whole.wait(0.01)
    assert [promise._callbacks for promise in promises] == [None] * 3
    for promise in promises:
        promise.set_result(Completed(data=None))
    whole.wait()


@pytest.mark.usefixtures("quick_switches")
def test_a_list_is_waited_for_while_it_is_done() -> None:
    """Futures that are done just as somebody begins to wait for all of them are not overlooked."""
    for _ in range(50):
        promises, futures = zip(*(promised() for _ in range(20)), strict=True)
        whole = FutureList(futures)

        def settle(promises: tuple[Promise, ...] = promises) -> None:
            for promise in promises:
                promise.set_result(Completed(data=None))

        at_once(settle, partial(whole.wait, 30), partial(whole.wait, 30))
        assert all(future.is_done() for future in futures)
