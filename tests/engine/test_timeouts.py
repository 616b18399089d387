"""Time limits: in the main thread, in other threads, in event loops, nested, and told from other timeouts."""

import asyncio
import ctypes
import gc
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from mainspring import flow, task
from mainspring._engine.timeouts import AsyncTimeout, SyncTimeout
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.timeouts import timeout, timeout_async
from mainspring.transactions import Transaction, get_transaction
from tests.engine.history import only_task_run, sequence, task_runs
from tests.engine.scenarios import BoomError

LIMIT = 0.02
LONG = 5.0


class OwnTimeoutError(TimeoutError):
    pass


def in_thread(body: Any) -> Any:
    """Run something in another thread and return what it returns, or raise what it raises."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(body())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


PLACES = pytest.mark.parametrize("run", [lambda body: body(), in_thread], ids=["main thread", "other thread"])


def spin(seconds: float) -> None:
    """Compute. It is a function because Python 3.12 and later take the end of a loop not to raise anything.

    So what a signal raises there is caught by no ``try`` and no ``with`` of the function that has the loop.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def busy(seconds: float) -> None:
    """Keep a thread busy without one long blocking call."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


@pytest.mark.contract("X-3", "X-4", "X-5")
@PLACES
def test_a_block_that_takes_too_long(run: Any) -> None:
    """Expiry raises the given type with the number of seconds, and leaves nothing armed."""

    def body() -> None:
        with SyncTimeout(LIMIT, OwnTimeoutError):
            busy(LONG)

    started = time.monotonic()
    with pytest.raises(OwnTimeoutError, match=rf"timed out after {LIMIT} second\(s\)"):
        run(body)
    assert time.monotonic() - started < LONG / 2
    busy(LIMIT * 2)


@pytest.mark.contract("X-4")
def test_a_blocking_call_in_the_main_thread_is_interrupted() -> None:
    """The alarm ends a sleep at once."""
    started = time.monotonic()
    with pytest.raises(OwnTimeoutError), SyncTimeout(LIMIT, OwnTimeoutError):
        time.sleep(LONG)
    assert time.monotonic() - started < LONG / 2


@pytest.mark.contract("X-5")
def test_a_blocking_call_in_another_thread_ends_first() -> None:
    """Off the main thread the limit shows when the blocking call returns, and is a timeout all the same."""

    def body() -> None:
        with SyncTimeout(LIMIT, OwnTimeoutError):
            time.sleep(LIMIT * 3)

    started = time.monotonic()
    with pytest.raises(OwnTimeoutError):
        in_thread(body)
    assert time.monotonic() - started >= LIMIT * 3


@PLACES
def test_a_block_in_time(run: Any) -> None:
    """Nothing is raised, then or later, and the value is kept."""

    def body() -> int:
        with SyncTimeout(LIMIT, OwnTimeoutError):
            value = 1
        busy(LIMIT * 2)
        return value

    assert run(body) == 1


@PLACES
def test_an_error_in_time_is_passed_on(run: Any) -> None:
    """Only the limit's own expiry is turned into its error."""

    def body() -> None:
        with SyncTimeout(LIMIT, OwnTimeoutError):
            raise BoomError

    with pytest.raises(BoomError):
        run(body)


@pytest.mark.contract("X-4", "W-25")
def test_nested_limits_in_the_main_thread() -> None:
    """An inner limit ends its block alone; the outer one still holds afterwards, and ends everything inside."""

    def nest(outer: float, inner: float, inside: float, after: float) -> None:
        with SyncTimeout(outer, OwnTimeoutError):
            with SyncTimeout(inner, OwnTimeoutError):
                time.sleep(inside)
            time.sleep(after)

    started = time.monotonic()
    for outer, inner, inside, after, expired in (
        (LONG, LIMIT, LONG, 0, LIMIT),
        (LIMIT, LONG, LONG, 0, LIMIT),
        (LIMIT, LONG, 0, LONG, LIMIT),
    ):
        with pytest.raises(OwnTimeoutError, match=str(expired)):
            nest(outer, inner, inside, after)
    assert time.monotonic() - started < LONG / 2


@pytest.mark.contract("X-4", "X-5")
def test_somebody_elses_alarm_is_left_alone() -> None:
    """With a foreign handler for the alarm signal the limit is kept by a watcher, and the handler stays."""
    rung = []

    def ring(*_: object) -> None:
        rung.append(1)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(OwnTimeoutError), SyncTimeout(LIMIT, OwnTimeoutError):
            busy(LONG)
        assert signal.getsignal(signal.SIGALRM) is ring
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung == []


