"""Values on their way: large ones, those that cannot travel, and those that are kept."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring.exceptions import ForeignError, SerializationError
from mainspring.task_runners import TaskRunner
from tests.engine.history import only_task_run, query, sequence, task_runs
from tests.runners import remote
from tests.runners.conformance import tasks
from tests.runners.conformance.tasks import LIMIT, notes, settled, value

Runner = TaskRunner[Any]
LARGE = 10_000_000


def error_of(pool: Runner, function: Any, **parameters: Any) -> BaseException:
    """The exception that a run comes to."""
    error = pool.submit(function, parameters).result(timeout=3 * LIMIT, raise_on_failure=False)
    assert isinstance(error, BaseException)
    return error


def test_large_values(pool: Runner) -> None:
    """Ten megabytes there and back are the same, and an array can be written to on both sides."""
    numpy = pytest.importorskip("numpy")
    given = {"bytes": os.urandom(LARGE), "array": numpy.arange(LARGE // 8)}
    back = value(pool.submit(tasks.echo, {"value": given}))
    assert back["bytes"] == given["bytes"]
    assert (back["array"] == given["array"]).all()
    back["array"][0] = 1


def test_large_values_between_tasks(pool: Runner) -> None:
    """What one gives to the next may be large, too."""
    first = pool.submit(tasks.zeros, {"size": LARGE})
    assert value(pool.submit(task(lambda data: len(data)), {"data": first})) == LARGE


@pytest.mark.needs("in_this_process")
def test_objects_keep_their_identity(pool: Runner) -> None:
    """Arguments and results are those of the submitter, whatever they are."""
    lock = threading.Lock()
    assert value(pool.submit(tasks.echo, {"value": lock})) is lock


@pytest.mark.contract("TR-21")
@pytest.mark.needs("travels", "whole_runs")
@pytest.mark.parametrize(
    ("given", "blamed"),
    [
        (threading.Lock(), "`value` is of type 'lock'"),
        ({"model": [1, remote.Locked()]}, "`value['model'][1].lock` is of type 'lock'"),
        ((name for name in "ab"), "`value` is of type 'generator'"),
    ],
    ids=["itself", "inside", "generator"],
)
def test_an_argument_that_cannot_be_pickled(pool: Runner, given: Any, blamed: str) -> None:
    """The run fails and is recorded; the message names task, parameter and the part that is to blame."""
    error = error_of(pool, tasks.echo, value=given)
    assert isinstance(error, SerializationError)
    assert "Parameter 'value' of task 'echo'" in str(error)
    assert blamed in str(error)
    assert sequence() == "Pending Failed"


@pytest.mark.contract("TR-21")
@pytest.mark.needs("travels")
def test_a_result_that_cannot_be_pickled(pool: Runner) -> None:
    """The run is Failed, never Completed with a result that nobody can have."""
    error = error_of(pool, remote.make_locked)
    assert isinstance(error, SerializationError)
    assert "`result['bad'][0].lock` is of type 'lock'" in str(error)
    assert isinstance(error_of(pool, remote.yield_locked), SerializationError)
    assert [sequence(run) for run in task_runs()] == ["Pending Running Failed"] * 2


@pytest.mark.needs("travels", "whole_runs")
def test_a_result_that_cannot_be_made_again(pool: Runner) -> None:
    """The future says so; the history tells what the task has done."""
    future = pool.submit(remote.make_unreadable, {})
    with pytest.raises(SerializationError, match=r"cannot be made again.*I will not be made again"):
        value(future)
    assert sequence() == "Pending Running Completed"


@pytest.mark.needs("travels")
@pytest.mark.parametrize(("kind_", "name"), [("two", "NeedsTwoError"), ("lock", "HoldingError")])
def test_an_exception_that_does_not_travel(pool: Runner, kind_: str, name: str) -> None:
    """Another one stands for it, with type, text and traceback; the history has its own words."""
    error = error_of(pool, remote.raise_by, kind=kind_)
    assert isinstance(error, ForeignError)
    assert error.type_name == f"tests.runners.remote.{name}"
    assert error.message in str(error)
    assert "in raise_by" in error.traceback
    assert name in (only_task_run().state.message or "")


@pytest.mark.contract("E-75")
@pytest.mark.needs("travels")
def test_where_an_exception_came_from(pool: Runner) -> None:
    """The cause of one that travels shows the traceback of the task."""
    error = error_of(pool, remote.raise_by, kind="chain")
    assert (type(error), str(error)) == (ValueError, "outer")
    assert "KeyError: 'inner'" in str(error.__cause__)
    assert "in raise_by" in str(error.__cause__)


@pytest.mark.needs("travels", "whole_runs")
def test_a_module_that_is_only_here(pool: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that cannot be imported where it is to run fails, and the message names the module."""
    (tmp_path / "only_here.py").write_text("from mainspring import task\n@task\ndef work():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    error = error_of(pool, only_here.work)
    assert isinstance(error, SerializationError)
    assert "No module named 'only_here'" in str(error)
    assert sequence() == "Pending Failed"


@pytest.mark.needs("travels")
def test_failures_before_the_start_have_their_hooks(pool: Runner) -> None:
    """Failure hooks of a run that could not begin are called where it was submitted."""
    told: list[str] = []
    hooked = tasks.echo.with_options(on_failure=[lambda task, run, state: told.append(state.name)])
    error_of(pool, hooked, value=threading.Lock())
    assert told == ["Failed"]


@pytest.mark.contract("R-82", "E-120")
def test_a_result_that_was_kept_is_used_again(pool: Runner, tmp_path: Path) -> None:
    """The second run of the same inputs is Cached, in this process and in others; other inputs are run."""
    assert value(pool.submit(tasks.note_once, {"folder": tmp_path, "x": 1})) == 2
    again = pool.submit(tasks.note_once, {"folder": tmp_path, "x": 1})
    assert (value(again), again.state.name) == (2, "Cached")
    assert tasks.note_once(tmp_path, 1) == 2
    assert value(pool.submit(tasks.note_once, {"folder": tmp_path, "x": 2})) == 3
    assert notes(tmp_path) == ["1", "2"]
    assert sequence(task_runs()[1]) == "Pending Running Cached"


@pytest.mark.contract("R-82", "E-121")
def test_a_key_of_ones_own(pool: Runner, tmp_path: Path) -> None:
    """A key function is called with the context and the parameters, and what it gives is the key."""

    def by_parity(context: Any, parameters: dict[str, Any]) -> str:
        return f"{context.task.name}-{parameters['what'] % 2}"

    keyed = tasks.note_down.with_options(cache_key_fn=by_parity, persist_result=True)
    assert value(pool.submit(keyed, {"folder": tmp_path, "what": 1})) == 1
    assert value(pool.submit(keyed, {"folder": tmp_path, "what": 3})) == 1
    assert value(pool.submit(keyed, {"folder": tmp_path, "what": 4})) == 4
    assert notes(tmp_path) == ["1", "4"]


@pytest.mark.contract("R-82")
def test_a_result_that_a_task_has_kept_is_found_by_the_runner(pool: Runner, tmp_path: Path) -> None:
    """What was kept by a call is found by a run that is submitted."""
    assert tasks.note_once(tmp_path, 1) == 2
    assert settled(pool.submit(tasks.note_once, {"folder": tmp_path, "x": 1})) == "Cached"
    assert notes(tmp_path) == ["1"]


@pytest.mark.contract("R-82", "V-35")
def test_kept_results_are_in_the_history(pool: Runner) -> None:
    """The recorded state has the value, large or small, for everybody who reads the history."""
    small, large = (tasks.zeros.with_options(persist_result=True, name=name) for name in ("small", "large"))
    for work, size in ((small, 10), (large, LARGE)):
        assert len(value(pool.submit(work, {"size": size}))) == size
    assert [len(run.state.result()) for run in task_runs()] == [10, LARGE]


@pytest.mark.contract("R-82")
def test_a_failure_that_is_kept(pool: Runner) -> None:
    """It comes home with its record, or is read from there."""
    kept = remote.raise_by.with_options(persist_result=True)
    with pytest.raises(ValueError, match="outer"):
        value(pool.submit(kept, {"kind": "chain"}))
    assert settled(pool.submit(kept, {"kind": "two"})) == "Failed"
    assert [run.state.name for run in task_runs()] == ["Failed", "Failed"]


def test_results_that_are_kept_by_the_flow(runner: Runner, tmp_path: Path) -> None:
    """Tasks take the result options of the flow around them."""

    @flow(task_runner=runner, persist_result=True)
    def pipeline() -> Any:
        return tasks.add.map([1, 2]).result()

    assert pipeline() == [2, 3]
    assert query("SELECT count(*) FROM results") == [(3,)]
