"""Submitted and mapped tasks, futures, and the thread runner."""

import asyncio
import concurrent.futures
import contextvars
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from mainspring import allow_failure, flow, tags, task, unmapped
from mainspring.annotations import quote
from mainspring.context import FlowRunContext
from mainspring.exceptions import (
    CrashedRun,
    MappingLengthMismatch,
    MappingMissingIterable,
    ParameterBindError,
    UnfinishedRun,
)
from mainspring.futures import (
    ConcurrentFuture,
    Future,
    FutureList,
    as_completed,
    resolve_futures_to_states,
    wait,
)
from mainspring.states import Completed, Failed, Pending, State
from mainspring.task_runners import ConcurrentTaskRunner, TaskRunner, ThreadPoolTaskRunner
from tests.engine.history import only_flow_run, sequence, task_runs
from tests.engine.scenarios import BoomError


@task
def double(x: Any) -> Any:
    return x * 2


@task
def fail(x: Any = None) -> None:
    raise BoomError(f"no {x}")


def in_flow(body: Any) -> Any:
    """Run a function as the body of a flow and return what it returns, futures as they were."""
    results = []

    def pipeline() -> None:
        results.append(body())

    flow(pipeline)()
    return results[0]


def inputs(run: Any, name: str) -> list[UUID]:
    return [each.id for each in run.task_inputs[name]]


# submit


@pytest.mark.contract("T-42", "T-44", "TR-6")
def test_submit_returns_a_future_at_once() -> None:
    """The future knows the run's id before the run has begun, and then its value and state."""
    gate = threading.Event()

    @task
    def waits(x: int) -> int:
        gate.wait(5)
        return x

    def body() -> None:
        future = waits.submit(3)
        assert isinstance(future, ConcurrentFuture)
        assert isinstance(future.task_run_id, UUID)
        assert future.state.is_pending()
        assert not future.is_done()
        gate.set()
        assert future.result() == 3
        assert future.state.is_completed()
        assert [run.id for run in task_runs()] == [future.task_run_id]

    in_flow(body)


@pytest.mark.contract("T-43")
def test_submitting_needs_a_flow() -> None:
    """Outside of a flow there is no runner, and the error says what to do instead."""
    for method in (double.submit, double.map):
        with pytest.raises(RuntimeError, match="inside of a flow, or call the task directly"):
            method([1])
    assert task_runs() == []


@pytest.mark.contract("T-44", "T-42")
def test_submit_and_wait_for_the_state() -> None:
    """``return_state=True`` waits and gives the final state."""
    state, failed = in_flow(lambda: (double.submit(2, return_state=True), fail.submit(return_state=True)))
    assert state.result() == 4
    assert failed.is_failed()


@pytest.mark.contract("T-42")
def test_submitting_is_synchronous_for_all_kinds_of_tasks() -> None:
    """What an async task gives is a future like others, which needs no ``await``, and may be awaited."""

    @task
    async def awork(x: int = 1) -> int:
        return x

    @flow
    async def pipeline() -> tuple[int, int, list[int]]:
        future = awork.submit()
        return future.result(), await awork.submit(2), await awork.map([3, 4])

    assert asyncio.run(pipeline()) == (1, 2, [3, 4])


@pytest.mark.contract("T-46", "X-23", "TR-15", "FU-7")
@pytest.mark.parametrize("is_async", [False, True])
def test_async_tasks_on_threads(is_async: bool) -> None:
    """An async task gets an event loop of its own in its thread; results are read synchronously anywhere."""

    @task
    async def awork() -> tuple[int, int]:
        await asyncio.sleep(0)
        return threading.get_ident(), id(asyncio.get_running_loop())

    def body() -> Any:
        return [future.result() for future in [awork.submit() for _ in range(3)]]

    async def abody() -> Any:
        return body()

    results = asyncio.run(flow(abody)()) if is_async else flow(body)()
    assert all(thread != threading.get_ident() for thread, _ in results)