@pytest.mark.contract("X-4")
def test_the_timer_is_off_afterwards() -> None:
    """Neither timer nor handler is left behind, whichever way the block ended."""
    for error in (None, BoomError):
        try:
            with SyncTimeout(LONG, OwnTimeoutError):
                if error:
                    raise error
        except BoomError:
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


@pytest.mark.contract("X-4")
def test_the_previous_handler_is_restored() -> None:
    """A program that ignores alarms ignores them afterwards, too."""
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        with pytest.raises(OwnTimeoutError), SyncTimeout(LIMIT, OwnTimeoutError):
            time.sleep(LONG)
        with SyncTimeout(LONG, OwnTimeoutError):
            pass
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGALRM, before)


def test_limits_that_just_fit() -> None:
    """Whether a block ends just before or just after its limit, it ends in one of two ways, and nothing leaks."""
    ended = {"in time": 0, "late": 0}
    for number in range(60):
        try:
            with SyncTimeout(0.001, OwnTimeoutError):
                spin(0.0007 + number * 0.00001)
            ended["in time"] += 1
        except OwnTimeoutError:
            ended["late"] += 1
    assert sum(ended.values()) == 60
    busy(0.01)


def test_a_limit_that_is_over_at_once() -> None:
    """A limit that expires before its block has begun ends the block, leaves nothing armed, and is no crash."""
    for _ in range(50):
        with pytest.raises(OwnTimeoutError), SyncTimeout(1e-9, OwnTimeoutError):
            busy(LONG)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL

    @task(timeout_seconds=1e-9)
    def work() -> None:
        busy(LONG)

    for _ in range(20):
        assert work(return_state=True).name == "TimedOut"


def test_an_outer_limit_that_is_over_before_an_inner_one_begins() -> None:
    """It ends both, and the inner limit is not left armed."""

    def nest() -> None:
        with SyncTimeout(5e-5, OwnTimeoutError):
            while True:
                with SyncTimeout(LONG, OwnTimeoutError):
                    pass

    gc.disable()  # an exception that a signal raises in a callback of the collector is lost, as Hypothesis has one
    try:
        for _ in range(200):
            with pytest.raises(OwnTimeoutError, match="5e-05"):
                nest()
            assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
            assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    finally:
        gc.enable()


