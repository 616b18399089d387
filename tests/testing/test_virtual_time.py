"""Virtual time: waits of hours take no time, and are recorded as the hours that they are."""

import asyncio
import importlib
import logging
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from mainspring import flow, get_run_logger, task
from mainspring.cache_policies import INPUTS
from mainspring.client import get_client
from mainspring.concurrency.sync import concurrency, rate_limit
from mainspring.events import emit_event, subscribe
from mainspring.exceptions import (
    AcquireConcurrencySlotTimeoutError,
    ConfigurationError,
    FlowPauseTimeout,
)
from mainspring.futures import wait
from mainspring.locking.memory import MemoryLockManager
from mainspring.pauses import apause_flow_run, pause_flow_run
from mainspring.testing import StandstillError, invariants, virtual_time
from mainspring.testing import takeover as takeover_module
from mainspring.transactions import transaction
from tests.engine.history import flow_runs, messages, only_task_run, sequence, states_of, task_runs

HOUR = 3600
LOCK = type(threading.Lock())
REAL = {name: getattr(time, name) for name in ("time", "time_ns", "monotonic", "sleep", "perf_counter")}


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Real time is back after each test, and no thread of the block is left."""
    before = set(threading.enumerate())
    yield
    assert {name: getattr(time, name) for name in REAL} == REAL
    end = time.monotonic() + 20
    while left := [each for each in threading.enumerate() if each not in before and not each.daemon]:
        assert time.monotonic() < end, left
        time.sleep(0.01)


SAME = timedelta(microseconds=9)
"""States of a run that were entered at the same moment are a microsecond apart, so that their times tell the order."""


def waits(run: Any) -> list[timedelta]:
    """How much time passed between states, where any did."""
    return [timedelta(seconds=round(gap.total_seconds(), 4)) for gap in gaps(run) if gap > SAME]


def gaps(run: Any) -> list[timedelta]:
    """The time from each state of a run to the next one."""
    times = [state.timestamp for state in states_of(run)]
    return [later - earlier for earlier, later in pairwise(times)]


def failing(times: int, **options: Any) -> Any:
    """A task that fails so often and then returns how often it was called."""
    calls: list[int] = []

    @task(**options)
    def unsteady() -> int:
        calls.append(1)
        if len(calls) <= times:
            raise ConnectionError(len(calls))
        return len(calls)

    return unsteady


# Retries


def test_retries_an_hour_apart_are_recorded_an_hour_apart() -> None:
    """Three retries an hour apart: the states are exactly an hour from one another."""
    unsteady = failing(3, retries=3, retry_delay_seconds=HOUR)

    @flow
    def hourly() -> int:
        return unsteady()  # type: ignore[no-any-return]

    with virtual_time() as clock:
        assert hourly() == 4
        assert clock.elapsed == timedelta(hours=3)
    states = states_of(only_task_run())
    assert [state.name for state in states] == (
        ["Pending", "Running", *["AwaitingRetry", "Retrying"] * 3, "Completed"]
    )
    delays = [state for state in states if state.name == "AwaitingRetry"]
    attempts = [state.timestamp for state in states if state.name in ("Pending", "Retrying")]
    assert [state.state_details.scheduled_time for state in delays] == attempts[1:]
    assert [later - earlier for earlier, later in pairwise(attempts)] == [timedelta(hours=1)] * 3
    # States at the same moment are a microsecond apart: it is their order that counts.
    assert sum(gaps(only_task_run()), timedelta()) == timedelta(hours=3, microseconds=1)


@pytest.mark.slow
def test_a_flow_with_three_retries_an_hour_apart_takes_milliseconds() -> None:
    """The whole block, from entering to leaving, takes less than 50 ms where nothing else runs."""
    taken = []
    logging.disable(logging.CRITICAL)
    try:
        for _ in range(9):
            unsteady = failing(3, retries=3, retry_delay_seconds=HOUR)
            begin = time.perf_counter()
            with virtual_time():
                assert flow(lambda unsteady=unsteady: unsteady(), name="hourly")() == 4
            taken.append(time.perf_counter() - begin)
    finally:
        logging.disable(logging.NOTSET)
    print(f"median {median(taken) * 1000:.1f} ms, best {min(taken) * 1000:.1f} ms")
    assert min(taken) < 2  # far from it even if others have the processors


def test_async_retries_are_exact() -> None:
    """Delays of async tasks pass in the event loop as exactly."""

    @task(retries=2, retry_delay_seconds=[60, HOUR])
    async def unsteady() -> str:
        if len(states_of(only_task_run())) < 6:
            raise ConnectionError
        return "there"

    @flow
    async def main() -> str:
        return await unsteady()

    with virtual_time():
        assert asyncio.run(main()) == "there"
    assert waits(only_task_run()) == [timedelta(minutes=1), timedelta(hours=1)]


def test_a_block_inside_of_a_running_loop() -> None:
    """A loop that was there before takes part, as in tests that are coroutines themselves."""

    @task
    async def patient() -> float:
        begin = time.monotonic()
        await asyncio.sleep(HOUR)
        return time.monotonic() - begin

    async def test() -> None:
        with virtual_time() as clock:
            assert await asyncio.gather(patient(), patient()) == [HOUR, HOUR]
            assert await asyncio.to_thread(time.sleep, 60) is None
            assert clock.elapsed == timedelta(seconds=HOUR + 60)
        begin = time.monotonic()
        await asyncio.sleep(0.01)
        assert 0.009 < time.monotonic() - begin < 20
        await asyncio.to_thread(time.sleep, 0)

    asyncio.run(test())
    asyncio.run(test())


@pytest.mark.parametrize("how", ["submit", "map"])
def test_retries_on_threads(how: str) -> None:
    """Tasks on threads wait side by side: an hour for all is an hour."""

    @task(retries=1, retry_delay_seconds=HOUR)
    def unsteady(number: int, tried: list[int]) -> int:
        tried.append(number)
        if len(tried) == 1:
            raise ConnectionError(number)
        return number

    @flow
    def many() -> list[int]:
        futures = [unsteady.submit(number, _Quoted()) for number in range(10)]
        return [each.result() for each in futures]

    @flow
    def mapped() -> list[int]:
        return unsteady.map(list(range(10)), [_Quoted() for _ in range(10)]).result()

    with virtual_time() as clock:
        assert (many if how == "submit" else mapped)() == list(range(10))
        assert clock.elapsed == timedelta(hours=1)
    assert [waits(run) for run in task_runs()] == [[timedelta(hours=1)]] * 10


class _Quoted(list[int]):
    """A list that a task appends to."""


# Time limits


def test_a_task_in_the_main_thread_times_out_when_it_is_due() -> None:
    """A time limit ends a sleep of the main thread at the deadline."""

    @task(timeout_seconds=90)
    def slow() -> None:
        time.sleep(HOUR)

    with virtual_time() as clock:
        with pytest.raises(TimeoutError):
            slow()
        assert clock.elapsed == timedelta(seconds=90)
    assert sequence() == "Pending Running TimedOut"


def test_a_time_limit_with_retries_is_exact_in_the_main_thread() -> None:
    """Limit and delay follow one another."""

    @task(timeout_seconds=1.5, retries=2, retry_delay_seconds=60)
    def slow() -> None:
        threading.Event().wait(HOUR)

    with virtual_time() as clock:
        with pytest.raises(TimeoutError):
            slow()
        assert clock.elapsed == timedelta(seconds=3 * 1.5 + 2 * 60)


def test_a_task_on_a_thread_times_out_when_it_is_due() -> None:
    """A time limit is recorded at the deadline also where the sleep itself cannot be ended."""

    @task(timeout_seconds=90)
    def slow() -> None:
        time.sleep(HOUR)

    @flow
    def main() -> None:
        slow.submit().result()

    with virtual_time(), pytest.raises(TimeoutError):
        main()
    run = only_task_run()
    assert states_of(run)[-1].name == "TimedOut"
    assert waits(run) == [timedelta(seconds=90.02)]  # the engine gives the thread a moment to end by itself


def test_a_flow_times_out_when_it_is_due() -> None:
    """The time limit of a flow ends what it calls."""

    @task
    def slow() -> None:
        time.sleep(HOUR)

    @flow(timeout_seconds=600)
    def main() -> None:
        slow()

    with virtual_time() as clock:
        with pytest.raises(TimeoutError):
            main()
        assert clock.elapsed == timedelta(minutes=10)


def test_an_async_task_times_out_when_it_is_due() -> None:
    """The time limit of a coroutine passes in the loop."""

    @task(timeout_seconds=90)
    async def slow() -> None:
        await asyncio.sleep(HOUR)

    with virtual_time() as clock:
        with pytest.raises(TimeoutError):
            asyncio.run(slow())
        assert timedelta(seconds=90) <= clock.elapsed < timedelta(seconds=90.001)


# What else has a time


def test_cached_results_expire() -> None:
    """An expiration of a day is over after a day."""
    calls = []

    @task(cache_policy=INPUTS, cache_expiration=timedelta(days=1))
    def look_up(number: int) -> int:
        calls.append(number)
        return number

    with virtual_time() as clock:
        look_up(1)
        clock.advance(timedelta(hours=23))
        look_up(1)
        assert len(calls) == 1
        clock.advance(timedelta(hours=2))
        look_up(1)
        assert len(calls) == 2


def test_leases_of_living_holders_are_renewed() -> None:
    """A slot is held for ten minutes on a lease of a minute, and whoever waits gets it when it is given back."""
    got: list[float] = []

    def wait() -> None:
        with concurrency("one", lease_duration=60):
            got.append(time.monotonic())

    with virtual_time():
        get_client().create_or_update_concurrency_limit("one", 1)
        begin = time.monotonic()
        with concurrency("one", lease_duration=60):
            other = threading.Thread(target=wait)
            other.start()
            time.sleep(600)
            assert not got
        other.join()
        assert 600 <= got[0] - begin < 610


def test_waiting_for_slots_times_out() -> None:
    """Whoever gives ten minutes gets them."""
    with virtual_time() as clock:
        get_client().create_or_update_concurrency_limit("one", 1)

        def wait() -> None:
            with pytest.raises(AcquireConcurrencySlotTimeoutError), concurrency("one", timeout_seconds=600):
                pass

        with concurrency("one"), ThreadPoolExecutor(1) as pool:
            pool.submit(wait).result()
        assert timedelta(minutes=10) <= clock.elapsed < timedelta(minutes=10, seconds=1)


def test_rates_pass_in_virtual_time() -> None:
    """Six calls at one in ten minutes take fifty."""
    with virtual_time() as clock:
        get_client().create_or_update_concurrency_limit("slow", 1, slot_decay_per_second=1 / 600)
        for _ in range(6):
            rate_limit("slow")
        assert timedelta(minutes=50) <= clock.elapsed < timedelta(minutes=51)


def test_locks_are_held_for_no_longer_than_they_may() -> None:
    """A hold timeout of an hour ends after an hour."""
    with virtual_time() as clock:
        locks = MemoryLockManager()
        assert locks.acquire_lock("key", "a", hold_timeout=HOUR)
        assert not locks.acquire_lock("key", "b", acquire_timeout=60)
        assert clock.elapsed == timedelta(minutes=1)
        assert locks.acquire_lock("key", "b")
        assert timedelta(hours=1) <= clock.elapsed < timedelta(hours=1, seconds=1)
        locks.release_lock("key", "b")


def test_a_pause_times_out() -> None:
    """Nobody answers for an hour."""

    @flow
    def asks() -> None:
        pause_flow_run(timeout=HOUR)

    with virtual_time() as clock:
        with pytest.raises(FlowPauseTimeout):
            asks()
        assert timedelta(hours=1) <= clock.elapsed < timedelta(hours=1, seconds=1)


def test_a_pause_in_an_event_loop_times_out() -> None:
    """Nobody answers an async flow for an hour."""

    @flow
    async def asks() -> None:
        await apause_flow_run(timeout=HOUR)

    with virtual_time() as clock:
        with pytest.raises(FlowPauseTimeout):
            asyncio.run(asks())
        assert timedelta(hours=1) <= clock.elapsed < timedelta(hours=1, seconds=1)


def test_transactions_take_their_time() -> None:
    """What a transaction stages is committed when its hours are over."""
    seen: list[str] = []

    @task
    def stage(name: str) -> str:
        time.sleep(HOUR)
        return name

    @stage.on_commit
    def note(txn: Any) -> None:
        seen.append(f"{txn.key is not None} {time.monotonic() - begin:g}")

    @flow
    def main() -> None:
        with transaction():
            stage("a")
            stage("b")

    with virtual_time() as clock:
        begin = time.monotonic()
        main()
        assert clock.elapsed == timedelta(hours=2)
    assert [each.split()[1] for each in seen] == ["7200", "7200"]


def test_logs_and_events_have_virtual_times() -> None:
    """Lines and events are as far from one another as the sleeps say."""
    heard: list[datetime] = []

    @flow
    def tells() -> None:
        for _ in range(2):
            get_run_logger().info("line")
            emit_event("told", {"mainspring.resource.id": "a"})
            time.sleep(HOUR)

    subscription = subscribe(lambda event: heard.append(event.occurred), "told")  # and it holds inside
    with subscription, virtual_time():
        tells()
    assert heard[1] - heard[0] == timedelta(hours=1)
    (run,) = flow_runs()
    lines = [entry for entry in get_client().read_logs(run.id) if entry.message == "line"]
    assert lines[1].timestamp - lines[0].timestamp == timedelta(hours=1)
    assert "line" in messages(run)


# What users wait for


def test_waits_of_the_standard_library() -> None:
    """Events, conditions, queues, timers, pools and joins wait in virtual time."""
    with virtual_time() as clock:
        assert not threading.Event().wait(HOUR)
        with pytest.raises(queue.Empty):
            queue.Queue[int]().get(timeout=HOUR)
        rung = threading.Event()
        timer = threading.Timer(HOUR, rung.set)
        timer.start()
        assert rung.wait(2 * HOUR)
        timer.join()
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(time.sleep, [HOUR] * 8)) == [None] * 8
        thread = threading.Thread(target=time.sleep, args=(HOUR,))
        thread.start()
        thread.join(60)
        assert thread.is_alive()
        thread.join()
        assert not thread.is_alive()
        assert clock.elapsed == timedelta(hours=6)


def test_the_smallest_waits_end() -> None:
    """What is left of a wait after rounding is waited for, and does not keep the clock from moving for ever."""
    with virtual_time():
        end = time.monotonic() + 1e-10
        condition = threading.Condition()
        with condition:
            for _ in range(5):
                condition.wait(1e-10)
        assert time.monotonic() >= end


def test_threads_that_hand_over_to_one_another() -> None:
    """Many threads with queues and locks between them lose nothing and stand in nobody's way."""
    with virtual_time():
        orders: queue.Queue[int | None] = queue.Queue(3)
        total = 0
        lock = threading.Lock()

        def work() -> None:
            nonlocal total
            while (order := orders.get()) is not None:
                time.sleep(order % 3 / 10)
                with lock:
                    total += order

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for number in range(500):
            orders.put(number)
        for _ in threads:
            orders.put(None)
        for thread in threads:
            thread.join()
        assert total == sum(range(500))


