"""Limits on the tags of task runs, as the engines hold them."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mainspring import clock, flow, tags, task
from mainspring.client import get_client
from mainspring.concurrency import ConcurrencySlotAcquisitionError
from mainspring.recording import current_recorder
from tests.engine.clocks import JumpingClock
from tests.engine.history import only_task_run, sequence, task_runs


def active(tag: str = "db") -> int:
    limit = get_client().read_concurrency_limit(f"tag:{tag}")
    assert limit is not None
    return limit.active_slots


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """One run at a time may have the tag ``db``."""
    get_client().create_or_update_concurrency_limit("tag:db", 1)
    return


@pytest.mark.contract("V-19", "E-67")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_slot_is_held_while_the_run_goes_on(asynchronous: bool) -> None:
    """It is taken for tags of the task and of blocks around the call, and free again afterwards."""
    seen = []

    @task(tags=["db", "free"])
    def work() -> None:
        seen.append(active())

    @task
    async def awork() -> None:
        seen.append(active())

    if asynchronous:
        with tags("db"):
            asyncio.run(awork())
    else:
        work()
    assert seen == [1]
    assert active() == 0


@pytest.mark.contract("V-19")
def test_a_run_that_waits_for_a_slot_is_pending() -> None:
    """It enters Running when it has the slot, so the time it waits is not the time it runs."""
    holding, release, waited = threading.Event(), threading.Event(), []

    @task(tags=["db"])
    def first() -> None:
        holding.set()
        assert release.wait(30)

    @task(tags=["db"])
    def second() -> None:
        return None

    @flow
    def around() -> None:
        one = first.submit()
        assert holding.wait(30)
        two = second.submit()
        for _ in range(200):
            current_recorder().flush()
            runs = [run for run in task_runs() if run.task_key.startswith("second")]
            if runs:
                break
            threading.Event().wait(0.01)
        waited.extend(run.state.name for run in runs)
        release.set()
        one.result(), two.result()

    around()
    assert waited == ["Pending"]
    assert {sequence(run) for run in task_runs()} == {"Pending Running Completed"}


@pytest.mark.contract("V-20")
def test_a_run_that_waits_for_its_upstream_holds_no_slot() -> None:
    """With one slot for both, the upstream gets it: slots are taken after the inputs are there."""

    @task(tags=["db"])
    def upstream() -> int:
        return 1

    @task(tags=["db"])
    def downstream(x: int) -> int:
        return x + 1

    gate = threading.Event()

    @task
    def late() -> None:
        assert gate.wait(30)

    @flow
    def around() -> int:
        first = upstream.submit(wait_for=[late.submit()])
        second = downstream.submit(first)
        gate.set()
        return second.result(timeout=30)

    assert around() == 2


@pytest.mark.contract("V-19")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_slot_that_cannot_be_had_crashes_the_run(asynchronous: bool) -> None:
    """Under a limit of 0 the run goes from Pending to Crashed, and the caller gets the reason."""
    get_client().create_or_update_concurrency_limit("tag:db", 0)

    @task(tags=["db"])
    def work() -> None:
        raise AssertionError("called")

    @task(tags=["db"])
    async def awork() -> None:
        raise AssertionError("called")

    with pytest.raises(ConcurrencySlotAcquisitionError):
        asyncio.run(awork()) if asynchronous else work()
    assert sequence() == "Pending Crashed"


@pytest.mark.contract("V-19")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_others_may_have_the_slot_during_a_retry_delay(asynchronous: bool) -> None:
    """A run that waits for its next attempt holds nothing; a run that is retried at once keeps its slot."""
    seen: list[int] = []

    class Watching(JumpingClock):
        """A clock that looks at the slots when somebody sleeps."""

        def sleep(self, seconds: float) -> None:
            seen.append(active())
            super().sleep(seconds)

        async def asleep(self, seconds: float) -> None:
            seen.append(active())
            await super().asleep(seconds)

    attempts: list[int] = []

    def body() -> None:
        attempts.append(active())
        if len(attempts) < 3:
            raise ValueError

    @task(tags=["db"], retries=2, retry_delay_seconds=[60, 0])
    def work() -> None:
        body()

    @task(tags=["db"], retries=2, retry_delay_seconds=[60, 0])
    async def awork() -> None:
        body()

    with clock.use_clock(Watching()):
        asyncio.run(awork()) if asynchronous else work()
    assert set(seen) == {0}
    assert attempts == [1, 1, 1]
    assert active() == 0


@pytest.mark.contract("V-19", "X-9")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt], ids=lambda kind: kind.__name__)
def test_a_slot_is_free_however_the_run_ends(error: type[BaseException]) -> None:
    """Failures and crashes give it back, before hooks run."""
    seen: list[Any] = []

    @task(
        tags=["db"],
        on_failure=[lambda *_: seen.append(active())],
        on_crashed=[lambda *_: seen.append(active())],
    )
    def work() -> None:
        raise error

    with pytest.raises(error):
        work()
    assert seen == [0]
    assert only_task_run().state.is_final()


@pytest.mark.contract("E-67", "E-153")
def test_tags_without_a_limit_ask_for_nothing() -> None:
    """They cost no limit and no slot, and are not warned about."""

    @task(tags=["free"])
    def work() -> None:
        return None

    work()
    assert [limit.name for limit in get_client().read_concurrency_limits()] == ["tag:db"]
    assert active() == 0