@pytest.mark.contract("T-45", "TR-4")
def test_submit_does_not_wait_for_upstreams() -> None:
    """Futures among the arguments are resolved by the worker, at any depth."""
    gate = threading.Event()

    @task
    def slow() -> int:
        gate.wait(5)
        return 5

    def body() -> Any:
        upstream = slow.submit()
        future = double.submit([{"x": upstream}])
        assert not upstream.is_done()
        gate.set()
        return future.result()

    assert in_flow(body) == [{"x": 5}, {"x": 5}]


@pytest.mark.contract("T-108", "E-49", "W-5", "F-17")
def test_a_failed_upstream_of_a_submitted_task() -> None:
    """The task is not run, its future says NotReady, and its result cannot be had."""

    def body() -> None:
        upstream = fail.submit()
        for future in (double.submit(upstream), double.submit(1, wait_for=[upstream])):
            future.wait()
            assert (future.state.type, future.state.name) == ("PENDING", "NotReady")
            with pytest.raises(UnfinishedRun):
                future.result()

    in_flow(body)
    assert [sequence(run) for run in task_runs("double")] == []
    assert sorted(sequence(run) for run in task_runs()) == ["Pending NotReady"] * 2 + [
        "Pending Running Failed"
    ]


@pytest.mark.contract("V-25", "T-109")
def test_allow_failure_admits_what_never_ran() -> None:
    """A clean-up may wait for runs that failed and for those that could not begin because of them."""

    @task
    def clean_up(x: Any) -> str:
        return "cleaned"

    def body() -> Any:
        blocked = double.submit(fail.submit())
        return clean_up.submit(allow_failure(blocked)).result(), clean_up.submit(
            1, wait_for=[allow_failure([blocked])]
        ).result()

    assert in_flow(body) == ("cleaned", "cleaned")


@pytest.mark.contract("E-42", "E-41")
def test_allow_failure_does_not_admit_a_crash() -> None:
    """Only failures are passed on; a crashed upstream still blocks."""

    @task
    def crash() -> None:
        raise SystemExit

    def body() -> None:
        upstream = crash.submit()
        future = double.submit(allow_failure(upstream))
        future.wait()
        assert future.state.name == "NotReady"

    in_flow(body)


@pytest.mark.contract("T-47", "TR-13", "TR-30")
def test_nested_submits_do_not_deadlock() -> None:
    """Tasks that wait for tasks they submitted, 33 deep, all get a thread."""

    @task
    def nest(depth: int) -> int:
        return 0 if depth == 0 else 1 + nest.submit(depth - 1).result()

    assert in_flow(lambda: nest.submit(33).result()) == 33


@pytest.mark.contract("T-48", "F-22")
def test_an_ignored_failure_does_not_fail_the_flow() -> None:
    """A failed task whose future the flow does not look at leaves the flow alone."""
    in_flow(lambda: fail.submit().wait())
    assert only_flow_run().state.is_completed()


@pytest.mark.contract("T-49", "TR-14", "TR-28")
def test_the_context_of_the_submission_holds_in_the_thread() -> None:
    """Context variables, tags and settings at the submission are those of the task."""
    variable = contextvars.ContextVar("variable", default=0)

    @task
    def look() -> int:
        return variable.get()

    @task
    async def alook() -> int:
        return variable.get()

    def body() -> Any:
        variable.set(1)
        with tags("t"):
            futures = [
                look.submit(),
                alook.submit(),
                *[each.submit() for each in (look, alook)],
            ]
        variable.set(2)
        return [future.result() for future in futures]

    assert in_flow(body) == [1] * 4
    assert all(set(run.tags) == {"t"} for run in task_runs())


@pytest.mark.contract("T-111", "E-46")
def test_a_list_to_wait_for_that_grows() -> None:
    """A run that finds itself in the list it waits for fails instead of hanging."""
    gate = threading.Event()

    @task
    def work(x: int) -> int:
        return x

    @task
    def opener() -> None:
        gate.wait(5)

    def body() -> Any:
        futures: list[Any] = [opener.submit()]
        for x in range(3):
            futures.append(work.submit(x, wait_for=futures))
        gate.set()
        wait(futures)
        return [future.state for future in futures[1:]]

    states = in_flow(body)
    failed = [state for state in states if state.is_failed()]
    assert failed
    assert all("deadlock" in (state.message or "") for state in failed)


