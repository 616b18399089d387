"""The standard library in the hands of a world: all of it is taken over, and all of it is given back."""

import asyncio
import os
import queue
import random
import secrets
import select
import selectors
import sqlite3
import sys
import threading
import time
import types
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mainspring import clock
from mainspring.testing.children import run_in_child
from mainspring.testing.locks import Lock, enter_world, leave_world
from mainspring.testing.takeover import Takeover
from tests.testing.seeded import EPOCH, START, bare_world, in_child, in_world

NOW = (START + EPOCH) / 1e9


def attributes() -> dict[tuple[str, str], int]:
    """What the names of all modules and of the classes in question stand for."""
    owners: list[tuple[str, Any]] = [
        (name, module) for name, module in sys.modules.items() if type(module) is types.ModuleType
    ]
    owners += [
        ("threading.Thread", threading.Thread),
        ("asyncio loop", asyncio.selector_events.BaseSelectorEventLoop),
    ]
    owners += [("threading.Condition", threading.Condition), ("SystemClock", clock.SystemClock)]
    return {
        (name, key): id(value)
        for name, owner in owners
        for key, value in vars(owner).items()
        if not (name.startswith("mainspring.") and key.startswith("_"))  # made anew, as in any forked child
        and not name.startswith("hypothesis.")  # keeps times of the garbage collector, whenever that runs
    }


def test_all_is_given_back() -> None:
    """After a takeover all names of all modules stand for what they stood for before."""

    def look() -> tuple[int, list[tuple[str, str]]]:
        import concurrent.futures.thread
        import logging.handlers

        assert concurrent.futures.thread
        assert logging.handlers
        assert asyncio.get_event_loop_policy()  # made when it is first asked for
        world = bare_world()
        before = attributes()
        takeover = Takeover(Random(0))
        enter_world(world)
        takeover.begin()
        during = attributes()
        takeover.give_back()
        leave_world()
        after = attributes()
        taken = {name for name in during if during[name] != before.get(name)}
        return len(taken), sorted(name for name in before if before[name] != after.get(name))

    taken, left = in_child(look)
    assert taken > 30
    assert left == []


def test_nothing_of_it_is_seen_in_the_process_of_the_test() -> None:
    """A world in a forked child leaves the process of the test as it was."""
    before = attributes()
    assert in_world(lambda: threading.Lock is Lock)
    after = attributes()
    assert {name for name in before if before[name] != after.get(name)} == set()


def test_names_imported_by_name_are_replaced() -> None:
    """``from time import sleep`` and the like in modules of users are taken over, and given back."""
    module = types.ModuleType("a_module_of_a_user")
    exec(
        "from time import sleep, monotonic, time as now\n"
        "from threading import Lock, RLock\n"
        "from queue import SimpleQueue\n"
        "from os import urandom\n"
        "lock = Lock()\n"
        "reentrant = RLock()\n"
        "def nap():\n"
        "    begun = monotonic()\n"
        "    with lock, reentrant:\n"
        "        sleep(100)\n"
        "    return monotonic() - begun, now(), type(Lock()), type(lock)\n",
        vars(module),
    )
    before = dict(vars(module))

    def live() -> Any:
        sys.modules[module.__name__] = module
        world = bare_world()
        found: list[Any] = []
        takeover = Takeover(Random(0))
        enter_world(world)
        takeover.begin()
        world.run(lambda: found.append(module.nap()), "main")
        takeover.give_back()
        return found[0], all(vars(module)[name] is value for name, value in before.items())

    begun = time.monotonic()
    (waited, now, made, kept), is_restored = in_child(live)
    assert time.monotonic() - begun < 60
    assert waited == pytest.approx(100, abs=1)
    assert now == pytest.approx(NOW + 100, abs=1)
    assert made is kept is Lock
    assert is_restored


def chance() -> list[Any]:
    return [
        random.random(),
        random.SystemRandom().random(),
        os.urandom(8),
        uuid.uuid4(),
        secrets.token_hex(),
        secrets.randbelow(10**9),
        time.time(),
        time.monotonic_ns(),
        time.perf_counter(),
    ]


