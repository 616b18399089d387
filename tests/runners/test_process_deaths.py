"""Workers that die: what it costs, and what is recorded."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow, task
from mainspring._processes.children import Child
from mainspring._processes.leashes import Leash
from mainspring.client import get_client
from mainspring.exceptions import CancelledRun, CrashedRun, WorkerDied, WorkerNotStarted
from mainspring.recording import current_recorder
from mainspring.runs import TaskRun
from mainspring.states import State
from mainspring.task_runners import ProcessPoolTaskRunner
from mainspring.task_runners.calls import Call
from mainspring.task_runners.losses import Losses
from tests.engine.history import flow_runs, query, sequence, states_of, task_runs
from tests.runners import remote
from tests.runners.making import eventually


@pytest.fixture
def pool() -> Any:
    """A runner with two workers that tests may kill."""
    with ProcessPoolTaskRunner(max_workers=2) as runner:
        yield runner
        assert not query(
            "SELECT name FROM task_runs WHERE state_type NOT IN ('COMPLETED', 'CRASHED', 'FAILED')"
        )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("kill", "was killed by signal 9 (SIGKILL)"),
        ("terminate", "was killed by signal 15 (SIGTERM)"),
        ("segmentation", "was killed by signal 11 (SIGSEGV)"),
        ("exit", "ended itself with exit code 3"),
    ],
)
@pytest.mark.parametrize("after", [0, 0.1])
@pytest.mark.contract("S-39", "E-73")
def test_a_worker_that_dies_in_a_task(
    workers: ProcessPoolTaskRunner, how: str, message: str, after: float
) -> None:
    """The run is Crashed, whether or not it was visible by then; state and exception say how the worker died."""
    future = workers.submit(remote.die_by, {"how": how, "after": after})
    with pytest.raises(WorkerDied) as caught:
        future.result(timeout=60)
    assert isinstance(caught.value, CrashedRun)
    assert message in str(caught.value)
    (run,) = task_runs()
    assert sequence(run) == "Pending Running Crashed"
    assert message in (run.state.message or "")
    assert (run.run_count, run.id) == (1, future.task_run_id)
    assert workers.submit(remote.add, {"x": 1, "y": 1}).result(timeout=60) == 2


def test_a_worker_that_dies_while_it_is_idle(workers: ProcessPoolTaskRunner) -> None:
    """Nobody notices: another one is started for the next task."""
    pid = workers.submit(remote.process_id, {"_": None}).result(timeout=60)
    os.kill(pid, signal.SIGKILL)
    assert workers._crew is not None
    (child,) = [child for child in workers._crew._all if child.pid == pid]
    assert eventually(lambda: not child.is_alive())
    assert workers.submit(remote.process_id, {"_": None}).result(timeout=60) != pid
    assert {run.state.name for run in task_runs()} == {"Completed"}


def _is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_death_costs_one_attempt(pool: ProcessPoolTaskRunner) -> None:
    """Of twenty tasks one kills its worker: nineteen complete, one is crashed."""
    futures = pool.map(remote.die_if, {"victim": 7, "x": range(20)})
    futures.wait(timeout=60)
    names = [future.state.name for future in futures]
    assert names == ["Completed"] * 7 + ["Crashed"] + ["Completed"] * 12
    assert sorted(run.state.name for run in task_runs()) == ["Completed"] * 19 + ["Crashed"]


@pytest.mark.parametrize("after", [0, 0.1])
def test_a_retry_makes_good(pool: ProcessPoolTaskRunner, tmp_path: Path, after: float) -> None:
    """With a retry left the run goes on in another worker, under its id, and its attempts are counted."""
    parameters = {"folder": tmp_path, "x": range(6), "victim": 3, "after": after}
    for x in range(4):
        (tmp_path / str(x)).mkdir()
    futures = pool.map(remote.die_once, {**parameters, "x": [3]})
    assert futures.result(timeout=60) == [3]
    run = get_client().read_task_run(futures[0].task_run_id)
    assert sequence(run) == "Pending Running AwaitingRetry Retrying Completed"
    assert (run.run_count, remote.notes(tmp_path)) == (2, ["3 1", "3 2"])
    assert "killed by signal 9" in (states_of(run)[2].message or "")
    assert pool.map(remote.die_once, parameters).result(timeout=60) == list(range(6))


def test_retries_are_used_up(pool: ProcessPoolTaskRunner, tmp_path: Path) -> None:
    """Each death takes one, after the declared delay; then the run is crashed, by its last worker's death."""
    began = time.monotonic()
    future = pool.submit(remote.die_always, {"folder": tmp_path})
    future.wait(60)
    (run,) = task_runs()
    assert sequence(run) == "Pending Running AwaitingRetry Retrying AwaitingRetry Retrying Crashed"
    assert remote.notes(tmp_path) == ["1", "2", "3"]
    assert time.monotonic() - began > 0.6
    assert run.run_count == 3


