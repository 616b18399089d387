"""Tasks that wait for tasks: at any depth, in a pool of any size, they end; and a true circle is named."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.context import FlowRunContext
from mainspring.exceptions import DeadlockError
from mainspring.futures import as_completed, wait
from mainspring.task_runners import InlineTaskRunner, TaskRunner, ThreadPoolTaskRunner
from tests.engine.conftest import nothing_left
from tests.runners.making import made, settle

__all__ = ["nothing_left"]

pytestmark = [pytest.mark.timeout(60), pytest.mark.contract("TR-36", "W-21")]


def runner_like_ours() -> Any:
    """A fresh runner of the kind that the active flow run has."""
    context = FlowRunContext.get()
    assert context is not None
    return context.task_runner.duplicate()


# Shapes: each calls itself one level deeper, waits for that, and adds one


@task
def by_submit(depth: int) -> int:
    return 1 + by_submit.submit(depth - 1).result() if depth else 0


@task
def by_map(depth: int) -> int:
    return 1 + max(by_map.map([depth - 1] * 2).result()) if depth else 0


@task
def by_stream(depth: int) -> int:
    if not depth:
        return 0
    futures = by_stream.map((depth - 1 for _ in range(2)), max_in_flight=1)
    return 1 + max(futures.results(in_order=False))


@task
def by_completion(depth: int) -> int:
    if not depth:
        return 0
    futures = [by_completion.submit(depth - 1) for _ in range(2)]
    wait(futures)
    return 1 + max(future.result() for future in as_completed(futures))


@task
def by_subflow(depth: int) -> int:
    @flow(task_runner=runner_like_ours())
    def below() -> int:
        return by_subflow.submit(depth - 1).result()

    return 1 + below() if depth else 0


@task
def by_async_subflow(depth: int) -> int:
    @flow(task_runner=runner_like_ours())
    async def below() -> int:
        return await by_async_subflow.submit(depth - 1)

    return 1 + asyncio.run(below()) if depth else 0


@task
def by_leaving(depth: int) -> int:
    """The subflow does not wait for its task: leaving its runner does."""

    @flow(task_runner=runner_like_ours())
    def below() -> Any:
        return [by_leaving.submit(depth - 1)]

    return 1 + below()[0].result() if depth else 0


@task
def plus(number: int) -> int:
    return number + 1


@task
def by_chain(depth: int) -> int:
    if not depth:
        return 0
    first = by_chain.submit(depth - 1)
    second = plus.submit(first)
    return plus.submit(second, wait_for=[first, second]).result() - 1


@task
async def by_await(depth: int) -> int:
    return 1 + await by_await.submit(depth - 1) if depth else 0


@task
async def by_gather(depth: int) -> int:
    return 1 + max(await asyncio.gather(*(by_gather.submit(depth - 1) for _ in range(2)))) if depth else 0


@task
async def sync_in_async(depth: int) -> int:
    return 1 + sync_in_async.submit(depth - 1).result() if depth else 0


@task
def async_in_sync(depth: int) -> int:
    return 1 + one_more.submit(depth).result() if depth else 0


@task
async def one_more(depth: int) -> int:
    return await async_in_sync.submit(depth - 1)


@task
def mixed(depth: int) -> int:
    if not depth:
        return 0
    others: list[Any] = [by_chain, by_await, by_map, sync_in_async, by_subflow]
    others[depth % 5].submit(1).result()
    return 1 + max(mixed.map([depth - 1, 0]).result())


SHAPES: list[Any] = [
    by_submit,
    by_map,
    by_stream,
    by_completion,
    by_subflow,
    by_async_subflow,
    by_leaving,
    by_chain,
    by_await,
    by_gather,
    sync_in_async,
    async_in_sync,
    mixed,
]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
DEPTHS = [1, 2, 5]


def run_shape(shape: Any, depth: int, runner: TaskRunner[Any], in_loop: bool = False) -> int:
    """What a shape comes to in a sync or in an async flow."""

    @flow(task_runner=runner)
    def pipeline() -> int:
        return shape.submit(depth).result()

    @flow(task_runner=runner)
    async def apipeline() -> int:
        return await shape.submit(depth)

    return asyncio.run(apipeline()) if in_loop else pipeline()


@pytest.mark.contract("TR-13", "TR-30", "TR-32", "F-40")
@shapes
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_waiting_tasks_do_not_use_up_a_pool(shape: Any, workers: int) -> None:
    """Every shape of waiting ends, at every depth, in a pool of every size."""
    for depth in DEPTHS:
        assert run_shape(shape, depth, ThreadPoolTaskRunner(workers), in_loop=depth == 2) == depth


@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape is not by_async_subflow], ids=lambda shape: shape.name
)  # without the one that would run a loop inside of a loop
def test_waiting_tasks_in_one_thread(shape: Any) -> None:
    """The same with a runner that runs tasks where they are submitted."""
    for depth in DEPTHS:
        assert run_shape(shape, depth, InlineTaskRunner(), in_loop=depth == 2) == depth


# Circles


class Ring:
    """Futures that tasks pass to each other, and who was told of a circle."""

    def __init__(self) -> None:
        self.futures: dict[str, Any] = {}
        self.complete = threading.Event()
        self.told: list[str] = []

    def wait_for(self, name: str, how: Callable[[Any], Any] = lambda future: future.result()) -> Any:
        """Wait for a member, as soon as all members are there."""
        assert self.complete.wait(30)
        return self.note(lambda: how(self.futures[name]))

    def note(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except DeadlockError as error:
            self.told.append(str(error))
            return "told"

    def start(self, **futures: Any) -> None:
        self.futures.update(futures)
        self.complete.set()

    def tells(self, *names: str) -> None:
        """There was one victim, who was told of exactly these members."""
        (text,) = self.told
        for name in names:
            assert text.count(f"task {name!r}") >= 1, text
            assert str(self.futures[name].task_run_id) in text
            assert text.count("a run of task") == len(names) + (len(names) > 1), text
        assert "Future" not in text


WAYS: dict[str, Callable[[Any], Any]] = {
    "result": lambda future: future.result(),
    "wait": lambda future: wait([future, made(1)]),
    "as_completed": lambda future: list(as_completed([future])),
}


@pytest.mark.parametrize(
    ("members", "way", "workers"),
    [(1, "result", 1), (2, "result", 1), (2, "wait", 8), (2, "as_completed", 1), (3, "result", 8)],
)
def test_tasks_in_a_circle(members: int, way: str, workers: int) -> None:
    """One of them is told who is in it; the others go on."""
    ring = Ring()
    names = [f"member{number}" for number in range(members)]

    def follow(other: str) -> Any:
        return ring.wait_for(other, WAYS[way])

    with ThreadPoolTaskRunner(workers) as runner:
        futures = {
            name: runner.submit(task(name=name)(follow), {"other": names[(number + 1) % members]})
            for number, name in enumerate(names)
        }
        ring.start(**futures)
        wait(futures.values(), timeout=30)
        assert all(future.state.is_completed() for future in futures.values())
    ring.tells(*names)


def test_async_tasks_in_a_circle() -> None:
    """Coroutines that await each other's futures are found like threads."""
    ring = Ring()

    async def follow(other: str) -> Any:
        await asyncio.to_thread(ring.complete.wait, 30)
        try:
            return await ring.futures[other]
        except DeadlockError as error:
            ring.told.append(str(error))

    first, second = task(name="first")(follow), task(name="second")(follow)
    with ThreadPoolTaskRunner(2) as runner:
        ring.start(
            first=runner.submit(first, {"other": "second"}), second=runner.submit(second, {"other": "first"})
        )
        wait(ring.futures.values(), timeout=30)
        assert all(future.state.is_completed() for future in ring.futures.values())
    ring.tells("first", "second")