def test_chance_is_the_seed() -> None:
    """Random numbers, ids and secrets are the same for the same seed, and others for another one."""
    first, again, other = in_world(chance, 1), in_world(chance, 1), in_world(chance, 2)
    assert first == again
    assert [one for one, two in zip(first[:6], other[:6], strict=True) if one == two] == []


def test_chance_is_taken_over_after_it_was_left_alone() -> None:
    """What one takeover has kept about modules does not hide from the next one where chance comes from."""

    def look() -> list[bool]:
        real = vars(random)["_urandom"]
        taken: list[bool] = []
        for seeded in (None, Random(0)):
            takeover = Takeover(seeded)
            enter_world(bare_world())
            takeover.begin()
            taken.append(vars(random)["_urandom"] is not real)
            takeover.give_back()
            leave_world()
        return taken

    assert in_child(look) == [False, True]


def test_chance_of_numpy_is_the_seed() -> None:
    """A generator of numpy without a seed of its own takes it from the simulated system."""
    pytest.importorskip("numpy")

    def draw() -> float:
        import numpy as np

        return float(np.random.default_rng().random())

    assert in_world(draw, 1) == in_world(draw, 1)


def test_wall_clock_begins_in_2030() -> None:
    """The wall clock goes with the monotonic one."""

    def look() -> tuple[float, float]:
        before = time.time()
        time.sleep(86_400)
        return before, time.time() - before

    before, passed = in_world(look)
    assert before == pytest.approx(NOW, abs=1)
    assert passed == pytest.approx(86_400, abs=1)


def test_processor_time_is_that_of_the_world() -> None:
    """How long the machine computes is seen by nobody: only looks at clocks take time, and all seeds are alike."""

    def look() -> list[float]:
        module = types.ModuleType("a_module_that_measures")
        exec("from time import process_time as used", vars(module))
        sum(range(1_000_000))
        return [
            time.process_time(),
            time.process_time_ns() / 1e9,
            time.thread_time(),
            time.thread_time_ns() / 1e9,
            module.used(),
        ]

    found = in_world(look)
    assert found == in_world(look)
    assert found == sorted(set(found))
    assert found[-1] < 0.001


def test_sleep_refuses_what_is_negative() -> None:
    """``time.sleep`` is as strict as ever."""

    def nap() -> None:
        time.sleep(-1)

    with pytest.raises(ValueError, match="non-negative"):
        in_world(nap)


def test_threads_are_as_ever() -> None:
    """Threads have names and ids, can be enumerated and joined, and cannot join themselves."""

    def live() -> tuple[set[str], bool, bool, str]:
        def nap() -> None:
            time.sleep(10)

        thread = threading.Thread(target=nap, name="napping")
        thread.start()
        names = {each.name for each in threading.enumerate()}
        thread.join(timeout=1)
        is_alive = thread.is_alive()
        thread.join()
        told: list[str] = []

        def join_myself() -> None:
            try:
                threading.current_thread().join()
            except RuntimeError as error:
                told.append(str(error))

        other = threading.Thread(target=join_myself)
        other.start()
        other.join()
        return names, is_alive, thread.is_alive(), told[0]

    names, early, late, told = in_world(live)
    assert "napping" in names
    assert (early, late) == (True, False)
    assert told == "cannot join current thread"


def test_error_in_a_thread_is_told_as_ever(capfd: pytest.CaptureFixture[str]) -> None:
    """What a thread raises goes to the hook for that, and the world goes on."""

    def live() -> bool:
        threading.excepthook = threading.__excepthook__
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        return thread.is_alive()

    assert in_world(live) is False
    assert "ZeroDivisionError" in capfd.readouterr().err


# Event loops