@pytest.mark.contract("G-16")
def test_a_submitted_generator_task() -> None:
    """Its values are collected in a list."""

    @task
    def steps(n: int) -> Iterator[int]:
        yield from range(n)

    @task
    async def asteps(n: int) -> AsyncIterator[int]:
        for each in range(n):
            yield each

    @task
    def broken() -> Iterator[int]:
        yield 1
        raise BoomError

    def body() -> None:
        assert steps.submit(3).result() == [0, 1, 2]
        assert asteps.submit(2).result() == [0, 1]
        with pytest.raises(BoomError):
            broken.submit().result()

    in_flow(body)


def test_a_task_that_crashes_in_a_thread() -> None:
    """The future raises what ended the run, and the state says that it crashed."""

    @task
    def crash() -> None:
        raise SystemExit(3)

    def body() -> None:
        future = crash.submit()
        future.wait()
        assert future.state.is_crashed()
        with pytest.raises(SystemExit):
            future.result()
        assert isinstance(future.result(raise_on_failure=False), CrashedRun)

    in_flow(body)
    assert sequence() == "Pending Running Crashed"


# map


@pytest.mark.contract("T-51", "T-53", "TR-7", "TR-9", "TR-12")
def test_map() -> None:
    """Lists, tuples, iterators and generators are split; text and other values are repeated."""

    @task
    def work(a: Any, b: Any, c: Any, d: Any) -> Any:
        return a, b, c, d

    def body() -> Any:
        futures = work.map([1, 2], b=(x for x in "xy"), c="text", d=iter((True, False)))
        assert isinstance(futures, FutureList)
        return futures.result()

    assert in_flow(body) == [(1, "x", "text", True), (2, "y", "text", False)]


@pytest.mark.contract("T-51", "T-61")
def test_map_and_wait_for_the_states() -> None:
    """``return_state=True`` gives the final states in order."""

    @task
    def maybe(x: int) -> int:
        if x == 1:
            raise BoomError
        return x

    states = in_flow(lambda: maybe.map([0, 1, 2], return_state=True))
    assert [state.name for state in states] == ["Completed", "Failed", "Completed"]


@pytest.mark.contract("T-52", "TR-10")
def test_nothing_to_map_over() -> None:
    """Without any iterable, or with iterables of different lengths, nothing is started."""

    def body() -> None:
        with pytest.raises(MappingMissingIterable, match="No iterable parameters"):
            double.map(5)
        with pytest.raises(MappingLengthMismatch, match=r"'a': 2.*'b': 3"):
            task(lambda a, b: None).map([1, 2], [1, 2, 3])
        with pytest.raises(ParameterBindError, match="too many positional"):
            double.map([1], [2])

    in_flow(body)
    assert task_runs() == []


@pytest.mark.contract("T-51")
def test_mapping_over_nothing_gives_nothing() -> None:
    """An empty iterable makes no runs."""
    assert in_flow(lambda: double.map([]).result()) == []


@pytest.mark.contract("T-54", "U-11")
def test_unmapped_values_are_passed_whole() -> None:
    """Every child gets the same object, whatever its type."""
    whole = [1, 2, 3]

    @task
    def work(x: int, y: Any) -> bool:
        return y is whole

    assert in_flow(lambda: work.map([1, 2], unmapped(whole)).result()) == [True, True]


@pytest.mark.contract("T-55", "TR-11")
def test_defaults_are_not_mapped_over() -> None:
    """An iterable default belongs to every child."""

    @task
    def work(x: int, y: Any = (1, 2, 3)) -> Any:
        return y

    assert in_flow(lambda: work.map([1, 2]).result()) == [(1, 2, 3)] * 2


