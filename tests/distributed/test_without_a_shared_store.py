"""Workers that do not reach the run store: runs are made at home, and what happens over there comes home."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import flow
from mainspring.client import get_client
from mainspring.context import tags
from mainspring.exceptions import CancelledRun, ConfigurationError, WorkerDied
from tests.deaths.processes import until
from tests.distributed import apart
from tests.distributed.clusters import Cluster, kill
from tests.engine.history import flow_runs, messages, only_task_run, sequence, states_of, task_runs
from tests.runners.remote import notes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE = 60
"""Seconds in which anything that takes a moment is over on a machine that is busy."""


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run store is where no other process can reach it."""
    monkeypatch.setenv("MAINSPRING_DATABASE_URL", "sqlite://")


@pytest.fixture
def runner(cluster: Cluster) -> Iterator[Any]:
    with cluster.runner() as runner:
        yield runner


def value(future: Any) -> Any:
    return future.result(timeout=PATIENCE)


def test_functions_are_called_over_there(runner: Any) -> None:
    """A run store in memory is enough: its runs are recorded here, and their functions called in workers."""
    assert value(runner.submit(apart.process_id, {"_": None})) != os.getpid()
    run = only_task_run()
    assert sequence(run) == "Pending Running Completed"
    assert run.total_run_time.total_seconds() > 0


def test_what_runs_inside_comes_home(cluster: Cluster) -> None:
    """Runs inside of a function, their states, results and log lines are in the history, in their order."""

    @flow(task_runner=cluster.runner())
    def pipeline() -> int:
        return int(value(apart.around.submit(1)))

    assert pipeline() == 2 + 2 + 10
    root, inside = flow_runs("pipeline") or flow_runs()[:1], flow_runs()[-1]
    around = next(run for run in task_runs() if run.name.startswith("around"))
    assert [line for line in messages(around) if not line.startswith("Finished")] == ["around 1", "printed 1"]
    assert inside.parent_task_run_id in {run.id for run in task_runs()}
    assert inside.state.name == "Completed"
    names = sorted(run.name.rpartition("-")[0] for run in task_runs() if run.flow_run_id == inside.id)
    assert names == ["inner", "inner"]
    for run in task_runs():
        expected = "Failed" if run.name.startswith("broken") else "Completed"
        assert sequence(run) == f"Pending Running {expected}"
    kept = next(run for run in task_runs() if run.name.startswith("kept"))
    assert get_client().read_task_run(kept.id).state.result() == 10
    assert root[0].id == around.flow_run_id


def test_large_results_come_home(runner: Any) -> None:
    """What is kept in a file over there can be read here."""
    value(runner.submit(apart.keep_large, {"size": 100_000}))
    (kept,) = [run for run in task_runs() if run.name.startswith("kept_large")]
    assert kept.state.result() == bytes(100_000)


def test_what_is_left_behind_comes_home(cluster: Cluster, tmp_path: Path) -> None:
    """A run that was submitted inside of a function and not waited for is over before its history comes home."""

    @flow(task_runner=cluster.runner())
    def pipeline() -> None:
        value(apart.leave_behind.submit(tmp_path))

    pipeline()
    assert all(run.state.is_final() for run in task_runs())


def test_events_come_home(runner: Any) -> None:
    """An event that is emitted inside of a function is kept here."""
    value(runner.submit(apart.emit, {}))
    until(
        lambda: any(event.event == "apart.done" for event in get_client().read_events()),
        "the event",
    )


def test_retries_are_granted_here(runner: Any, tmp_path: Path) -> None:
    """An attempt that fails over there is followed by another one, as on threads."""
    assert value(runner.submit(apart.attempt, {"folder": tmp_path})) == 2
    assert sequence() == "Pending Running Retrying Completed"


def test_generators(runner: Any) -> None:
    """What a generator yields over there is its result."""
    assert value(runner.submit(apart.count, {"limit": 3})) == [0, 1, 2]


def test_results_go_from_task_to_task(runner: Any) -> None:
    """A future among the arguments is waited for here."""
    first = runner.submit(apart.inner, {"x": 1})
    assert value(runner.submit(apart.inner, {"x": first})) == 3


