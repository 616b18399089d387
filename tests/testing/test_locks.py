"""The lock of simulations is that of `threading`, and so is all that the standard library makes of it."""

import pickle
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.testing.locks import Lock
from tests.testing.seeded import in_world

SEEDS = range(6)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error)


MOVES: dict[str, Callable[[Any], Any]] = {
    "acquire if free": lambda lock: lock.acquire(blocking=False),
    "acquire in no time": lambda lock: lock.acquire(timeout=0),
    "acquire wrongly": lambda lock: lock.acquire(False, 1),
    "release": lambda lock: lock.release(),
    "look": lambda lock: lock.locked(),
    "by old names": lambda lock: lock.acquire_lock(False),
    "release by an old name": lambda lock: lock.release_lock(),
    "acquire more wrongly": lambda lock: lock.acquire(True, -2),
    "pickle": pickle.dumps,
    "enter if free": lambda lock: lock.locked() or lock.__enter__(),
    "leave": lambda lock: lock.__exit__(None, None, None),
    "after a fork": lambda lock: lock._at_fork_reinit(),
}


@given(st.lists(st.sampled_from(sorted(MOVES))))
def test_does_as_the_real_one(moves: list[str]) -> None:
    """In one thread, and outside of any world, nobody can tell a lock from the real one."""
    ours, real = Lock(), threading.Lock()
    for move in moves:
        assert outcome(lambda: MOVES[move](ours)) == outcome(lambda: MOVES[move](real)), move  # noqa: B023


def test_does_as_the_real_one_in_a_world() -> None:
    """It is the same for a strand."""

    def play() -> list[Any]:
        lock = threading.Lock()
        assert isinstance(lock, Lock)
        return [outcome(lambda: MOVES[move](lock)) for move in sorted(MOVES)]  # noqa: B023

    real = threading.Lock()
    assert in_world(play) == [outcome(lambda: MOVES[move](real)) for move in sorted(MOVES)]  # noqa: B023


def test_outsiders_wait_for_one_another() -> None:
    """Without a world a lock is still one, as some are left over when a world is gone."""
    lock = Lock()
    lock.acquire()
    assert not lock.acquire(timeout=0.01)
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=20)))
    thread.start()
    lock.release()
    thread.join()
    assert got == [True]


@pytest.mark.parametrize("seed", SEEDS)
def test_one_holds_it(seed: int) -> None:
    """What is done under a lock is done by one thread at a time, whatever the order of threads."""

    def count() -> tuple[int, int]:
        lock = threading.Lock()
        total = 0
        inside = 0
        most = 0

        def work() -> None:
            nonlocal total, inside, most
            for _ in range(10):
                with lock:
                    inside += 1
                    most = max(most, inside)
                    before = total
                    time.sleep(0.001)
                    total = before + 1
                    inside -= 1

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return total, most

    assert in_world(count, seed) == (40, 1)


def test_races_are_found() -> None:
    """Without a lock the same work loses steps with some seeds, and always the same ones."""

    def count() -> int:
        total = 0

        def work() -> None:
            nonlocal total
            for _ in range(5):
                before = total
                time.sleep(0)
                total = before + 1

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return total

    found = [in_world(count, seed) for seed in SEEDS]
    assert min(found) < 15
    assert found == [in_world(count, seed) for seed in SEEDS]


def test_waiting_for_a_lock_takes_virtual_time() -> None:
    """A deadline of a lock is one of the world."""

    def wait() -> tuple[bool, float, bool]:
        lock = threading.Lock()
        lock.acquire()
        begun = time.monotonic()
        got = lock.acquire(timeout=3600)
        waited = time.monotonic() - begun
        threading.Timer(10, lock.release).start()
        return got, waited, lock.acquire(timeout=3600)

    got, waited, later = in_world(wait)
    assert (got, later) == (False, True)
    assert waited == pytest.approx(3600, abs=1)


def test_interruption_comes_where_the_lock_is_not_held() -> None:
    """What is raised in a thread comes before it has a lock or after that, so that none stays locked."""

    def interrupt() -> tuple[list[str], bool]:
        from mainspring import _interruption

        told: list[str] = []
        lock = threading.Lock()

        def work() -> None:
            try:
                with lock:
                    for _ in range(5):
                        time.sleep(0)
                    told.append("holds it")
                told.append("goes on")
            except KeyboardInterrupt:
                told.append("is interrupted")

        lock.acquire()
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(1)
        assert thread.ident is not None
        _interruption.interrupt(thread.ident, KeyboardInterrupt)
        lock.release()
        thread.join()
        return told, lock.locked()

    told, is_locked = in_world(interrupt)
    assert told[-1] == "is interrupted"
    assert not is_locked


# What is made of it


