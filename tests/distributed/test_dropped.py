"""Runs that a cluster has taken and no worker begins, when their runner is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mainspring._clusters.protocol import Delivery, WorkerLost
from tests.deaths.processes import until
from tests.distributed.test_repeats import Pools, PoolsTaskRunner, Ticket
from tests.engine.history import task_runs
from tests.runners.conformance import tasks


class IdleCluster(Pools):
    """A cluster without workers, which says so of a parcel as soon as that is dropped.

    Args:
        is_heard: Whether that has come to all who are told.
    """

    def __init__(self, is_heard: Callable[[], bool]) -> None:
        super().__init__([], 1)
        self.is_heard = is_heard

    def slots(self) -> int:
        return 1

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


class IdleTicket(Ticket):
    """A parcel there."""

    def __init__(self, cluster: IdleCluster, deliver: Delivery) -> None:
        self._cluster = cluster
        self._deliver = deliver

    def drop(self) -> None:
        self._deliver(self, WorkerLost("It was cancelled."))
        until(self._cluster.is_heard, "the answer")


def test_a_cluster_that_answers_while_it_is_told() -> None:
    """What nobody has begun is cancelled and leaves no run, also if the cluster says first that it is lost."""
    futures: list[Any] = []
    cluster = IdleCluster(lambda: all(future.is_done() for future in futures))
    with PoolsTaskRunner(cluster) as runner:
        futures.append(runner.submit(tasks.echo, {"value": 1}))
        until(lambda: runner._dispatcher is not None and runner._dispatcher.unfinished(), "the parcel")
    assert futures[0].state.is_cancelled()
    assert task_runs() == []