def test_a_map_goes_in_bundles(runner: Any) -> None:
    """Many short calls come back in their order, and each run is recorded once."""
    futures = runner.map(apart.inner, {"x": range(300)})
    assert futures.result(timeout=PATIENCE) == list(range(1, 301))
    assert [sequence(run) for run in task_runs()] == ["Pending Running Completed"] * 300


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.contract("S-39", "E-73")
def test_a_worker_that_dies(runner: Any, tmp_path: Path, retries: int) -> None:
    """It costs an attempt, whatever the cluster repeats by itself: the function begins once in each."""
    future = runner.submit(apart.die_first.with_options(retries=retries), {"folder": tmp_path})
    if retries:
        assert value(future) == 2
        assert sequence() == "Pending Running AwaitingRetry Retrying Completed"
    else:
        with pytest.raises(WorkerDied):
            value(future)
        assert sequence() == "Pending Running Crashed"
    assert value(runner.submit(apart.inner, {"x": 1})) == 2
    assert len(notes(tmp_path)) == 1 + retries


def test_workers_that_die_after_their_answers(runner: Any, tmp_path: Path) -> None:
    """What was answered is over: nothing of it is called again, whatever the cluster loses."""
    for number in range(3):
        kill(value(runner.submit(apart.say, {"folder": tmp_path, "what": number})))
        assert value(runner.submit(apart.inner.with_options(retries=3), {"x": 1})) == 2
    assert notes(tmp_path) == ["0", "1", "2"]


def test_nothing_is_left_at_the_scheduler(cluster: Cluster) -> None:
    """What says that a call was begun is forgotten with the call."""
    if cluster.kind != "dask":
        pytest.skip("it is about Dask")
    queues = cluster._cluster.scheduler.extensions["queues"].queues  # type: ignore[attr-defined]
    before = set(queues)
    with cluster.runner() as runner:
        for number in range(3):
            value(runner.submit(apart.inner, {"x": number}))
        until(lambda: set(queues) <= before, "the end of the marks")


def test_a_deadline_ends_the_wait(runner: Any, tmp_path: Path) -> None:
    """A run is TimedOut at its deadline, whatever its function is doing over there."""
    hasty = apart.linger.with_options(timeout_seconds=0.5)
    future = runner.submit(hasty, {"folder": tmp_path})
    future.wait(PATIENCE)
    assert future.state.name == "TimedOut"
    (tmp_path / "end").touch()
    assert states_of(only_task_run())[-1].name == "TimedOut"


def test_a_cancellation_ends_the_wait(cluster: Cluster, tmp_path: Path) -> None:
    """A flow that is cancelled is over, with its runs, though a function goes on over there."""
    from tests.runners.conformance.test_cancelling import cancelling

    @flow(task_runner=cluster.runner())
    def pipeline() -> None:
        futures = [apart.linger.submit(tmp_path) for _ in range(8)]
        for future in futures:
            future.wait()

    with cancelling(lambda: flow_runs()[0].id if notes(tmp_path) else None), pytest.raises(CancelledRun):
        pipeline()
    (tmp_path / "end").touch()
    assert {run.state.name for run in task_runs()} == {"Cancelled"}
    assert flow_runs()[0].state.name == "Cancelled"


def test_limits_hold_for_runs(runner: Any) -> None:
    """Slots of limits on tags are taken here, for all runs that a worker makes the function of."""
    get_client().create_or_update_concurrency_limit("tag:scarce", 1)
    with tags("scarce"):
        futures = runner.map(apart.inner, {"x": range(4)})
    assert futures.result(timeout=PATIENCE) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["hold", "call_scarce"])
def test_a_limit_cannot_be_asked_over_there(runner: Any, name: str) -> None:
    """Slots that are wanted inside of a function are refused, with why and with what to do."""
    get_client().create_or_update_concurrency_limit("database", 1)
    get_client().create_or_update_concurrency_limit("tag:scarce", 1)
    with pytest.raises(ConfigurationError, match=r"does not reach the run store.*PostgreSQL"):
        value(runner.submit(getattr(apart, name), {}))


def test_a_tag_without_a_limit(runner: Any) -> None:
    """Tags that nothing limits are no reason to refuse anything; workers believe for some seconds that nothing does."""
    assert value(runner.submit(apart.call_plenty, {})) == 1


def test_a_process_for_each_call_is_refused(runner: Any) -> None:
    """A task that wants to be killed at its deadline cannot have that over there, and says so."""
    isolated = apart.inner.with_options(isolation="process")
    with pytest.raises(ConfigurationError, match='isolation="process"'):
        value(runner.submit(isolated, {"x": 1}))