@pytest.mark.contract("F-40")
@pytest.mark.parametrize("workers", [1, None])
def test_a_task_and_a_task_of_its_subflow(workers: int | None) -> None:
    """The circle goes through two runners: the outer one's task waits in its subflow."""
    ring = Ring()

    @task
    def inner() -> Any:
        return ring.wait_for("outer")

    @flow(task_runner=ThreadPoolTaskRunner(workers))
    def below() -> Any:
        future = inner.submit()
        ring.start(inner=future)
        return ring.note(future.result)

    @task
    def outer() -> Any:
        assert outer_is_known.wait(30)
        return below()

    outer_is_known = threading.Event()
    with ThreadPoolTaskRunner(workers) as runner:
        ring.futures["outer"] = runner.submit(outer, {})
        outer_is_known.set()
        ring.futures["outer"].result(timeout=30)
    ring.tells("outer", "inner")


@pytest.mark.contract("F-55", "TR-16")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_circle_through_leaving_a_runner(is_async: bool) -> None:
    """The end of a subflow waits for its task, which waits for the task that called the subflow: the task is told."""
    ring, begun, outer_is_known = Ring(), threading.Event(), threading.Event()

    @task
    def inner() -> Any:
        begun.set()
        return ring.wait_for("outer")

    @flow
    def below() -> None:
        ring.start(inner=inner.submit())
        assert begun.wait(30)

    @flow
    async def abelow() -> None:
        ring.start(inner=inner.submit())
        await asyncio.to_thread(begun.wait, 30)

    @task(name="outer")
    def outer() -> None:
        assert outer_is_known.wait(30)
        below()

    @task(name="outer")
    async def aouter() -> None:
        await asyncio.to_thread(outer_is_known.wait, 30)
        await abelow()

    with ThreadPoolTaskRunner() as runner:
        ring.futures["outer"] = runner.submit(aouter if is_async else outer, {})
        outer_is_known.set()
        ring.futures["outer"].result(timeout=30)
    ring.tells("outer", "inner")


