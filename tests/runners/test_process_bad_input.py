"""What cannot travel, cannot be made, or cannot be started: one clear error, and an end that is recorded."""

import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring import task
from mainspring.exceptions import ConfigurationError, ForeignError, SerializationError, WorkerNotStarted
from mainspring.settings import temporary_settings
from mainspring.task_runners import ProcessPoolTaskRunner
from tests.engine.history import only_task_run, sequence, task_runs
from tests.runners import remote


def outcome(runner: ProcessPoolTaskRunner, function: Any, **parameters: Any) -> BaseException:
    """The exception that a run comes to."""
    error = runner.submit(function, parameters).result(timeout=60, raise_on_failure=False)
    assert isinstance(error, BaseException)
    return error


@pytest.mark.contract("TR-21")
@pytest.mark.parametrize(
    ("value", "blamed"),
    [
        (threading.Lock(), "`value` is of type 'lock'"),
        ({"model": [1, remote.Locked()]}, "`value['model'][1].lock` is of type 'lock'"),
        ((name for name in "ab"), "`value` is of type 'generator'"),
    ],
)
def test_an_argument_that_cannot_be_pickled(workers: ProcessPoolTaskRunner, value: Any, blamed: str) -> None:
    """The run fails and is recorded; the message names task, parameter and the part that is to blame."""
    error = outcome(workers, remote.echo, value=value)
    assert isinstance(error, SerializationError)
    assert "Parameter 'value' of task 'echo'" in str(error)
    assert blamed in str(error)
    assert sequence() == "Pending Failed"


def test_a_failure_before_the_start_has_its_hooks(workers: ProcessPoolTaskRunner) -> None:
    """Failure hooks are called here."""
    told: list[str] = []
    hooked = remote.echo.with_options(on_failure=[lambda task, run, state: told.append(state.name)])
    outcome(workers, hooked, value=threading.Lock())
    assert told == ["Failed"]


@pytest.mark.contract("TR-21")
def test_a_result_that_cannot_be_pickled(workers: ProcessPoolTaskRunner) -> None:
    """The run is Failed, never Completed with a result that nobody can have."""
    error = outcome(workers, remote.make_locked)
    assert isinstance(error, SerializationError)
    assert "`result['bad'][0].lock` is of type 'lock'" in str(error)
    assert sequence() == "Pending Running Failed"


def test_a_yielded_value_that_cannot_be_pickled(workers: ProcessPoolTaskRunner) -> None:
    """It is an error where it was yielded."""
    assert isinstance(outcome(workers, remote.yield_locked), SerializationError)
    assert sequence() == "Pending Running Failed"


def test_a_result_that_cannot_be_made_again(workers: ProcessPoolTaskRunner) -> None:
    """The future says so; the history tells what the worker has done."""
    future = workers.submit(remote.make_unreadable, {})
    with pytest.raises(
        SerializationError, match=r"cannot be made again in this process.*I will not be made again"
    ):
        future.result(timeout=60)
    assert sequence() == "Pending Running Completed"


@pytest.mark.parametrize(("kind", "name"), [("two", "NeedsTwoError"), ("lock", "HoldingError")])
def test_an_exception_that_does_not_travel(workers: ProcessPoolTaskRunner, kind: str, name: str) -> None:
    """Another one stands for it, with type, text and traceback; the history has its own words."""
    error = outcome(workers, remote.raise_by, kind=kind)
    assert isinstance(error, ForeignError)
    assert error.type_name == f"tests.runners.remote.{name}"
    assert error.message in str(error)
    assert "in raise_by" in error.traceback
    assert only_task_run().state.message is not None
    assert name in (only_task_run().state.message or "")


def test_a_kept_exception_that_does_not_travel(workers: ProcessPoolTaskRunner) -> None:
    """It comes home with its record, or is read from there."""
    kept = remote.raise_by.with_options(persist_result=True)
    future = workers.submit(kept, {"kind": "chain"})
    with pytest.raises(ValueError, match="outer") as caught:
        future.result(timeout=60)
    assert "in raise_by" in str(caught.value.__cause__)
    other = workers.submit(kept, {"kind": "two"})
    other.wait(60)
    assert other.state.is_failed()
    assert [run.state.name for run in task_runs()] == ["Failed", "Failed"]


def test_a_module_that_workers_do_not_have(
    workers: ProcessPoolTaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that cannot be imported in a worker fails, and the message names the module."""
    (tmp_path / "only_here.py").write_text("from mainspring import task\n@task\ndef work():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    error = outcome(workers, only_here.work)
    assert isinstance(error, SerializationError)
    assert "No module named 'only_here'" in str(error)
    assert sequence() == "Pending Failed"


@pytest.mark.contract("TR-20")
def test_an_initializer_that_fails() -> None:
    """All tasks fail with its exception, and no more workers are started."""
    with ProcessPoolTaskRunner(2, initializer=remote.fail_to_initialize) as runner:
        errors = [outcome(runner, remote.add, x=x, y=1) for x in range(5)]
        assert runner._crew is not None
        assert runner._crew._started <= 2
    assert all(isinstance(error, WorkerNotStarted) for error in errors)
    assert all("LookupError: no model file" in str(error) for error in errors)
    assert {run.state.name for run in task_runs()} == {"Failed"}


def test_an_initializer_that_cannot_be_pickled() -> None:
    """The message says that it is the initializer."""
    with ProcessPoolTaskRunner(1, initializer=print, initargs=[threading.Lock()]) as runner:
        assert "The initializer <built-in function print> or its arguments" in str(
            outcome(runner, remote.add, x=1, y=1)
        )
    with pytest.raises(TypeError, match="`initializer` must be callable"):
        ProcessPoolTaskRunner(initializer=3)  # type: ignore[arg-type]


def test_a_worker_that_cannot_be_set_up() -> None:
    """One that dies before it is ready fails all tasks at once, with what usually is the reason."""
    with ProcessPoolTaskRunner(1, initializer=remote.die, initargs=["exit"]) as runner:
        for x in range(3):
            error = outcome(runner, remote.add, x=x, y=1)
            assert "ended itself with exit code 3 before it was ready" in str(error)
            assert "__name__ == '__main__'" in str(error)
        assert runner._crew is not None
        assert runner._crew._started == 1


def test_a_run_store_in_memory(workers: ProcessPoolTaskRunner) -> None:
    """Workers could not open it, so nothing is run, and the error says what to set."""
    with temporary_settings({"database_url": "sqlite://"}):
        error = outcome(workers, remote.add, x=1, y=1)
    assert isinstance(error, ConfigurationError)
    assert "MAINSPRING_DATABASE_URL" in str(error)


def test_tasks_that_cannot_be_imported_travel_by_value(workers: ProcessPoolTaskRunner) -> None:
    """Those of the main program and of other functions, with what they refer to."""
    offset = 5

    @task
    def local(x: int) -> int:
        return x + offset

    assert workers.submit(local, {"x": 1}).result(timeout=60) == 6
