"""Concurrency limits and rate limits as programs use them, in both forms."""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mainspring import clock, flow, task
from mainspring.client import AsyncClient, Client
from mainspring.concurrency import LeaseHolder, _slots, _waiting
from mainspring.concurrency import asyncio as async_form
from mainspring.concurrency import sync as sync_form
from mainspring.exceptions import (
    AcquireConcurrencySlotTimeoutError,
    ConcurrencySlotAcquisitionError,
    ConfigurationError,
    MainspringError,
    ObjectNotFound,
    StoreUnavailable,
)
from mainspring.settings import temporary_settings
from tests.concurrency.usage import FORMS, counting, hold, in_use, rate, rows_of, running, wait_for
from tests.engine.clocks import JumpingClock

for_each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def db(client: Client) -> Client:
    """The client, with a limit "db" of 2."""
    client.create_or_update_concurrency_limit("db", 2)
    return client


# Holding


@pytest.mark.contract("CC-1")
@pytest.mark.parametrize("module", [sync_form, async_form])
def test_names(module: Any) -> None:
    """Both modules offer the context manager, the function and the errors."""
    assert callable(module.concurrency)
    assert callable(module.rate_limit)
    assert issubclass(module.ConcurrencySlotAcquisitionError, MainspringError)
    assert issubclass(module.AcquireConcurrencySlotTimeoutError, TimeoutError)


@for_each_form
@pytest.mark.contract("CC-2", "CC-8")
def test_slots_are_held_in_the_block(db: Client, form: str) -> None:
    """Inside of the block the slots are taken, afterwards they are free."""
    assert hold(form, lambda: in_use("db"), "db", 2) == 2
    assert in_use("db") == 0


@for_each_form
@pytest.mark.contract("CC-8")
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_slots_are_released_after_an_exception(db: Client, form: str, kind: type[BaseException]) -> None:
    """Whatever leaves the block, its slots are free afterwards."""

    def fail() -> None:
        raise kind

    with pytest.raises(kind):
        hold(form, fail, "db")
    assert in_use("db") == 0


@for_each_form
@pytest.mark.contract("CC-8", "CC-35")
def test_release_reports_the_occupancy(tmp_path: Path, form: str) -> None:
    """One release is sent, with a positive number of seconds; none if no limit matched."""
    with counting(tmp_path) as store:
        store.write_limit("db", 1, True, 0)
        hold(form, lambda: None, "db")
        assert len(store.released) == 1
        assert 0 < store.released[0] < 60
        hold(form, lambda: None, "nope")
        assert len(store.released) == 1


@for_each_form
@pytest.mark.contract("CC-35")
def test_nothing_is_watched_if_no_limit_matched(client: Client, form: str) -> None:
    """Without slots there is no lease to renew."""
    if form == "sync":
        wait_for(lambda: "mainspring-slots" not in [thread.name for thread in threading.enumerate()])
        threads = hold(form, threading.enumerate, "nope")
        assert "mainspring-slots" not in [thread.name for thread in threads]
    client.create_or_update_concurrency_limit("off", 1, active=False)
    assert hold(form, lambda: _slots.keeper._leases.copy(), ["nope", "off"]) == {}


@for_each_form
@pytest.mark.contract("CC-3")
@pytest.mark.parametrize("names", [[], None, (), set()])
def test_no_names_no_limits(tmp_path: Path, form: str, names: Any) -> None:
    """Without names the block runs and the store is not asked."""
    with counting(tmp_path) as store:
        assert hold(form, lambda: "ran", names) == "ran"
        rate(form, names)
        assert store.taken == []


@for_each_form
@pytest.mark.contract("CC-4", "CC-43")
@pytest.mark.parametrize(
    "names", [["b", "a"], ("b", "a"), {"a", "b"}, frozenset("ab"), ["b", "a", "b"], dict.fromkeys("ba")]
)
def test_names_are_taken_together_and_in_order(tmp_path: Path, form: str, names: Any) -> None:
    """Any iterable of names is one request, with each name once, sorted."""
    with counting(tmp_path) as store:
        for name in "ab":
            store.write_limit(name, 1, True, 0)
        hold(form, lambda: None, names)
        assert [asked.names for asked in store.taken] == [["a", "b"]]