@pytest.mark.contract("T-56", "TR-11")
def test_keyword_arguments_are_mapped_one_by_one() -> None:
    """Arguments for ``**kwargs`` are split and collected again for each child."""

    @task
    def work(x: int, **kwargs: Any) -> Any:
        return x, kwargs

    results = in_flow(lambda: work.map([1, 2], a=["x", "y"], b=unmapped([0])).result())
    assert results == [(1, {"a": "x", "b": [0]}), (2, {"a": "y", "b": [0]})]


@pytest.mark.contract("T-57", "T-53", "TR-8", "TR-29")
def test_mapping_over_futures_and_annotations() -> None:
    """Futures and states of iterables are split; quote and allow_failure are put around each element."""

    @task
    def numbers() -> list[int]:
        return [1, 2]

    @task
    def work(x: Any, y: Any) -> Any:
        return x, y

    def body() -> Any:
        future = numbers.submit()
        return (
            work.map(future, future).result(),
            work.map(Completed(data=[3, 4]), quote([5, 6])).result(),
            work.map(allow_failure(future), 0).result(),
        )

    assert in_flow(body) == ([(1, 1), (2, 2)], [(3, 5), (4, 6)], [(1, 0), (2, 0)])


@pytest.mark.contract("T-59", "T-58")
def test_mapping_over_the_futures_of_a_map() -> None:
    """Each child waits for its own upstream; allow_failure lets the children of failed ones run."""

    @task
    def maybe(x: int) -> int:
        if x == 1:
            raise BoomError("no")
        return x

    @task
    def show(x: Any) -> str:
        return repr(x)

    def body() -> Any:
        futures = maybe.map([0, 1])
        plain = show.map(futures)
        plain.wait()
        return [future.state.name for future in plain], show.map(allow_failure(futures)).result()

    assert in_flow(body) == (["Completed", "NotReady"], ["0", "BoomError('no')"])


@pytest.mark.contract("T-58", "TR-11")
def test_upstreams_of_mapped_children_are_recorded() -> None:
    """An upstream found before splitting is an input of every child, a nested one of the child that gets it."""

    @task
    def numbers() -> list[int]:
        return [1, 2]

    @task
    def work(x: Any, y: Any) -> None: ...

    ids = []

    def body() -> None:
        whole, nested = numbers.submit(), double.submit(1)
        ids.extend([whole.task_run_id, nested.task_run_id])
        work.map(whole, [[nested], 5]).wait()

    in_flow(body)
    runs = [run for run in task_runs() if run.task_key == work.task_key]
    assert [inputs(run, "x") for run in runs] == [[ids[0]]] * 2
    assert sorted(inputs(run, "y") for run in runs) == [[], [ids[1]]]


@pytest.mark.contract("T-36")
def test_mapping_a_method() -> None:
    """A bound task is mapped with its instance in every child."""

    class Base:
        def __init__(self, base: int) -> None:
            self.base = base

        @task
        def add(self, x: int) -> int:
            return self.base + x

    assert in_flow(lambda: Base(10).add.map([1, 2]).result()) == [11, 12]


def test_wait_for_of_a_map() -> None:
    """Every child waits for it."""

    def body() -> Any:
        futures = double.map([1, 2], wait_for=[fail.submit()])
        futures.wait()
        return [future.state.name for future in futures]

    assert in_flow(body) == ["NotReady"] * 2


# Futures


@pytest.mark.contract("T-102", "T-103", "FU-3", "FU-4", "FU-5", "FU-6", "FU-23")
def test_a_future() -> None:
    """Waiting gives up in silence, reading does not; a failure is raised, or returned on request."""
    gate = threading.Event()

    @task
    def waits() -> None:
        gate.wait(5)
        raise BoomError("no")

    def body() -> None:
        future = waits.submit()
        assert future.wait(timeout=0.001) is None
        assert future.state.is_pending()
        with pytest.raises(TimeoutError, match=rf"{future.task_run_id}.*0\.001 second"):
            future.result(timeout=0.001)
        gate.set()
        assert future.wait() is None
        with pytest.raises(BoomError):
            future.result()
        assert isinstance(future.result(raise_on_failure=False), BoomError)
        assert future.state.is_failed()

    in_flow(body)