@pytest.mark.parametrize("after", [0, 0.5])
def test_there_is_no_worker_for_the_next_attempt(tmp_path: Path, after: float) -> None:
    """A run whose worker has died fails if no other one can be set up, whether or not it was visible by then."""
    parameters = {"folder": tmp_path, "x": 1, "victim": 1, "after": after}
    with ProcessPoolTaskRunner(1, initializer=remote.initialize_once, initargs=[tmp_path]) as runner:
        error = runner.submit(remote.die_once, parameters).result(60, raise_on_failure=False)
    assert isinstance(error, WorkerNotStarted)
    assert sequence() == "Pending Running AwaitingRetry Failed"
    assert remote.notes(tmp_path) == ["1 1"]


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.invariants(is_over=False)
def test_a_run_that_somebody_else_has_found_dead(is_last: bool) -> None:
    """It is attempted again if it has a retry left, but not if there can be no other attempt."""

    @task(retries=1)
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (run,) = task_runs()
    lost = Losses(Call(interrupted, run.key, {}, None, None, {}), run)
    assert lost.settle(WorkerDied("It is gone."), Leash(None), False, is_last=is_last) is not is_last
    assert sequence() == "Pending Running Crashed" + (not is_last) * " AwaitingRetry"


def test_failures_and_deaths_share_the_retries(pool: ProcessPoolTaskRunner, tmp_path: Path) -> None:
    """A retry that was used for an exception is not there any more for a death."""
    pool.submit(remote.fail_then_die, {"folder": tmp_path}).wait(60)
    assert sequence() == "Pending Running Retrying Crashed"
    assert remote.notes(tmp_path) == ["1", "2"]


def test_a_condition_decides_about_retries(pool: ProcessPoolTaskRunner, tmp_path: Path) -> None:
    """The retry condition is asked here, with the crash as the failure."""
    asked: list[State] = []

    def never(task: object, run: TaskRun, state: State) -> bool:
        asked.append(state)
        return False

    hesitant = remote.die_always.with_options(retry_condition_fn=never)
    hesitant.policy.retry_condition = never
    pool.submit(hesitant, {"folder": tmp_path}).wait(60)
    assert sequence() == "Pending Running Crashed"
    assert [state.type.value for state in asked] == ["CRASHED"]


@pytest.mark.contract("H-1")
def test_crash_hooks_run_here(pool: ProcessPoolTaskRunner) -> None:
    """The worker cannot call them any more."""
    told: list[tuple[int, str]] = []

    def tell(task: object, run: TaskRun, state: State) -> None:
        told.append((os.getpid(), state.name))

    pool.submit(remote.die_by.with_options(on_crashed=[tell]), {"how": "kill", "after": 0}).wait(60)
    assert told == [(os.getpid(), "Crashed")]


def test_what_ran_inside_is_settled_too(pool: ProcessPoolTaskRunner) -> None:
    """A task that is called by the task whose worker dies is crashed as well."""
    pool.submit(remote.die_inside, {"x": 1}).wait(60)
    assert [run.state.name for run in task_runs()] == ["Crashed", "Crashed"]


def test_others_may_settle_first(pool: ProcessPoolTaskRunner, tmp_path: Path, monkeypatch: Any) -> None:
    """A run that somebody else has found dead already is retried all the same."""
    found: list[int] = []
    death = "mainspring._processes.children.Child.death"
    original = Child.death

    def settle_before(child: Child) -> WorkerDied:
        error = original(child)
        found.append(len(current_recorder().store.settle_dead_owners()))
        return error

    monkeypatch.setattr(death, settle_before)
    parameters = {"folder": tmp_path, "x": 3, "victim": 3, "after": 0.2}
    assert pool.submit(remote.die_once, parameters).result(timeout=60) == 3
    assert found == [1]
    assert sequence() == "Pending Running Crashed AwaitingRetry Retrying Completed"


def test_others_may_settle_what_is_cancelled_first(tmp_path: Path, monkeypatch: Any) -> None:
    """A run whose worker is killed, as it does not stop, is Cancelled, though somebody has found that one dead."""
    found: list[int] = []
    told: list[str] = []
    original = Child.kill

    def settle_after(child: Child) -> None:
        original(child)
        found.append(len(current_recorder().store.settle_dead_owners()))

    def tell(task: object, run: TaskRun, state: State) -> None:
        told.append(state.name)

    monkeypatch.setattr(Child, "kill", settle_after)
    holding = remote.hold_on.with_options(on_crashed=[tell], on_cancellation=[tell])

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def around() -> None:
        holding.submit(tmp_path).wait()

    def cancel() -> None:
        eventually(lambda: remote.notes(tmp_path) and flow_runs())
        get_client().cancel_run(flow_runs()[0].id, "no longer needed", timeout=60)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(CancelledRun, match="no longer needed"):
        around()
    canceller.join()
    assert found == [1]
    assert sequence() == "Pending Running Crashed Cancelled"
    assert task_runs()[0].state.message == "no longer needed"
    assert told == ["Cancelled"]


def test_an_exit_in_a_task_is_no_death(workers: ProcessPoolTaskRunner) -> None:
    """``sys.exit`` crashes the run, as everywhere; the worker goes on."""
    before = workers.submit(remote.process_id, {"_": None}).result(timeout=60)
    future = workers.submit(remote.leave, {"how": "exit"})
    with pytest.raises(SystemExit):
        future.result(timeout=60)
    assert _is_running(before)
    assert sequence(task_runs()[-1]) == "Pending Running Crashed"


def test_a_flow_with_a_death(tmp_path: Path) -> None:
    """The flow gets the exception, and fails or goes on as with any other."""

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline() -> str:
        try:
            remote.die_by.submit("kill").result(timeout=60)
        except WorkerDied as error:
            return f"exit code {error.exit_code}"
        return "survived"

    assert pipeline() == "exit code -9"
