"""What Dask can do and the runner passes on, and what it keeps off the driver."""

import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mainspring import unmapped
from mainspring.integrations.dask import DaskTaskRunner
from tests.distributed.sites import (
    LIMIT,
    add_on_cluster,
    append,
    count_down,
    echo,
    local_cluster,
    make,
    process_id,
    size,
    size_and_process,
    size_beside,
    wait_for_file,
)
from tests.engine.history import flow_runs, messages, sequence, task_runs

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

pytestmark = pytest.mark.slow

BIG = 1_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers; the first one has a crane."""
    with local_cluster(n_workers=1, resources={"crane": 1}) as cluster:
        cluster.new_spec["options"]["resources"] = {}
        cluster.scale(2)
        with distributed.Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=LIMIT)
        yield cluster


@pytest.fixture
def pool(cluster: Any) -> Iterator[DaskTaskRunner]:
    with DaskTaskRunner(cluster) as runner:
        yield runner


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster, set_as_default=False) as client:
        yield client


def value(future: Any) -> Any:
    return future.result(timeout=LIMIT)


def until(condition: Any) -> None:
    """Wait for something."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def pids(client: Any) -> dict[str, int]:
    """The process of each worker by its address."""
    found: dict[str, int] = client.run(process_id.fn, None)
    return found


# TR-24: clusters


@pytest.mark.contract("TR-24")
def test_a_temporary_cluster() -> None:
    """Without a cluster there is a local one of the class that was named, for as long as the runner is started."""
    runner = DaskTaskRunner(
        cluster_class="distributed.LocalCluster", cluster_kwargs={"n_workers": 1, "processes": False}
    )
    with runner:
        assert value(runner.submit(echo, {"value": 3})) == 3
        address = runner._cluster.client.scheduler.address  # type: ignore[union-attr]
    with pytest.raises(OSError, match=r"(?i)timed out|refused|inproc"):
        distributed.Client(address, timeout=1)


@pytest.mark.contract("TR-24")
def test_a_cluster_that_is_there(cluster: Any) -> None:
    """It stays open when the runner is left, and another runner may use it."""
    for _ in range(2):
        with DaskTaskRunner(cluster) as runner:
            assert value(runner.submit(echo, {"value": 3})) == 3
    assert cluster.status.name == "running"


@pytest.mark.contract("TR-24")
def test_an_address(cluster: Any) -> None:
    """A runner connects to the scheduler at an address, and leaves it running."""
    with DaskTaskRunner(address=cluster.scheduler_address) as runner:
        assert value(runner.submit(echo, {"value": 3})) == 3
    assert cluster.status.name == "running"


@pytest.mark.contract("TR-24")
def test_adaptive_scaling() -> None:
    """A cluster that grows with the work begins with no worker, and has one when there is something to do."""
    runner = DaskTaskRunner(
        cluster_kwargs={"n_workers": 0, "threads_per_worker": 1, "processes": False},
        adapt_kwargs={"minimum": 0, "maximum": 1, "interval": "100ms"},
    )
    with runner:
        assert value(runner.submit(size, {"value": bytes(BIG)})) == BIG


@pytest.mark.contract("TR-24")
def test_equality(cluster: Any) -> None:
    """Runners are equal if they are made alike, whatever cluster they were given; a copy is one that is not started."""
    options: dict[str, Any] = {"cluster_kwargs": {"n_workers": 2}, "client_kwargs": {"timeout": 3}}
    assert DaskTaskRunner(**options) == DaskTaskRunner(**options)
    assert DaskTaskRunner(**options) != DaskTaskRunner()
    assert DaskTaskRunner(cluster) == DaskTaskRunner()
    with DaskTaskRunner(cluster) as runner:
        copy = runner.duplicate()
        again = pickle.loads(pickle.dumps(DaskTaskRunner(**options)))
    assert copy == runner
    assert again == DaskTaskRunner(**options)
    with copy:
        assert value(copy.submit(echo, {"value": 3})) == 3


# Annotations


def test_workers(pool: DaskTaskRunner, client: Any) -> None:
    """A run goes to the worker that is named, and a map, too."""
    for address, process in pids(client).items():
        with dask.annotate(workers=[address]):
            assert value(pool.submit(process_id, {"_": None})) == process
            assert set(pool.map(process_id, {"_": range(20)}).result(timeout=LIMIT)) == {process}