def test_loops_in_threads_call_one_another() -> None:
    """Calls from other threads wake a loop that waits."""
    with virtual_time() as clock:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def rest() -> float:
            await asyncio.sleep(HOUR)
            return time.monotonic()

        for _ in range(20):
            asyncio.run_coroutine_threadsafe(rest(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        assert clock.elapsed == timedelta(hours=20)


def test_who_reads_the_clock_for_ever_sees_it_go() -> None:
    """A loop that does nothing but look at the clock comes to its end."""
    with virtual_time():
        end = time.monotonic() + 5
        while time.monotonic() < end:
            pass


# The block


def test_the_clock_tells() -> None:
    """The clock begins where it is told to, and moves by what the thread lets pass."""
    start = datetime(2024, 2, 28, 23, tzinfo=UTC)
    with virtual_time(start=start) as clock:
        assert clock.now() == start
        assert time.time() == start.timestamp()
        begin = clock.monotonic()
        clock.advance(2 * HOUR)
        assert clock.now() == datetime(2024, 2, 29, 1, tzinfo=UTC)
        assert clock.monotonic() - begin == pytest.approx(2 * HOUR)
        assert clock.jumps >= 1
        with pytest.raises(ConfigurationError, match="does not go back"):
            clock.advance(-1)
    with pytest.raises(ConfigurationError, match="Only threads in a block"):
        clock.advance(1)


def test_a_start_that_is_no_moment_is_refused() -> None:
    """Anything but a datetime is refused before anything happens."""
    with pytest.raises(ConfigurationError, match="no moment"):
        virtual_time(start=5)  # type: ignore[arg-type]


def test_a_function_may_be_decorated() -> None:
    """Each call of a decorated function is a block of its own, whether it is plain or async."""

    @virtual_time()
    def plain(seconds: float) -> float:
        begin = time.monotonic()
        time.sleep(seconds)
        return time.monotonic() - begin

    @virtual_time()
    async def awaited(seconds: float) -> float:
        begin = time.monotonic()
        await asyncio.sleep(seconds)
        return time.monotonic() - begin

    assert plain(HOUR) == plain(HOUR) == HOUR
    assert asyncio.run(awaited(HOUR)) == HOUR


def test_a_deadlock_is_told() -> None:
    """Where all wait for one another, the thread that entered hears who waits where."""

    @virtual_time()
    def forget() -> None:
        threading.Event().wait()

    with pytest.raises(StandstillError, match=r"(?s)MainThread.*waits for a lock.*test_virtual_time.py"):
        forget()


def test_a_deadlock_of_threads_is_told_and_they_are_named() -> None:
    """Two threads that hold what the other one wants are told of, and can be helped after the block."""
    held: list[Any] = []

    def embrace(one: Any, other: Any, ready: threading.Barrier) -> None:
        with suppress(RuntimeError), one:  # which somebody else has released
            ready.wait()
            with other:
                pass

    @virtual_time()
    def lock_up() -> None:
        held.extend([threading.Lock(), threading.Lock()])
        ready = threading.Barrier(2)
        first = threading.Thread(target=embrace, args=(*held, ready), name="first", daemon=True)
        second = threading.Thread(target=embrace, args=(*held[::-1], ready), name="second", daemon=True)
        first.start()
        second.start()
        first.join()

    with pytest.warns(ResourceWarning, match="first, second"):  # noqa: SIM117 - one is told in the other
        with pytest.raises(StandstillError, match=r"(?s)waits for the end of.*first.*second"):
            lock_up()
    for lock in held:
        lock.release()  # which they see outside, too


class Vault:
    """Has a lock that is made with it, so before a block if the vault is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def hold(self, seconds: float, is_held: Any = None) -> None:
        with self.lock:
            if is_held is not None:
                is_held.set()
            time.sleep(seconds)


@virtual_time(patience=0.3)
def hold_up(here: Any, there: Any) -> None:
    """Call functions with an event, in this thread and in another one."""
    is_held = threading.Event()
    other = threading.Thread(target=there, args=[is_held])
    other.start()
    here(is_held)
    other.join()


@pytest.mark.parametrize("is_here", [True, False])
def test_a_lock_from_before_that_holds_up_the_clock_is_told(is_here: bool) -> None:
    """Whoever holds it hears that its time does not come, so the others can go on; the block ends with that, too."""
    vault, told = Vault(), list[str]()

    def hold(is_held: threading.Event) -> None:
        try:
            vault.hold(HOUR, is_held)
        except StandstillError as error:
            told.append(str(error))

    def ask(is_held: threading.Event) -> None:
        is_held.wait()
        vault.hold(1)

    with pytest.raises(StandstillError, match=r"(?s)made before it.*could run\n.*in hold"):
        hold_up(*(hold, ask) if is_here else (ask, hold))
    assert len(told) == 1


def test_tasks_with_a_lock_from_before_end() -> None:
    """A flow whose tasks share one goes on, and so do they: one hears of it."""
    vault = Vault()

    @task
    def hold() -> None:
        vault.hold(HOUR)

    @virtual_time(patience=0.3)
    @flow
    def share() -> None:
        wait([hold.submit(), hold.submit()])

    with pytest.raises(StandstillError, match="made before it"):
        share()
    assert sorted(run.state.name for run in task_runs()) == ["Completed", "Failed"]


@pytest.mark.parametrize("kind", ["the delay of a retry", "a sleep in a loop"])
def test_other_waits_that_hold_up_the_clock_are_ended(kind: str) -> None:
    """So is the wait for a retry, and a sleep of async code, with a lock from before in hand."""
    vault = Vault()

    @task(retries=1, retry_delay_seconds=HOUR)
    def fail() -> None:
        raise ValueError

    def hold(is_held: threading.Event) -> None:
        with vault.lock, suppress(StandstillError):
            is_held.set()
            fail() if kind == "the delay of a retry" else asyncio.run(asyncio.sleep(HOUR))

    with pytest.raises(StandstillError, match="made before it"):
        hold_up(hold, lambda is_held: (is_held.wait(), vault.hold(1)))
    if kind == "the delay of a retry":
        assert sequence() == "Pending Running AwaitingRetry Crashed"


def test_who_computes_or_is_alone_is_left_alone() -> None:
    """A long computation holds up nobody for ever, and a wait for a process, which nobody else waits with, neither."""
    with virtual_time(patience=0.2) as clock:
        sleeper = threading.Thread(target=time.sleep, args=[HOUR])
        sleeper.start()
        end = REAL["monotonic"]() + 1
        while REAL["monotonic"]() < end:
            pass
        sleeper.join()
        assert clock.elapsed == timedelta(hours=1)
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1)"], check=True)


@pytest.mark.parametrize("asks", [False, True])
def test_who_waits_for_a_task_is_left_alone(asks: bool) -> None:
    """The task may take its real time; that a thread which waits for it looks up now and then is no wait for a time."""

    @task
    def ask(begun: threading.Event) -> int:
        begun.set()
        return subprocess.run([sys.executable, "-c", "import time; time.sleep(1)"], check=True).returncode

    @virtual_time(patience=0.2)
    @flow
    def around() -> int:
        begun = threading.Event()
        future = ask.submit(begun)
        begun.wait()
        return future.result() if asks else 0

    assert around() == 0
    assert only_task_run().state.is_completed()


def test_patience_that_is_none_is_refused() -> None:
    """It is a number above 0, or infinite."""
    for patience in (0, -1, float("nan"), True, "long"):
        with pytest.raises(ConfigurationError, match=r"patience=.*: give seconds, above 0"):
            virtual_time(patience=patience)  # type: ignore[arg-type]
    with virtual_time(patience=float("inf")) as clock:
        time.sleep(HOUR)
        assert clock.elapsed == timedelta(hours=1)


def test_blocks_cannot_be_nested() -> None:
    """The second one is refused, and the first one goes on."""
    with virtual_time() as clock:
        with pytest.raises(ConfigurationError, match="nested"):
            virtual_time().__enter__()
        time.sleep(HOUR)
        assert clock.elapsed == timedelta(hours=1)


def test_a_block_inside_of_a_run_is_refused() -> None:
    """A flow that has begun in real time goes on in it."""

    @flow
    def enters() -> str:
        with pytest.raises(ConfigurationError, match="inside of a flow or a task"):
            virtual_time().__enter__()
        return "goes on"

    assert enters() == "goes on"


def test_a_block_beside_a_run_is_refused() -> None:
    """A run that goes on in another thread would be torn between two clocks."""
    begun, may_end = threading.Event(), threading.Event()

    @task
    def goes_on() -> None:
        begun.set()
        assert may_end.wait(60)

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(goes_on)
        assert begun.wait(60)
        with pytest.raises(ConfigurationError, match="while runs go on"):
            virtual_time().__enter__()
        may_end.set()
        run.result()


def test_what_is_raised_leaves_the_block() -> None:
    """An exception comes out as it is, and everything is given back."""

    @virtual_time()
    def fail() -> None:
        time.sleep(HOUR)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_everything_is_given_back() -> None:
    """Modules, handlers of signals and generators of chance are as before."""

    def taken() -> list[Any]:
        return [
            threading.Lock,
            threading.RLock,
            threading.Thread.join,
            queue.SimpleQueue,
            signal.signal,
            signal.setitimer,
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGALRM),
            random.getstate(),
            sys.modules["os"].read,
            __import__,
        ]

    before = taken()
    for _ in range(3):
        with virtual_time():
            assert time.sleep is not REAL["sleep"]
            failing(1, retries=1, retry_delay_seconds=HOUR)()
        assert taken() == before
    begin = time.monotonic()
    time.sleep(0.01)
    assert time.monotonic() - begin < 20
    assert takeover_module.active_world() is None


def test_modules_imported_in_a_block_are_as_if_imported_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a module takes by name when it is imported in a block is virtual in there, and the real one afterwards."""
    (tmp_path / "imported_in_virtual_time.py").write_text(
        "import threading\nfrom threading import Lock\nfrom time import sleep\nlock = threading.Lock()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with virtual_time() as clock:
        module = importlib.import_module("imported_in_virtual_time")
        module.sleep(HOUR)
        assert clock.elapsed == timedelta(hours=1)
    try:
        assert (module.sleep, module.Lock, type(module.lock)) == (time.sleep, threading.Lock, LOCK)
    finally:
        del sys.modules["imported_in_virtual_time"]


def test_random_numbers_go_on_as_before() -> None:
    """Chance is left alone: a seed gives the same numbers in a block as outside."""
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    with virtual_time():
        failing(1, retries=1, retry_delay_seconds=HOUR)()
        assert [random.random() for _ in range(3)] == expected


def test_runs_before_and_after_a_block_are_in_real_time() -> None:
    """Runs in a thread pool, with time limits, go on as ever after a block."""

    @task(timeout_seconds=60, retries=1, retry_delay_seconds=0.001)
    def plain(number: int) -> int:
        return number

    @flow
    def main() -> list[int]:
        return plain.map([1, 2, 3]).result()

    assert main() == [1, 2, 3]
    with virtual_time():
        assert main() == [1, 2, 3]
    assert main() == [1, 2, 3]
    assert len(task_runs()) == 9


def test_threads_that_sleep_are_ended_with_the_block() -> None:
    """A thread that would sleep for ever does not outlive the block."""
    with virtual_time():

        def tick() -> None:
            while True:
                time.sleep(1)

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        time.sleep(10)
    assert not thread.is_alive()


def test_runs_of_the_same_moment_are_in_the_order_of_their_calls() -> None:
    """Ids tell the order of runs also if no time has passed between them."""

    @task
    def plain(number: int) -> int:
        return number

    with virtual_time():
        for number in range(50):
            plain.with_options(task_run_name=str(number))(number)
    assert [run.name for run in task_runs()] == [str(number) for number in range(50)]


def test_histories_of_a_block_are_in_order() -> None:
    """What holds for all histories holds for those in which no time has passed while code ran."""

    @task(retries=1, retry_delay_seconds=HOUR)
    def unsteady(number: int, tried: list[int]) -> int:
        tried.append(number)
        if len(tried) == 1:
            raise ConnectionError(number)
        return number

    @flow
    def inner() -> list[int]:
        return unsteady.map([1, 2, 3], [_Quoted() for _ in range(3)]).result()

    @flow
    def outer() -> list[int]:
        return inner() + inner()

    with virtual_time():
        assert outer() == [1, 2, 3, 1, 2, 3]
    invariants()


def test_a_pool_made_in_the_block_is_of_use_after_it() -> None:
    """Threads that wait for work go on in real time."""
    with virtual_time():
        pool = ThreadPoolExecutor(2)
        pool.submit(time.sleep, HOUR).result()
    assert pool.submit(int, "5").result(timeout=60) == 5
    pool.shutdown()


def test_an_interrupt_from_the_keyboard_ends_a_wait() -> None:
    """What Ctrl-C does comes to a main thread that waits in virtual time."""
    with virtual_time():
        main = threading.main_thread().ident
        assert main is not None

        def strike() -> None:
            signal.pthread_kill(main, signal.SIGINT)

        threading.Timer(60, strike).start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(HOUR)
        assert time.monotonic() - begin == pytest.approx(60)
        time.sleep(HOUR)
        assert time.monotonic() - begin == pytest.approx(HOUR + 60)


def test_the_alarm_clock_rings_in_virtual_time() -> None:
    """A handler of SIGALRM that the user has set is called when the user's timer is due."""
    rung: list[float] = []
    with virtual_time():
        before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic() - begin))
        begin = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 60, 600)
        time.sleep(HOUR)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung == pytest.approx([60 + 600 * number for number in range(6)])


