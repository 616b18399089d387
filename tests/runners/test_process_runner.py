"""Tasks in worker processes: what they are given, what they come to, and who hears of it."""

import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mainspring import allow_failure, flow, tags, unmapped
from mainspring.annotations import quote
from mainspring.events import Event, subscribe
from mainspring.exceptions import RunCancelled
from mainspring.futures import Future
from mainspring.logging import LogEavesdropper
from mainspring.recording import current_recorder
from mainspring.runs import Run, TaskRunResult
from mainspring.settings import temporary_settings
from mainspring.states import State
from mainspring.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from mainspring.transactions import transaction
from tests.engine.history import messages, only_task_run, query, sequence, task_runs
from tests.runners import remote
from tests.runners.making import eventually


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


@pytest.mark.contract("TR-3", "TR-4")
def test_a_runner_is_started_by_its_block() -> None:
    """It cannot be entered twice, used outside, or used after; it can be entered again. Unused, it starts nothing."""
    runner = ProcessPoolTaskRunner(1)
    with pytest.raises(RuntimeError, match="not started"):
        runner.submit(remote.add, {"x": 1, "y": 1})
    for _ in range(2):
        with runner:
            with pytest.raises(RuntimeError, match="already started"):
                runner.__enter__()
            assert runner._crew is not None
            assert not runner._crew._all
    with pytest.raises(RuntimeError, match="not started"):
        runner.map(remote.add, {"x": [1]})


# Calls


@pytest.mark.contract("TR-1", "TR-6", "TR-20")
def test_a_task_runs_elsewhere(workers: ProcessPoolTaskRunner) -> None:
    """It runs in another process, under the id that its future has had from the beginning, and is recorded."""
    future = workers.submit(remote.process_id, {"_": None})
    assert result(future) != os.getpid()
    assert only_task_run().id == future.task_run_id
    assert sequence() == "Pending Running Completed"


@pytest.mark.contract("G-16", "TR-15")
@pytest.mark.parametrize(
    ("task", "outcome"), [("wait_and_add", 4), ("count", [0, 1, 2]), ("count_later", [0, 1, 2])]
)
def test_all_kinds_of_tasks(workers: ProcessPoolTaskRunner, task: str, outcome: Any) -> None:
    """Coroutines are awaited in the worker, generators collected."""
    function = getattr(remote, task)
    (parameter,) = function.arguments.signature.parameters
    assert result(workers.submit(function, {parameter: 3})) == outcome
    assert only_task_run().state.is_completed()


@pytest.mark.contract("TR-7", "TR-9", "TR-29")
def test_map(workers: ProcessPoolTaskRunner) -> None:
    """It splits as on threads, futures too."""
    numbers = workers.submit(remote.echo, {"value": [1, 2, 3]})
    assert workers.map(remote.add, {"x": numbers, "y": numbers}).result(timeout=60) == [2, 4, 6]
    assert workers.map(remote.add, {"x": [1, 2], "y": unmapped(5)}).result(timeout=60) == [6, 7]


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


@pytest.mark.contract("TR-21")
def test_inputs_from_other_runs(workers: ProcessPoolTaskRunner) -> None:
    """Futures and states are replaced by results at any depth, quoted ones are left, and both are recorded."""
    first = workers.submit(remote.add, {"x": 1, "y": 1})
    second = workers.submit(remote.echo, {"value": [{"a": first}]}, wait_for=[first])
    assert result(second) == [{"a": 2}]
    assert result(workers.submit(remote.echo, {"value": quote([first.state])}))[0].result() == 2
    inputs = task_runs("echo")[0].task_inputs
    assert inputs["value"] == inputs["wait_for"] == [TaskRunResult(id=first.task_run_id)]


@pytest.mark.contract("TR-21")
def test_an_input_that_failed(workers: ProcessPoolTaskRunner) -> None:
    """A run whose upstream failed is NotReady, unless it allows that; then it gets the exception."""
    failed = workers.submit(remote.fail, {"text": "no"})
    future = workers.submit(remote.echo, {"value": failed})
    future.wait(60)
    assert future.state.name == "NotReady"
    waiting = workers.submit(remote.echo, {"value": 1}, wait_for=[failed])
    waiting.wait(60)
    assert waiting.state.name == "NotReady"
    assert repr(result(workers.submit(remote.echo, {"value": allow_failure(failed)}))) == "ValueError('no')"


