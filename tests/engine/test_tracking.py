"""Where the inputs of a run came from, also when plain values are passed on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.annotations import quote
from mainspring.context import FlowRunContext
from mainspring.filesystems import LocalFileSystem
from mainspring.runs import Parameter, RunInput, TaskRun, TaskRunResult
from tests.engine.history import task_runs


@task
def produce() -> list[int]:
    return [1000]


@task
def pair() -> tuple[list[int], dict[str, int], int]:
    return [1000], {"a": 1}, 5


@task
def consume(x: Any = None, y: Any = None) -> None:
    return None


@task
def count() -> Iterator[list[int]]:
    yield [1001]
    yield [1002]


@task
async def acount() -> AsyncIterator[list[int]]:
    yield [1001]
    yield [1002]


def by_task(name: str) -> list[TaskRun]:
    """The runs of a task, oldest first."""
    return [run for run in task_runs() if run.task_key.startswith(f"{name}-")]


def from_run(name: str) -> list[RunInput]:
    """What somebody has as input who was given the result of the only run of a task."""
    (run,) = by_task(name)
    return [TaskRunResult(id=run.id)]


@pytest.mark.contract("T-81", "T-83", "E-57")
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: {"k": (x, 1)}, lambda x: {"s": [[x]]}]
)
def test_a_result_is_an_input_wherever_it_is(wrap: Any) -> None:
    """A plain value that a task of the flow run returned is traced back, at any depth of a parameter."""

    @flow
    def around() -> None:
        consume(wrap(produce()), 1)

    around()
    assert by_task("consume")[0].task_inputs == {"x": from_run("produce"), "y": []}


@pytest.mark.contract("T-81")
def test_keys_count_and_quoted_content_does_not() -> None:
    """A key of a dict that is a known result is an input; what is inside of `quote` is not."""

    @task
    def name() -> str:
        return f"made here {len(task_runs())}"

    @flow
    def around() -> None:
        key = name()
        consume({key: 1}, quote(key))

    around()
    assert by_task("consume")[0].task_inputs == {
        "x": from_run("name"),
        "y": [],
    }


@pytest.mark.contract("T-82")
def test_an_upstream_counts_once_for_each_parameter() -> None:
    """Twice in one parameter it is listed once; in two parameters in both."""

    @flow
    def around() -> None:
        value = produce()
        consume([value, value], value)

    around()
    source = from_run("produce")
    assert by_task("consume")[0].task_inputs == {"x": source, "y": source}


@pytest.mark.contract("T-85", "R-52")
def test_parts_of_a_result_are_traced() -> None:
    """Unpacking keeps track of the parts that can be told from others."""

    @flow
    def around() -> None:
        first, second, third = pair()
        consume(first, second)
        consume(third)

    around()
    source = from_run("pair")
    both, shared = by_task("consume")
    assert both.task_inputs == {"x": source, "y": source}
    assert shared.task_inputs == {"x": [], "y": []}


@pytest.mark.contract("T-84", "R-53")
@pytest.mark.parametrize("value", [None, True, ..., NotImplemented, -5, 256])
def test_a_shared_value_is_marked_as_untrackable(value: Any) -> None:
    """The state says that nobody who gets its result can tell where it came from; others do not."""

    @task
    def give(x: Any) -> Any:
        return x

    states = []

    @flow
    def around() -> None:
        states.extend([give(value, return_state=True), give([value], return_state=True)])

    around()
    assert [state.state_details.untrackable_result for state in states] == [True, False]


@pytest.mark.contract("T-86", "R-52", "R-55")
def test_nothing_is_traced_beyond_a_flow_run() -> None:
    """A value of another flow run, or from outside of any, has no known origin."""
    kept: list[Any] = []

    @flow
    def around() -> None:
        consume(*kept)
        kept[:] = [produce()]

    around()
    around()
    kept[:] = [produce()]
    consume(*kept)
    around()
    assert all(run.task_inputs == {"x": [], "y": []} for run in by_task("consume"))


@pytest.mark.contract("V-22", "T-88")
def test_results_of_subflows_are_traced_and_so_are_their_inputs() -> None:
    """The task run that stands for a subflow has its inputs, and what the subflow returned came from it."""

    @flow(name="inner")
    def inner(x: Any) -> list[int]:
        return [*x, 1]

    @flow
    def around() -> None:
        consume(inner(produce()))

    around()
    (stand_in,) = [run for run in task_runs() if run.task_key == "inner"]
    assert stand_in.task_inputs == {"x": from_run("produce")}
    assert by_task("consume")[0].task_inputs["x"] == [TaskRunResult(id=stand_in.id)]


@pytest.mark.contract("W-19")
def test_parameters_of_the_flow_are_named_as_inputs() -> None:
    """A value that the flow was given is told by the name of the parameter."""

    @flow
    def around(rows: list[int], limit: int) -> None:
        consume(rows, limit)

    around([1000], 5)
    assert by_task("consume")[0].task_inputs == {"x": [Parameter(name="rows")], "y": []}


@pytest.mark.contract("G-3", "T-87")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_who_takes_a_yielded_value_is_a_child_of_the_generator(asynchronous: bool) -> None:
    """The generator's run is the input and, as it is still running, the parent of who is given its value."""

    @flow
    def around() -> list[Any]:
        values = []
        for value in count():
            consume(value)
            values.append(value)
        return values

    @flow
    async def aaround() -> list[Any]:
        values = []
        async for value in acount():
            consume(value)
            values.append(value)
        return values

    assert (asyncio.run(aaround()) if asynchronous else around()) == [[1001], [1002]]
    (generator,) = by_task("acount" if asynchronous else "count")
    source = [TaskRunResult(id=generator.id)]
    assert [run.task_inputs for run in by_task("consume")] == [
        {"x": source, "y": [], "__parents__": source}
    ] * 2


