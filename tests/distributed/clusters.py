"""Clusters of two worker processes on this machine, and who in them can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import psutil

from mainspring.task_runners import TaskRunner
from tests.deaths.processes import until

__all__ = ["KINDS", "Cluster", "cluster_of"]

WORKERS = 2


class Cluster(Protocol):
    """A cluster that was started here."""

    kind: str

    def runner(self) -> TaskRunner[Any]:
        """A runner that uses it."""
        ...

    def workers(self) -> list[int]:
        """The worker processes, as far as they are known to be ready."""
        ...


class _Dask:
    kind = "dask"

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster

    def runner(self) -> TaskRunner[Any]:
        from mainspring.integrations.dask import DaskTaskRunner  # needs the package

        return DaskTaskRunner(cluster=self._cluster)

    def workers(self) -> list[int]:
        ready = [
            worker for worker in self._cluster.scheduler.workers.values() if worker.status.name == "running"
        ]
        known = {nanny.worker_address: nanny.pid for nanny in self._cluster.workers.values()}
        return [known[worker.address] for worker in ready if worker.address in known]


class _Ray:
    kind = "ray"

    def runner(self) -> TaskRunner[Any]:
        from mainspring.integrations.ray import RayTaskRunner  # needs the package

        return RayTaskRunner()

    def workers(self) -> list[int]:
        found: list[int] = []
        for child in psutil.Process().children(recursive=True):
            try:
                name = "".join(child.cmdline()[:1])
                if name.startswith("ray::") and "Agent" not in name:  # without those, Ray gives up
                    found.append(child.pid)
            except psutil.Error:  # it has ended meanwhile
                continue
        return found


@contextmanager
def _dask() -> Iterator[Cluster]:
    import dask
    import distributed

    # Dask looks some seconds after the death of a worker whether another one has its place, and gives the place up for
    # good if that one has just been killed, too.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield _Dask(cluster)


@contextmanager
def _ray() -> Iterator[Cluster]:
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield _Ray()
    finally:
        ray.shutdown()


KINDS = {"dask": _dask, "ray": _ray}


@contextmanager
def cluster_of(kind: str) -> Iterator[Cluster]:
    """A cluster with two worker processes, which all end with the block."""
    with KINDS[kind]() as cluster:
        until(lambda: len(cluster.workers()) >= WORKERS, "the start of two workers")
        yield cluster


def kill(pid: int) -> None:
    """End a process as no program can prevent; it may have ended already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