@pytest.mark.contract("FU-8", "FU-2")
def test_done_callbacks() -> None:
    """A callback gets our future when the run is over, at once if it is."""
    called = []
    gate = threading.Event()

    @task
    def waits() -> int:
        gate.wait(5)
        return 1

    def body() -> None:
        future: Future[int] = waits.submit()
        future.add_done_callback(called.append)
        assert called == []
        gate.set()
        future.wait()
        future.add_done_callback(called.append)
        wait([future])
        assert called == [future, future]

    in_flow(body)


@pytest.mark.contract("FU-27")
def test_a_callback_that_raises() -> None:
    """It neither disturbs the run nor hides it from others who wait for it."""
    called = []

    def bad(_: object) -> None:
        raise BoomError

    def body() -> Any:
        future = double.submit(1)
        future.add_done_callback(bad)
        future.add_done_callback(called.append)
        wait([future])
        return future.result()

    assert in_flow(body) == 2
    assert len(called) == 1


def made(value: Any = None, state: State | None = None) -> ConcurrentFuture[Any]:
    """A future by hand; done if a state or value is given."""
    wrapped: concurrent.futures.Future[State] = concurrent.futures.Future()
    if state is not None or value is not None:
        wrapped.set_result(state or Completed(data=value))
    return ConcurrentFuture(bytes(16), wrapped)


@pytest.mark.contract("FU-8", "FU-9")
def test_a_future_around_another() -> None:
    """It comes to what the wrapped future's state says; a raw exception in it is raised."""
    assert made(5).result() == 5
    assert made(state=Failed(data=BoomError())).result(raise_on_failure=False).__class__ is BoomError
    future = made()
    assert future.wrapped_future is not None
    future.wrapped_future.set_exception(BoomError("raw"))
    with pytest.raises(BoomError, match="raw"):
        future.result()
    assert future.state.is_crashed()


@pytest.mark.contract("T-105", "FU-18", "FU-21", "FU-25")
def test_waiting_for_many() -> None:
    """Done and not done futures are told apart, each once, and running out of time is no error."""
    done = [made(number) for number in range(1, 6)]
    hanging = made()
    found = wait([hanging, *done, done[0]], timeout=0.01)
    assert found.done == set(done)
    assert found.not_done == {hanging}
    assert wait([]) == (set(), set())
    assert wait(done).not_done == set()


@pytest.mark.contract("T-105", "FU-19", "FU-22")
def test_as_completed() -> None:
    """Each future comes once, in the order of completion; what is missing in time is counted."""
    first, second, third = (made() for _ in range(3))
    order = as_completed([third, second, first, first], timeout=5)
    for future, value in ((second, 2), (first, 1), (third, 3)):
        threading.Timer(0.001, future.wrapped_future.set_result, [Completed(data=value)]).start()
        assert next(order) is future
    with pytest.raises(StopIteration):
        next(order)
    hanging = [made(), made(), made(1)]
    with pytest.raises(TimeoutError, match=r"2 \(of 3\) futures unfinished"):
        list(as_completed(hanging, timeout=0.01))


@pytest.mark.contract("T-61", "FU-16")
def test_a_list_of_futures() -> None:
    """Values come in order; time running out is an error that counts what is missing, waiting is not."""
    futures = FutureList([made(1), made(2)])
    futures.wait()
    assert futures.result() == [1, 2]
    hanging: FutureList[Any] = FutureList([made(1), made()])
    hanging.wait(timeout=0.001)
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        hanging.result(timeout=0.001)
    failed: FutureList[Any] = FutureList([made(1), made(state=Failed(data=BoomError()))])
    with pytest.raises(BoomError):
        failed.result()
    assert [type(each) for each in failed.result(raise_on_failure=False)] == [int, BoomError]


@pytest.mark.contract("FU-17")
def test_a_timeout_inside_a_task_is_passed_on() -> None:
    """It is not mistaken for the list's own."""
    futures: FutureList[Any] = FutureList([made(state=Failed(data=TimeoutError("mine")))])
    with pytest.raises(TimeoutError, match="mine"):
        futures.result(timeout=5)


