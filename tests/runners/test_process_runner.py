"""Worker processes: what is special about them; what holds for all runners is in the folder ``conformance``."""

import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mainspring import flow, unmapped
from mainspring.events import subscribe
from mainspring.exceptions import RunCancelled
from mainspring.futures import Future
from mainspring.settings import temporary_settings
from mainspring.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from tests.engine.history import only_task_run, sequence, task_runs
from tests.runners import remote


def result(future: Future[Any]) -> Any:
    return future.result(timeout=60)


# What a runner is


@pytest.mark.contract("TR-1", "TR-2", "TR-5", "TR-33")
def test_a_runner_is_its_configuration() -> None:
    """Name, equality, copies and pickles are those of the options, the initializer among them."""
    runner = ProcessPoolTaskRunner(3, initializer=remote.initialize, initargs=[1], message_processors=[print])
    assert isinstance(runner, TaskRunner)
    assert (runner.name, runner.logger.name) == ("processpool", "mainspring.task_runner.processpool")
    assert runner.duplicate() == runner == pickle.loads(cloudpickle.dumps(runner))
    assert runner.duplicate()._initializer is remote.initialize
    assert runner != ProcessPoolTaskRunner(3)
    assert runner != ThreadPoolTaskRunner(3)


@pytest.mark.contract("TR-20")
def test_how_many_workers() -> None:
    """As given, else as the setting says, else one for each processor; at least one."""
    assert ProcessPoolTaskRunner(7).max_workers == 7
    assert ProcessPoolTaskRunner().max_workers == len(os.sched_getaffinity(0))
    with temporary_settings({"tasks.runner.process_pool_max_workers": 5}):
        assert ProcessPoolTaskRunner().max_workers == 5
    with pytest.raises(ValueError, match="at least 1; got 0"):
        ProcessPoolTaskRunner(0)


@pytest.mark.contract("TR-3")
def test_an_unused_runner_starts_nothing() -> None:
    """There is no worker before there is a task."""
    with ProcessPoolTaskRunner(1) as runner:
        assert runner._crew is not None
        assert not runner._crew._all


# Calls


@pytest.mark.contract("TR-1", "TR-6", "TR-20")
def test_a_task_runs_elsewhere(workers: ProcessPoolTaskRunner) -> None:
    """It runs in another process, under the id that its future has had from the beginning, and is recorded."""
    future = workers.submit(remote.process_id, {"_": None})
    assert result(future) != os.getpid()
    assert only_task_run().id == future.task_run_id
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("TR-20")
def test_workers_are_at_work_at_the_same_time(workers: ProcessPoolTaskRunner, tmp_path: Path) -> None:
    """Two tasks that wait for each other finish, in two processes."""
    meeting = remote.Meeting(tmp_path, 2)
    futures = workers.map(remote.attend, {"meeting": meeting, "name": [1, 2]})
    (first, one), (second, other) = futures.result(timeout=60)
    assert first
    assert second
    assert one != other


def test_workers_are_reused(workers: ProcessPoolTaskRunner) -> None:
    """Twenty tasks are run by the two processes that there are."""
    assert len(set(workers.map(remote.process_id, {"_": range(20)}).result(timeout=60))) <= 2


@pytest.mark.contract("TR-21", "C-21")
def test_what_is_active_in_a_worker(workers: ProcessPoolTaskRunner) -> None:
    """The flow run is detached there, and those of its parameters that cannot be pickled are left out."""

    @flow
    def outer(size: int, handle: object) -> dict[str, Any]:
        found: dict[str, Any] = result(workers.submit(remote.surroundings, {}))
        return found

    told = outer(3, (name for name in "ab"))
    assert told["parameters"] == {"size": 3}
    assert told["detached"]


