"""Maps: how much is taken from iterators and when, what happens when they fail, and who may use the list."""

import asyncio
import gc
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mainspring import allow_failure, flow, resume_flow_run, tags, task, unmapped
from mainspring.annotations import quote
from mainspring.cache_policies import NO_CACHE
from mainspring.exceptions import MappingLengthMismatch
from mainspring.futures import FutureList, as_completed, wait
from mainspring.runtime import task_run
from mainspring.settings import temporary_settings
from mainspring.task_runners import InlineTaskRunner, ThreadPoolTaskRunner
from tests.engine.history import only_flow_run, task_runs
from tests.engine.scenarios import BoomError
from tests.runners.making import eventually, made


@task
def same(x: Any) -> Any:
    return x


def drained(values: Any, error: type[Exception]) -> list[Any]:
    """What an iterator gives before it raises an error."""
    seen = []
    stream = iter(values)
    while True:
        try:
            seen.append(next(stream))
        except error:
            return seen


class Counted(Iterator[int]):
    """Whole numbers that count how many were taken."""

    def __init__(self, length: float = float("inf")) -> None:
        self.length = length
        self.taken = 0

    def __next__(self) -> int:
        if self.taken >= self.length:
            raise StopIteration
        self.taken += 1
        return self.taken - 1


def failing(after: int) -> Iterator[int]:
    yield from range(after)
    raise BoomError("no more")


@pytest.mark.contract("TR-12", "TR-36")
def test_no_more_is_taken_than_there_is_room_for() -> None:
    """At each point exactly as many elements were taken as runs may be under way, beyond those that are over."""
    gates = [threading.Event() for _ in range(20)]
    numbers = Counted()

    @task
    def wait_for_gate(x: int) -> int:
        assert gates[x].wait(30)
        return x

    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(wait_for_gate, {"x": numbers}, max_in_flight=3)
        assert numbers.taken == 3
        futures.wait(timeout=0)
        assert numbers.taken == 3
        gates[1].set()
        list.__getitem__(futures, 1).wait(30)
        assert numbers.taken == 3, "nobody has asked for more"
        assert futures[3].is_done() is False
        assert numbers.taken == 4
        for gate in gates:
            gate.set()
        assert futures[9].result(timeout=30) == 9
        assert numbers.taken == 10
        assert futures.is_open


def test_streams_take_as_much_as_may_be_under_way() -> None:
    """A result that nobody has asked for counts as under way, so the iterator is never further ahead than the limit."""
    for in_order in (True, False):
        numbers = Counted()
        with ThreadPoolTaskRunner() as runner:
            results = runner.map(same, {"x": numbers}, max_in_flight=4).results(in_order=in_order)
            assert numbers.taken == 4
            seen = []
            for count in range(1, 30):
                seen.append(next(results))
                assert numbers.taken == count + 3
            assert seen == sorted(seen) or not in_order
            assert sorted(seen)[:20] == list(range(20))
            results.close()
            assert list(results) == []


@pytest.mark.contract("FU-19", "TR-12")
def test_completion_takes_as_much_as_may_be_under_way() -> None:
    """The same for `as_completed`, where those that are done and were not looked at count, too."""
    numbers = Counted(10)
    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(same, {"x": numbers}, max_in_flight=4)
        seen = []
        for count, future in enumerate(as_completed(futures), 1):
            assert numbers.taken == min(count + 3, 10)
            seen.append(future.result())
    assert sorted(seen) == list(range(10))


@pytest.mark.contract("FU-19", "TR-12")
def test_completion_counts_what_is_done_already() -> None:
    """Runs that were done before somebody asked for them leave no room for more."""
    numbers = Counted(10)
    with InlineTaskRunner() as runner:
        for count, _ in enumerate(as_completed(runner.map(same, {"x": numbers}, max_in_flight=4)), 1):
            assert numbers.taken == min(count + 3, 10)