@dataclass
class Box:
    content: Any


@pytest.mark.contract("T-106", "FU-20", "FU-24")
@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: [x],
        lambda x: (1, x),
        lambda x: {x},
        lambda x: {"k": [x]},
        lambda x: {x: 1},
        lambda x: OrderedDict(k=x),
        lambda x: Box({"deep": (x,)}),
    ],
)
def test_futures_resolved_to_states(wrap: Any) -> None:
    """Futures at any depth become their final states."""
    state = Completed(data=1)
    assert resolve_futures_to_states(wrap(made(state=state))) == wrap(state)


@pytest.mark.contract("FU-20")
def test_nothing_to_resolve() -> None:
    """What holds no futures, or quotes them, comes back as the same object."""
    for value in ([1, {"x": (2,)}], quote([made(1)])):
        assert resolve_futures_to_states(value) is value


def test_waiting_in_an_event_loop_does_not_block_it() -> None:
    """`wait_async` suspends the asyncio task alone, and gives up in time."""
    future = made()

    async def main() -> None:
        await future.wait_async(timeout=0.001)
        assert not future.is_done()
        asyncio.get_running_loop().call_later(0.001, future.wrapped_future.set_result, Completed(data=1))
        await future.wait_async()
        assert future.is_done()

    asyncio.run(main())


# Runners


@pytest.mark.contract("T-107", "TR-1", "TR-2", "TR-3")
def test_a_runner_is_started_once_at_a_time() -> None:
    """It is a block, refuses what comes before, and can be used again afterwards."""
    runner = ThreadPoolTaskRunner()
    assert ConcurrentTaskRunner is ThreadPoolTaskRunner
    assert (runner.name, runner.logger.name) == ("threadpool", "mainspring.task_runner.threadpool")
    for use in (lambda: runner.submit(double, {"x": 1}), lambda: runner.map(double, {"x": [1]})):
        with pytest.raises(RuntimeError, match="not started"):
            use()
    for _ in range(2):
        with runner:
            with pytest.raises(RuntimeError, match="already started"):
                runner.__enter__()
            assert runner.submit(double, {"x": 2}).result() == 4
            assert runner.map(double, {"x": [1, 2]}).result() == [2, 4]
    with pytest.raises(RuntimeError, match="not started"):
        runner.submit(double, {"x": 1})


@pytest.mark.contract("T-107", "TR-5", "TR-31")
def test_duplicates_of_a_runner() -> None:
    """A duplicate is equal, of the same type, and not started."""

    class Mine(ThreadPoolTaskRunner):
        pass

    for runner in (ThreadPoolTaskRunner(), ThreadPoolTaskRunner(max_workers=2), Mine(3)):
        with runner:
            copy = runner.duplicate()
            assert copy == runner
            assert type(copy) is type(runner)
            with pytest.raises(RuntimeError, match="not started"):
                copy.submit(double, {"x": 1})
    assert ThreadPoolTaskRunner(2) != ThreadPoolTaskRunner(3)
    assert ThreadPoolTaskRunner() != "a runner"
    with ThreadPoolTaskRunner(max_workers=2) as limited:
        limited.submit(double, {"x": 1}).wait()
        assert limited._pool is not None
        assert limited._pool.limit == 2


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_needs_workers(workers: int) -> None:
    """A pool without threads could run nothing."""
    with pytest.raises(ValueError, match="`max_workers` must be at least 1"):
        ThreadPoolTaskRunner(max_workers=workers)


@pytest.mark.contract("T-50", "TR-16", "F-55", "X-11")
def test_leaving_a_flow_with_unfinished_tasks() -> None:
    """What runs is waited for; what has not begun is cancelled and has no run."""
    gate = threading.Event()
    running = threading.Event()

    @task
    def waits() -> str:
        running.set()
        gate.wait(5)
        return "done"

    futures: list[Any] = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def pipeline() -> None:
        futures.extend(waits.submit() for _ in range(3))
        running.wait(5)
        threading.Timer(0.01, gate.set).start()

    pipeline()
    assert [future.state.name for future in futures] == ["Completed", "Cancelled", "Cancelled"]
    assert [run.state.name for run in task_runs()] == ["Completed"]


