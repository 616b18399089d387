"""Leases: renewed while their holder lives, lost when they cannot be, and gone with whoever forgot them."""

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mainspring import clock
from mainspring.concurrency import asyncio as async_form
from mainspring.concurrency import sync as sync_form
from mainspring.concurrency._interrupts import ThreadInterrupt
from mainspring.concurrency._keeper import TRIES
from mainspring.concurrency._slots import Slots
from mainspring.concurrency._terms import Terms
from mainspring.exceptions import ConcurrencyLeaseLost, StoreUnavailable
from tests.concurrency.usage import FORMS, CountingStore, counting, hold, running, wait_for
from tests.engine.clocks import JumpingClock

for_each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    """A store with a limit "db" of 2."""
    with counting(tmp_path) as store:
        store.write_limit("db", 2, True, 0)
        yield store


@pytest.fixture
def jumping() -> Iterator[JumpingClock]:
    """A clock that the test moves. The background thread looks at it a few times each second."""
    with clock.use_clock(JumpingClock()) as time:
        yield time  # type: ignore[misc]


def expiries(store: CountingStore) -> list[int]:
    return store._read(lambda db: [row[0] for row in db.execute("SELECT lease_expires FROM slots")])


def fail_renewals(store: CountingStore, jumping: JumpingClock, lease: float = 60) -> None:
    """Let a lease of so many seconds come due while the store is out of order, until the holder is told."""
    store.failure = StoreUnavailable("out of order")
    jumping.advance(lease * 0.75)
    wait_for(lambda: store.renewed == 1)
    for attempt in range(2, TRIES + 1):
        jumping.advance(2 ** (attempt - 2) - 0.1)
        time.sleep(0.3)  # more than one turn of the background thread
        assert store.renewed == attempt - 1  # each pause is longer than the one before
        jumping.advance(0.1)
        wait_for(lambda attempt=attempt: store.renewed == attempt)
    store.failure = None


@for_each_form
@pytest.mark.slow
@pytest.mark.contract("CC-31")
@pytest.mark.parametrize("lease", [60, 300])
def test_lease_is_renewed_after_three_quarters(
    store: CountingStore, jumping: JumpingClock, form: str, lease: float
) -> None:
    """A lease is renewed when 75 % of it are over, not before, and in time for ever, also if the loop is blocked."""

    def body() -> None:
        (first,) = expiries(store)
        assert first == jumping.now() + lease * 1e6
        jumping.advance(lease * 0.74)
        time.sleep(0.3)  # more than one turn of the background thread
        assert store.renewed == 0
        for _ in range(2):
            before = store.renewed
            jumping.advance(lease * 0.76)
            wait_for(lambda before=before: store.renewed == before + 1)
            wait_for(lambda: expiries(store) == [jumping.now() + lease * 1e6])

    hold(form, body, "db", lease_duration=lease)


@pytest.mark.contract("CC-31")
def test_one_thread_renews_all_leases(store: CountingStore) -> None:
    """However many leases there are, one background thread looks after them."""
    names = [f"limit-{number}" for number in range(20)]
    for name in names:
        store.write_limit(name, 1, True, 0)
    slots = [Slots(Terms(name), store, None, None) for name in names]
    for each in slots:
        each.acquire()
    assert [thread.name for thread in threading.enumerate()].count("mainspring-slots") == 1
    for each in slots:
        each.release()


