"""The pool of threads: how many there are, which one works, and how it ends."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mainspring._engine.workers import WorkerPool
from tests.runners.making import eventually


@contextmanager
def opened(limit: int = sys.maxsize, at_end: Callable[[], object] = lambda: None) -> Iterator[WorkerPool]:
    pool = WorkerPool(limit, "worker", at_end)
    try:
        yield pool
    finally:
        pool.close()
        pool.join()


def run(pool: WorkerPool, work: Callable[[], Any]) -> Any:
    """Have something done by the pool and return what it returns."""
    results: list[Any] = []
    done = threading.Event()

    def note() -> None:
        results.append(work())
        done.set()

    assert pool.put(note)
    assert done.wait(30)
    return results[0]


def idle(pool: WorkerPool) -> int:
    return len(pool._idle)


def test_an_idle_thread_is_used_again() -> None:
    """Work that comes one after the other is done by the first threads, not by ever new ones."""
    with opened() as pool:
        for _ in range(50):
            run(pool, threading.get_ident)
            assert eventually(lambda: idle(pool) == len(pool._threads))
        assert len(pool._threads) <= 2


def test_the_thread_that_was_idle_last_works_next() -> None:
    """The others stay asleep, with what they have in the caches left alone."""
    with opened() as pool:
        gates = [threading.Event() for _ in range(5)]
        for gate in gates:
            pool.put(gate.wait)  # type: ignore[arg-type]
        assert eventually(lambda: len(pool._threads) == 5 and not pool._queue)
        for number, gate in enumerate(gates):
            gate.set()
            assert eventually(lambda count=number + 1: idle(pool) == count)
        last = run(pool, threading.get_ident)
        for _ in range(10):
            assert eventually(lambda: idle(pool) == 5)
            assert run(pool, threading.get_ident) == last


@pytest.mark.contract("TR-36")
def test_trivial_work_is_done_by_few_threads() -> None:
    """Two thousand short calls do not start a thread each."""
    count = threading.Semaphore(0)
    with opened() as pool:
        for _ in range(2_000):
            pool.put(count.release)
        for _ in range(2_000):
            assert count.acquire(timeout=30)
        assert len(pool._threads) < 200


@pytest.mark.contract("TR-13")
def test_work_that_blocks_gets_its_threads() -> None:
    """Each of a thousand calls that wait for the last one is begun."""
    everybody = threading.Barrier(1_000)
    with opened() as pool:
        for _ in range(999):
            pool.put(lambda: everybody.wait(60))
        run(pool, lambda: everybody.wait(60))
        assert 1_000 <= len(pool._threads) < 1_000 + 64


def test_a_long_call_does_not_delay_short_ones() -> None:
    """What comes after calls that block is done meanwhile."""
    gate = threading.Event()
    with opened() as pool:
        for _ in range(4):
            pool.put(lambda: gate.wait(30))
        assert run(pool, lambda: 5) == 5
        gate.set()


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_limit_is_kept(limit: int) -> None:
    """However much waits, no more calls run at a time, and all are made in their order."""
    lock = threading.Lock()
    now: list[int] = []
    most: list[int] = []
    begun: list[int] = []
    done = threading.Semaphore(0)
    full = threading.Event()

    def work(number: int) -> None:
        with lock:
            begun.append(number)
            now.append(number)
            most.append(len(now))
            if len(now) == limit:
                full.set()
        full.wait(30)
        with lock:
            now.remove(number)
        done.release()

    with opened(limit) as pool:
        for number in range(40):
            pool.put(lambda number=number: work(number))
        for _ in range(40):
            assert done.acquire(timeout=30)
        assert len(pool._threads) == limit
    assert max(most) == limit
    if limit == 1:
        assert begun == list(range(40))


def test_closing_gives_back_what_has_not_begun() -> None:
    """What runs is waited for; what comes later is refused."""
    gate, running = threading.Event(), threading.Event()
    called: list[int] = []

    def hold() -> None:
        running.set()
        gate.wait(30)
        called.append(1)

    pool = WorkerPool(1, "worker", lambda: None)
    pool.put(hold)
    assert running.wait(30)
    works = [lambda: called.append(2), lambda: called.append(3)]
    for work in works:
        pool.put(work)
    assert pool.close() == works
    assert pool.put(lambda: called.append(4)) is False
    gate.set()
    pool.join()
    assert called == [1]
    assert pool.close() == []


def test_closing_while_threads_are_added() -> None:
    """The watcher ends with the pool, wherever it is."""
    for _ in range(20):
        pool = WorkerPool(sys.maxsize, "worker", lambda: None)
        gate = threading.Event()
        for _ in range(10):
            pool.put(lambda gate=gate: gate.wait(30))
        pool.close()
        gate.set()
        pool.join()
        assert not any(thread.is_alive() for thread in pool._threads)


def test_joining_from_one_of_the_threads() -> None:
    """A thread of the pool does not wait for itself."""
    pool = WorkerPool(3, "worker", lambda: None)
    done = threading.Event()

    def end() -> None:
        pool.close()
        pool.join()
        done.set()

    pool.put(end)
    assert done.wait(30)


def test_each_thread_says_good_bye() -> None:
    """What is to be done at the end of a thread is done in it, once."""
    ended: list[int] = []
    with opened(at_end=lambda: ended.append(threading.get_ident())) as pool:
        gate = threading.Event()
        for _ in range(3):
            pool.put(lambda: gate.wait(30))
        assert eventually(lambda: len(pool._threads) == 3)
        threads = {thread.ident for thread in pool._threads}
        gate.set()
    assert len(ended) == 3
    assert set(ended) == threads


@pytest.mark.parametrize("watched", [True, False])
def test_a_system_without_more_threads(monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    """The threads there are do everything; without a single one, the caller is told."""
    start = threading.Thread.start
    allowed = 2

    def scarce(thread: threading.Thread) -> None:
        nonlocal allowed
        if "watcher" not in thread.name or not watched:
            if not allowed:
                raise RuntimeError("can't start new thread")
            allowed -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    gate, done = threading.Event(), threading.Semaphore(0)
    with opened() as pool:
        for _ in range(2):
            pool.put(lambda: gate.wait(30))
        for _ in range(10):
            pool.put(done.release)
        assert eventually(lambda: pool.limit == (2 if watched else 1))
        gate.set()
        for _ in range(10):
            assert done.acquire(timeout=30)
    with opened() as pool, pytest.raises(RuntimeError, match="new thread"):
        pool.put(gate.wait)  # type: ignore[arg-type]