@pytest.mark.contract("TR-22")
def test_the_environment_is_that_of_the_first_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later changes do not reach workers of the started runner, also not those that are started later."""
    monkeypatch.setenv("MAINSPRING_TEST_VARIABLE", "first")
    with ProcessPoolTaskRunner(1) as runner:
        first = result(runner.submit(remote.surroundings, {}))
        monkeypatch.setenv("MAINSPRING_TEST_VARIABLE", "second")
        runner.submit(remote.die_by, {"how": "kill", "after": 0}).wait(60)
        second = result(runner.submit(remote.surroundings, {}))
    assert first["pid"] != second["pid"]
    assert first["variable"] == second["variable"] == "first"


@pytest.mark.contract("TR-20")
def test_the_initializer_is_called_once_in_each_worker() -> None:
    """Before the first task, with its arguments."""
    with ProcessPoolTaskRunner(1, initializer=remote.initialize, initargs=(1, "two")) as runner:
        assert [result(runner.submit(remote.started, {})) for _ in range(2)] == [[(1, "two")]] * 2
    assert not remote.STARTED


def test_a_runner_for_what_is_submitted_in_a_worker_has_threads() -> None:
    """Workers do not have workers of their own."""
    assert ProcessPoolTaskRunner(2).detached() == ThreadPoolTaskRunner()


# Messages


@pytest.mark.contract("TR-23")
def test_processors_change_and_drop_messages(caplog: pytest.LogCaptureFixture) -> None:
    """Each message goes through all processors; one that fails costs only its message, and is reported once."""
    failed: list[object] = []

    def shout(message: Any) -> Any:
        if isinstance(message, logging.LogRecord):
            message.msg = message.getMessage().upper()
        return message

    def filter_out(message: Any) -> Any:
        text = message.msg if isinstance(message, logging.LogRecord) else str(message.resource)
        if "FAIL" in text.upper():
            failed.append(message)
            raise RuntimeError("broken processor")
        return None if "SECRET" in text.upper() else message

    seen: list[str] = []
    runner = ProcessPoolTaskRunner(1, message_processors=[shout, filter_out])
    with runner, subscribe(lambda event: seen.append(event.resource["text"]), "tests."):
        for text in ("good", "secret", "fail", "fail again", "better"):
            result(runner.submit(remote.say, {"text": text}))
    texts = [record.getMessage() for record in caplog.records if record.name == "mainspring.task_runs"]
    assert texts == ["SAID GOOD", "SAID BETTER"]
    assert seen == ["good", "better"]
    assert len(failed) == 6
    assert len([record for record in caplog.records if "broken processor" in str(record.exc_text)]) <= 1
    reports = [record for record in caplog.records if "message processor" in record.getMessage()]
    assert len(reports) == 1


# Leaving


@pytest.mark.contract("TR-16")
def test_workers_end_with_the_runner() -> None:
    """They are gone when the block is left."""
    with ProcessPoolTaskRunner(1) as runner:
        pid = result(runner.submit(remote.process_id, {"_": None}))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.contract("TR-16")
def test_a_task_that_is_cancelled_before_its_body(tmp_path: Path) -> None:
    """It is recorded as cancelled by its runner, wherever it was noticed."""
    with ProcessPoolTaskRunner(1) as runner:
        result(runner.submit(remote.add, {"x": 1, "y": 1}))
        runner._context["cancel_event"].set()
        here = runner.submit(remote.note_and_add, {"folder": tmp_path, "x": 1})
        with pytest.raises(RunCancelled):
            result(here)
        runner._context["cancel_event"].clear()
        assert runner._crew is not None
        runner._crew.cancel()
        there = runner.submit(remote.note_and_add, {"folder": tmp_path, "x": 1})
        with pytest.raises(RunCancelled):
            result(there)
    assert not remote.notes(tmp_path)
    assert [sequence(run) for run in task_runs()[1:]] == ["Pending Running Crashed"] * 2


def test_a_worker_that_does_not_end_is_killed(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """A thread that a task left running delays the end, but not for ever."""
    monkeypatch.setattr("mainspring._processes.children.PATIENCE", 0.3)
    began = time.monotonic()
    with ProcessPoolTaskRunner(1) as runner:
        result(runner.submit(remote.leave_a_thread, {"seconds": 60}))
    assert time.monotonic() - began < 20
    assert "did not end within 0.3 seconds and is killed" in caplog.text


def test_shared_values_are_pickled_by_one_thread_at_a_time() -> None:
    """A value that refuses to be pickled by two threads at once may go along with all elements of a map."""

    @flow(task_runner=ProcessPoolTaskRunner(2))
    def share() -> list[str]:
        return remote.kind_of.map(range(8), unmapped(remote.Borrowed())).result(timeout=60)

    assert share() == [f"{number} Borrowed" for number in range(8)]