def test_asyncio_sleeps_in_virtual_time() -> None:
    """Coroutines that sleep side by side go on in the order of their times, and nobody waits."""

    def live() -> tuple[list[int], list[int], float]:
        told: list[int] = []

        async def nap(hours: int) -> int:
            await asyncio.sleep(hours * 3600)
            told.append(hours)
            return hours

        async def main() -> list[int]:
            return await asyncio.gather(nap(3), nap(1), nap(2))

        begun = time.monotonic()
        return asyncio.run(main()), told, time.monotonic() - begun

    gathered, order, waited = in_world(live)
    assert gathered == [3, 1, 2]
    assert order == [1, 2, 3]
    assert waited == pytest.approx(3 * 3600, abs=1)


def test_asyncio_time_limits() -> None:
    """Time limits of asyncio are in virtual time."""

    def live() -> tuple[bool, float]:
        async def main() -> bool:
            try:
                async with asyncio.timeout(100):
                    await asyncio.Event().wait()
            except TimeoutError:
                return True
            return False

        begun = time.monotonic()
        return asyncio.run(main()), time.monotonic() - begun

    expired, waited = in_world(live)
    assert expired
    assert waited == pytest.approx(100, abs=1)


@pytest.mark.parametrize("seed", range(6))
def test_asyncio_and_threads(seed: int) -> None:
    """Loops and threads wake one another, whatever their order."""

    def live() -> list[Any]:
        async def main() -> list[Any]:
            loop = asyncio.get_running_loop()
            event = asyncio.Event()
            threading.Timer(5, loop.call_soon_threadsafe, [event.set]).start()
            await event.wait()
            begun = time.monotonic()
            slept = asyncio.to_thread(time.sleep, 10)
            beside = asyncio.create_task(asyncio.sleep(3, "beside"))
            await slept
            assert beside.done()
            from_thread = await asyncio.to_thread(
                lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(2, "from a thread"), loop).result()
            )
            return [beside.result(), from_thread, round(time.monotonic() - begun)]

        return asyncio.run(main())

    assert in_world(live, seed) == ["beside", "from a thread", 12]


def test_asyncio_order_is_the_seed() -> None:
    """Coroutines and threads that compete get the same order from the same seed."""

    def live() -> list[int]:
        told: list[int] = []

        async def main() -> None:
            await asyncio.gather(*(asyncio.to_thread(told.append, number) for number in range(6)))

        asyncio.run(main())
        return told

    assert in_world(live, 3) == in_world(live, 3)
    assert len({tuple(in_world(live, seed, 0.9)) for seed in range(40)}) > 1


def test_sets_of_asyncio_are_in_the_order_of_their_making() -> None:
    """Sets of tasks and futures do not have the order of addresses: here where all are cancelled, or waited for."""

    def live() -> tuple[list[int], list[int]]:
        told: list[int] = []

        async def wait(number: int) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                told.append(number)
                raise

        async def main() -> list[int]:
            kept = [asyncio.create_task(wait(number)) for number in range(40)]
            await asyncio.sleep(1)
            futures = [asyncio.get_running_loop().create_future() for _ in kept]
            for number, future in enumerate(futures):
                future.set_result(number)
            done, _ = await asyncio.wait(futures)
            return [future.result() for future in done]

        return asyncio.run(main()), told

    assert in_world(live) == (list(range(40)), list(range(40)))


def test_what_threads_are_called_does_not_depend_on_what_was_before() -> None:
    """Numbers in the names of threads and executors begin anew in a world."""

    def live() -> list[str]:
        names: list[str] = []

        def tell() -> None:
            names.append(threading.current_thread().name)

        with ThreadPoolExecutor() as executor:
            executor.submit(tell).result()
        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()
        return names

    with ThreadPoolExecutor() as executor:
        executor.submit(threading.Thread).result()
    assert in_world(live) == ["ThreadPoolExecutor-0_0", "Thread-2 (tell)"]


# Databases, pipes, outsiders


