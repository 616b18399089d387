"""Workers of a cluster that die: what it costs, and what is recorded."""

from pathlib import Path
from typing import Any

import pytest

from mainspring import unmapped
from mainspring.client import get_client
from mainspring.exceptions import CrashedRun, MissingResult, WorkerDied
from mainspring.runs import TaskRun
from tests.deaths.processes import until
from tests.distributed import work
from tests.distributed.clusters import Cluster, kill
from tests.engine.history import only_task_run, sequence, states_of, task_runs
from tests.runners import remote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PATIENCE = 60
"""Seconds in which anything that takes a moment is over on a machine that is busy."""


def without_deaths(run: TaskRun) -> str:
    """The names of the states of a run, but for what others enter if they find the worker dead first."""
    return " ".join(name for name in sequence(run).split() if name != "Crashed")


@pytest.mark.parametrize("after", [0, 0.2])
@pytest.mark.contract("S-39", "E-73")
def test_a_worker_that_dies_in_a_task(runner: Any, tmp_path: Path, after: float) -> None:
    """Without a retry the run is Crashed, and says that its worker is gone; a run beside it and later ones complete."""
    beside = runner.submit(work.meet, {"folder": tmp_path, "name": "beside"})
    until(lambda: "beside" in work.met(tmp_path), "the run beside")
    future = runner.submit(remote.die_by, {"how": "kill", "after": after})
    with pytest.raises(WorkerDied, match=r"lost the worker|worker that had begun|died") as caught:
        future.result(timeout=PATIENCE)
    assert isinstance(caught.value, CrashedRun)
    (tmp_path / "end-beside").touch()
    assert beside.result(timeout=PATIENCE) == work.met(tmp_path)["beside"]
    (run,) = task_runs("die-by") or [get_client().read_task_run(future.task_run_id)]
    assert states_of(run)[-1].name == "Crashed"
    assert runner.submit(remote.add, {"x": 1, "y": 1}).result(timeout=PATIENCE) == 2


@pytest.mark.parametrize("option", ["retries", "retry_on_crash"])
def test_a_retry_makes_good(runner: Any, tmp_path: Path, option: str) -> None:
    """With an attempt left the run goes on in another worker, under its id, and its attempts are counted."""
    die_once = remote.die_once.with_options(**{"retries": 0, option: 1})
    parameters = {"folder": tmp_path, "x": 3, "victim": 3, "after": 0.2}
    future = runner.submit(die_once, parameters)
    assert future.result(timeout=PATIENCE) == 3
    run = only_task_run()
    assert run.id == future.task_run_id
    assert without_deaths(run) == "Pending Running AwaitingRetry Retrying Completed"
    assert (run.run_count, remote.notes(tmp_path)) == (2, ["3 1", "3 2"])


def test_retries_are_used_up(runner: Any, tmp_path: Path) -> None:
    """Each death takes a retry; then the run is Crashed."""
    future = runner.submit(remote.die_always.with_options(retry_delay_seconds=0), {"folder": tmp_path})
    future.wait(PATIENCE)
    for st in states_of(only_task_run()):
        print(st.timestamp, st.name, st.message, st.id)
    assert sequence().split()[-1] == "Crashed"
    assert remote.notes(tmp_path) == ["1", "2", "3"]
    assert only_task_run().run_count == 3


@pytest.mark.parametrize(("retries", "calls"), [(0, 1), (1, 0)])
@pytest.mark.contract("H-1")
def test_crash_hooks(runner: Any, tmp_path: Path, retries: int, calls: int) -> None:
    """Whoever finds the worker dead, they are called once if that is the end of the run, and else not at all."""
    hooked = remote.die_once.with_options(
        retries=retries, on_crashed=[work.tell_crash], task_run_name=str(tmp_path)
    )
    runner.submit(hooked, {"folder": tmp_path, "x": 3, "victim": 3, "after": 0.2}).wait(PATIENCE)
    assert only_task_run().state_name == ("Completed" if retries else "Crashed")
    assert remote.notes(tmp_path).count("crashed") == calls


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_that_dies_when_its_run_is_recorded(runner: Any, tmp_path: Path, retries: int) -> None:
    """What is recorded as Completed stays so and is not made again; a value that nobody kept is missing."""
    future = runner.submit(work.die_when_done.with_options(retries=retries), {"folder": tmp_path, "size": 1})
    future.wait(PATIENCE)
    assert future.state.is_completed()
    with pytest.raises(MissingResult, match="persist_result=True"):
        future.result(timeout=PATIENCE)
    assert (sequence(), remote.notes(tmp_path)) == ("Pending Running Completed", ["1"])


@pytest.mark.parametrize("size", [1, work.LARGE])
def test_a_kept_result_survives_its_worker(runner: Any, tmp_path: Path, size: int) -> None:
    """The result of a run whose worker dies before it has answered comes from where it is kept."""
    kept = work.die_when_done.with_options(persist_result=True)
    future = runner.submit(kept, {"folder": tmp_path, "size": size})
    assert future.result(timeout=PATIENCE) == b"x" * size
    assert (sequence(), remote.notes(tmp_path)) == ("Pending Running Completed", ["1"])


def test_a_large_result_dies_with_its_worker(runner: Any, cluster: Cluster, tmp_path: Path) -> None:
    """A value that had stayed on a worker is missing when that is gone; its run is not made again for it."""
    if cluster.kind == "ray":
        pytest.skip("Ray keeps values for its workers, so they are gone with the machine only")
    future = runner.submit(work.large, {"folder": tmp_path})
    future.wait(PATIENCE)
    kill(int(remote.notes(tmp_path)[0]))
    with pytest.raises(MissingResult, match="persist_result=True"):
        future.result(timeout=PATIENCE)
    assert future.state.is_completed()
    after = runner.submit(work.length, {"value": future})
    after.wait(PATIENCE)
    assert not after.state.is_completed()
    assert len(remote.notes(tmp_path)) == 1


def test_a_large_kept_result_survives_its_worker(runner: Any, tmp_path: Path) -> None:
    """One that is kept is read from where it is kept, by whoever needs it."""
    future = runner.submit(work.large.with_options(persist_result=True), {"folder": tmp_path})
    future.wait(PATIENCE)
    kill(int(remote.notes(tmp_path)[0]))
    after = runner.submit(work.length, {"value": future})
    assert after.result(timeout=PATIENCE) == work.LARGE
    assert len(future.result(timeout=PATIENCE)) == work.LARGE
    assert len(remote.notes(tmp_path)) == 1


@pytest.mark.parametrize("retries", [0, 3])
def test_all_workers_die_in_a_map(runner: Any, cluster: Cluster, tmp_path: Path, retries: int) -> None:
    """Every element has one final state; with retries all complete, and no attempt is made twice."""
    parts = work.short.with_options(retries=retries)
    futures = runner.map(parts, {"folder": unmapped(tmp_path), "x": range(200)})
    until(lambda: len(list(tmp_path.glob("part-*"))) >= 40, "the first of the parts", PATIENCE)
    for pid in cluster.workers():
        kill(pid)
    futures.wait(timeout=PATIENCE)
    assert all(future.is_done() for future in futures)
    runs = task_runs()
    assert len(runs) == 200
    names = {run.state_name for run in runs}
    assert names == {"Completed"} if retries else names <= {"Completed", "Crashed"}
    for run, x in zip(sorted(runs, key=lambda run: run.created), range(200), strict=True):
        path = tmp_path / f"part-{x}"
        attempts = path.read_text().split() if path.exists() else []
        assert len(attempts) == len(set(attempts)), (x, attempts, run)
        if retries == 0:
            assert len(attempts) <= 1
