"""Runs whose inputs are not there yet wait without a thread."""

import contextvars
import gc
import threading
import weakref
from typing import Any

import pytest

from mainspring import allow_failure, flow, task
from mainspring.clock import use_clock
from mainspring.futures import ConcurrentFuture, wait
from mainspring.states import Failed
from mainspring.task_runners import ThreadPoolTaskRunner
from tests.engine.clocks import JumpingClock
from tests.engine.history import sequence, task_runs
from tests.engine.scenarios import BoomError
from tests.runners.making import made, settle


@task
def increment(x: Any) -> Any:
    return x + 1


@task
def count(values: Any) -> int:
    return len(values)


@pytest.mark.contract("W-21", "T-45")
@pytest.mark.parametrize("place", ["an argument", "inside of one", "wait_for"])
def test_a_run_that_waits_for_its_inputs_needs_no_thread(place: str) -> None:
    """One thread is enough for others to run while many wait, and for all of them afterwards."""
    upstream = made()
    given: dict[str, Any] = {
        "an argument": ({"x": upstream}, None),
        "inside of one": ({"values": [{"k": upstream}]}, None),
        "wait_for": ({"x": 1}, [upstream]),
    }
    parameters, wait_for = given[place]
    waits = count if "values" in parameters else increment
    with ThreadPoolTaskRunner(max_workers=1) as runner:
        waiting = [runner.submit(waits, parameters, wait_for) for _ in range(20)]
        assert runner.submit(increment, {"x": 5}).result(timeout=30) == 6
        assert not any(future.is_done() for future in waiting)
        assert len(task_runs()) == 1
        settle(upstream, 1)
        assert [future.result(timeout=30) for future in waiting] == [1 if waits is count else 2] * 20


@pytest.mark.contract("W-21")
def test_a_pool_of_fixed_size_does_not_fill_with_waiting_runs() -> None:
    """Runs that wait for a run which is submitted later, by a thread of the same pool, do not keep it out."""
    first: list[Any] = [made() for _ in range(10)]

    @task
    def produce(number: int) -> None:
        settle(first[number], number)

    with ThreadPoolTaskRunner(max_workers=2) as runner:
        waiting = [runner.submit(increment, {"x": future}) for future in first]
        for number in range(10):
            runner.submit(produce, {"number": number}).wait(30)
        assert [future.result(timeout=30) for future in waiting] == list(range(1, 11))


@pytest.mark.contract("W-21")
@pytest.mark.parametrize("workers", [1, None])
def test_a_long_chain(workers: int | None) -> None:
    """A thousand runs, each with the one before as its input, add up, with and without a start held back."""
    held, free = made(), made(0)
    with ThreadPoolTaskRunner(workers) as runner:
        for first in (held, free):
            chain: list[Any] = [first]
            for _ in range(1_000):
                chain.append(runner.submit(increment, {"x": chain[-1]}))
            if first is held:
                assert not chain[1].is_done()
                settle(held, 0)
            assert chain[-1].result(timeout=60) == 1_000


@pytest.mark.contract("W-21", "T-108", "E-49")
def test_an_input_that_fails_meanwhile() -> None:
    """The run is handed over as soon as it has failed, and is NotReady like any other; or allowed to run."""
    upstream = made()

    @task
    def tell(x: Any) -> str:
        return repr(x)

    with ThreadPoolTaskRunner(max_workers=1) as runner:
        blocked = runner.submit(increment, {"x": upstream})
        after = runner.submit(increment, {"x": 1}, [blocked])
        told = runner.submit(tell, {"x": allow_failure(upstream)})
        settle(upstream, state=Failed(data=BoomError("no")))
        wait([blocked, after, told], timeout=30)
        assert [future.state.name for future in (blocked, after)] == ["NotReady", "NotReady"]
        assert told.result() == "BoomError('no')"


@pytest.mark.contract("W-21")
def test_several_inputs() -> None:
    """The last one that is missing starts the run; those that are there, or named twice, do not count."""
    first, second, third = made(), made(2), made()

    @task
    def total(values: Any) -> Any:
        return sum(values)

    with ThreadPoolTaskRunner(max_workers=1) as runner:
        future = runner.submit(total, {"values": [first, second, first, third]}, [third])
        settle(third, 3)
        assert runner.submit(increment, {"x": 0}).result(timeout=30) == 1
        assert not future.is_done()
        settle(first, 1)
        assert future.result(timeout=30) == 7