@pytest.mark.contract("X-6")
def test_a_platform_without_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no alarm signal a watcher keeps the limit, in the main thread too."""
    with monkeypatch.context() as patched:
        patched.delattr(signal, "SIGALRM")
        with pytest.raises(OwnTimeoutError), SyncTimeout(LIMIT, OwnTimeoutError):
            busy(LONG)


# Blocks of users


@pytest.mark.contract("X-1", "X-3")
@PLACES
def test_a_limit_for_any_sync_block(run: Any) -> None:
    """It raises what it is told to raise, a TimeoutError by default, and says after how long."""

    def body(*kind: Any) -> None:
        with timeout(LIMIT, *kind):
            busy(LONG)

    with pytest.raises(TimeoutError, match=rf"The block timed out after {LIMIT} second\(s\)") as caught:
        run(body)
    assert type(caught.value) is TimeoutError
    with pytest.raises(OwnTimeoutError, match=rf"timed out after {LIMIT} second\(s\)"):
        run(lambda: body(OwnTimeoutError))


@pytest.mark.contract("X-1", "X-3")
def test_a_limit_for_any_async_block() -> None:
    """It is entered by a plain ``with``, and the task goes on afterwards."""

    async def main() -> str:
        text = rf"The block timed out after {LIMIT} second\(s\)"
        with pytest.raises(TimeoutError, match=text), timeout_async(LIMIT):
            await asyncio.sleep(LONG)
        with pytest.raises(OwnTimeoutError), timeout_async(LIMIT, timeout_exc_type=OwnTimeoutError):
            await asyncio.sleep(LONG)
        await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(main()) == "went on"


@pytest.mark.contract("X-1")
def test_blocks_in_time() -> None:
    """A block that is quick enough, or has no limit, ends as it would without; nothing expires later."""

    async def main() -> None:
        with timeout_async(LIMIT), timeout_async(None):
            await asyncio.sleep(0)
        with timeout_async():
            await asyncio.sleep(LIMIT * 2)
        with pytest.raises(BoomError), timeout_async(LONG):
            raise BoomError

    asyncio.run(main())
    with timeout(LIMIT), timeout(None):
        pass
    with timeout():
        busy(LIMIT * 2)
    with pytest.raises(BoomError), timeout(LONG):
        raise BoomError


@pytest.mark.contract("X-2")
@pytest.mark.parametrize("make", [timeout, timeout_async])
@pytest.mark.parametrize("kind", [ValueError, OSError, "TimeoutError", None])
@pytest.mark.parametrize("seconds", [None, 1])
def test_only_kinds_of_timeout_errors_are_raised(make: Any, kind: Any, seconds: Any) -> None:
    """Anything else is refused, with and without a limit."""
    with pytest.raises(ValueError, match="must be a subclass of `TimeoutError`"):
        make(seconds, timeout_exc_type=kind)


def test_async_blocks_inside_each_other() -> None:
    """The one that expires first ends what is inside of it, and no more."""

    async def main() -> None:
        with pytest.raises(OwnTimeoutError), timeout_async(LIMIT, OwnTimeoutError), timeout_async(LONG):
            await asyncio.sleep(LONG)
        with timeout_async(LONG, OwnTimeoutError):
            with pytest.raises(TimeoutError), timeout_async(LIMIT):
                await asyncio.sleep(LONG)
            await asyncio.sleep(0)

    asyncio.run(main())


def test_an_async_block_that_swallows_its_end() -> None:
    """It has taken too long all the same."""

    async def main() -> None:
        with timeout_async(LIMIT):
            try:
                await asyncio.sleep(LONG)
            except BaseException:
                pass

    with pytest.raises(TimeoutError, match="timed out"):
        asyncio.run(main())


@pytest.mark.contract("V-26")
@pytest.mark.parametrize("expires", [False, True])
def test_a_foreign_cancellation_of_an_async_block(expires: bool) -> None:
    """It stays a cancellation, even if the limit expires meanwhile."""

    async def main() -> None:
        async def body() -> None:
            with timeout_async(LIMIT if expires else LONG):
                try:
                    await asyncio.sleep(LONG)
                except asyncio.CancelledError:
                    if expires:
                        asyncio.current_task().cancel()  # type: ignore[union-attr]
                    raise

        running = asyncio.create_task(body())
        await asyncio.sleep(0)
        if not expires:
            running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


def test_an_async_block_needs_a_task() -> None:
    """In sync code it is refused, and so is a callback of the loop."""
    errors = []

    def callback() -> None:
        try:
            with timeout_async(1):
                pass
        except RuntimeError as error:
            errors.append(str(error))

    async def main() -> None:
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0)

    callback()
    asyncio.run(main())
    assert len(errors) == 2
    assert "needs an asyncio task" in errors[1]


def test_a_block_around_a_task() -> None:
    """A limit of the caller's ends the task, which crashes and is not retried."""

    @task(retries=3, timeout_seconds=LONG)
    def work() -> None:
        time.sleep(LONG)

    @task
    def outer() -> None:
        with timeout(0.5, OwnTimeoutError):  # enough for a machine that is busy to begin the inner run
            work()

    with pytest.raises(OwnTimeoutError):
        outer()
    assert [sequence(run) for run in task_runs() if run.name == "work"] == ["Pending Running Crashed"]


def test_a_block_inside_a_task() -> None:
    """It is user code like any other: the task fails, or catches it."""

    @task(retries=1)
    def work() -> None:
        with timeout(LIMIT):
            time.sleep(LONG)

    with pytest.raises(TimeoutError, match="The block timed out"):
        work()
    assert sequence() == "Pending Running Retrying TimedOut"


@pytest.mark.contract("X-7")
def test_an_async_limit() -> None:
    """It fires at the next await, with its own type and text."""

    async def main() -> None:
        async with AsyncTimeout(LIMIT, OwnTimeoutError):
            await asyncio.sleep(LONG)

    with pytest.raises(OwnTimeoutError, match=rf"timed out after {LIMIT} second\(s\)"):
        asyncio.run(main())


