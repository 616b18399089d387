"""What a task runner needs of Dask: parcels are calls there, and replies are what these come to."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from typing import Any
from uuid import uuid4

from mainspring._clusters.parcels import Reply
from mainspring._clusters.protocol import ClusterGone, Delivery, Failure, WorkerLost
from mainspring.integrations.dask.work import LargeReply, mark_of, perform_once, perform_parcel, take_letter
from mainspring.states.conversion import describe_exception

__all__ = ["DaskCluster", "DaskTicket"]

# Neither has types to speak of.
_dask: Any = import_module("dask")
_distributed: Any = import_module("distributed")

_OPTIONS = ("allow_other_workers", "priority", "resources", "workers")

# The function is looked up when it is called: a scheduler or worker that meets a name it cannot import in a message
# from somebody else goes down, and takes with it what it was to be told.
_PERFORM = {
    each.__name__: f"__import__({each.__module__!r}, fromlist=['x']).{each.__name__}(parcel, *inputs)"
    for each in (perform_parcel, perform_once)
}

_LOOKED_FOR = 10.0
"""Seconds that it may take to get an exception that is there."""

_COUNTED_FOR = 1.0
"""Seconds for which the number of threads in the cluster is taken to be the same."""


class _Lost(Exception):  # noqa: N818 - says what has happened to a future
    """Dask says nothing of a future but its status."""


class DaskTicket:
    """A parcel that Dask has; see `mainspring._clusters.protocol.Ticket`."""

    __slots__ = ("_cluster", "native")

    def __init__(self, cluster: DaskCluster, native: Any) -> None:
        self._cluster = cluster
        self.native = native

    def fetch(self) -> Reply:
        """See `Ticket.fetch`."""
        try:
            reply: Reply = self._cluster.client.gather(self.native)
        except Exception as error:  # whatever Dask says of it
            raise self._cluster.failure_of(error) from error
        return reply

    def release(self) -> None:
        """See `Ticket.release`."""
        self.native = None

    def drop(self) -> None:
        """See `Ticket.drop`."""
        if self.native is not None:
            with suppress(Exception):  # the cluster is gone, and what it was to drop with it
                self.native.cancel(force=True)


_Finished = tuple[Any, DaskTicket, Delivery]
"""A future of Dask's that has come to something, its ticket, and who is told."""