@pytest.mark.contract("TR-28", "TR-21", "TR-14")
def test_what_is_active_in_a_worker(workers: ProcessPoolTaskRunner) -> None:
    """The flow run, its parameters, tags and settings are those of the submitter."""

    @flow
    def outer(size: int, handle: object) -> dict[str, Any]:
        with tags("abroad"), temporary_settings({"debug_mode": True}):
            found: dict[str, Any] = result(workers.submit(remote.surroundings, {}))
            return found

    told = outer(3, (name for name in "ab"))  # which cannot be pickled, and is left out
    assert (told["flow"], told["parameters"], told["tags"]) == ("outer", {"size": 3}, ["abroad"])
    assert told["debug_mode"]
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


def test_runs_inside_of_a_run(workers: ProcessPoolTaskRunner) -> None:
    """Tasks, flows and submitted tasks work in a worker, in the same flow run and with the same history."""

    @flow
    def outer() -> list[int]:
        return result(workers.submit(remote.call_others, {"x": 2}))  # type: ignore[no-any-return]

    assert outer() == [3, 4, 3, 3, 3]
    caller, *inner = task_runs()
    assert caller.task_key.startswith("call_others")
    assert len(inner) == 6
    assert len([run for run in inner if "inner" in run.tags]) == 6
    parents = [run for run in inner if run.task_inputs.get("__parents__") == [TaskRunResult(id=caller.id)]]
    assert {run.flow_run_id for run in parents} == {caller.flow_run_id}
    assert len(parents) == 5
    assert {run.state.name for run in task_runs()} == {"Completed"}


def test_a_runner_for_what_is_submitted_in_a_worker_has_threads() -> None:
    """Workers do not have workers of their own."""
    assert ProcessPoolTaskRunner(2).detached() == ThreadPoolTaskRunner()


def test_a_flow_on_processes() -> None:
    """The runner of a flow is started and left with it; its states and values are those of threads."""

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def pipeline() -> list[int]:
        return remote.add.map(remote.add.map([1, 2, 3])).result(timeout=60)

    assert pipeline() == [3, 4, 5]
    assert {run.state.name for run in task_runs()} == {"Completed"}


# Results


@pytest.mark.contract("E-75")
def test_exceptions_come_home(workers: ProcessPoolTaskRunner) -> None:
    """The exception is of its own class; its cause shows where it came from."""
    future = workers.submit(remote.raise_by, {"kind": "chain"})
    with pytest.raises(ValueError, match="outer") as caught:
        result(future)
    assert "KeyError: 'inner'" in str(caught.value.__cause__)
    assert "in raise_by" in str(caught.value.__cause__)
    assert sequence() == "Pending Running Failed"


def test_large_values_travel_without_many_copies(workers: ProcessPoolTaskRunner) -> None:
    """Fifty megabytes there and back take no more than moments; arrays can be written to on both sides."""
    numpy = pytest.importorskip("numpy")
    values = {"bytes": bytes(50_000_000), "array": numpy.zeros(1_000_000)}
    back = result(workers.submit(remote.echo, {"value": values}))
    assert back["bytes"] == values["bytes"]
    back["array"][0] = 1


@pytest.mark.contract("R-82")
def test_kept_results(workers: ProcessPoolTaskRunner, tmp_path: Path) -> None:
    """A worker keeps results in the run store, and finds what was kept by another process."""
    once = remote.note_once.with_options(persist_result=True)
    assert result(workers.submit(once, {"folder": tmp_path, "x": 1})) == 2
    again = workers.submit(once, {"folder": tmp_path, "x": 1})
    assert (result(again), again.state.name) == (2, "Cached")
    assert once(tmp_path, 1) == 2
    assert remote.notes(tmp_path) == ["1"]


def test_history_is_on_disk_before_the_result(workers: ProcessPoolTaskRunner) -> None:
    """Whoever has the value finds the final state in the database."""
    for x in range(20):
        future = workers.submit(remote.add, {"x": x, "y": 1})
        result(future)
        rows = query("SELECT state_type FROM task_runs WHERE id = ?", future.task_run_id.bytes)
        assert rows == [("COMPLETED",)]