@pytest.mark.slow
@pytest.mark.contract("CC-33", "CC-31")
@for_each_form
def test_failed_renewal_warns(
    store: CountingStore, jumping: JumpingClock, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By default the block goes on after three failed attempts, with a warning; the lease is tried again later."""

    def body() -> str:
        fail_renewals(store, jumping)
        wait_for(lambda: caplog.records)
        jumping.advance(20)
        wait_for(lambda: store.renewed == TRIES + 1)
        return "went on"

    assert hold(form, body, "db", lease_duration=60) == "went on"
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert "'db'" in line.getMessage()
    assert "out of order" in line.getMessage()


def drop(store: CountingStore) -> None:
    """Give the slots of everybody to others."""
    store._transact(lambda db, owner: db.execute("DELETE FROM slots"))


def wait_in_vain() -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.001)
    pytest.fail("was not interrupted")


@pytest.mark.contract("CC-33")
@pytest.mark.parametrize("options", [{"strict": True}, {"raise_on_lease_renewal_failure": True}], ids=repr)
@pytest.mark.parametrize("where", ["main thread", "other thread"])
def test_lost_lease_cancels_the_block(
    store: CountingStore,
    jumping: JumpingClock,
    options: dict[str, Any],
    where: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If asked for, the block ends with an error, which is logged too; the same is the default when strict."""

    def work() -> None:
        with sync_form.concurrency("db", lease_duration=60, **options):
            drop(store)
            jumping.advance(45)
            wait_in_vain()

    def guarded() -> None:
        with pytest.raises(ConcurrencyLeaseLost, match="'db'"):
            work()

    if where == "main thread":
        guarded()
    else:
        with running(partial(copy_context().run, guarded)):
            pass
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.contract("CC-33")
def test_block_that_ends_while_it_is_cancelled(store: CountingStore, jumping: JumpingClock) -> None:
    """A block that ignores the cancellation ends with the error all the same, and nothing strikes afterwards."""
    for own, lost in [(None, ConcurrencyLeaseLost), (ValueError(), type(None))]:
        interrupt = ThreadInterrupt()
        with suppress(BaseException):  # as careless code does
            interrupt.fire("lost")
            wait_in_vain()
        assert isinstance(interrupt.close(own), lost)
    late = ThreadInterrupt()
    assert late.close(None) is None
    late.fire("too late")
    sys.setprofile(lambda *_: None)  # stands still if the interpreter looks for an interrupt that was dropped
    wait_for(lambda: True)
    sys.setprofile(None)


@pytest.mark.contract("CC-33")
@pytest.mark.parametrize("module", [sync_form, async_form])
def test_lost_lease_cancels_the_asyncio_task(
    store: CountingStore, jumping: JumpingClock, module: Any
) -> None:
    """In async code the task is cancelled, and outside of the block it is not cancelled any more."""

    async def work() -> None:
        block = module.concurrency("db", lease_duration=60, strict=True)
        if module is sync_form:
            with block:
                await lose()
        else:
            async with block:
                await lose()

    async def main() -> None:
        with pytest.raises(ConcurrencyLeaseLost, match="'db'"):
            await work()
        assert not asyncio.current_task().cancelling()
        await asyncio.sleep(0)

    async def lose() -> None:
        drop(store)
        jumping.advance(45)
        await asyncio.sleep(30)
        pytest.fail("was not interrupted")

    asyncio.run(main())


@pytest.mark.contract("CC-33")
def test_cancellation_from_elsewhere_stays_one(store: CountingStore, jumping: JumpingClock) -> None:
    """A task that is cancelled from outside, too, ends as cancelled."""

    async def work() -> None:
        async with async_form.concurrency("db", lease_duration=60, strict=True):
            drop(store)
            jumping.advance(45)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                asyncio.current_task().cancel()
                raise

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())


@pytest.mark.contract("CC-33")
def test_own_error_of_the_block_stays(store: CountingStore, jumping: JumpingClock) -> None:
    """An error that the block raises while it is cancelled is not replaced."""

    async def main() -> None:
        async with async_form.concurrency("db", lease_duration=60, strict=True):
            drop(store)
            jumping.advance(45)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise ValueError("own") from None

    with pytest.raises(ValueError, match="own"):
        asyncio.run(main())


@pytest.mark.contract("CC-32")
def test_forgotten_slots_are_given_back(store: CountingStore) -> None:
    """Slots that nobody has any more are not renewed but released."""
    slots = Slots(Terms("db"), store, None, None)
    slots.acquire()
    assert expiries(store)
    del slots
    gc.collect()
    wait_for(lambda: not expiries(store))


def test_background_thread_ends(store: CountingStore) -> None:
    """The thread is there while there is something to do, and starts again when there is."""
    for _ in range(2):
        hold("sync", lambda: None, "db")
        wait_for(lambda: "mainspring-slots" not in [thread.name for thread in threading.enumerate()])
