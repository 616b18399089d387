"""Runs that a cluster has taken and no worker begins, when their runner is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mainspring._clusters.parcels import Reply
from mainspring._clusters.protocol import Delivery, WorkerLost
from mainspring._clusters.runner import ClusterTaskRunner
from tests.deaths.processes import until
from tests.engine.history import task_runs
from tests.runners.conformance import tasks

NO_OPTIONS: Mapping[str, Any] = {}


class IdleCluster:
    """A cluster without workers, which says so of a parcel as soon as that is dropped.

    Args:
        is_heard: Whether that has come to all who are told.
    """

    def __init__(self, is_heard: Callable[[], bool]) -> None:
        self.is_heard = is_heard

    def slots(self) -> int:
        return 1

    def read_options(self) -> Mapping[str, Any]:
        return NO_OPTIONS

    def is_native(self, value: object) -> bool:
        return False

    def put(self, value: object) -> Any:
        return None

    def obstacle(self, options: Mapping[str, Any]) -> str | None:
        return "it has no workers"

    def send(
        self,
        parcel: bytes,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        deliver: Delivery,
        *,
        once: bool = False,
    ) -> IdleTicket:
        return IdleTicket(self, deliver)

    def close(self) -> None:
        pass


class IdleTicket:
    """A parcel there."""

    native: Any = None

    def __init__(self, cluster: IdleCluster, deliver: Delivery) -> None:
        self._cluster = cluster
        self._deliver = deliver

    def fetch(self) -> Reply:
        raise WorkerLost("There is none.")

    def release(self) -> None:
        pass

    def drop(self) -> None:
        self._deliver(self, WorkerLost("It was cancelled."))
        until(self._cluster.is_heard, "the answer")


class IdleTaskRunner(ClusterTaskRunner):
    """Submits to such a cluster."""

    def __init__(self, cluster: IdleCluster) -> None:
        super().__init__()
        self.cluster = cluster

    def duplicate(self) -> IdleTaskRunner:
        return IdleTaskRunner(self.cluster)

    def _connect(self) -> IdleCluster:
        return self.cluster


def test_a_cluster_that_answers_while_it_is_told() -> None:
    """What nobody has begun is cancelled and leaves no run, also if the cluster says first that it is lost."""
    futures: list[Any] = []
    cluster = IdleCluster(lambda: all(future.is_done() for future in futures))
    with IdleTaskRunner(cluster) as runner:
        futures.append(runner.submit(tasks.echo, {"value": 1}))
        until(lambda: runner._dispatcher is not None and runner._dispatcher.unfinished(), "the parcel")
    assert futures[0].state.is_cancelled()
    assert task_runs() == []
