"""How often a process waits for the server: for a recorded task once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from mainspring import flow, task
from mainspring.cache_policies import INPUTS
from mainspring.recording import Recorder, use_recorder
from mainspring.states import StateType
from mainspring.store.results import KeptResult
from tests.postgres.conftest import Open
from tests.postgres.proxy import Proxy
from tests.store.histories import RUNNING, advance, new_flow_run, new_task_run, record

TASKS = 20
SERIES = 5
MOST = 1.3


@task
def add(x: int) -> int:
    return x + 1


@task
async def aadd(x: int) -> int:
    return x + 1


@task(cache_policy=INPUTS, persist_result=True)
def keep(x: int) -> int:
    return x + 1


class Counted:
    """Runs functions and counts how often each call of them waits for the server: in the best of some series.

    In the others, the background thread has made runs visible that went on.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def each(self, call: Callable[[int], object]) -> float:
        return min(self._series(call, start) for start in range(0, SERIES * TASKS, TASKS))

    def _series(self, call: Callable[[int], object], start: int) -> float:
        before = self._proxy.round_trips
        for number in range(start, start + TASKS):
            call(number)
        return (self._proxy.round_trips - before) / TASKS

    async def aeach(self, call: Callable[[int], Awaitable[object]]) -> float:
        return min([await self._aseries(call, start) for start in range(0, SERIES * TASKS, TASKS)])

    async def _aseries(self, call: Callable[[int], Awaitable[object]], start: int) -> float:
        before = self._proxy.round_trips
        for number in range(start, start + TASKS):
            await call(number)
        return (self._proxy.round_trips - before) / TASKS


@pytest.fixture
def counted(proxy: Proxy, opened: Open) -> Iterator[Counted]:
    recorder = Recorder(opened(proxy.url))
    with use_recorder(recorder):
        yield Counted(proxy)
    recorder.close()


def test_a_lone_task(counted: Counted) -> None:
    """A recorded task outside of flows costs one round trip."""
    assert 1 <= counted.each(add) <= MOST


def test_a_lone_async_task(counted: Counted) -> None:
    """An async task costs as much."""
    assert 1 <= asyncio.run(counted.aeach(aadd)) <= MOST


def test_a_task_in_a_flow(counted: Counted) -> None:
    """A task in a flow costs one round trip, too."""

    @flow
    def calls() -> float:
        return counted.each(add)

    cost = calls()
    assert cost <= MOST


def test_an_async_task_in_a_flow(counted: Counted) -> None:
    """An async task in a flow costs as much."""

    @flow
    async def calls() -> float:
        return await counted.aeach(aadd)

    assert asyncio.run(calls()) <= MOST


def test_a_kept_result(counted: Counted) -> None:
    """A task that keeps its result costs two round trips: one to look for it, one to write all."""
    assert counted.each(keep) <= 2 * MOST


def test_a_cache_hit(counted: Counted) -> None:
    """A task whose result is there costs two: one to read it, one to write that it was taken from there."""
    keep(1)
    assert counted.each(lambda _: keep(1)) <= 2 * MOST


def test_a_kept_result_in_a_flow(counted: Counted) -> None:
    """Whether the result comes too late for its flow run is found out without a round trip."""

    @flow
    def calls() -> float:
        return counted.each(keep)

    assert calls() <= 2 * MOST


def test_submitted_tasks_share_round_trips(counted: Counted) -> None:
    """Tasks of a map share commits, so each costs far less than one."""

    @flow
    def calls() -> float:
        add.map(range(20)).wait()
        before = counted._proxy.round_trips
        add.map(range(300)).wait()
        return (counted._proxy.round_trips - before) / 300

    assert calls() <= MOST


def test_a_result_that_comes_too_late_is_refused(proxy: Proxy, opened: Open) -> None:
    """The database ends the transaction of a late result; all else of it is written, and the late one refused."""
    store = opened(proxy.url)
    flow_run = new_flow_run()
    record(store, advance(flow_run, RUNNING))
    record(store, advance(flow_run, StateType.FAILED))
    record(store, advance(flow_run, RUNNING))
    late, other = new_task_run(flow_run), new_task_run(flow_run)
    late.flow_run_run_count, other.flow_run_run_count = 1, 2
    changes = []
    for run in (late, other):
        change = advance(run, RUNNING, StateType.COMPLETED)
        change.attachments = [KeptResult(run.key.hex(), "1", None, run.key)]
        changes.append(change)
    assert store.write(changes) == changes[:1]
    assert store.read_result(late.key.hex()) is None
    assert store.read_result(other.key.hex()) is not None