@pytest.mark.parametrize("in_order", [True, False])
def test_leaving_a_stream_early(in_order: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What has not begun is cancelled without a word, the iterator is closed, and the runner is free for others."""
    closed: list[int] = []
    gate = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.append(1)

    @task
    def first_is_quick(x: int) -> int:
        if x:
            gate.wait(30)
        return x

    with ThreadPoolTaskRunner(1) as runner:
        for value in runner.map(first_is_quick, {"x": numbers()}, max_in_flight=50).results(
            in_order=in_order
        ):
            assert value == 0
            break
        assert closed == [1]
        gate.set()
        assert runner.submit(same, {"x": "other"}).result(timeout=30) == "other"
    assert len(task_runs()) <= 4  # one that had begun, maybe two
    gc.collect()
    assert "garbage collected" not in caplog.text


def test_a_failure_ends_a_stream() -> None:
    """It is raised where its result would come, and what has not begun is cancelled; or it is handed out."""

    @task
    def odd(x: int) -> int:
        if x == 3:
            raise BoomError("three")
        return x

    with ThreadPoolTaskRunner() as runner:
        results = runner.map(odd, {"x": Counted()}, max_in_flight=2).results()
        assert drained(results, BoomError) == [0, 1, 2]
        assert list(results) == []
        told = list(runner.map(odd, {"x": Counted(5)}).results(raise_on_failure=False))
    assert [type(each) for each in told] == [int, int, int, BoomError, int]


@pytest.mark.contract("TR-10", "TR-12")
def test_lengths_that_differ_with_iterators() -> None:
    """It is told where the shorter one ends; what was started before goes on."""
    with ThreadPoolTaskRunner() as runner:
        double = task(lambda x, y: x * y)
        futures = runner.map(double, {"x": Counted(), "y": [1, 2, 3]}, max_in_flight=2)
        with pytest.raises(MappingLengthMismatch, match=r"'y': 3.*'x': 'more than 3'") as caught:
            futures.result(timeout=30)
        assert "after 3 element(s)" in caught.value.__notes__[0]
        for future in list.__iter__(futures):
            future.wait(30)
        with pytest.raises(MappingLengthMismatch):
            runner.map(double, {"x": [1, 2], "y": [1, 2, 3]})
    assert len(task_runs()) == 3
    assert all(run.state.is_completed() for run in task_runs())


@pytest.mark.contract("TR-9")
@pytest.mark.parametrize("around", [quote, allow_failure])
def test_annotations_around_iterators(around: Any) -> None:
    """Each element gets the annotation of the iterator; a whole one is handed on as it is."""
    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(same, {"x": around(Counted(3))})
        assert futures.result(timeout=30) == [0, 1, 2]
        numbers = Counted(3)
        pairs = runner.map(task(lambda x, whole: (x, whole)), {"x": [1, 2], "whole": unmapped(numbers)})
        assert pairs.result(timeout=30) == [(1, numbers), (2, numbers)]
        assert numbers.taken == 0


@pytest.mark.contract("TR-11")
def test_variadic_iterators() -> None:
    """Those among ``**kwargs`` are split one by one, beside lists."""

    @task
    def collect(x: Any, factor: int = 10, **rest: Any) -> Any:
        return x * factor, rest

    @flow
    def pipeline() -> Any:
        return collect.map(range(2), a=Counted(2), b=unmapped([7])).result()

    assert pipeline() == [(0, {"a": 0, "b": [7]}), (10, {"a": 1, "b": [7]})]


@pytest.mark.contract("TR-8", "TR-12")
def test_a_map_over_the_open_list_of_another() -> None:
    """Each is as lazy as the other, on a pool of one, with room for one."""
    numbers = Counted()
    with ThreadPoolTaskRunner(1) as runner:
        first = runner.map(same, {"x": numbers}, max_in_flight=1)
        second = runner.map(same, {"x": first}, max_in_flight=1)
        assert numbers.taken == 1
        results = second.results()
        assert [next(results) for _ in range(5)] == list(range(5))
        assert numbers.taken <= 6
        results.close()


@pytest.mark.parametrize("place", ["argument", "wait_for", "element"])
def test_an_open_list_as_a_whole(place: str) -> None:
    """Whoever gets it whole gets all of it: it is filled where the call is made, on a pool of one too."""
    count = task(lambda x, values: len(values))
    with ThreadPoolTaskRunner(1) as runner:
        futures = runner.map(same, {"x": Counted(20)}, max_in_flight=2)
        if place == "argument":
            mapped = runner.map(count, {"x": [1, 2], "values": unmapped(futures)})
        elif place == "element":
            mapped = runner.map(count, {"x": [1, 2], "values": [futures, futures]})
        else:
            mapped = runner.map(count, {"x": [1, 2], "values": unmapped(range(20))}, wait_for=futures)
        assert mapped.result(timeout=30) == [20, 20]
        submitted = runner.map(same, {"x": Counted(20)}, max_in_flight=2)
        assert runner.submit(count, {"x": 1, "values": submitted}).result(timeout=30) == 20


def test_a_parameter_called_max_in_flight() -> None:
    """It belongs to the function; the limit then comes from the runner or the setting."""

    @task
    def own(x: int, max_in_flight: int) -> int:
        return x * max_in_flight

    numbers = Counted()

    @flow
    def pipeline() -> Any:
        futures = own.map(numbers, max_in_flight=unmapped(2))
        assert numbers.taken == 5
        return futures[7].result()

    with temporary_settings({"tasks.runner.max_in_flight": 5}):
        assert pipeline() == 14


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", True])
def test_limits_that_cannot_work(bad: Any) -> None:
    """They are refused before an element is taken."""
    numbers = Counted()
    with ThreadPoolTaskRunner() as runner, pytest.raises(ValueError, match="max_in_flight"):
        runner.map(same, {"x": numbers}, max_in_flight=bad)
    assert numbers.taken == 0


@pytest.mark.contract("TR-7")
@pytest.mark.parametrize("open_list", [True, False])
def test_runs_to_wait_for_as_an_iterator(open_list: bool) -> None:
    """An iterator of futures is read once, and every element waits for all of them."""
    gate, order = threading.Event(), []

    @task
    def first(x: int) -> None:
        gate.wait(30)
        order.append(0)

    @task
    def then(x: int) -> None:
        order.append(1)

    with ThreadPoolTaskRunner() as runner:
        before = [runner.submit(first, {"x": number}) for number in range(3)]
        elements: Any = Counted(4) if open_list else range(4)
        futures = runner.map(then, {"x": elements}, wait_for=iter(before))
        single = runner.submit(then, {"x": 1}, wait_for=iter(before))
        gate.set()
        wait([*futures, single], timeout=30)
    assert order == [0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("after", [0, 4])
def test_an_iterator_that_raises(after: int) -> None:
    """Who asks for more is told, each time; what was started ends, and can be had."""
    with ThreadPoolTaskRunner() as runner:
        if not after:
            with pytest.raises(BoomError) as caught:
                runner.map(same, {"x": failing(after)}, max_in_flight=2)
        else:
            futures = runner.map(same, {"x": failing(after)}, max_in_flight=2)
            assert [future.result(30) for future in drained(futures, BoomError)] == list(range(after))
            with pytest.raises(BoomError) as caught:
                futures.result()
            assert not futures.is_open
            for more in (
                futures.result,
                futures.wait,
                lambda: len(futures),
                lambda: futures[9],
                lambda: [*futures],
            ):
                with pytest.raises(BoomError):
                    more()
            with pytest.raises(BoomError):
                asyncio.run(futures.result_async())
            assert futures[after - 1].result() == after - 1
    assert caught.value.__notes__ == [f"This ended a map after {after} element(s), whose runs go on."]
    assert len(task_runs()) == after
    assert all(run.state.is_completed() for run in task_runs())


def test_an_iterator_that_raises_is_no_shorter_list() -> None:
    """A run that gets the open list whole fails, instead of working with a part of it."""
    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(same, {"x": failing(4)}, max_in_flight=2)
        future = runner.submit(task(lambda values: sum(values)), {"values": futures})
        future.wait(30)
    assert not future.state.is_completed()
    assert "no more" in (future.state.message or "")


@pytest.mark.parametrize("in_order", [True, False])
def test_a_stream_over_an_iterator_that_raises(in_order: bool) -> None:
    """The error comes out of the loop, sync and async, and then there is nothing more."""

    async def read(results: Any) -> None:
        async for _ in results:
            pass

    with ThreadPoolTaskRunner() as runner:
        results = runner.map(same, {"x": failing(4)}, max_in_flight=2).results(in_order=in_order)
        with pytest.raises(BoomError):
            list(results)
        assert list(results) == []
        again = runner.map(same, {"x": failing(4)}, max_in_flight=2).results(in_order=in_order)
        with pytest.raises(BoomError):
            asyncio.run(read(again))
        completed = as_completed(runner.map(same, {"x": failing(4)}, max_in_flight=2))
        seen = [*drained(completed, BoomError), *completed]
        assert sorted(future.result(30) for future in seen) == [0, 1, 2, 3]


def test_an_iterator_that_was_closed() -> None:
    """A generator that somebody else has closed is an empty rest, as for every other loop."""
    numbers = (number for number in range(10))
    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(same, {"x": numbers}, max_in_flight=2)
        numbers.close()
        assert futures.result(timeout=30) == [0, 1]


def test_an_iterator_that_asks_for_more_of_its_own_map() -> None:
    """That would wait for itself, so it is an error; the futures that are there may be used."""
    with ThreadPoolTaskRunner() as runner:
        lists: list[Any] = []

        def numbers() -> Iterator[int]:
            yield 1
            yield 2
            yield lists[0][0].result() + 10
            len(lists[0])

        lists.append(runner.map(same, {"x": numbers()}, max_in_flight=1))
        with pytest.raises(RuntimeError, match="would wait for"):
            lists[0].wait(30)
        assert [future.result(30) for future in list.__iter__(lists[0])] == [1, 2, 11]


@pytest.mark.contract("TR-7")
def test_nothing_to_map_over_from_an_iterator() -> None:
    """An empty iterator gives an empty list, by all ways to look at it."""
    with ThreadPoolTaskRunner() as runner:
        for look in (
            len,
            list,
            FutureList.result,
            lambda futures: list(futures.results()),
            lambda f: list(as_completed(f)),
        ):
            assert not look(runner.map(same, {"x": iter(())}))
        assert not runner.map(same, {"x": iter(())})
        assert not runner.map(same, {"x": []})

    @flow
    def pipeline() -> Any:
        return same.map(Counted(3), return_state=True, max_in_flight=1), same.map(iter(()), return_state=True)

    states, none = pipeline()
    assert none == []
    assert [state.name for state in states] == ["Completed"] * 3


def test_two_threads_on_one_open_list() -> None:
    """Both see every future once and in order, nobody sleeps for ever, and no more is under way than may be."""
    numbers, lock, now, most = Counted(150), threading.Lock(), [0], [0]

    @task
    def count(x: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1
        return x

    seen: list[list[int]] = [[], [], [], []]
    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(count, {"x": numbers}, max_in_flight=2)

        def read(number: int) -> None:
            if number == 3:
                seen[number] = futures.result(timeout=60)
            else:
                seen[number].extend(future.result(timeout=60) for future in futures)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert seen == [list(range(150))] * 4
    assert most[0] <= 2
    assert len(task_runs()) == 150


def test_several_threads_wait_for_room() -> None:
    """All that wait for the same run to be over are woken, and each goes on."""
    gate = threading.Event()

    @task
    def held(x: int, gate: threading.Event) -> int:
        assert gate.wait(30)
        return x

    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(held, {"x": Counted(6), "gate": unmapped(gate)}, max_in_flight=1)
        threads = [threading.Thread(target=lambda: futures.wait(60)) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(futures._feed._watch._waiters) == 3)  # type: ignore[union-attr]
        gate.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert futures.result() == list(range(6))


@pytest.mark.contract("TR-14", "TR-28", "T-49")
def test_elements_run_in_the_context_of_the_map() -> None:
    """Whoever fills the list, wherever and whenever: tags and the flow run are those of the call."""

    @flow
    def pipeline() -> None:
        with tags("mapped"):
            futures = same.map(Counted(6), max_in_flight=2)
        thread = threading.Thread(target=lambda: futures.wait(30))  # with a context of its own
        thread.start()
        thread.join()

    pipeline()
    runs = task_runs()
    assert len(runs) == 6
    assert all("mapped" in run.tags for run in runs)
    assert {run.flow_run_id for run in runs} == {only_flow_run().id}


def test_an_open_list_is_a_list() -> None:
    """What a list can do sees all of it."""
    with ThreadPoolTaskRunner() as runner:

        def fresh() -> FutureList[Any]:
            return runner.map(same, {"x": Counted(5)}, max_in_flight=2)

        other = made(9)
        for look in (
            lambda futures: futures + [],  # noqa: RUF005
            lambda futures: [] + futures,  # noqa: RUF005
            lambda futures: futures * 1,
            lambda futures: futures[:],
            lambda futures: futures.copy(),
            lambda futures: [*futures],
            lambda futures: list(reversed(futures))[::-1],
            lambda futures: futures.append(other) or futures[:-1],
            lambda futures: futures.extend([other]) or futures[:-1],
            lambda futures: [futures.pop(), *futures],
        ):
            assert len(look(fresh())) == 5
        futures = fresh()
        assert futures.index(futures[4]) == 4
        assert futures.count(futures[3]) == 1
        assert futures[-1].result(30) == 4
        assert other not in fresh()
        assert fresh()
        assert "..." in repr(fresh())
        assert "..." not in repr(futures)
        with pytest.raises(TypeError):
            pickle.dumps(fresh())


def test_a_closed_list_may_be_changed() -> None:
    """It is an ordinary list then."""
    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(same, {"x": [3, 1, 2]})
        futures.sort(key=lambda future: future.result(30))
        futures.append(made(4))
        assert futures.result() == [1, 2, 3, 4]
        del futures[0]
        assert futures.result() == [2, 3, 4]


@pytest.mark.contract("TR-36")
@pytest.mark.parametrize("workers", [1, None])
def test_a_map_inside_of_a_task(workers: int | None) -> None:
    """The task that maps and streams lends its turn to its own elements."""

    @task
    def outer(x: int) -> int:
        streamed = sum(same.map(Counted(30), max_in_flight=3).results(in_order=False))
        return streamed + sum(same.map(range(10)).result()) + x

    @flow(task_runner=ThreadPoolTaskRunner(workers))
    def pipeline() -> list[int]:
        return outer.map([0, 1, 2]).result()

    assert pipeline() == [480, 481, 482]


def test_equal_steps_of_a_map_keep_their_order() -> None:
    """When a flow goes on, the n-th of equal elements gets what the n-th had come to, whichever thread it ran on."""
    calls: list[int] = []
    lock = threading.Lock()

    @task(cache_policy=NO_CACHE)
    def ticket(x: str) -> str:
        with lock:
            calls.append(1)
        return f"{x}{task_run.id}"

    results: list[list[str]] = []

    @flow(persist_result=True, retries=0, task_runner=ThreadPoolTaskRunner(8))
    def pipeline() -> None:
        elements = ["a", "b", "a", "a"] * 25
        results.append(
            ticket.map(elements).result() + list(ticket.map(iter(elements), max_in_flight=7).results())
        )
        if len(results) == 1:
            raise BoomError("the first time")

    with pytest.raises(BoomError):
        pipeline()
    resume_flow_run(only_flow_run().id, flow=pipeline)
    assert len(set(results[0])) == 200
    assert results[1] == results[0]
    assert len(calls) == 200


@pytest.mark.contract("TR-15")
def test_maps_in_async_flows() -> None:
    """Filling, waiting and streaming leave the event loop free."""
    ticks: list[int] = []

    @task
    async def asame(x: int) -> int:
        await asyncio.sleep(0.001)
        return x

    @flow
    async def pipeline() -> Any:
        async def tick() -> None:
            while True:
                ticks.append(1)
                await asyncio.sleep(0.001)

        ticking = asyncio.ensure_future(tick())
        streamed = [value async for value in asame.map(Counted(12), max_in_flight=2).results()]
        any_order = [value async for value in asame.map(Counted(12), max_in_flight=2).results(in_order=False)]
        futures = asame.map(Counted(12), max_in_flight=2)
        listed = [await future async for future in futures]
        completed = [
            future.result() async for future in as_completed(asame.map(Counted(12), max_in_flight=2))
        ]
        awaited = await asame.map(Counted(12), max_in_flight=2)
        await (waited := asame.map(Counted(12), max_in_flight=2)).wait_async()
        assert all(future.is_done() for future in waited)
        ticking.cancel()
        return [streamed, sorted(any_order), listed, sorted(completed), awaited]

    assert asyncio.run(pipeline()) == [list(range(12))] * 5
    assert len(ticks) > 10


def test_maps_in_one_thread() -> None:
    """The inline runner gives the same, in order, and takes an element only after the run of the one before."""
    numbers = Counted(6)
    seen: list[int] = []

    @task
    def look(x: int) -> int:
        seen.append(numbers.taken - x)
        return x

    with InlineTaskRunner() as runner:
        assert runner.map(look, {"x": numbers}, max_in_flight=2).result() == list(range(6))
        assert list(runner.map(look, {"x": range(3)}).results(in_order=False)) == [0, 1, 2]
    assert seen[:6] == [1] * 6


def test_a_runner_that_is_left_while_a_list_is_open() -> None:
    """Whoever asks for more is told that the runner takes no more; what has begun has ended."""
    with ThreadPoolTaskRunner() as runner:
        futures = runner.map(same, {"x": Counted()}, max_in_flight=3)
        assert eventually(lambda: all(future.is_done() for future in list.__iter__(futures)))
    with pytest.raises(RuntimeError, match="not started") as caught:
        futures[3]
    assert "after 3 element(s)" in caught.value.__notes__[0]
    assert [future.result() for future in list.__iter__(futures)] == [0, 1, 2]


@pytest.mark.contract("TR-29")
def test_one_future_for_two_parameters() -> None:
    """The list that it comes to is split for both."""

    @flow
    def pipeline() -> Any:
        future = same.submit([1, 2, 3])
        return task(lambda x, y: x * y).map(future, future).result()

    assert pipeline() == [1, 4, 9]
