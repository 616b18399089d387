"""Short tasks go to a cluster together, and long ones do not."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mainspring import flow, task, unmapped
from mainspring._clusters.pace import AHEAD, KNOWN_AFTER, LONG_SECONDS
from mainspring._clusters.parcels import Parcel
from mainspring._clusters.protocol import Cluster, Delivery, Ticket

distributed: Any = pytest.importorskip("distributed")

from mainspring.integrations.dask import DaskTaskRunner  # noqa: E402 - needs the package

pytestmark = pytest.mark.slow

SLOTS = 4
PATIENCE = 60.0

sent: list[set[UUID]] = []
"""The ids of the runs of each parcel that was sent in the test."""


class Witness:
    """A cluster that remembers what it was sent."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def send(
        self, parcel: bytes, inputs: Sequence[Any], options: Mapping[str, Any], deliver: Delivery
    ) -> Ticket:
        _, content = pickle.loads(parcel)
        sent.append({order[0].id for order in Parcel(*pickle.loads(content)).orders})
        return self._cluster.send(parcel, inputs, options, deliver)


class WitnessedRunner(DaskTaskRunner):
    """A runner with such a cluster."""

    def _connect(self) -> Cluster:
        witness: Any = Witness(super()._connect())
        return witness  # type: ignore[no-any-return]


@task
def double(x: int) -> int:
    """A short task."""
    return 2 * x


@task
def linger(x: int) -> int:
    """A task that is not short."""
    time.sleep(2 * LONG_SECONDS)
    return 2 * x


@task
def double_unless_held(x: int, held: Mapping[int, Path]) -> int:
    """A short task, some runs of which do not end before there is a file."""
    deadline = time.monotonic() + PATIENCE
    while x in held and not held[x].exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return 2 * x


def _parcels_of(runs: set[UUID]) -> list[set[UUID]]:
    return [parcel for parcel in sent if parcel & runs]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers with two threads each, so that one that waits does not keep a worker from all else."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture
def runner(cluster: Any) -> WitnessedRunner:
    """A runner there. Nothing was sent so far."""
    sent.clear()
    return WitnessedRunner(cluster)


def test_short_elements_of_a_map_go_together(runner: WitnessedRunner) -> None:
    """A map of many short runs takes far fewer parcels than it has elements, and each run is in one of them."""

    @flow(task_runner=runner)
    def mapped() -> list[int]:
        double.map(range(100)).wait()  # the first ones may take long, as a worker has to begin
        sent.clear()
        return double.map(range(1000)).result()

    assert mapped() == [2 * number for number in range(1000)]
    assert sum(map(len, sent)) == len(set().union(*sent)) == 1000
    assert len(sent) < 500


def test_short_runs_that_are_submitted_go_together(runner: WitnessedRunner, tmp_path: Path) -> None:
    """Runs of a known task that are submitted one by one go together when the cluster has enough else to do."""
    held = dict.fromkeys(range(AHEAD * SLOTS), tmp_path / "enough")

    @flow(task_runner=runner)
    def submitted() -> list[int]:
        double.map(range(KNOWN_AFTER)).wait()
        others = [double_unless_held.submit(number, held) for number in held]
        try:
            futures = [double.submit(number) for number in range(100)]
            ids = {future.task_run_id for future in futures}
            deadline = time.monotonic() + PATIENCE
            while sum(map(len, _parcels_of(ids))) < 100:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            held[0].touch()
        for future in (*others, *futures):
            future.wait()
        assert len(_parcels_of(ids)) < 50
        return [future.result() for future in futures]

    assert submitted() == [2 * number for number in range(100)]


def test_long_runs_go_alone(runner: WitnessedRunner) -> None:
    """No two runs of a task that is not short are in one parcel."""

    @flow(task_runner=runner)
    def lingering() -> list[int]:
        return linger.map(range(10 * SLOTS)).result()

    assert lingering() == [2 * number for number in range(10 * SLOTS)]
    assert [len(parcel) for parcel in sent] == [1] * 10 * SLOTS


def test_the_first_runs_go_alone(runner: WitnessedRunner) -> None:
    """As long as nothing is known of a task, no run has to wait for another one in its parcel."""

    @flow(task_runner=runner)
    def mapped() -> None:
        double.map(range(1000)).wait()

    mapped()
    assert [len(parcel) for parcel in sent[:KNOWN_AFTER]] == [1] * KNOWN_AFTER


def test_nothing_waits_for_a_long_run_in_another_parcel(runner: WitnessedRunner, tmp_path: Path) -> None:
    """All elements of a map end, but for those which went together with one that takes long."""
    held = {number: tmp_path / str(number) for number in (0, 600)}

    @flow(task_runner=runner)
    def mapped() -> tuple[list[int], set[int]]:
        futures = double_unless_held.map(range(1000), held=unmapped(held))
        by_id = {future.task_run_id: number for number, future in enumerate(futures)}
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                together = [parcel for parcel in sent if any(by_id[run] in held for run in parcel)]
                waiting = set().union(*together)
                left = [
                    future for future in futures if future.task_run_id not in waiting and not future.is_done()
                ]
                if sum(map(len, sent)) == 1000 and not left:
                    break
                assert time.monotonic() < deadline, f"{len(left)} runs wait for others"
                time.sleep(0.05)
        finally:
            for path in held.values():
                path.touch()
        return futures.result(), {by_id[run] for run in waiting}

    results, waited = mapped()
    assert results == [2 * number for number in range(1000)]
    assert {0, 600} <= waited
    assert len(waited) < 500


def test_nothing_is_left_on_the_cluster(cluster: Any, runner: WitnessedRunner) -> None:
    """The scheduler forgets what has come home, also while all futures are kept."""
    with runner:
        futures = [runner.submit(double, {"x": number}) for number in range(200)]
        assert [future.result() for future in futures] == [2 * number for number in range(200)]
        deadline = time.monotonic() + PATIENCE
        while cluster.scheduler.tasks:
            assert time.monotonic() < deadline, f"the scheduler keeps {len(cluster.scheduler.tasks)} calls"
            time.sleep(0.05)
