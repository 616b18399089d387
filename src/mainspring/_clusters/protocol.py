"""What a cluster is for a task runner: it takes parcels to worker processes, and brings their replies home."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mainspring._clusters.parcels import Reply

__all__ = ["Cluster", "ClusterGone", "Delivery", "Failure", "Ticket", "WorkerLost"]


class WorkerLost(Exception):  # noqa: N818 - says what has happened to a parcel
    """The worker that had a parcel is gone, or its reply is."""


class ClusterGone(WorkerLost):
    """The cluster itself is gone: nothing more can be sent, and no reply will come."""


Failure = BaseException
"""Why there is no reply: a `WorkerLost`, or else why the parcel could not be opened over there."""

Delivery = Callable[["Ticket", "bytes | Failure"], object]
"""Called once for each parcel, in any thread, with the answers of its reply or with why there are none. Is quick."""


class Ticket(Protocol):
    """One parcel that was sent. ``native`` is what the cluster itself calls its reply, to be an input of others."""

    native: Any

    def fetch(self) -> Reply:
        """The whole reply, with the values that have stayed where they were made; blocks.

        Raises:
            WorkerLost: It is gone.
        """
        ...

    def release(self) -> None:
        """Let the cluster forget the reply, unless other parcels need it."""
        ...

    def drop(self) -> None:
        """Tell the cluster that a parcel which no worker has begun is not wanted any more."""
        ...


class Cluster(Protocol):
    """A cluster that was started or connected to. Its methods are called from several threads."""

    def slots(self) -> int:
        """How many parcels are worked on at a time, as far as that is known; at least 1."""
        ...

    def read_options(self) -> Mapping[str, Any]:
        """What the code that submits a run wants of the cluster for it: resources, priority and the like."""
        ...

    def is_native(self, value: object) -> bool:
        """True for what the cluster itself calls a value of its own, which is no future of ours."""
        ...

    def put(self, value: object) -> Any:
        """Bring a value to the cluster, to be an input of parcels; blocks.

        Returns:
            What the cluster calls it, for as long as that is kept; None if it can be kept nowhere now.

        Raises:
            ClusterGone: It cannot be sent.
        """
        ...

    def obstacle(self, options: Mapping[str, Any]) -> str | None:
        """Why no worker can take what has these options, in words that go after "as"; None if it is not known."""
        ...

    def send(
        self,
        parcel: bytes,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        deliver: Delivery,
        *,
        once: bool = False,
    ) -> Ticket:
        """Have `mainspring._clusters.workplace.perform` called in a worker.

        Args:
            parcel: Its first argument.
            inputs: The replies that are its second one, as ``native`` of their tickets, or values of the cluster.
            options: What `read_options` has given.
            deliver: Told what has become of it.
            once: The call cannot find out by itself that it was made before, so it is the cluster that must not repeat
                it: that counts as the loss of the worker.

        Raises:
            ClusterGone: It cannot be sent.
        """
        ...

    def close(self) -> None:
        """Leave the cluster, and end what was started for this runner. May be called twice."""
        ...