@pytest.mark.contract("W-21", "T-49", "TR-14")
def test_the_context_is_that_of_the_submission() -> None:
    """However late the run begins, and whoever settles its input, it sees what the submitter saw."""
    variable = contextvars.ContextVar("variable", default=0)
    upstream = made()

    @task
    def look(x: Any) -> int:
        return variable.get()

    @task
    async def alook(x: Any) -> int:
        return variable.get()

    with ThreadPoolTaskRunner() as runner:
        variable.set(1)
        futures = [runner.submit(each, {"x": upstream}) for each in (look, alook)]
        variable.set(2)
        settle(upstream, 0)
        assert [future.result(timeout=30) for future in futures] == [1, 1]


@pytest.mark.contract("W-21", "TR-16", "TR-17", "T-50")
@pytest.mark.parametrize("how", ["cancel_all", "leave"])
def test_what_still_waits_is_settled(how: str) -> None:
    """Whoever waits for a run that waits for its inputs is told that it will not come."""
    upstream = made()
    runner = ThreadPoolTaskRunner().__enter__()
    try:
        chain = [runner.submit(increment, {"x": upstream})]
        for _ in range(2_000):
            chain.append(runner.submit(increment, {"x": 1}, [chain[-1]]))
        if how == "cancel_all":
            runner.cancel_all()
            with pytest.raises(RuntimeError, match="takes no more runs"):
                runner.submit(increment, {"x": 1})
            with pytest.raises(RuntimeError, match="takes no more runs"):
                runner.submit(increment, {"x": upstream})
    finally:
        runner.__exit__(None, None, None)
    assert {future.state.name for future in chain} == {"Cancelled"}
    settle(upstream, 1)
    assert task_runs() == []


@pytest.mark.contract("W-2")
def test_waiting_for_inputs_does_not_poll() -> None:
    """Nobody sleeps and looks again: the end of the input is what starts the run."""
    clock = JumpingClock()
    upstream = made()
    with use_clock(clock), ThreadPoolTaskRunner() as runner:
        future = runner.submit(increment, {"x": upstream})
        assert runner.submit(increment, {"x": 1}).result(timeout=30) == 2
        settle(upstream, 1)
        assert future.result(timeout=30) == 2
    assert clock.slept == []


@pytest.mark.contract("E-46", "T-111")
@pytest.mark.parametrize("workers", [1, None])
def test_a_run_that_waits_for_itself(workers: int | None) -> None:
    """A list that grows by the run itself after the call is a deadlock that is told, whatever the pool's size."""
    upstream = made()
    waited_for: list[Any] = [upstream]
    with ThreadPoolTaskRunner(workers) as runner:
        future = runner.submit(increment, {"x": 1}, waited_for)
        waited_for.append(future)
        settle(upstream, 1)
        future.wait(30)
    assert future.state.is_failed()
    assert "deadlock" in (future.state.message or "")


def test_an_input_that_cannot_be_walked() -> None:
    """It does not break `submit`: the run meets it, and records it."""

    class Bad(list[Any]):
        def __iter__(self) -> Any:
            raise BoomError("not to be looked at")

    with ThreadPoolTaskRunner() as runner:
        future = runner.submit(increment, {"x": Bad()})
        future.wait(30)
    assert future.state.is_final()
    assert "not to be looked at" in (future.state.message or "")


def test_runs_that_are_over_are_not_kept() -> None:
    """A future that others waited for does not hold on to what they were given."""

    class Thing: ...

    upstream = made()
    thing = Thing()
    known = weakref.ref(thing)

    @task
    def use(x: Any, wanted: Any) -> None: ...

    with ThreadPoolTaskRunner() as runner:
        future: ConcurrentFuture[Any] | None = runner.submit(use, {"x": upstream, "wanted": thing})
        settle(upstream, 1)
        assert future is not None
        future.result(timeout=30)
    del thing, future
    gc.collect()
    assert known() is None


@pytest.mark.contract("T-47", "TR-13", "TR-30")
def test_nested_submits_in_breadth() -> None:
    """Tasks that submit tasks and wait for them, five levels deep, all get their turn."""

    @task
    def nest(depth: int) -> int:
        if depth == 0:
            return 1
        return sum(future.result() for future in [nest.submit(depth - 1) for _ in range(2)])

    @flow
    def pipeline() -> int:
        return nest.submit(5).result()

    assert pipeline() == 32
    assert {sequence(run) for run in task_runs()} == {"Pending Running Completed"}
    assert len(task_runs()) == 63


@pytest.mark.contract("TR-13")
def test_hundreds_of_tasks_that_block() -> None:
    """Without a limit each of them begins, although none of them ends before all have."""
    everybody = threading.Barrier(300)

    @task
    def meet(_: int) -> None:
        everybody.wait(60)

    @flow
    def pipeline() -> int:
        return len(meet.map(range(300)).result())

    assert pipeline() == 300
