"""Arguments that come from other runs, wherever they are, and upstreams that did not complete."""

from pathlib import Path
from typing import Any

import pytest

from mainspring import allow_failure, flow, unmapped
from mainspring.annotations import quote
from mainspring.cache_policies import NO_CACHE
from mainspring.futures import Future
from mainspring.runs import TaskRunResult
from mainspring.states import Completed, Failed
from mainspring.task_runners import TaskRunner
from tests.engine.history import sequence, task_runs
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import Pair, notes, settled, value

Runner = TaskRunner[Any]


@pytest.mark.contract("TR-21", "T-80")
@pytest.mark.parametrize(
    ("wrapped", "expected"),
    [
        (lambda future: future, 2),
        (lambda future: [1, (future, {"a": future})], [1, (2, {"a": 2})]),
        (lambda future: {"a": {"b": [future]}}, {"a": {"b": [2]}}),
        (lambda future: Pair([future], Pair(future)), Pair([2], Pair(2))),
    ],
    ids=["itself", "list", "dict", "dataclass"],
)
def test_futures_are_replaced_by_results(pool: Runner, wrapped: Any, expected: Any) -> None:
    """At any depth of lists, tuples, dictionaries and dataclasses, and they are recorded as inputs."""
    first = pool.submit(tasks.add, {"x": 1, "y": 1})
    assert value(pool.submit(tasks.echo, {"value": wrapped(first)})) == expected
    assert task_runs("echo")[0].task_inputs["value"] == [TaskRunResult(id=first.task_run_id)]


@pytest.mark.contract("TR-21", "T-81")
def test_states_are_replaced_by_results(pool: Runner) -> None:
    """States of other runs, and those that somebody has made."""
    first = pool.submit(tasks.add, {"x": 1, "y": 1})
    value(first)
    assert value(pool.submit(tasks.echo, {"value": [first.state, Completed(data=5)]})) == [2, 5]
    assert settled(pool.submit(tasks.echo, {"value": Failed(data=LookupError("no"))})) == "NotReady"


@pytest.mark.contract("A-3", "T-82")
def test_what_is_quoted_is_left_alone(pool: Runner) -> None:
    """The task gets the state itself."""
    first = pool.submit(tasks.add, {"x": 1, "y": 1})
    value(first)
    (given,) = value(pool.submit(tasks.echo, {"value": quote([first.state])}))
    assert given.is_completed()
    assert given.result() == 2


@pytest.mark.contract("TR-4", "F-35")
@pytest.mark.needs("at_once")
def test_who_waits_for_a_value_holds_nobody_up(runner: Runner, tmp_path: Path) -> None:
    """Also where the run is a step of its flow run, which is told by the values of its arguments."""

    @flow(task_runner=runner, persist_result=True)
    def pipeline() -> Any:
        slow = tasks.begin_and_wait.submit(tmp_path, "slow", "go")
        after = tasks.echo.with_options(cache_policy=NO_CACHE).submit([slow])
        other = tasks.add.submit(1, 1)
        assert other.result(timeout=tasks.LIMIT) == 2
        (tmp_path / "go").touch()
        return after.result(timeout=tasks.LIMIT)

    assert pipeline() == ["slow"]


@pytest.mark.contract("TR-7", "T-44")
@pytest.mark.parametrize("how", ["wait_for", "argument"])
def test_a_run_begins_after_what_it_waits_for(pool: Runner, tmp_path: Path, how: str) -> None:
    """It is not begun before all of its upstreams are over."""
    firsts = [pool.submit(tasks.note_down, {"folder": tmp_path, "what": x}) for x in range(3)]
    what: Any = "then" if how == "wait_for" else Pair("then", firsts)
    awaited = firsts if how == "wait_for" else None
    then = pool.submit(tasks.note_down, {"folder": tmp_path, "what": what}, wait_for=awaited)
    value(then)
    *before, last = notes(tmp_path)
    assert sorted(before) == ["0", "1", "2"]
    assert "then" in last


@pytest.mark.contract("TR-7")
def test_a_map_that_waits_for_others(pool: Runner, tmp_path: Path) -> None:
    """Each of its runs begins after all of them, of a list and of an iterator."""
    firsts = [pool.submit(tasks.note_down, {"folder": tmp_path, "what": "first"}) for _ in range(3)]
    for elements in ([1, 2], iter([1, 2])):
        parameters = {"folder": unmapped(tmp_path), "what": elements}
        pool.map(tasks.note_down, parameters, wait_for=iter(firsts)).result(timeout=3 * tasks.LIMIT)
    assert notes(tmp_path)[:3] == ["first"] * 3
    assert len(notes(tmp_path)) == 7


@pytest.mark.contract("TR-21", "T-45")
@pytest.mark.parametrize("place", ["argument", "inside", "wait_for"])
def test_an_upstream_that_failed(pool: Runner, tmp_path: Path, place: str) -> None:
    """The run is NotReady, its function is not called, and so are those that wait for it in turn."""
    failed = pool.submit(tasks.fail, {"text": "no"})
    what: Any = {"argument": failed, "inside": [{"a": failed}], "wait_for": 1}[place]
    awaited = [failed] if place == "wait_for" else None
    future = pool.submit(tasks.note_down, {"folder": tmp_path, "what": what}, wait_for=awaited)
    after = pool.submit(tasks.note_down, {"folder": tmp_path, "what": future})
    assert [settled(each) for each in (future, after)] == ["NotReady"] * 2
    assert notes(tmp_path) == []
    assert [sequence(run) for run in task_runs("note_down")] == ["Pending NotReady"] * 2


@pytest.mark.contract("A-2", "TR-21")
def test_failures_that_are_allowed(pool: Runner) -> None:
    """The task gets the exception in place of the result, alone and beside others."""
    failed = pool.submit(tasks.fail, {"text": "no"})
    fine = pool.submit(tasks.add, {"x": 1, "y": 1})
    given = value(pool.submit(tasks.echo, {"value": allow_failure([failed, fine])}))
    assert (repr(given[0]), given[1]) == ("LookupError('no')", 2)
    assert repr(value(pool.submit(tasks.echo, {"value": allow_failure(failed)}))) == "LookupError('no')"
    allowed = pool.submit(tasks.echo, {"value": "on"}, wait_for=[allow_failure(failed)])
    assert value(allowed) == "on"


def test_values_are_known_as_inputs(pool: Runner) -> None:
    """A plain value that came from a submitted run is known to be of that run."""

    @flow
    def pipeline() -> None:
        tasks.echo(value(pool.submit(tasks.echo, {"value": ["a"]})))

    pipeline()
    first, second = task_runs()
    assert second.task_inputs["value"] == [TaskRunResult(id=first.id)]


@pytest.mark.contract("TR-30")
def test_a_long_chain(pool: Runner) -> None:
    """Each of 33 runs takes what the one before gives, and all are submitted at once."""
    future: Future[Any] = pool.submit(tasks.add, {"x": 0, "y": 1})
    for _ in range(32):
        future = pool.submit(tasks.add, {"x": future, "y": 1})
    assert value(future) == 33
    assert len(task_runs()) == 33


def test_a_fan(pool: Runner) -> None:
    """Many runs take what one gives, and one takes what all of them give."""
    first = pool.submit(tasks.echo, {"value": 10})
    middle = pool.map(tasks.add, {"x": range(20), "y": unmapped(first)})
    assert value(pool.submit(tasks.echo, {"value": middle})) == list(range(10, 30))
    assert len(task_runs("echo")[1].task_inputs["value"]) == 20