@pytest.mark.contract("TR-17")
def test_cancelling_all() -> None:
    """On demand, what has not begun its function is cancelled; what runs goes on."""
    gate, running = threading.Event(), threading.Event()

    @task
    def waits() -> str:
        running.set()
        gate.wait(5)
        return "done"

    with ThreadPoolTaskRunner(max_workers=1) as runner:
        first, second = runner.submit(waits, {}), runner.submit(waits, {})
        running.wait(5)
        runner.cancel_all()
        gate.set()
        assert first.result() == "done"
        second.wait()
        assert second.state.is_cancelled()


@pytest.mark.contract("T-50", "W-21", "TR-16")
def test_a_task_whose_inputs_are_missing_when_the_flow_ends_is_cancelled() -> None:
    """It has not begun, so it has no run, and neither have those that wait for it in turn."""
    gate, running = threading.Event(), threading.Event()

    @task
    def slow() -> None:
        running.set()
        gate.wait(5)

    def body() -> Any:
        futures = [double.submit(slow.submit())]
        for _ in range(1000):
            futures.append(double.submit(futures[-1]))
        running.wait(5)
        threading.Timer(0.01, gate.set).start()
        return futures

    assert {future.state.name for future in in_flow(body)} == {"Cancelled"}
    assert [run.name.rpartition("-")[0] for run in task_runs()] == ["slow"]


@pytest.mark.contract("T-50", "TR-16", "X-11")
def test_a_task_that_has_not_called_its_function_when_the_flow_ends_is_cancelled() -> None:
    """A run that has begun, but not its function, crashes as cancelled."""
    gate, running = threading.Event(), threading.Event()
    called = []

    def hold(*_: object) -> None:
        running.set()
        gate.wait(5)

    @task(on_running=[hold])
    def late() -> None:
        called.append(1)

    def body() -> Any:
        future = late.submit()
        running.wait(5)
        threading.Timer(0.01, gate.set).start()
        return future

    future = in_flow(body)
    assert called == []
    assert future.state.message == "Execution was cancelled by the runtime environment."


@pytest.mark.contract("F-9")
def test_the_runner_of_a_flow() -> None:
    """A flow takes a runner or a class of one, threads by default, and uses a started copy of it."""
    mine = ThreadPoolTaskRunner(max_workers=3)
    seen: list[Any] = []

    def look() -> None:
        context = FlowRunContext.get()
        assert context is not None
        seen.append(context.task_runner)

    for given in (None, ThreadPoolTaskRunner, mine):
        flow(task_runner=given)(look)()
    assert [each.max_workers == 3 for each in seen] == [False, False, True]
    assert seen[2] is not mine
    with pytest.raises(TypeError, match="Expected a task runner"):
        flow(task_runner=5)(look)  # type: ignore[call-overload]


def test_a_runner_of_ones_own() -> None:
    """Any runner that fulfils the interface can be given to a flow."""

    class Inline(TaskRunner[Any]):
        def duplicate(self) -> "Inline":
            return Inline()

        def submit(self, task: Any, parameters: Any, wait_for: Any = None, dependencies: Any = None) -> Any:
            self._require_started()
            return made(task.fn(**parameters))

    @flow(task_runner=Inline())
    def pipeline() -> Any:
        return double.submit(2).result(), double.map([1, 2]).result()

    assert pipeline() == (4, [2, 4])
    assert Inline().name == "inline"


@pytest.mark.contract("T-44")
def test_many_tasks_at_once() -> None:
    """Two hundred mapped tasks on eight threads give their values in order, and each has its history."""

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=8))
    def pipeline() -> list[int]:
        return double.map(range(200)).result()

    assert pipeline() == [x * 2 for x in range(200)]
    runs = task_runs()
    assert len(runs) == 200
    assert {run.state.name for run in runs} == {"Completed"}


def test_pending_is_what_an_unfinished_future_shows() -> None:
    """A future that is not done has no other state."""
    assert made().state.type == Pending().type
