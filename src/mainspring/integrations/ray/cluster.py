"""What a task runner needs of Ray: parcels are calls of a remote function there, and replies are what these come to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from mainspring._clusters.parcels import Reply
from mainspring._clusters.protocol import ClusterGone, Delivery, Failure, WorkerLost
from mainspring.exceptions import ConfigurationError
from mainspring.integrations.ray.options import current_options
from mainspring.integrations.ray.work import perform_parcel
from mainspring.states.conversion import describe_exception

__all__ = ["RayCluster", "RayTicket"]

# Their types say little.
_ray: Any = import_module("ray")
_errors: Any = import_module("ray.exceptions")

_COUNTED_FOR = 1.0
"""Seconds for which the number of processors in the cluster is taken to be the same."""

_NO_MODULE = re.compile(r"No module named '(mainspring[\w.]*)'")
"""What Ray says, among much else, if a worker cannot import the function that it is to call."""

_NESTED = {"num_cpus": 0}
"""What is submitted in a worker, which has a processor and waits: together they need no other one."""


class RayTicket:
    """A parcel that Ray has; see `mainspring._clusters.protocol.Ticket`. Letter and values are objects of their own."""

    __slots__ = ("native",)

    def __init__(self, letter: Any, whole: Any) -> None:
        self.native: Any = (letter, whole)

    def fetch(self) -> Reply:
        """See `Ticket.fetch`."""
        letter, whole = self.native
        try:
            reply: Reply | None = _ray.get(whole)
            return Reply(_ray.get(letter)) if reply is None else reply
        except Exception as error:  # whatever Ray says of it
            raise failure_of(error) from error

    def release(self) -> None:
        """See `Ticket.release`."""
        self.native = None

    def drop(self) -> None:
        """See `Ticket.drop`."""
        if self.native is not None:
            with suppress(Exception):  # the cluster is gone, and what it was to drop with it
                _ray.cancel(self.native[0])


class RayCluster:
    """The Ray cluster that this process is connected to; see `mainspring._clusters.protocol.Cluster`.

    Args:
        is_nested: This process is a worker of it.
        close: Ends what was started for the runner.
    """

    def __init__(self, is_nested: bool, close: Callable[[], object]) -> None:
        self._always: Mapping[str, Any] = _NESTED if is_nested else {}
        self._close = close
        # The runner decides about each further attempt, so Ray must make none.
        self._perform = _ray.remote(num_returns=2, max_retries=0, **self._always)(perform_parcel)
        self._latest: tuple[Mapping[str, Any], Any] = ({}, self._perform)
        self._slots = 1
        self._counted_at = float("-inf")

    def slots(self) -> int:
        """See `Cluster.slots`; the processors of all nodes."""
        now = time.monotonic()
        if now > self._counted_at + _COUNTED_FOR:
            self._counted_at = now
            self._slots = max(1, int(_ray.cluster_resources().get("CPU", 1)))
        return self._slots

    def read_options(self) -> Mapping[str, Any]:
        """See `Cluster.read_options`; those of `remote_options`."""
        return current_options()

    def is_native(self, value: object) -> bool:
        """See `Cluster.is_native`."""
        return isinstance(value, _ray.ObjectRef)

    def put(self, value: object) -> Any:
        """See `Cluster.put`."""
        try:
            return _ray.put(value)
        except _errors.RaySystemError as error:
            raise _gone(error) from error

    def obstacle(self, options: Mapping[str, Any]) -> str | None:
        """See `Cluster.obstacle`; nodes of another kind may be started for a run."""
        wanted: dict[str, float] = {"CPU": 0 if self._always else 1}
        for name, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU"), ("memory", "memory")):
            if options.get(name) is not None:
                wanted[resource] = options[name]
        wanted.update(options.get("resources") or {})
        nodes: list[Mapping[str, Any]] = [node for node in _ray.nodes() if node["Alive"]]
        if not nodes:
            return "the Ray cluster has no nodes"
        for node in nodes:
            has: Mapping[str, float] = node.get("Resources") or {}
            if all(has.get(name, 0) >= amount for name, amount in wanted.items()):
                return None
        return (
            f"no node of the Ray cluster has the resources { {name: n for name, n in wanted.items() if n} }"
        )

    def send(
        self,
        parcel: bytes,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        deliver: Delivery,
        *,
        once: bool = False,
    ) -> RayTicket:
        """See `Cluster.send`; Ray is told to repeat nothing."""
        given: list[Any] = []
        for each in inputs:
            given += each if isinstance(each, tuple) else (each,)
        try:
            perform = self._function(options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"Ray does not take these `remote_options`: {describe_exception(error)}"
            ) from error
        try:
            letter, whole = perform.remote(parcel, [isinstance(each, tuple) for each in inputs], *given)
        except _errors.RaySystemError as error:
            raise _gone(error) from error
        ticket = RayTicket(letter, whole)
        letter.future().add_done_callback(partial(_deliver, ticket, deliver))
        return ticket

    def close(self) -> None:
        """See `Cluster.close`."""
        self._close()

    def _function(self, options: Mapping[str, Any]) -> Any:
        """The remote function with options."""
        if not options:
            return self._perform
        known, function = self._latest
        if known is not options:
            function = self._perform.options(**{**self._always, **options})
            self._latest = (options, function)
        return function


def _gone(error: Exception) -> ClusterGone:
    return ClusterGone(f"Nothing can be sent to the Ray cluster: {describe_exception(error)}")


def _deliver(ticket: RayTicket, deliver: Delivery, letter: Any) -> None:
    error = letter.exception()
    if error is None:
        deliver(ticket, letter.result())
        return
    native = ticket.native
    if native is not None:  # Ray logs errors that nobody has looked at
        native[1].future().add_done_callback(_look_at)
    deliver(ticket, failure_of(error))


def _look_at(whole: Any) -> None:
    whole.exception()


def failure_of(error: Any) -> Failure:
    """What an exception of Ray's means for a parcel."""
    failure: Failure = error
    if isinstance(error, _errors.RayTaskError):  # it was raised before there was anything of ours to do it
        failure = error.cause or error
        unknown = _NO_MODULE.search(str(error))
        if unknown is not None and isinstance(failure, RuntimeError):
            failure = ModuleNotFoundError(unknown[0], name=unknown[1])
    elif isinstance(error, _errors.LocalRayletDiedError):
        failure = ClusterGone("The Ray cluster is gone: its process on this machine, the raylet, has died.")
    elif isinstance(error, _errors.RayError) and not isinstance(error, _errors.RuntimeEnvSetupError):
        failure = WorkerLost(f"Ray has lost the worker that had it: {describe_exception(error)}")
    return failure