class DaskCluster:
    """A Dask cluster that a client is connected to; see `mainspring._clusters.protocol.Cluster`.

    Args:
        client: The client.
        stack: Closes it, and what was started besides.
    """

    def __init__(self, client: Any, stack: ExitStack) -> None:
        self.client = client
        self._stack = stack
        self._slots = 1
        self._counted_at = float("-inf")
        self._finished: queue.SimpleQueue[_Finished | None] = queue.SimpleQueue()
        self._gatherer = threading.Thread(target=self._gather_all, name="mainspring-gatherer", daemon=True)
        self._gatherer.start()

    def slots(self) -> int:
        """See `Cluster.slots`; the threads of all workers."""
        now = time.monotonic()
        if now > self._counted_at + _COUNTED_FOR:
            self._counted_at = now
            self._slots = max(1, sum(worker["nthreads"] for worker in self._workers().values()))
        return self._slots

    def _workers(self) -> Mapping[str, Any]:
        """What the scheduler knows of each worker, by its address."""
        workers: Mapping[str, Any] = self.client.scheduler_info(n_workers=-1).get("workers", {})
        return workers

    def read_options(self) -> Mapping[str, Any]:
        """See `Cluster.read_options`; what ``dask.annotate`` says around."""
        annotations: Mapping[str, Any] = _dask.get_annotations()
        return {name: annotations[name] for name in _OPTIONS if name in annotations}

    def is_native(self, value: object) -> bool:
        """See `Cluster.is_native`."""
        return isinstance(value, _distributed.Future)

    def put(self, value: object) -> Any:
        """See `Cluster.put`."""
        if not self._workers():  # Dask would wait for one
            return None
        try:
            return self.client.scatter(value, hash=False)
        except Exception as error:  # whatever Dask says of it
            failure = self.failure_of(error)
            if isinstance(failure, ClusterGone):
                raise failure from error
            return None  # the last worker has left meanwhile, perhaps

    def obstacle(self, options: Mapping[str, Any]) -> str | None:
        """See `Cluster.obstacle`."""
        workers = self._workers()
        if not workers:
            return "the Dask cluster has no workers"
        named = options.get("workers")
        if named is not None and not options.get("allow_other_workers"):
            names = {str(name) for name in ([named] if isinstance(named, (str, int)) else named)}
            workers = {
                address: worker
                for address, worker in workers.items()
                if names & {address, str(worker.get("name")), str(worker.get("host"))}
            }
            if not workers:
                return f"the Dask cluster has no worker called {' or '.join(sorted(names))}"
        wanted: Mapping[str, float] = options.get("resources") or {}
        for worker in workers.values():
            has: Mapping[str, float] = worker.get("resources") or {}
            if all(has.get(name, 0) >= amount for name, amount in wanted.items()):
                return None
        return f"no worker of the Dask cluster has the resources {dict(wanted)}"

    def send(
        self,
        parcel: bytes,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        deliver: Delivery,
        *,
        once: bool = False,
    ) -> DaskTicket:
        """See `Cluster.send`."""
        try:
            given = {"parcel": parcel, "inputs": list(inputs)}
            name = (perform_once if once else perform_parcel).__name__
            key = f"{name}-{uuid4().hex}"
            future = self.client.submit(eval, _PERFORM[name], given, key=key, pure=False, **options)
        except Exception as error:  # whatever Dask says of it
            raise ClusterGone(
                f"Nothing can be sent to the Dask cluster: {describe_exception(error)}"
            ) from error
        if once:  # as long as the scheduler keeps the reply, it may want it made again
            weakref.finalize(future, self._remove_mark, key).atexit = False
        ticket = DaskTicket(self, future)
        future.add_done_callback(partial(self._finish, ticket, deliver))
        return ticket

    def _remove_mark(self, key: str) -> None:
        """Have the scheduler forget that a parcel was begun, after it has forgotten the parcel."""
        message = {"op": "queue_release", "name": mark_of(key), "client": self.client.id}
        with suppress(Exception):  # without a scheduler there is no mark
            self.client._send_to_scheduler(message)

    def close(self) -> None:
        """See `Cluster.close`."""
        self._finished.put(None)
        self._gatherer.join()
        self._stack.close()

    # Replies. What has finished meanwhile comes home together, as each time costs a way to the scheduler.

    def _finish(self, ticket: DaskTicket, deliver: Delivery, future: Any) -> None:
        self._finished.put((future, ticket, deliver))

    def _gather_all(self) -> None:
        while self._gather_next():
            pass

    def _gather_next(self) -> bool:
        """Wait for what finishes next, and gather it; False at the end. Keeps nothing, so Dask can forget it."""
        first = self._finished.get()
        if first is None:
            return False
        finished = [first]
        while not self._finished.empty():
            more = self._finished.get()
            if more is None:
                self._finished.put(None)
                break
            finished.append(more)
        self._gather(finished)
        return True

    def _gather(self, finished: list[_Finished]) -> None:
        small: list[_Finished] = []
        for future, ticket, deliver in finished:
            if future.status != "finished":
                deliver(ticket, self._failure_of(future))
            elif future.type is LargeReply:
                letter = self.client.submit(take_letter, future, pure=False, priority=1)
                letter.add_done_callback(partial(self._finish, ticket, deliver))
            else:
                small.append((future, ticket, deliver))
        if not small:
            return
        try:
            replies = self.client.gather([future for future, _, _ in small])
        except Exception as error:  # whatever Dask says of one of them
            if len(small) == 1:
                small[0][2](small[0][1], self.failure_of(error))
            else:
                for each in small:
                    self._gather([each])
            return
        for reply, (_, ticket, deliver) in zip(replies, small, strict=True):
            deliver(ticket, reply.letter if isinstance(reply, Reply) else reply)

    def _failure_of(self, future: Any) -> Failure:
        error: BaseException | None
        try:
            error = future.exception(timeout=_LOOKED_FOR)
        except BaseException as problem:  # it was cancelled, which is no exception of its own
            error = problem
        if error is None:
            error = _Lost(f"its future is {future.status}")
        return self.failure_of(error)

    def failure_of(self, error: BaseException) -> Failure:
        """What an exception of Dask's means for a parcel."""
        if isinstance(error, WorkerLost):
            return error
        if self.client.status != "running" or getattr(error, "reason", "") == "scheduler-connection-lost":
            return ClusterGone("The connection to the Dask scheduler is lost.")
        if isinstance(error, _distributed.KilledWorker):
            return WorkerLost(f"Dask has lost the worker that had it, again and again: {error}")
        kind = type(error).__name__
        if isinstance(error, _Lost):
            return WorkerLost(f"Dask has lost what it needs: {error}")
        if kind in ("FutureCancelledError", "CancelledError", "NoValidWorkerError"):
            return WorkerLost(f"Dask has dropped it: {describe_exception(error)}")
        if isinstance(error, (OSError, TimeoutError)):
            return WorkerLost(f"Dask has lost its reply: {describe_exception(error)}")
        return error