@pytest.mark.contract("V-26", "X-12")
def test_a_foreign_cancellation_under_a_limit() -> None:
    """A cancellation from outside stays one, although there is a limit."""

    async def main() -> None:
        async def body() -> None:
            async with AsyncTimeout(LONG, OwnTimeoutError):
                await asyncio.sleep(LONG)

        running = asyncio.create_task(body())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


# Tasks


@pytest.mark.contract("X-10", "X-25", "E-71", "E-101", "T-121")
@pytest.mark.parametrize("place", ["called", "in a flow", "submitted"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_that_takes_too_long(place: str, is_async: bool) -> None:
    """Wherever it runs, it is FAILED, not crashed, named TimedOut, and its result raises a TimeoutError."""

    @task(timeout_seconds=LIMIT)
    def slow() -> None:
        busy(LONG)

    @task(timeout_seconds=LIMIT)
    async def aslow() -> None:
        await asyncio.sleep(LONG)

    @flow(name="pipeline")
    def pipeline() -> Any:
        if place == "submitted":
            return [(aslow if is_async else slow).submit().state for _ in range(1)] and (
                (aslow if is_async else slow).submit(return_state=True)
            )
        return asyncio.run(aslow(return_state=True)) if is_async else slow(return_state=True)

    if place == "called":
        state = asyncio.run(aslow(return_state=True)) if is_async else slow(return_state=True)
    else:
        state = pipeline(return_state=True).data
    assert state.is_failed()
    assert not state.is_crashed()
    assert state.name == "TimedOut"
    assert state.message == f"Task run exceeded timeout of {LIMIT} second(s)"
    with pytest.raises(TaskRunTimeoutError):
        state.result()


@pytest.mark.contract("E-90", "X-26")
@pytest.mark.parametrize("is_async", [False, True])
def test_each_attempt_has_the_whole_limit(is_async: bool) -> None:
    """A task that is too slow twice completes at its third attempt."""
    attempts = []

    @task(timeout_seconds=LIMIT, retries=2)
    def work() -> int:
        attempts.append(1)
        if len(attempts) < 3:
            time.sleep(LONG)
        return len(attempts)

    @task(timeout_seconds=LIMIT, retries=2)
    async def awork() -> int:
        attempts.append(1)
        if len(attempts) < 3:
            await asyncio.sleep(LONG)
        return len(attempts)

    assert (asyncio.run(awork()) if is_async else work()) == 3
    assert sequence() == "Pending Running Retrying Retrying Completed"


@pytest.mark.contract("X-8")
@pytest.mark.parametrize("is_async", [False, True])
def test_what_the_limit_does_not_cover(is_async: bool) -> None:
    """Hooks and retry delays may take longer than the limit."""

    def slow_hook(*_: object) -> None:
        time.sleep(LIMIT * 2)

    attempts = []

    def fail_once() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise BoomError

    async def afail_once() -> None:
        fail_once()

    work: Any = task(
        timeout_seconds=LIMIT,
        retries=1,
        retry_delay_seconds=LIMIT * 2,
        on_running=[slow_hook],
        on_completion=[slow_hook],
    )(afail_once if is_async else fail_once)
    asyncio.run(work()) if is_async else work()
    assert sequence() == "Pending Running AwaitingRetry Retrying Completed"


@pytest.mark.contract("W-25", "X-4")
@pytest.mark.parametrize("is_async", [False, True])
def test_nested_limits_of_tasks(is_async: bool) -> None:
    """The limit of an outer task ends the inner one with it; the inner one is not retried, the outer one is."""
    calls = []

    def inner_body() -> None:
        calls.append("inner")
        time.sleep(LONG)

    async def ainner_body() -> None:
        calls.append("inner")
        await asyncio.sleep(LONG)

    inner: Any = task(name="inner", retries=3, timeout_seconds=LONG)(ainner_body if is_async else inner_body)

    def outer_body() -> None:
        calls.append("outer")
        inner()

    async def aouter_body() -> None:
        calls.append("outer")
        await inner()

    outer: Any = task(name="outer", retries=1, timeout_seconds=LIMIT)(aouter_body if is_async else outer_body)
    with pytest.raises(TaskRunTimeoutError, match=str(LIMIT)):
        asyncio.run(outer()) if is_async else outer()
    assert calls == ["outer", "inner"] * 2
    runs = task_runs()
    assert sequence(next(run for run in runs if run.name == "outer")) == "Pending Running Retrying TimedOut"
    inner_runs = [run for run in runs if run.name == "inner"]
    assert [run.state.is_final() for run in inner_runs] == [True, True]
    assert [run.run_count for run in inner_runs] == [1, 1]


@pytest.mark.contract("W-25")
@pytest.mark.parametrize("is_async", [False, True])
def test_an_inner_limit_is_the_inner_tasks_affair(is_async: bool) -> None:
    """An inner task that times out fails alone; the outer one may catch it and complete."""

    def inner_body() -> None:
        time.sleep(LONG)

    async def ainner_body() -> None:
        await asyncio.sleep(LONG)

    inner: Any = task(name="inner", timeout_seconds=LIMIT)(ainner_body if is_async else inner_body)

    def outer_body() -> str:
        with pytest.raises(TaskRunTimeoutError):
            inner()
        return "went on"

    async def aouter_body() -> str:
        with pytest.raises(TaskRunTimeoutError):
            await inner()
        return "went on"

    outer: Any = task(name="outer", timeout_seconds=LONG)(aouter_body if is_async else outer_body)
    assert (asyncio.run(outer()) if is_async else outer()) == "went on"
    assert {run.name: run.state.name for run in task_runs()} == {"outer": "Completed", "inner": "TimedOut"}


@pytest.mark.contract("E-71", "W-25")
def test_the_timeout_of_an_inner_task_is_no_limit_of_the_outer_one() -> None:
    """Passed on by the outer task it is a timeout that user code met, not its own limit."""

    @task(timeout_seconds=LIMIT)
    def inner() -> None:
        time.sleep(LONG)

    @task(timeout_seconds=LONG)
    def outer() -> None:
        inner()

    with pytest.raises(TaskRunTimeoutError):
        outer()
    run = next(run for run in task_runs() if run.name == "outer")
    assert run.state.name == "TimedOut"
    assert "exceeded" not in (run.state.message or "")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_that_swallows_its_timeout(is_async: bool) -> None:
    """User code that catches everything does not escape its limit."""

    @task(timeout_seconds=LIMIT)
    def stubborn() -> str:
        try:
            time.sleep(LONG)
        except Exception:
            pass
        return "swallowed"

    @task(timeout_seconds=LIMIT)
    async def astubborn() -> str:
        try:
            await asyncio.sleep(LONG)
        except BaseException:
            pass
        return "swallowed"

    with pytest.raises(TaskRunTimeoutError):
        asyncio.run(astubborn()) if is_async else stubborn()
    run = only_task_run()
    assert run.state.name == "TimedOut"
    assert run.state.message == f"Task run exceeded timeout of {LIMIT} second(s)"


@pytest.mark.contract("X-8")
@pytest.mark.parametrize("is_async", [False, True])
def test_the_limit_does_not_hit_what_follows_the_function(is_async: bool) -> None:
    """When the function has returned in time, neither recording nor commit hooks are interrupted."""
    events = []

    def slow_commit(txn: object) -> None:
        time.sleep(LIMIT * 3)
        events.append("committed")

    async def aslow_commit(txn: object) -> None:
        await asyncio.sleep(LIMIT * 3)
        events.append("committed")

    @task(timeout_seconds=LIMIT, on_commit=[slow_commit, aslow_commit])
    def work() -> int:
        return 1

    @task(timeout_seconds=LIMIT, on_commit=[slow_commit, aslow_commit])
    async def awork() -> int:
        return 1

    assert (asyncio.run(awork()) if is_async else work()) == 1
    assert events == ["committed"] * 2
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("W-26", "X-7")
def test_an_async_task_that_blocks_is_not_interrupted() -> None:
    """Code that never awaits runs to its end."""

    @task(timeout_seconds=LIMIT)
    async def blocking() -> str:
        busy(LIMIT * 2)
        ended.append(1)
        return "done"

    ended: list[int] = []
    state = asyncio.run(blocking(return_state=True))
    assert ended == [1]
    assert state.name == "TimedOut"


@PLACES
def test_a_block_that_keeps_the_interpreter(run: Any) -> None:
    """It has taken too long even if nobody could notice that before it has ended."""
    kept = ctypes.PyDLL(None)

    def body() -> None:
        with SyncTimeout(LIMIT, OwnTimeoutError):
            for _ in range(10):
                kept.usleep(20_000)

    with pytest.raises(OwnTimeoutError):
        run(body)


def test_a_transaction_that_a_limit_strikes_while_it_is_entered() -> None:
    """It is not left active in the code around the run."""

    @task(timeout_seconds=LIMIT)
    def work() -> None:
        transaction = Transaction()
        transaction.activate(transaction)  # as far as it may have come
        time.sleep(LONG)

    assert work(return_state=True).name == "TimedOut"
    assert get_transaction() is None


def test_what_follows_a_function_takes_its_own_time() -> None:
    """A function that ends in time is in time, whatever its end takes."""
    with SyncTimeout(LIMIT, OwnTimeoutError) as limit:
        limit.end()
        busy(3 * LIMIT)


# Warnings


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.contract("V-27", "W-25")
@pytest.mark.parametrize("kind", [task, flow])
def test_a_limit_off_the_main_thread_is_warned_about(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A sync task or flow whose limit cannot interrupt blocking calls says so, once."""

    @kind(timeout_seconds=LONG)
    def work() -> None: ...

    for _ in range(3):
        in_thread(work)
    (message,) = warnings(caplog)
    assert "'work' has a time limit of 5.0 second(s) but does not run in the main thread" in message


@pytest.mark.contract("V-27")
def test_the_warning_about_a_limit_comes_once_however_many_threads_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Runs of a task that begin at the same time in many threads do not repeat it."""

    @task(timeout_seconds=LONG)
    def work(_: int) -> None: ...

    @flow
    def pipeline() -> None:
        work.map(range(20)).result()

    pipeline()
    assert len(warnings(caplog)) == 1


@pytest.mark.contract("V-27")
def test_other_limits_are_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """In the main thread, for async tasks and without a limit there is nothing to warn about."""

    @task(timeout_seconds=LONG)
    def work() -> None: ...

    @task(timeout_seconds=LONG)
    async def awork() -> None: ...

    @task
    def unlimited() -> None: ...

    work()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        work()
    finally:
        signal.signal(signal.SIGALRM, before)
    in_thread(lambda: asyncio.run(awork()))
    in_thread(unlimited)
    assert warnings(caplog) == []


# Cancellation


@pytest.mark.contract("X-13", "V-26", "X-12")
def test_a_cancelled_task_with_a_limit_crashes() -> None:
    """A cancellation that user code raises or gets under a limit is no timeout."""

    @task(timeout_seconds=LONG)
    async def work() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await work()

    asyncio.run(main())
    assert sequence() == "Pending Running Crashed"


def test_many_limits_on_many_threads() -> None:
    """Limits of concurrent tasks do not disturb each other."""

    # Far more than a quick task waits for its turn among twelve busy threads, far less than a slow one takes.
    @task(timeout_seconds=0.5)
    def work(slow: bool) -> str:
        busy(LONG if slow else 0.001)
        return "in time"

    @flow
    def pipeline() -> list[str]:
        futures = work.map([True, False] * 6)
        futures.wait()
        return [future.state.name for future in futures]

    assert pipeline() == ["TimedOut", "Completed"] * 6


@pytest.mark.contract("X-8")
@pytest.mark.parametrize("where", ["on_completion", "on_running", "retry_condition_fn"])
def test_a_flow_limit_that_expires_in_a_hook_of_a_task(where: str) -> None:
    """It is no failure of the hook: the flow times out there and then."""

    def slow(*_: Any) -> bool:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            pass
        return True

    options: dict[str, Any] = {where: slow, "retries": 1} if "condition" in where else {where: [slow]}

    @task(**options)
    def work() -> None:
        if "condition" in where:
            raise ValueError

    @flow(timeout_seconds=0.2)
    def around() -> str:
        work()
        return "went on"

    assert around(return_state=True).name == "TimedOut"


PROFILED = """
import sys, threading, time
from mainspring import task

@task(timeout_seconds=0.05)
def slow():
    while True:
        pass

def main():
    try:
        slow()
    except TimeoutError:
        pass

for _ in range(3):
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
sys.setprofile(lambda *_: None)
(lambda: sum(range(10)))()
sys.setprofile(None)
print("went on")
"""


@pytest.mark.filterwarnings("default")
def test_a_program_can_be_profiled_after_a_limit_in_a_thread() -> None:
    """What is left of an exception that was sent to a thread does not make the interpreter stand still."""
    done = subprocess.run(
        [sys.executable, "-c", PROFILED], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "went on\n"