@pytest.mark.parametrize("seed", SEEDS)
def test_condition(seed: int) -> None:
    """Producers and consumers that wait for a condition lose nothing, and get everything once."""

    def work() -> list[int]:
        condition = threading.Condition()
        waiting: list[int] = []
        taken: list[int] = []

        def produce(first: int) -> None:
            for number in range(first, first + 5):
                with condition:
                    waiting.append(number)
                    condition.notify()

        def consume() -> None:
            for _ in range(5):
                with condition:
                    condition.wait_for(lambda: waiting)
                    taken.append(waiting.pop(0))

        threads = [threading.Thread(target=produce, args=(first,)) for first in (0, 5)]
        threads += [threading.Thread(target=consume) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(taken)

    assert in_world(work, seed) == list(range(10))


def test_condition_has_deadlines() -> None:
    """A wait for a condition that nobody notifies ends in virtual time."""

    def wait() -> tuple[bool, float]:
        condition = threading.Condition(threading.RLock())
        begun = time.monotonic()
        with condition:
            return condition.wait(60), time.monotonic() - begun

    notified, waited = in_world(wait)
    assert not notified
    assert waited == pytest.approx(60, abs=1)


def test_event() -> None:
    """An event wakes all that wait for it."""

    def wait() -> tuple[list[bool], bool]:
        event = threading.Event()
        got: list[bool] = []
        threads = [threading.Thread(target=lambda: got.append(event.wait(3600))) for _ in range(3)]
        for thread in threads:
            thread.start()
        early = event.wait(10)
        event.set()
        for thread in threads:
            thread.join()
        return got, early

    assert in_world(wait) == ([True] * 3, False)


@pytest.mark.parametrize("seed", SEEDS)
def test_semaphore(seed: int) -> None:
    """A semaphore lets so many in at a time."""

    def work() -> int:
        semaphore = threading.BoundedSemaphore(2)
        inside = 0
        most = 0

        def enter() -> None:
            nonlocal inside, most
            with semaphore:
                inside += 1
                most = max(most, inside)
                time.sleep(1)
                inside -= 1

        with ThreadPoolExecutor(5) as pool:
            for _ in range(10):
                pool.submit(enter)
        return most

    assert in_world(work, seed) == 2


def test_barrier() -> None:
    """Nobody gets past a barrier before all are there."""

    def work() -> list[str]:
        barrier = threading.Barrier(3)
        told: list[str] = []

        def meet(hours: int) -> None:
            time.sleep(hours * 3600)
            told.append("comes")
            barrier.wait()
            told.append("goes")

        threads = [threading.Thread(target=meet, args=(hours,)) for hours in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return told

    assert in_world(work) == ["comes"] * 3 + ["goes"] * 3


@pytest.mark.parametrize("make", [queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue])
def test_queues(make: Any) -> None:
    """Queues of all kinds hand over what was put in, and an empty one is waited for in virtual time."""
    name = make.__name__

    def work() -> tuple[list[int], float]:
        line = getattr(queue, name)()
        taken: list[int] = []

        def consume() -> None:
            while (number := line.get()) >= 0:
                taken.append(number)

        thread = threading.Thread(target=consume)
        thread.start()
        for number in (3, 1, 2):
            line.put(number)
            time.sleep(1)
        line.put(-1)
        thread.join()
        begun = time.monotonic()
        with pytest.raises(queue.Empty):
            line.get(timeout=30)
        return taken, time.monotonic() - begun

    taken, waited = in_world(work)
    assert taken == [3, 1, 2]
    assert waited == pytest.approx(30, abs=1)


def test_full_queue_is_waited_for() -> None:
    """Who puts something into a full queue waits until there is room."""

    def work() -> list[str]:
        line: queue.Queue[int] = queue.Queue(1)
        told: list[str] = []

        def produce() -> None:
            for number in range(3):
                line.put(number)
                told.append(f"put {number}")

        thread = threading.Thread(target=produce)
        thread.start()
        time.sleep(1)
        told.append("looks")
        for _ in range(3):
            line.get()
            line.task_done()
        thread.join()
        line.join()
        return told

    told = in_world(work)
    assert told[:2] == ["put 0", "looks"]
    assert told[2:] == ["put 1", "put 2"]


def test_reentrant_lock() -> None:
    """A thread may take a reentrant lock several times, and only it may give that back."""

    def work() -> list[Any]:
        lock = threading.RLock()
        told: list[Any] = []
        with lock, lock:
            thread = threading.Thread(target=lambda: told.append(lock.acquire(timeout=1)))
            thread.start()
            thread.join()
            thread = threading.Thread(target=lambda: told.append(outcome(lock.release)))
            thread.start()
            thread.join()
        thread = threading.Thread(target=lambda: told.append(lock.acquire(timeout=1)))
        thread.start()
        thread.join()
        return told

    assert in_world(work) == [False, RuntimeError, True]


def test_timer() -> None:
    """A timer calls when its time has come, and not if it was cancelled."""

    def work() -> list[str]:
        told: list[str] = []
        early = threading.Timer(10, told.append, ["early"])
        late = threading.Timer(20, told.append, ["late"])
        never = threading.Timer(15, told.append, ["never"])
        for timer in (late, early, never):
            timer.start()
        never.cancel()
        late.join()
        return told

    assert in_world(work) == ["early", "late"]


@pytest.mark.parametrize("seed", SEEDS)
def test_thread_pool(seed: int) -> None:
    """A pool of threads works as ever: results, errors, time limits and its end."""

    def work() -> tuple[list[int], str, str]:
        def square(number: int) -> int:
            time.sleep(number)
            return number**2

        with ThreadPoolExecutor(3) as pool:
            squares = list(pool.map(square, range(6)))
            failed = pool.submit(lambda: 1 / 0)
            slow = pool.submit(square, 100)
            try:
                slow.result(timeout=1)
                told = "done"
            except TimeoutError:
                told = "too slow"
            return squares, type(failed.exception()).__name__, told

    assert in_world(work, seed) == ([0, 1, 4, 9, 16, 25], "ZeroDivisionError", "too slow")


def test_thread_locals() -> None:
    """Each thread has its own thread-local values and its own name."""

    def work() -> list[tuple[str, int]]:
        local = threading.local()
        told: list[tuple[str, int]] = []

        def live(number: int) -> None:
            local.number = number
            time.sleep(1)
            told.append((threading.current_thread().name, local.number))

        threads = [threading.Thread(target=live, args=(number,), name=f"n{number}") for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not any(thread.is_alive() for thread in threads)
        return sorted(told)

    assert in_world(work) == [("n0", 0), ("n1", 1), ("n2", 2)]