def test_databases_wait_in_virtual_time(tmp_path: Path) -> None:
    """A connection that finds a database locked waits as long as it is to, and lets the other one go on."""
    path = tmp_path / "test.db"

    def live() -> tuple[list[str], float, float]:
        told: list[str] = []
        first = sqlite3.connect(path, isolation_level=None)
        first.execute("CREATE TABLE t (x)")
        second = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        impatient = sqlite3.connect(path, isolation_level=None)
        impatient.execute("PRAGMA busy_timeout = 2000")
        first.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        try:
            impatient.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            told.append(str(error))
        gave_up = time.monotonic() - begun

        def write() -> None:
            second.execute("BEGIN IMMEDIATE")
            second.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
            second.execute("COMMIT")
            told.append("written")

        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(10)
        told.append("commits")
        first.execute("COMMIT")
        thread.join()
        told.append(str(first.execute("SELECT sum(x) FROM t").fetchall()))
        for each in (first, second, impatient):
            each.close()
        return told, gave_up, time.monotonic() - begun

    told, gave_up, waited = in_world(live)
    assert told == ["database is locked", "commits", "written", "[(3,)]"]
    assert gave_up == pytest.approx(2, abs=0.1)
    assert waited == pytest.approx(12, abs=1)


def test_other_errors_of_databases_come_at_once() -> None:
    """What is no lock is not waited for."""

    def live() -> float:
        with sqlite3.connect(":memory:") as db:
            begun = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="no such table"):
                db.execute("SELECT * FROM missing")
            return time.monotonic() - begun

    assert in_world(live) < 1


def test_pipes_are_waited_for_in_virtual_time() -> None:
    """Who reads from an empty pipe, or polls it, goes on when another thread has written to it."""

    def live() -> tuple[bytes, list[Any], int]:
        source, sink = os.pipe()
        poller = select.poll()
        poller.register(source, select.POLLIN)
        empty = poller.poll(5000)
        threading.Timer(10, os.write, [sink, b"one"]).start()
        ready = len(poller.poll(60_000))
        os.read(source, 3)
        threading.Timer(10, os.write, [sink, b"two"]).start()
        return os.read(source, 3), empty, ready

    assert in_world(live) == (b"two", [], 1)


def test_outsiders_keep_real_time() -> None:
    """A thread that was there before the world goes on as if there was none."""

    def live() -> tuple[float, float, bytes, bool]:
        world = bare_world()
        begin, done = threading.Event(), threading.Event()
        told: list[Any] = []

        def outside() -> None:
            begin.wait()
            told.append(time.time())
            begun = time.monotonic()
            time.sleep(0.01)
            told.append(time.monotonic() - begun)
            source, sink = os.pipe()
            os.write(sink, b"x")
            told.append(os.read(source, 1))
            lock = threading.Lock()
            told.append(lock.acquire(timeout=0.01) and not lock.acquire(timeout=0.01))
            child = threading.Thread(target=lambda: None)
            child.start()
            child.join()
            selectors.DefaultSelector().select(0)
            queue.SimpleQueue().put(1)
            done.set()

        real = time.time
        thread = threading.Thread(target=outside)
        thread.start()
        enter_world(world)
        takeover = Takeover(Random(0))
        takeover.begin()
        begin.set()
        thread.join(20)
        assert done.is_set()
        takeover.give_back()
        leave_world()
        return abs(real() - told[0]), told[1], told[2], told[3]

    off, slept, read, locks = in_child(live)
    assert off < 60
    assert 0.009 < slept < 60
    assert read == b"x"
    assert locks


def test_import_in_threads_does_not_lock_up() -> None:
    """Threads that import the same module for the first time do not wait for one another's locks."""
    for seed in range(4):

        def live() -> bool:
            sys.modules.pop("json.tool", None)

            def load() -> None:
                import json.tool

                assert json.tool

            threads = [threading.Thread(target=load) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return True

        assert in_world(live, seed, 0.9)


def test_child_that_never_ran_a_world_is_as_ever() -> None:
    """What is forked from a process without a world has none."""
    assert run_in_child(lambda: type(threading.Lock()).__module__).value == "_thread"