@pytest.mark.contract("G-19")
def test_the_parent_of_a_yielded_value_has_its_custom_name() -> None:
    """The run that is recorded as parent is the generator's, under the name it was given."""

    @task(task_run_name="counting to {last}")
    def numbers(last: int) -> Iterator[list[int]]:
        yield [last]

    @flow
    def around() -> None:
        for value in numbers(3):
            consume(value)

    around()
    (parent,) = by_task("consume")[0].task_inputs["__parents__"]
    assert isinstance(parent, TaskRunResult)
    assert [parent.id] == [run.id for run in task_runs("counting to 3")]


class CountingStorage(LocalFileSystem):
    """A folder that counts how often results are read."""

    reads = 0

    def read_path(self, path: str) -> bytes:
        CountingStorage.reads += 1
        return super().read_path(path)


@pytest.mark.contract("E-57", "R-54")
def test_no_result_is_loaded_only_to_be_traced(tmp_path: Path) -> None:
    """A record is read once for its caller; a state that only describes one is left alone."""

    @task(result_storage_key="k", result_storage=CountingStorage(tmp_path), cache_result_in_memory=False)
    def kept() -> list[int]:
        return [1000]

    @flow
    def around() -> None:
        assert kept() == [1000]
        assert CountingStorage.reads == 0
        state = kept(return_state=True)
        assert state.name == "Cached"
        assert not state.data.has_cached_object()
        assert CountingStorage.reads == 1

    around()


@pytest.mark.contract("W-17")
def test_a_long_flow_keeps_nothing_alive_for_tracing() -> None:
    """However many results are thrown away, the table of known objects stays small."""
    sizes = []

    @flow
    def around() -> None:
        context = FlowRunContext.get()
        assert context is not None
        for number in range(1500):
            consume(number)
            produce()
            sizes.append(len(context.run_results))

    around()
    assert max(sizes) < 1000