@pytest.mark.contract("E-46", "T-111")
@pytest.mark.parametrize("workers", [1, 4])
def test_lists_to_wait_for_that_grow_into_a_circle(workers: int) -> None:
    """Two runs that come to wait for each other after they were submitted: one fails and says why, one is not ready."""
    upstream = made()
    ring: list[list[Any]] = [[upstream], [upstream]]
    with ThreadPoolTaskRunner(workers) as runner:
        first, second = (runner.submit(plus, {"number": 1}, others) for others in ring)
        ring[0].append(second)
        ring[1].append(first)
        settle(upstream, 1)
        wait([first, second], timeout=30)
    victim, other = sorted((first.state, second.state), key=lambda state: state.name)
    assert victim.is_failed()
    assert "Waiting in a circle" in (victim.message or "")
    assert other.name == "NotReady"


def test_an_element_that_waits_for_one_that_is_not_made_yet() -> None:
    """There is room for one at a time, so the other never comes, and the one that waits for it is told."""
    ring = Ring()

    @task
    def element(number: int) -> Any:
        return ring.wait_for("second") if number == 0 else number

    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(element, {"number": [0, 1, 2]}, max_in_flight=1)
        ring.start(first=futures[0], second=futures[1])
        assert futures.result(timeout=30) == ["told", 1, 2]
    assert len(ring.told) == 1


# No alarm where there is no circle


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait looks for circles all the time."""
    monkeypatch.setattr("mainspring.futures.turns.FIRST_LOOK", 0.005)
    monkeypatch.setattr("mainspring.futures.turns.LAST_LOOK", 0.005)
    monkeypatch.setattr("mainspring.futures.turns.CONFIRMATION", 0.002)


@pytest.mark.usefixtures("quick_looks")
def test_a_wait_with_a_time_limit_is_no_part_of_a_circle() -> None:
    """It ends by itself, and with it the circle."""
    ring = Ring()

    @task
    def patient() -> Any:
        return ring.wait_for("hasty")

    @task
    def hasty() -> str:
        ring.complete.wait(30)
        with pytest.raises(TimeoutError):
            ring.futures["patient"].result(timeout=0.2)
        return "gone on"

    with ThreadPoolTaskRunner(2) as runner:
        ring.start(patient=runner.submit(patient, {}), hasty=runner.submit(hasty, {}))
        assert ring.futures["patient"].result(timeout=30) == "gone on"
    assert ring.told == []


@pytest.mark.usefixtures("quick_looks")
def test_a_future_that_somebody_else_settles() -> None:
    """Nobody can say of a future of unknown origin, or of the main thread, that it never comes."""
    foreign = made()

    @task
    def waits() -> Any:
        return foreign.result()

    with ThreadPoolTaskRunner(1) as runner:
        future = runner.submit(waits, {})
        future.wait(0.2)
        settle(foreign, 5)
        assert future.result(timeout=30) == 5


@pytest.mark.usefixtures("quick_looks")
def test_a_coroutine_beside_the_main_one() -> None:
    """That it waits in a circle is no deadlock: the task ends without it."""
    ring = Ring()

    @task
    def waits() -> Any:
        return ring.wait_for("loop")

    @task
    async def loop() -> str:
        await asyncio.to_thread(ring.complete.wait, 30)
        beside = asyncio.ensure_future(ring.futures["waits"].result_async())
        await asyncio.sleep(0.2)
        beside.cancel()
        return "left"

    with ThreadPoolTaskRunner(2) as runner:
        ring.start(loop=runner.submit(loop, {}), waits=runner.submit(waits, {}))
        assert ring.futures["waits"].result(timeout=30) == "left"
    assert ring.told == []


@pytest.mark.usefixtures("quick_looks")
def test_a_cancelled_wait_is_forgotten() -> None:
    """A coroutine that has given up waiting, while another still waits, is not taken for one that waits."""
    ring = Ring()
    slept = threading.Event()

    @task
    def waits() -> Any:
        return ring.wait_for("loop")

    @task(retries=1, retry_delay_seconds=0.05)
    async def flaky() -> None:
        if not slept.is_set():
            slept.set()
            raise ValueError("once")

    @task
    async def loop() -> str:
        await asyncio.to_thread(ring.complete.wait, 30)
        beside = asyncio.ensure_future(flaky())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await asyncio.shield(ring.futures["waits"].result_async(30))
        await beside
        await asyncio.sleep(0.2)
        return "left"

    with ThreadPoolTaskRunner(2) as runner:
        ring.start(loop=runner.submit(loop, {}), waits=runner.submit(waits, {}))
        assert ring.futures["waits"].result(timeout=30) == "left"
    assert ring.told == []