@for_each_form
@pytest.mark.contract("CC-18")
def test_missing_limit_warns(client: Client, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """The block runs without a guard, the limit is not created, and a warning says so."""
    assert hold(form, lambda: "ran", "nope", create_if_missing=True) == "ran"
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "'nope'" in line.getMessage()
    assert client.read_concurrency_limits() == []


@pytest.mark.contract("CC-18")
def test_missing_limit_warns_in_the_run_log(client: Client) -> None:
    """Inside of a run the warning is a line of the run."""

    @task
    def careless() -> None:
        with sync_form.concurrency("nope"):
            pass

    careless()
    client = type(client)(client.store)
    (run,) = client.read_task_runs()
    assert ["'nope'" in entry.message for entry in client.read_logs(run.id)] == [True]


@for_each_form
@pytest.mark.contract("CC-18")
def test_missing_limit_is_an_error_when_strict(db: Client, form: str) -> None:
    """With ``strict`` nothing is taken and the block does not run."""
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'nope'"):
        hold(form, pytest.fail, ["db", "nope"], strict=True)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'nope'"):
        rate(form, "nope", strict=True)
    assert in_use("db") == 0


@for_each_form
@pytest.mark.contract("CC-17")
@pytest.mark.parametrize("limit", [0, 1])
def test_more_than_the_limit_is_an_error(client: Client, form: str, limit: int) -> None:
    """Asking for more slots than there are is refused at once, also if there are none."""
    client.create_or_update_concurrency_limit("db", limit)
    with pytest.raises(ConcurrencySlotAcquisitionError, match=f"'db' has {limit} slot"):
        hold(form, pytest.fail, "db", limit + 1)


@for_each_form
@pytest.mark.contract("CC-7")
def test_other_failures_name_the_limits_and_the_cause(tmp_path: Path, form: str) -> None:
    """An error of the store becomes one that names the limits and has it as its cause."""
    with counting(tmp_path) as store:
        store.failure = StoreUnavailable("the disk is full")
        with pytest.raises(ConcurrencySlotAcquisitionError, match=r"'a', 'b'.*the disk is full") as caught:
            hold(form, pytest.fail, ["b", "a"])
        assert caught.value.__cause__ is store.failure


@for_each_form
@pytest.mark.contract("CC-7")
def test_store_that_cannot_be_opened(form: str) -> None:
    """That there is no store to ask is such a failure, too."""
    with (
        temporary_settings({"database_url": "mysql://nowhere"}),
        pytest.raises(ConcurrencySlotAcquisitionError, match="'db'"),
    ):
        hold(form, pytest.fail, "db")


@for_each_form
def test_failed_release_is_a_warning(tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """What the block returned is not lost because its slots could not be given back."""
    with counting(tmp_path) as store:
        store.write_limit("db", 1, True, 0)

        def break_store() -> str:
            store.failure = StoreUnavailable("the disk is full")
            return "ran"

        assert hold(form, break_store, "db") == "ran"
        assert "the disk is full" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"occupy": 0},
        {"occupy": -1},
        {"occupy": 1.5},
        {"occupy": True},
        {"timeout_seconds": -1},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": "1"},
        {"max_retries": -1},
        {"max_retries": "1"},
        {"lease_duration": "300"},
        {"lease_duration": 59},
        {"lease_duration": 86_401},
        {"holder": {"type": "janitor", "id": "01a20345-bf35-7b23-8256-b506f33d6d38"}},
        {"holder": {"type": "task_run", "id": "no uuid"}},
        {"holder": "me"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("module", [sync_form, async_form])
@pytest.mark.contract("CC-32", "CC-36")
def test_options_that_cannot_work(module: Any, options: dict[str, Any]) -> None:
    """A wrong option is named before anything is asked for."""
    (name,) = options
    with pytest.raises(ConfigurationError, match=name if name != "holder" else "cannot hold slots"):
        module.concurrency("db", **options)


@pytest.mark.parametrize("names", ["", [""], 7, [None], "\ud800"], ids=repr)
@pytest.mark.parametrize("module", [sync_form, async_form])
def test_names_that_cannot_work(module: Any, names: Any) -> None:
    """What is no name is refused."""
    with pytest.raises(ConfigurationError, match="cannot be the name"):
        module.concurrency(names)


def test_block_can_be_used_again(db: Client) -> None:
    """One block serves several times, one after the other."""
    block = sync_form.concurrency("db")
    for _ in range(2):
        with block:
            assert in_use("db") == 1
            with pytest.raises(RuntimeError, match="entered already"):
                block.__enter__()
    assert in_use("db") == 0


# Holders


def holders(home: Path) -> list[tuple[str | None, bytes | None]]:
    return [(row[4], row[5]) for row in rows_of(home / "mainspring.db")]


@for_each_form
@pytest.mark.contract("CC-36")
@pytest.mark.parametrize("kind", ["flow_run", "task_run", "deployment"])
@pytest.mark.parametrize("build", [LeaseHolder, dict[str, Any]])
def test_holder_can_be_named(
    db: Client, mainspring_home: Path, form: str, kind: str, build: Callable[..., Any]
) -> None:
    """The store shows for whom slots are held."""
    key = uuid4()
    seen = hold(form, lambda: holders(mainspring_home), "db", holder=build(type=kind, id=key))
    assert seen == [(kind, key.bytes)]


@pytest.mark.contract("CC-36")
def test_active_run_is_the_holder(db: Client, mainspring_home: Path) -> None:
    """Inside of a task the task run holds the slots, inside of a flow the flow run, else nobody."""

    @task
    def work() -> Any:
        with sync_form.concurrency("db"):
            return holders(mainspring_home)

    @flow
    def main() -> Any:
        with sync_form.concurrency("db"):
            own = holders(mainspring_home)
        return own, work()

    of_flow, of_task = main()
    (flow_run,), (task_run,) = db.read_flow_runs(), db.read_task_runs()
    assert of_flow == [("flow_run", flow_run.key)]
    assert of_task == [("task_run", task_run.key)]
    assert hold("sync", lambda: holders(mainspring_home), "db") == [(None, None)]


# Where the sync form may be used


@pytest.mark.contract("CC-10", "CC-40")
def test_sync_form_in_a_running_loop(db: Client) -> None:
    """The sync form works in code that a running event loop calls."""

    async def main() -> int:
        with sync_form.concurrency("db"):
            await asyncio.sleep(0)
            return in_use("db")

    assert asyncio.run(main()) == 1
    assert in_use("db") == 0


@pytest.mark.contract("CC-10")
def test_sync_form_in_tasks(db: Client) -> None:
    """The sync form works in a sync task, called and submitted."""

    @task
    def work() -> int:
        with sync_form.concurrency("db"):
            return in_use("db")

    @flow
    def main() -> list[int]:
        return [work(), work.submit().result()]

    assert main() == [1, 1]
    assert in_use("db") == 0


def test_async_form_in_tasks(db: Client) -> None:
    """The async form works in an async task."""

    @task
    async def work() -> int:
        async with async_form.concurrency("db"):
            return in_use("db")

    assert asyncio.run(work()) == 1


# Waiting


@for_each_form
@pytest.mark.contract("CC-5")
@pytest.mark.parametrize("timeout", [0, 0.5, 120])
def test_timeout(db: Client, form: str, timeout: float) -> None:
    """When the time is over the error says so, and the block did not run."""
    time = JumpingClock()
    with clock.use_clock(time), sync_form.concurrency("db"):
        begun = time.monotonic()
        with pytest.raises(
            AcquireConcurrencySlotTimeoutError, match=rf"'db' timed out after {timeout} second\(s\)"
        ):
            hold(form, pytest.fail, "db", 2, timeout_seconds=timeout)
        assert time.monotonic() - begun == pytest.approx(timeout)
    assert db.read_concurrency_limit("db").denied_slots == 0


@for_each_form
@pytest.mark.contract("CC-38")
def test_short_timeout(db: Client, form: str) -> None:
    """A timeout works on the clock of the machine, however short it is."""
    with sync_form.concurrency("db"), pytest.raises(AcquireConcurrencySlotTimeoutError):
        hold(form, pytest.fail, "db", 2, timeout_seconds=0.01)


@for_each_form
@pytest.mark.contract("CC-38", "CC-2")
@pytest.mark.parametrize("retries", [0, 3])
def test_max_retries(db: Client, form: str, retries: int) -> None:
    """After so many further looks waiting is given up; with 0 there is none."""
    time = JumpingClock()
    with clock.use_clock(time), sync_form.concurrency("db"):
        with pytest.raises(ConcurrencySlotAcquisitionError, match=f"no more than {retries} retries"):
            hold(form, pytest.fail, "db", 2, max_retries=retries, timeout_seconds=5)
        assert len(time.slept) == retries


@for_each_form
@pytest.mark.contract("CC-13", "CC-16")
def test_rate_limit_waits_for_decay(client: Client, form: str) -> None:
    """Slots come at the pace of decay, and waiting for it takes as long as it has to."""
    client.create_or_update_concurrency_limit("api", 2, slot_decay_per_second=0.1)
    time = JumpingClock()
    with clock.use_clock(time):
        begun, waits = time.monotonic(), []
        for _ in range(4):
            rate(form, "api")
            waits.append(round(time.monotonic() - begun, 1))
    assert waits == [0, 0, 10, 20]
    client.delete_concurrency_limit("api")


@for_each_form
@pytest.mark.contract("CC-13")
def test_rate_limit_times_out(client: Client, form: str) -> None:
    """A rate limit waits no longer than it is told to."""
    client.create_or_update_concurrency_limit("api", 1, slot_decay_per_second=0.1)
    with clock.use_clock(JumpingClock()):
        rate(form, "api", timeout_seconds=5)
        with pytest.raises(AcquireConcurrencySlotTimeoutError, match="timed out after 5 second"):
            rate(form, "api", timeout_seconds=5)


@for_each_form
@pytest.mark.contract("CC-14")
def test_rate_limit_needs_decay(db: Client, form: str) -> None:
    """A limit whose slots do not decay cannot be a rate limit."""
    with pytest.raises(ConcurrencySlotAcquisitionError, match="only limits with slot decay"):
        rate(form, "db")


def waiting(client: Client, name: str) -> int:
    return client.read_concurrency_limit(name).denied_slots


@for_each_form
@pytest.mark.contract("CC-45")
def test_release_wakes_waiters(client: Client, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in this process is told of a release, and need not look by himself."""
    for pause in ("FIRST_PAUSE", "LONGEST_PAUSE", "LOOK_PAUSE"):
        monkeypatch.setattr(_slots, pause, 600)
    client.create_or_update_concurrency_limit("db", 1)
    order: list[int] = []

    def work(number: int) -> None:
        hold(form, lambda: order.append(number), "db")

    threads = []
    with sync_form.concurrency("db"):
        for number in range(3):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            wait_for(lambda number=number: waiting(client, "db") == number + 1)
            wait_for(lambda number=number: registered("db") == number + 1)
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2]


def registered(name: str) -> int:
    """How many wait in this process, ready to be woken."""
    return sum(len(queues.of_name.get(name, ())) for queues in _waiting._queues.values())


@pytest.mark.contract("CC-45")
@pytest.mark.parametrize("change", ["raise", "deactivate", "delete"])
def test_change_of_a_limit_wakes_waiters(
    client: Client, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit that is raised, switched off or deleted lets its waiters go on at once."""
    for pause in ("FIRST_PAUSE", "LONGEST_PAUSE", "LOOK_PAUSE"):
        monkeypatch.setattr(_slots, pause, 600)
    client.create_or_update_concurrency_limit("db", 1)
    with (
        sync_form.concurrency("db"),
        running(lambda: hold("sync", lambda: None, "db")),
    ):
        wait_for(lambda: registered("db"))
        if change == "delete":
            client.delete_concurrency_limit("db")
        else:
            client.create_or_update_concurrency_limit("db", 2, active=change == "raise")


@pytest.mark.contract("CC-42")
def test_waiting_behind_others_counts_as_waiting(client: Client) -> None:
    """The timeout runs from the call, also for somebody behind a request that waits."""
    client.create_or_update_concurrency_limit("db", 2)
    with sync_form.concurrency("db"), running(lambda: hold("sync", lambda: None, "db", 2)):
        wait_for(lambda: waiting(client, "db") == 2)
        time = JumpingClock()
        time.time = clock.current().now()  # for the others it stands still
        with clock.use_clock(time), pytest.raises(AcquireConcurrencySlotTimeoutError):
            hold("sync", pytest.fail, "db", timeout_seconds=5)
        sync_form.concurrency("other", max_retries=0)
        client.create_or_update_concurrency_limit("db", 3)


@pytest.mark.contract("CC-42")
def test_waiting_does_not_keep_others_from_other_limits(client: Client) -> None:
    """Somebody who waits for one limit is in nobody's way at another one."""
    client.create_or_update_concurrency_limit("db", 1)
    client.create_or_update_concurrency_limit("api", 1)
    with sync_form.concurrency("db"):
        thread = threading.Thread(target=hold, args=("sync", lambda: None, "db"))
        thread.start()
        wait_for(lambda: waiting(client, "db") == 1)
        assert hold("sync", lambda: "ran", "api", timeout_seconds=0) == "ran"
    thread.join()


@pytest.mark.contract("CC-34")
def test_async_form_does_not_block_the_loop(client: Client) -> None:
    """While somebody waits for slots, others on the event loop go on, and may release them."""
    client.create_or_update_concurrency_limit("db", 1)
    order: list[str] = []

    async def first() -> None:
        async with async_form.concurrency("db"):
            while "second waits" not in order:
                await asyncio.sleep(0.001)
                if waiting(client, "db"):
                    order.append("second waits")

    async def second() -> None:
        async with async_form.concurrency("db"):
            order.append("second runs")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(first())
            await asyncio.sleep(0.02)
            group.create_task(second())

    asyncio.run(main())
    assert order == ["second waits", "second runs"]


# Administration


@pytest.mark.contract("CC-15")
def test_client_manages_limits(client: Client) -> None:
    """A limit can be created, changed, read, listed and deleted."""
    created = client.create_or_update_concurrency_limit("db", 3, active=False, slot_decay_per_second=0.5)
    assert (created.name, created.limit, created.active) == ("db", 3, False)
    assert created.slot_decay_per_second == 0.5
    changed = client.create_or_update_concurrency_limit("db", 4)
    assert (changed.id, changed.limit, changed.active, changed.slot_decay_per_second) == (
        created.id,
        4,
        True,
        0,
    )
    assert client.read_concurrency_limit("db") == changed
    assert client.read_concurrency_limits() == [changed]
    client.delete_concurrency_limit("db")
    assert client.read_concurrency_limits() == []


def test_async_client_manages_limits(client: Client) -> None:
    """The async client does the same."""

    async def main() -> None:
        aclient = AsyncClient(client.store)
        created = await aclient.create_or_update_concurrency_limit("db", 3, slot_decay_per_second=2)
        assert await aclient.read_concurrency_limit("db") == created
        assert await aclient.read_concurrency_limits() == [created]
        await aclient.delete_concurrency_limit("db")
        assert await aclient.read_concurrency_limits() == []

    asyncio.run(main())


def test_client_says_which_limit_is_missing(client: Client) -> None:
    """Reading or deleting a limit that does not exist is an error."""
    for call in (client.read_concurrency_limit, client.delete_concurrency_limit):
        with pytest.raises(ObjectNotFound, match="'nope'"):
            call("nope")


@pytest.mark.parametrize(
    ("name", "limit", "decay", "told"),
    [
        ("", 1, 0, "cannot be the name"),
        (None, 1, 0, "cannot be the name"),
        ("db", -1, 0, "limit=-1"),
        ("db", 1.5, 0, "limit=1.5"),
        ("db", True, 0, "limit=True"),
        ("db", 2**31, 0, "limit=2147483648"),
        ("db", 1, -1, "slot_decay_per_second=-1"),
        ("db", 1, float("nan"), "slot_decay_per_second=nan"),
        ("db", 1, float("inf"), "slot_decay_per_second=inf"),
        ("db", 1, timedelta(1), "slot_decay_per_second="),
    ],
)
def test_limits_that_cannot_be(client: Client, name: Any, limit: Any, decay: Any, told: str) -> None:
    """What cannot be a limit is refused with its reason, and nothing is written."""
    with pytest.raises(ConfigurationError, match=told):
        client.create_or_update_concurrency_limit(name, limit, slot_decay_per_second=decay)
    assert client.read_concurrency_limits() == []
