"""Tasks in workers of a process runner that do not end: they are made to, at their deadline or when told to stop."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring import flow
from mainspring._cancel_scopes import CancelScope, Stop, StopKind
from mainspring.context import FlowRunContext
from mainspring.task_engine import TaskRunTimeoutError
from mainspring.task_runners import ProcessPoolTaskRunner
from tests.engine.history import query, sequence, states_of, task_runs
from tests.isolation import subjects
from tests.runners import remote
from tests.runners.making import eventually
from tests.runners.remote import notes
from tests.runners.test_process_ends import is_running


@pytest.fixture
def pool() -> Iterator[ProcessPoolTaskRunner]:
    """A runner with two workers, one of which is warm."""
    with ProcessPoolTaskRunner(max_workers=2) as runner:
        runner.submit(remote.process_id, {"_": None}).wait(60)
        yield runner


@pytest.mark.parametrize("how", ["compute_in_c", "swallow_everything"])
@pytest.mark.contract("E-70", "E-71")
def test_a_task_that_goes_on(pool: ProcessPoolTaskRunner, tmp_path: Path, how: str) -> None:
    """The run has timed out soon after its deadline, with the words of its limit, and the worker is replaced."""
    limited = subjects.go_on_there.with_options(timeout_seconds=1)
    future = pool.submit(limited, {"how": how, "folder": tmp_path})
    with pytest.raises(TaskRunTimeoutError):
        future.result(timeout=60)
    run = task_runs("go_on_there")[0]
    assert (run.state.name, run.state.message) == ("TimedOut", "Task run exceeded timeout of 1.0 second(s)")
    assert sequence(run) == "Pending Running TimedOut"
    running, timed_out = states_of(run)[1:]
    assert 1 <= (timed_out.timestamp - running.timestamp).total_seconds() < 5
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)), 20)
    assert pool.submit(remote.add, {"x": 1, "y": 1}).result(timeout=60) == 2


def test_its_neighbours_live(pool: ProcessPoolTaskRunner, tmp_path: Path) -> None:
    """What another worker does meanwhile is not disturbed."""
    meeting = remote.Meeting(tmp_path, 2)
    neighbour = pool.submit(remote.attend, {"meeting": meeting, "name": 1})
    assert eventually(lambda: (tmp_path / "attends-1").exists(), 30)
    limited = subjects.go_on_there.with_options(timeout_seconds=0.5)
    pool.submit(limited, {"how": "compute_in_c", "folder": None}).wait(60)
    (tmp_path / "attends-2").touch()
    assert neighbour.result(timeout=60)[0] is True


def test_a_retry_goes_on_in_another_worker(pool: ProcessPoolTaskRunner, tmp_path: Path) -> None:
    """The attempt counts as a failed one."""
    retried = subjects.count_up.with_options(timeout_seconds=1, retries=2, retry_on_crash=2)
    assert pool.submit(retried, {"folder": tmp_path, "attempt": 3}).result(timeout=60) == 3
    run = task_runs("count_up")[0]
    assert sequence(run) == "Pending Running AwaitingRetry Retrying AwaitingRetry Retrying Completed"
    assert states_of(run)[2].message == "Task run exceeded timeout of 1.0 second(s)"
    assert len(set(notes(tmp_path))) == 3


def test_an_attempt_that_ends_in_time_is_left_alone(pool: ProcessPoolTaskRunner) -> None:
    """A limit is over with its attempt: what the worker does afterwards is not measured by it."""
    before = {pool.submit(remote.process_id, {"_": None}).result(timeout=60)}
    retried = remote.fail.with_options(timeout_seconds=0.2, retries=1, retry_delay_seconds=0.5)
    pool.submit(retried, {"text": "no"}).wait(60)
    run = task_runs("fail")[0]
    assert sequence(run) == "Pending Running AwaitingRetry Retrying Failed"
    assert before == {pool.submit(remote.process_id, {"_": None}).result(timeout=60)}


def test_hooks_are_called_by_the_runner(pool: ProcessPoolTaskRunner) -> None:
    """The worker cannot call them any more."""
    told: list[str] = []
    limited = subjects.go_on_there.with_options(
        timeout_seconds=0.5, on_failure=[lambda task, run, state: told.append(state.name)]
    )
    pool.submit(limited, {"how": "compute_in_c", "folder": None}).wait(60)
    assert told == ["TimedOut"]


def test_the_deadline_of_the_flow_around(tmp_path: Path) -> None:
    """A task without a limit has no more time than its flow."""

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1), timeout_seconds=8)  # with time to start one
    def pipeline() -> None:
        subjects.go_on_there.submit("compute_in_c", tmp_path).wait()

    assert pipeline(return_state=True).name == "TimedOut"
    (run,) = task_runs()
    assert run.state.name == "TimedOut"
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)), 20)


# Told to stop


def stopping(what: str, folder: Path, **arguments: object) -> BaseException | None:
    """What comes of a task that is submitted in a flow whose scope is told to stop."""
    found: list[BaseException] = []
    chosen = getattr(subjects, what)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline() -> None:
        context = FlowRunContext.get()
        assert context is not None
        scope = context.scope
        assert isinstance(scope, CancelScope)
        future = chosen.submit(**arguments, folder=folder)
        assert eventually(lambda: notes(folder), 30)
        time.sleep(0.05)
        scope.stop(Stop(StopKind.CANCELLED, "Somebody has cancelled it."))
        try:
            future.result(timeout=60)
        except BaseException as error:
            found.append(error)

    pipeline(return_state=True)
    return found[0] if found else None


@pytest.mark.parametrize("what", ["tidy_up_there", "sleep_there"])
def test_a_task_that_ends_in_order(tmp_path: Path, what: str) -> None:
    """It is interrupted where it runs, and tidies up."""
    stopping(what, tmp_path)
    assert notes(tmp_path) == ["begun", "ended True" if what == "tidy_up_there" else "ended"]
    assert task_runs()[0].state.is_final()


@pytest.mark.parametrize("how", ["compute_in_c", "swallow_everything"])
def test_a_task_that_does_not_end(tmp_path: Path, how: str) -> None:
    """Its worker is killed a moment later, and the run is over."""
    error = stopping("go_on_there", tmp_path, how=how)
    assert error is not None
    (pid,) = notes(tmp_path)
    assert eventually(lambda: not is_running(int(pid)), 20)
    (run,) = task_runs()
    assert run.state.is_final()
    assert query("SELECT count(*) FROM task_runs WHERE state_type = 'RUNNING'") == [(0,)]
