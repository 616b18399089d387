"""Any program of work that makes, waits for, lends and fails, in a pool of any size: nothing too much, nothing lost."""

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring._engine.submissions import Submission, Submissions, SubmissionSeries
from mainspring._engine.workers import Series, WorkerPool
from mainspring.exceptions import DeadlockError
from mainspring.futures import ConcurrentFuture, as_completed, wait
from mainspring.futures.promises import Promise
from mainspring.futures.turns import active_turn, paused
from tests.runners.making import eventually


@dataclass
class Machine:
    """A pool, what goes on in it at a time, and how often each piece of work was begun."""

    limit: int
    lock: Any = field(default_factory=threading.Lock)
    now: int = 0
    most: int = 0
    begun: dict[int, int] = field(default_factory=dict)
    futures: list[ConcurrentFuture[Any]] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self.pool = WorkerPool(self.limit, "worker", lambda: None)
        self.submissions = Submissions(self.pool)

    def note(self, change: int) -> None:
        with self.lock:
            self.now += change
            self.most = max(self.most, self.now)

    def submit(self, plan: Any, inputs: list[Any] | None = None) -> ConcurrentFuture[Any] | None:
        """Have a plan carried out; None if the pool is closed."""
        promise = Promise()
        future: ConcurrentFuture[Any] = ConcurrentFuture(random.randbytes(16), promise)
        with self.lock:
            number = len(self.futures)
            self.futures.append(future)
        if self.submissions.add(self.submission(number, promise, plan), inputs or []):
            return future
        promise.cancel()
        return None

    def submission(self, number: int, promise: Promise, plan: Any) -> Submission:
        return Submission(lambda: self.carry_out(number, plan), promise, lambda: f"work {number}")

    def map(self, plans: list[Any], at_once: int) -> list[ConcurrentFuture[Any]]:
        promises = [Promise() for _ in plans]
        futures: list[Any] = [ConcurrentFuture(random.randbytes(16), promise) for promise in promises]
        with self.lock:
            first = len(self.futures)
            self.futures += futures
        numbers = iter(range(len(plans)))

        def prepare(number: int) -> Any:
            assert number == next(numbers)  # in their order, whatever thread it is
            return (lambda: self.carry_out(first + number, plans[number])), [], lambda: "an element"

        if plans and self.submissions.add_series(promises, prepare, at_once) is None:
            for promise in promises:
                promise.cancel()
        return futures

    def carry_out(self, number: int, plan: Any) -> Any:
        """Do what a plan says: what it submits it waits for by the given way."""
        with self.lock:
            assert number not in self.begun
            self.begun[number] = 1
        self.note(1)
        try:
            for step, *more in plan:
                if step == "raise":
                    raise ValueError(number)
                if step == "lend":
                    with paused():
                        time.sleep(0.0005)
                elif step == "submit":
                    self.wait_for([self.submit(below) for below in more[1]], more[0])
                elif step == "chain":
                    first = self.submit(more[1])
                    self.wait_for([first, self.submit(more[1], [first] if first else [])], more[0])
                elif step == "map":
                    self.wait_for(self.map(more[2], more[1]), more[0])
                elif step == "leave":
                    for below in more[0]:
                        self.submit(below)
            return number
        finally:
            self.note(-1)

    def wait(self, call: Any) -> None:
        self.note(-1)
        try:
            call()
        finally:
            self.note(1)

    def wait_for(self, futures: list[Any], way: str) -> None:
        known = [future for future in futures if future is not None]
        if way == "results":
            self.wait(lambda: [future.result(raise_on_failure=False) for future in known])
        elif way == "wait":
            self.wait(lambda: wait(known))
        elif way == "as_completed":
            self.wait(lambda: list(as_completed(known)))

    def settle(self) -> None:
        """Wait until everything is over, however deep it was made."""
        seen = 0
        while seen < len(self.futures):
            future = self.futures[seen]
            future.wait(60)
            assert future.is_done()
            seen += 1

    def close(self) -> None:
        self.submissions.cancel()
        self.pool.join()


WAYS = st.sampled_from(["results", "wait", "as_completed"])