def test_values_are_known_as_inputs(workers: ProcessPoolTaskRunner) -> None:
    """A plain value that came from a worker is known to be of that run."""

    @flow
    def pipeline() -> None:
        remote.echo(result(workers.submit(remote.echo, {"value": ["a"]})))

    pipeline()
    first, second = task_runs()
    assert second.task_inputs["value"] == [TaskRunResult(id=first.id)]


@pytest.mark.contract("E-70")
def test_a_time_limit_interrupts(workers: ProcessPoolTaskRunner) -> None:
    """Tasks are in the main thread of their process, so a blocking call is interrupted."""
    future = workers.submit(remote.oversleep, {})
    future.wait(60)
    assert future.state.name == "TimedOut"


# Messages


@pytest.mark.contract("TR-23")
def test_log_lines(workers: ProcessPoolTaskRunner, caplog: pytest.LogCaptureFixture) -> None:
    """Lines of runs and others arrive once in this process, and those of runs are stored once."""
    caplog.set_level(logging.INFO)
    future = workers.submit(remote.say, {"text": "hello"})
    result(future)
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count("said hello") == texts.count("user said hello") == 1
    record = next(record for record in caplog.records if record.getMessage() == "said hello")
    assert vars(record)["task_run_id"] == str(future.task_run_id)
    assert record.process != os.getpid()
    assert eventually(lambda: messages() == ["said hello"])


@pytest.mark.contract("TR-23")
def test_levels_are_those_of_the_runner(workers: ProcessPoolTaskRunner) -> None:
    """A logger that was made to pass on more or less in this process does so in workers."""
    with LogEavesdropper("mainspring.task_runs") as heard:
        logging.getLogger("mainspring.task_runs").setLevel(logging.ERROR)
        result(workers.submit(remote.show, {"text": "first"}))
        logging.getLogger("mainspring.task_runs").setLevel(logging.INFO)
        result(workers.submit(remote.show, {"text": "second"}))
    assert heard.text() == "[INFO]: second"


@pytest.mark.contract("TR-23")
def test_events(workers: ProcessPoolTaskRunner) -> None:
    """Events of states and of users arrive in their order, before the result does."""
    seen: list[Event] = []
    with subscribe(seen.append):
        result(workers.submit(remote.say, {"text": "hello"}))
        names = [event.event for event in seen]
    prefix = "mainspring.task-run"
    assert names == [f"{prefix}.Pending", f"{prefix}.Running", "tests.said", f"{prefix}.Completed"]
    result(workers.submit(remote.say, {"text": "nobody listens"}))
    assert len(seen) == 4


def test_listeners_of_the_recorder(workers: ProcessPoolTaskRunner) -> None:
    """The display of progress hears of states in workers."""
    heard: list[tuple[Run, State]] = []
    with current_recorder().listen(lambda run, state: heard.append((run, state))):
        future = workers.submit(remote.echo, {"value": "large"})
        result(future)
    assert [state.name for _, state in heard] == ["Pending", "Running", "Completed"]
    assert {run.id for run, _ in heard} == {future.task_run_id}
    assert all(run.state.name == state.name for run, state in heard)


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


@pytest.mark.contract("TR-16", "TR-17")
def test_leaving_cancels_what_has_not_begun(tmp_path: Path) -> None:
    """A task that has begun is told and waited for; what waits is cancelled; the worker is gone afterwards."""
    with ProcessPoolTaskRunner(1) as runner:
        pid = result(runner.submit(remote.process_id, {"_": None}))
        running = runner.submit(remote.wait_for_cancellation, {"folder": tmp_path})
        waiting = runner.submit(remote.add, {"x": 1, "y": 1})
        assert eventually((tmp_path / "begun").exists)
    assert running.result() is True
    assert waiting.state.name == "Cancelled"
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


def test_a_transaction_stays_behind(workers: ProcessPoolTaskRunner, caplog: pytest.LogCaptureFixture) -> None:
    """Runs in workers commit by themselves, and a warning says so, once."""
    with transaction():
        for x in range(2):
            assert result(workers.submit(remote.add, {"x": x, "y": 1})) == x + 1
    assert caplog.text.count("Runs in other processes commit by") == 1