def test_the_real_alarm_clock_goes_on() -> None:
    """Whoever has set SIGALRM before, such as a watchdog of tests, gets it in real time; limits in the block work."""
    rung = threading.Event()
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.set())
    timer = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with virtual_time() as clock:

            @task(timeout_seconds=90)
            def slow() -> None:
                time.sleep(HOUR)

            with pytest.raises(TimeoutError):
                slow()
            assert clock.elapsed == timedelta(seconds=90)
        assert rung.wait(20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def test_a_limit_on_another_thread_interrupts_code_that_goes_on() -> None:
    """A thread that comes back from a sleep after its deadline is interrupted there, and goes on with other work."""
    reached: list[str] = []

    @task(timeout_seconds=90)
    def slow() -> None:
        for _ in range(100):
            time.sleep(60)
        reached.append("the end")

    @flow
    def main() -> str:
        slow.submit().wait()
        time.sleep(10)
        time.sleep(HOUR)
        return "done"

    with virtual_time() as clock:
        assert main() == "done"
        assert timedelta(seconds=HOUR + 100) <= clock.elapsed <= timedelta(seconds=HOUR + 101)
    assert not reached


def test_the_block_may_be_in_another_thread() -> None:
    """Where it is not the main thread that enters, the main thread keeps real time."""

    def enter() -> timedelta:
        with virtual_time() as clock:
            failing(1, retries=1, retry_delay_seconds=HOUR)()
            return clock.elapsed

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(enter)
        assert running.result(timeout=100) == timedelta(hours=1)


def test_outsiders_keep_real_time() -> None:
    """A thread from before the block sees real time, and does not keep virtual time from passing."""
    may_look, seen = threading.Event(), threading.Event()
    times: list[float] = []

    def look() -> None:
        may_look.wait()
        times.append(time.time())
        seen.set()

    outsider = threading.Thread(target=look)
    outsider.start()
    with virtual_time(start=datetime(2001, 1, 1, tzinfo=UTC)):
        time.sleep(HOUR)
        may_look.set()
        seen.wait()
    outsider.join()
    assert times[0] > datetime(2020, 1, 1, tzinfo=UTC).timestamp()


def test_another_process_takes_real_time(tmp_path: Path) -> None:
    """Time stands still while a task works in a process of its own."""

    @task(isolation="process", timeout_seconds=HOUR)
    def elsewhere() -> int:
        time.sleep(0.2)
        return 5

    with virtual_time() as clock:
        assert elsewhere() == 5
        assert clock.elapsed < timedelta(minutes=1)


def test_sockets_of_a_loop_are_heard() -> None:
    """A loop that talks to another one over a socket, with a time limit that is far away, gets its answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.sleep(HOUR)
            writer.write(b"hello\n")
            async with asyncio.timeout(HOUR):
                answer = await reader.readline()
            writer.close()
            return answer

    with virtual_time() as clock:
        assert asyncio.run(main()) == b"hello\n"
        assert clock.elapsed == timedelta(hours=1)


def test_slots_of_tags_one_after_the_other() -> None:
    """Runs that take no time and follow each other have not held the same slot at once."""

    @task(tags=["db"])
    def load(number: int) -> int:
        return number

    @flow
    def loading() -> list[int]:
        get_client().create_or_update_concurrency_limit("tag:db", limit=1)
        return [load(number) for number in range(5)]

    with virtual_time():
        assert loading() == list(range(5))
    invariants()


def test_other_processes_live_in_real_time() -> None:
    """Whoever waits for their end, for so many seconds at most, does so, too; no time passes meanwhile."""
    with virtual_time() as clock:
        assert subprocess.run(["sleep", "0.1"], timeout=HOUR, check=True).returncode == 0
        told = subprocess.run(["echo", "hello"], timeout=HOUR, check=True, capture_output=True)
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "60"], timeout=0.1, check=False)
        assert told.stdout == b"hello\n"
        assert clock.elapsed == timedelta(0)


def test_what_cannot_be_decorated() -> None:
    """Tests of a class would not be found any more, and a generator would go on in real time: both are refused."""
    with pytest.raises(ConfigurationError, match="cannot be put on the class 'Group'"):

        @virtual_time()
        class Group:
            pass

    with pytest.raises(ConfigurationError, match="cannot be put on the generator 'numbers'"):

        @virtual_time()
        def numbers() -> Iterator[int]:
            yield 1
