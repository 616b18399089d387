"""Threads that a runner does without, because what they run did not end at its deadline."""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring._cancel_scopes import live
from mainspring._engine import deadlines
from mainspring._engine.deadlines import FEW
from mainspring.client import get_client
from mainspring.concurrency import noted
from mainspring.settings import temporary_settings
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.engine.history import task_runs

PATIENCE = 20.0
LIMIT = 0.1
LOOPS = int(os.environ.get("TIMEOUT_LOOPS", "200"))


@pytest.fixture
def block() -> Iterator[threading.Event]:
    """What tasks wait for: no exception ends that."""
    event = threading.Event()
    yield event
    event.set()


def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_runner_is_not_used_up(block: threading.Event) -> None:
    """Twice as many blocked tasks as there are turns hold up nothing: each thread is replaced."""

    @task(timeout_seconds=LIMIT)
    def stuck() -> None:
        block.wait(PATIENCE)

    @task
    def quick() -> str:
        return "done"

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def around() -> tuple[list[str], str]:
        blocked = [stuck.submit() for _ in range(4)]
        last = quick.submit()
        return [each.wait(timeout=PATIENCE) or each.state.name for each in blocked], last.result(
            timeout=PATIENCE
        )

    assert around() == (["TimedOut"] * 4, "done")


def test_neighbours_of_a_blocked_task_go_on(block: threading.Event) -> None:
    """Another task of the same runner neither ends nor waits."""
    beats = []

    @task(timeout_seconds=LIMIT)
    def stuck() -> None:
        block.wait(PATIENCE)

    @task
    def neighbour(over: threading.Event) -> str:
        while not over.wait(0.01):
            beats.append(1)
        return "lived"

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def around() -> str:
        over = threading.Event()
        lives = neighbour.submit(over)
        stuck.submit().wait(timeout=PATIENCE)
        count = len(beats)
        until(lambda: len(beats) > count)
        over.set()
        return lives.result(timeout=PATIENCE)

    assert around() == "lived"


def test_leaving_a_runner_does_not_wait_for_given_up_threads(block: threading.Event) -> None:
    """The flow is over while the calls are still blocked."""

    @task(timeout_seconds=LIMIT, retries=1)
    def stuck() -> None:
        block.wait(3 * PATIENCE)

    @flow
    def around() -> None:
        stuck.submit()
        stuck.submit().wait(timeout=PATIENCE)

    around(return_state=True)
    assert not block.is_set()
    assert {run.state.name for run in task_runs()} <= {"TimedOut", "Crashed"}


def test_a_given_up_thread_ends_with_its_call(block: threading.Event) -> None:
    """It takes no more work, and leaves nothing behind."""
    before = set(live)
    threads: list[threading.Thread] = []

    @task(timeout_seconds=LIMIT, retries=2)
    def stuck() -> None:
        threads.append(threading.current_thread())
        block.wait(PATIENCE)

    @flow
    def around() -> None:
        stuck.submit().wait(timeout=PATIENCE)

    around(return_state=True)
    assert len(set(threads)) == 3
    block.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    until(lambda: not set(live) - before)


def test_a_tag_limit_is_free_for_the_next_one(block: threading.Event) -> None:
    """The slot of a blocked task goes to the one that waits for it, and to the next attempt."""
    get_client().create_or_update_concurrency_limit("tag:narrow", 1)
    calls = []

    @task(timeout_seconds=5 * LIMIT, retries=1, tags=["narrow"])
    def stuck() -> None:
        calls.append(1)
        block.wait(PATIENCE)

    @task(tags=["narrow"])
    def waiter() -> str:
        return "mine"

    @flow
    def around() -> str:
        blocked = stuck.submit()
        until(lambda: calls)
        waiting = waiter.submit()
        blocked.wait(timeout=PATIENCE)
        return waiting.result(timeout=PATIENCE)

    assert around() == "mine"
    assert len(calls) == 2
    assert get_client().read_concurrency_limit("tag:narrow").active_slots == 0


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


@pytest.mark.timeout(60 + LOOPS)
def test_many_timeouts_leave_nothing(block: threading.Event) -> None:
    """After hundreds of them there are as many threads, files, scopes and deadlines as before, and as much is kept."""
    before = set(live)

    @task(timeout_seconds=0.05)
    def stuck(pause: threading.Event) -> None:
        pause.wait(0.1)  # a call that is late and returns, as most do

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=32))
    def around(count: int) -> None:
        futures = stuck.map([block] * count)
        futures.wait(timeout=PATIENCE + LOOPS)
        assert {future.state.name for future in futures} == {"TimedOut"}

    def settle() -> None:
        until(lambda: not set(live) - before)
        until(lambda: not [each for each in threading.enumerate() if "settler" in each.name])
        gc.collect()

    def run(count: int) -> Any:
        with temporary_settings({"logging.internal_level": "CRITICAL"}):  # the test runner keeps all lines
            around(count)
        settle()
        until(lambda: not [each for each in threading.enumerate() if "threadpool" in each.name])
        return threading.active_count(), open_files(), len(gc.get_objects())

    run(40)
    threads, files, objects = run(40)
    after = run(LOOPS)
    assert after[0] <= threads + 1
    assert after[1] <= files + 2
    assert after[2] - objects < 20 * LOOPS + 5000
    assert len(deadlines._queue._calls) <= 2 * FEW + 2
    assert not noted


def test_many_timeouts_in_one_thread_leave_nothing() -> None:
    """The same for calls that are inline, and hear of their end at once."""
    before = set(live)

    @task(timeout_seconds=0.001)
    def slow() -> None:
        time.sleep(PATIENCE)

    for _ in range(LOOPS):
        assert slow(return_state=True).name == "TimedOut"
    assert not set(live) - before
    assert len(deadlines._queue._calls) <= 2 * FEW + 2
