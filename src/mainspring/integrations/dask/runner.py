"""A task runner that has tasks run on a Dask cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from mainspring._clusters.runner import ClusterTaskRunner
from mainspring._clusters.workplace import make_room
from mainspring._processes.main_program import refuse_while_imported
from mainspring.exceptions import ConfigurationError
from mainspring.states.conversion import describe_exception

if TYPE_CHECKING:
    from mainspring._clusters.protocol import Cluster

__all__ = ["DaskTaskRunner"]


class DaskTaskRunner(ClusterTaskRunner):
    """Runs tasks on a Dask cluster: a local one that lives as long as the runner is started, or one that is there.

    Inside of a task that a Dask worker runs, the cluster of that worker is used. What ``dask.annotate`` says around a
    submission holds for it: ``priority``, ``resources``, ``workers`` and ``allow_other_workers``. Futures of tasks on
    the same cluster are handed on as futures of Dask, and so are those of Dask itself, so the scheduler sees what
    depends on what, and values go from worker to worker.

    Args:
        cluster: A cluster that is there, as an object of Dask's; it is not closed.
        address: The address of a scheduler, or a file that names it, to connect to.
        cluster_class: The class of the temporary cluster, or its name as ``package.Class``; the class
            ``distributed.LocalCluster`` when omitted.
        cluster_kwargs: Its arguments.
        adapt_kwargs: Arguments for its ``adapt``, so that it grows and shrinks with the work.
        client_kwargs: Further arguments for ``distributed.Client``.
        performance_report_path: Where Dask writes its performance report when the runner is left.

    Raises:
        ValueError: Arguments that exclude each other, or ``asynchronous``, which is the runner's to decide.
    """

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: Any = None,
        cluster_kwargs: Mapping[str, Any] | None = None,
        adapt_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        performance_report_path: str | None = None,
    ) -> None:
        if address is not None and (cluster or cluster_class or cluster_kwargs or adapt_kwargs):
            raise ValueError(
                "`address` names a cluster that is there, so `cluster`, `cluster_class`, `cluster_kwargs` and"
                " `adapt_kwargs` cannot be given, too."
            )
        if cluster is not None and (cluster_class or cluster_kwargs):
            raise ValueError(
                "`cluster` is there already, so `cluster_class` and `cluster_kwargs` cannot be given, too."
            )
        for name, given in (("cluster_kwargs", cluster_kwargs), ("client_kwargs", client_kwargs)):
            if "asynchronous" in (given or {}):
                raise ValueError(f"`{name}` must not have `asynchronous`: the runner decides about it.")
        super().__init__()
        self._given = cluster
        self._address = address
        self._cluster_class = cluster_class
        self._cluster_kwargs = dict(cluster_kwargs or {})
        self._adapt_kwargs = dict(adapt_kwargs or {})
        self._client_kwargs = dict(client_kwargs or {})
        self._report_path = performance_report_path

    def duplicate(self) -> Self:
        """See `TaskRunner.duplicate`."""
        return type(self)(
            self._given,
            self._address,
            self._cluster_class,
            self._cluster_kwargs,
            self._adapt_kwargs,
            self._client_kwargs,
            self._report_path,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DaskTaskRunner):
            return NotImplemented
        return self._facts() == other._facts()

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        """A runner is pickled as one that is not started, without a cluster that is there; see `TaskRunner`."""
        return {**super().__getstate__(), "_given": None}

    def __repr__(self) -> str:
        options = {
            "cluster": self._given,
            "address": self._address,
            "cluster_class": self._cluster_class,
            "cluster_kwargs": self._cluster_kwargs,
            "adapt_kwargs": self._adapt_kwargs,
            "client_kwargs": self._client_kwargs,
            "performance_report_path": self._report_path,
        }
        return f"DaskTaskRunner({', '.join(f'{name}={value!r}' for name, value in options.items() if value)})"

    def _facts(self) -> tuple[Any, ...]:
        return (
            self._address,
            self._cluster_class,
            self._cluster_kwargs,
            self._adapt_kwargs,
            self._client_kwargs,
            self._report_path,
        )

    def _connect(self) -> Cluster:
        """See `ClusterTaskRunner._connect`."""
        try:
            distributed: Any = import_module("distributed")
        except ImportError as error:
            raise ConfigurationError(
                "DaskTaskRunner needs Dask's package `distributed`. Install it: pip install 'mainspring[dask]'"
            ) from error
        wire: Any = import_module("mainspring.integrations.dask.cluster")  # needs the package
        with ExitStack() as stack:
            client = self._open_client(distributed, stack)
            if self._report_path is not None:
                stack.enter_context(distributed.performance_report(filename=self._report_path))
            cluster: Cluster = wire.DaskCluster(client, stack.pop_all())
        return cluster

    def _open_client(self, distributed: Any, stack: ExitStack) -> Any:
        if self._given is None and self._address is None:
            try:
                here = distributed.get_worker()
            except ValueError:  # this is no worker
                pass
            else:
                make_room()
                return here.client if here._client is not None else distributed.get_client()
        cluster: Any = self._given or self._address
        try:
            if cluster is None:
                cluster = stack.enter_context(self._start(distributed))
            if self._adapt_kwargs:
                cluster.adapt(**self._adapt_kwargs)
            options = {"set_as_default": False, **self._client_kwargs}
            return stack.enter_context(distributed.Client(cluster, **options))
        except Exception as error:
            if isinstance(error, ConfigurationError):
                raise
            where = self._address or cluster or "a new local cluster"
            raise ConfigurationError(
                f"The Dask cluster cannot be reached at {where}: {describe_exception(error)}. Check the address, and"
                " that its scheduler runs the same version of Dask."
            ) from error

    def _start(self, distributed: Any) -> Any:
        """A temporary cluster."""
        refuse_while_imported("A temporary Dask cluster")
        kind = self._cluster_class or distributed.LocalCluster
        if isinstance(kind, str):
            module, _, name = kind.rpartition(".")
            kind = getattr(import_module(module), name)
        options = self._cluster_kwargs
        if kind is distributed.LocalCluster:
            options = {"dashboard_address": ":0", **options}  # not the usual port, which others may have
        return kind(**options)