def test_resources(pool: DaskTaskRunner, client: Any) -> None:
    """A run goes to a worker that has what it needs."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    (owner,) = [address for address, worker in workers.items() if worker["resources"]]
    with dask.annotate(resources={"crane": 1}):
        found = set(pool.map(process_id, {"_": range(20)}).result(timeout=LIMIT))
    assert found == {pids(client)[owner]}


def test_priority(pool: DaskTaskRunner, cluster: Any) -> None:
    """The scheduler is told how urgent a run is."""
    with dask.annotate(priority=7, resources={"ship": 1}):
        pool.submit(echo, {"value": 1})
    told = pool._cluster.client  # type: ignore[union-attr]
    urgent = told.run_on_scheduler(_priorities)
    while not urgent:
        urgent = told.run_on_scheduler(_priorities)
    assert urgent == [-7]


def _priorities(dask_scheduler: Any) -> list[int]:
    return [
        each.priority[0]
        for each in dask_scheduler.tasks.values()
        if each.resource_restrictions and "ship" in each.resource_restrictions
    ]


# TR-25: values


@pytest.mark.contract("TR-25")
def test_futures_of_dask(pool: DaskTaskRunner) -> None:
    """What a program has on the cluster itself is handed over as it is, wherever it is in the arguments."""
    client = pool._cluster.client  # type: ignore[union-attr]
    native = client.submit(bytes, BIG)
    assert value(pool.submit(size, {"value": native})) == BIG
    assert value(pool.submit(echo, {"value": {"a": [client.submit(int, "7")]}})) == {"a": [7]}
    assert value(pool.submit(size, {"value": native}, wait_for=[native])) == BIG


@pytest.mark.contract("TR-25")
def test_large_results_between_tasks(pool: DaskTaskRunner, client: Any) -> None:
    """They go from worker to worker, or nowhere if the next run is where they are, but not through the driver."""
    first = pool.submit(make, {"length": BIG})
    second = pool.submit(size_and_process, {"value": first})
    first.wait(timeout=LIMIT)
    assert value(second) == (BIG, pids(client)[_home_of(client, first)])
    for address, process in pids(client).items():
        with dask.annotate(workers=[address]):
            assert value(pool.submit(size_and_process, {"value": first})) == (BIG, process)
    assert not first.state.data.has_cached_object()


def _home_of(client: Any, future: Any) -> str:
    """The address of the worker that has the result of a run that is over."""
    native = future.state.data.ticket.native
    (address,) = client.who_has([native])[native.key]
    return str(address)


def test_large_arguments_of_a_map(pool: DaskTaskRunner, cluster: Any) -> None:
    """What all runs of a map have in common goes to the cluster once."""
    before = _deposits(cluster)
    futures = pool.map(size_beside, {"value": unmapped(bytes(BIG)), "_": range(50)})
    assert futures.result(timeout=LIMIT) == [BIG] * 50
    assert len(_deposits(cluster) - before) <= 1


def _deposits(cluster: Any) -> set[str]:
    return {key for key in cluster.scheduler.tasks if str(key).startswith("Deposit")}


def test_large_arguments_are_copies(pool: DaskTaskRunner) -> None:
    """A run that changes a large argument changes it for itself only."""
    given = [bytes(BIG)]
    assert pool.map(append, {"values": unmapped(given), "_": range(5)}).result(timeout=LIMIT) == [2] * 5
    assert len(given) == 1


def test_large_arguments_that_are_changed(pool: DaskTaskRunner) -> None:
    """Each submission takes an argument as it is then."""
    given = [bytes(BIG)]
    first = pool.submit(size, {"value": given})
    assert value(first) == 1
    given.append(b"")
    assert value(pool.submit(size, {"value": given})) == 2


def test_large_arguments_beside_futures(pool: DaskTaskRunner) -> None:
    """They go by themselves also where other arguments are on the cluster."""
    first = pool.submit(make, {"length": BIG})
    assert value(pool.submit(size_beside, {"value": bytes(2 * BIG), "_": first})) == 2 * BIG
    assert value(pool.submit(size, {"value": [first, bytes(BIG)]})) == 2


def test_large_arguments_in_one_piece(pool: DaskTaskRunner, recwarn: pytest.WarningsRecorder) -> None:
    """Thirty megabytes are no part of a graph, of which Dask would warn."""
    assert value(pool.submit(size, {"value": bytes(30 * BIG)})) == 30 * BIG
    assert not [each for each in recwarn if "large graph" in str(each.message)]


def test_large_arguments_that_are_lost(tmp_path: Path) -> None:
    """A worker that dies with an argument costs a run nothing that has not begun: the argument is sent again."""
    gate = tmp_path / "gate"
    with local_cluster() as cluster, DaskTaskRunner(cluster) as pool, ExitStack() as stack:
        stack.callback(gate.touch)
        blocked = [pool.submit(wait_for_file, {"path": str(gate)}) for _ in range(2)]
        until(lambda: len(list(tmp_path.glob("gate.*"))) == 2)
        waiting = pool.submit(size, {"value": bytes(BIG)})
        until(lambda: _deposits(cluster))
        (deposit,) = _deposits(cluster)
        (home,) = cluster.scheduler.tasks[deposit].who_has
        (nanny,) = [each for each in cluster.workers.values() if each.worker_address == home.address]
        os.kill(nanny.pid, signal.SIGKILL)
        until(lambda: deposit not in _deposits(cluster))
        gate.touch()
        assert value(waiting) == BIG
        for each in blocked:
            each.wait(LIMIT)
    assert sorted(each.state.name for each in blocked) == ["Completed", "Crashed"]
    assert sequence(next(run for run in task_runs() if run.id == waiting.task_run_id)).endswith("Completed")


# On a worker


@pytest.mark.contract("TR-25")
def test_in_a_task_of_the_runner(pool: DaskTaskRunner) -> None:
    """A runner inside of a task uses the cluster around, and no depth uses up its threads."""
    assert value(pool.submit(count_down, {"depth": 4})) == 4
    assert len(task_runs()) == 5


@pytest.mark.contract("TR-25")
def test_in_a_task_of_dask(client: Any, mainspring_home: Any) -> None:
    """A flow that is called by a task of Dask's own submits its tasks to the same cluster."""

    def call() -> int:
        from mainspring.settings import temporary_settings

        with temporary_settings({"home": mainspring_home}):
            return add_on_cluster([1, 2, 3])

    assert client.submit(call).result(timeout=LIMIT) == 6
    (run,) = flow_runs()
    assert sequence(run) == "Pending Running Completed"
    assert messages(run) == ["on the way"]
    assert len(task_runs()) == 3