def plans(lends: bool) -> st.SearchStrategy[Any]:
    """Work of up to three levels."""
    simple = [st.just(("raise",))] + ([st.just(("lend",))] if lends else [])

    def deeper(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(below, max_size=3)
        step = st.one_of(
            *simple,
            st.tuples(st.just("submit"), WAYS, several),
            st.tuples(st.just("chain"), WAYS, below),
            st.tuples(st.just("map"), WAYS, st.integers(1, 3), st.lists(below, max_size=4)),
            st.tuples(st.just("leave"), several),
        )
        return st.lists(step, max_size=3)

    return deeper(deeper(st.lists(st.one_of(*simple), max_size=2)))


@pytest.mark.contract("TR-36", "W-21")
@settings(max_examples=40)
@given(st.lists(plans(lends=False), min_size=1, max_size=4), st.sampled_from([1, 2, 3, 8]))
def test_any_program_of_work(programs: list[Any], limit: int) -> None:
    """Everything is done once, never more at a time than the limit says, and no thread is left."""
    machine = Machine(limit)
    for plan in programs:
        machine.submit(plan)
    machine.settle()
    threads = list(machine.pool._threads)
    machine.close()
    assert machine.most <= limit
    assert sorted(machine.begun) == list(range(len(machine.futures)))
    assert (machine.pool._used, machine.pool._lent, machine.pool._queued) == (0, 0, 0)
    assert not machine.pool._returning
    assert not machine.pool._at_work
    for thread in threads:
        thread.join(60)  # which has done its work, and is about to end
        assert not thread.is_alive()


@pytest.mark.contract("TR-16")
@settings(max_examples=40)
@given(
    st.lists(plans(lends=True), min_size=1, max_size=4),
    st.sampled_from([1, 2, 8]),
    st.floats(0, 0.004),
)
def test_closing_in_the_middle(programs: list[Any], limit: int, after: float) -> None:
    """Whenever the pool is closed, each piece of work was done once or cancelled, and no thread is left."""
    machine = Machine(limit)
    for plan in programs:
        machine.submit(plan)
    time.sleep(after)
    machine.close()
    machine.settle()
    assert (machine.pool._used, machine.pool._lent) == (0, 0)
    assert not any(thread.is_alive() for thread in machine.pool._threads)
    cancelled = [future for future in machine.futures if future.wrapped_future.cancelled()]
    assert len(machine.begun) + len(cancelled) == len(machine.futures)


def test_a_part_that_was_cancelled_when_its_thread_came() -> None:
    """A thread that has just come for the next part of a series finds that all were cancelled, and is not lost."""
    pool = WorkerPool(1, "worker", lambda: None)
    submissions = Submissions(pool)
    promises = [Promise() for _ in range(2)]
    series = SubmissionSeries(submissions, promises, lambda _: pytest.fail("it was cancelled"), 2)
    series.cancel()
    assert pool.put(series.parts)
    assert eventually(lambda: pool._idle and not pool._queue)
    assert all(promise.cancelled() for promise in promises)
    assert pool._used == 0
    pool.close()
    pool.join()


def test_a_callback_about_a_failed_preparation_may_wait() -> None:
    """Whoever is told that an element cannot be made can wait for the others."""
    pool = WorkerPool(4, "worker", lambda: None)
    submissions = Submissions(pool)
    promises = [Promise() for _ in range(2)]
    futures: list[ConcurrentFuture[Any]] = [ConcurrentFuture(bytes(16), promise) for promise in promises]
    seen: list[Any] = []
    futures[0].add_done_callback(lambda _: seen.append(futures[1].result(timeout=20)))

    def prepare(number: int) -> Any:
        if number == 0:
            raise ValueError("not this one")
        return (lambda: 5), [], lambda: "an element"

    assert submissions.add_series(promises, prepare, 2) is not None
    assert futures[1].result(timeout=30) == 5
    assert eventually(lambda: seen == [5])
    assert isinstance(futures[0].result(timeout=30, raise_on_failure=False), ValueError)
    submissions.cancel()
    pool.join()


@pytest.mark.parametrize("at_once", [1, 3])
def test_so_many_parts_at_once(at_once: int) -> None:
    """A series has no more of its parts under way than it may, and leaves the other threads to others."""
    pool = WorkerPool(8, "worker", lambda: None)
    lock, now, most, done = threading.Lock(), [0], [0], threading.Semaphore(0)
    other = threading.Event()

    def part() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        other.wait(30)
        with lock:
            now[0] -= 1
        pool.end_part(series)
        done.release()

    series = Series(part, 12, at_once)
    pool.put(series)
    pool.put(other.set)
    for _ in range(12):
        assert done.acquire(timeout=30)
    assert most[0] == at_once
    assert pool.close() == []
    pool.join()


def test_a_wait_with_a_time_limit_goes_on_at_once() -> None:
    """It does not wait for a turn that others have, and the turns are as many as before when all is over."""
    machine = Machine(1)
    gate, waits = threading.Event(), threading.Event()
    never: ConcurrentFuture[Any] = ConcurrentFuture(bytes(16), Promise())

    def hasty() -> int:
        waits.set()
        never.wait(0.01)
        gate.set()
        return 1

    def other() -> int:
        gate.wait(30)
        return 2

    for number, call in enumerate((hasty, other)):
        promise = Promise()
        machine.futures.append(ConcurrentFuture(bytes(16), promise))
        machine.submissions.add(Submission(call, promise, lambda number=number: str(number)), [])
    machine.settle()
    assert [future.result() for future in machine.futures] == [1, 2]
    machine.close()
    assert machine.pool._used == 0
    never.wrapped_future.cancel()


def test_work_without_a_name_in_a_circle() -> None:
    """The error is an error all the same."""
    pool = WorkerPool(2, "worker", lambda: None)
    promise = Promise()
    future: ConcurrentFuture[Any] = ConcurrentFuture(bytes(16), promise)
    told: list[str] = []

    class Nameless:
        def needs(self) -> Any:
            from mainspring._core.circles import Needs

            return Needs([turns[0]])

    def work() -> None:
        turns.append(active_turn.get())
        promise.work = Nameless()
        try:
            future.result()
        except DeadlockError as error:
            told.append(str(error))

    turns: list[Any] = []
    pool.put(work)
    assert eventually(lambda: told)
    assert "some work waits for itself" in told[0]
    promise.set_result(1)
    pool.close()
    pool.join()
