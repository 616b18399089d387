"""Workers that cannot be started or set up, and stores they cannot open: one clear error, and a recorded end."""

import threading
from typing import Any

import pytest

from mainspring.exceptions import ConfigurationError, WorkerNotStarted
from mainspring.settings import temporary_settings
from mainspring.task_runners import ProcessPoolTaskRunner
from tests.engine.history import task_runs
from tests.runners import remote


def outcome(runner: ProcessPoolTaskRunner, function: Any, **parameters: Any) -> BaseException:
    """The exception that a run comes to."""
    error = runner.submit(function, parameters).result(timeout=60, raise_on_failure=False)
    assert isinstance(error, BaseException)
    return error


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
