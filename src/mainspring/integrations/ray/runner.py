"""A task runner that has tasks run on a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from mainspring._clusters.runner import ClusterTaskRunner
from mainspring._clusters.workplace import make_room
from mainspring._processes.main_program import refuse_while_imported
from mainspring.exceptions import ConfigurationError
from mainspring.states.conversion import describe_exception

if TYPE_CHECKING:
    from mainspring._clusters.protocol import Cluster

__all__ = ["RayTaskRunner"]

_PATIENCE = 10.0
"""Seconds in which a cluster has to answer."""

_LOCAL = {"include_dashboard": False, "logging_level": logging.ERROR}
"""What is so of a cluster that is started here, unless it is said otherwise."""


class RayTaskRunner(ClusterTaskRunner):
    """Runs tasks on a Ray cluster: the one that the program is connected to, one with an address, or a local one.

    A cluster that was started, or a connection that was made, by the runner ends with it; all others stay. Options of
    ``ray.remote`` for what is submitted are set by `remote_options`. Futures of tasks on the same cluster are handed on
    as object references, and so are references of the program's own, so Ray sees what depends on what, and values go
    from worker to worker.

    Args:
        address: Where the cluster is: ``auto``, ``host:port``, or ``ray://host:port`` for a client connection. Without
            it, the cluster that the program is connected to is used, or the one that ``RAY_ADDRESS`` in the environment
            names, or a local one is started.
        init_kwargs: Further arguments for ``ray.init``.

    Raises:
        TypeError: ``address`` is no text.
        ValueError: ``init_kwargs`` has an address, too.
    """

    def __init__(self, address: str | None = None, init_kwargs: Mapping[str, Any] | None = None) -> None:
        if "address" in (init_kwargs or {}):
            raise ValueError("Give the address of the Ray cluster as `address`, not in `init_kwargs`.")
        if address is not None and not isinstance(address, str):
            raise TypeError(f"`address` must be text, such as 'auto' or 'host:6379', not {address!r}.")
        super().__init__()
        self._address = address
        self._init_kwargs = dict(init_kwargs or {})

    def duplicate(self) -> Self:
        """See `TaskRunner.duplicate`."""
        return type(self)(self._address, self._init_kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RayTaskRunner):
            return NotImplemented
        return (self._address, self._init_kwargs) == (other._address, other._init_kwargs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        options = {"address": self._address, "init_kwargs": self._init_kwargs}
        return f"RayTaskRunner({', '.join(f'{name}={value!r}' for name, value in options.items() if value)})"

    def _connect(self) -> Cluster:
        """See `ClusterTaskRunner._connect`."""
        os.environ.setdefault(
            "RAY_USAGE_STATS_ENABLED", "0"
        )  # nobody is told of it unless somebody asks for that
        try:
            ray: Any = import_module("ray")
        except ModuleNotFoundError as error:
            if error.name != "ray":  # it is there, and lacks something itself
                raise
            raise ConfigurationError(
                "RayTaskRunner needs Ray. Install it: pip install 'mainspring[ray]'"
            ) from None
        wire: Any = import_module("mainspring.integrations.ray.cluster")  # needs the package
        is_nested = make_room()
        if ray.is_initialized():
            self._check_connection(ray)
            cluster: Cluster = wire.RayCluster(is_nested, _leave_it)
            return cluster
        options = self._init_kwargs
        # "local", or Ray looks for what somebody else has started on this machine, and has perhaps left.
        address = self._address or os.environ.get("RAY_ADDRESS") or "local"
        if address == "local":
            refuse_while_imported("A local Ray cluster")
            options = {**_LOCAL, **options}
        try:
            if address != "local":
                _knock(address)
            ray.init(address=address, **options)
        except Exception as error:  # whatever Ray says of it
            what = "started" if address == "local" else f"reached at {address}"
            check = "`init_kwargs`" if address == "local" else "the address"
            raise ConfigurationError(
                f"The Ray cluster cannot be {what}: {describe_exception(error).rstrip('.')}. Check {check}, and that"
                " Ray and Python have the same versions everywhere."
            ) from error
        started: Cluster = wire.RayCluster(is_nested, ray.shutdown)
        return started

    def _check_connection(self, ray: Any) -> None:
        """Refuse an address that is not the one of the cluster that the program is connected to."""
        _, _, port = (self._address or "").rpartition(":")
        if not port.isdecimal() or str(self._address).startswith("ray://"):
            return  # nothing that could be compared
        here = ray.get_runtime_context().gcs_address
        if not here.endswith(f":{port}"):  # a host has several names
            raise ConfigurationError(
                f"This program is connected to the Ray cluster at {here} already, and cannot be connected to that at"
                f" {self._address} as well. Leave the address out, or call `ray.shutdown()` before."
            )


def _knock(address: str) -> None:
    """Refuse a host and port where nobody listens, which Ray itself tries for minutes.

    Raises:
        OSError: So it is.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _leave_it() -> None:
    """A cluster that was there before stays."""
