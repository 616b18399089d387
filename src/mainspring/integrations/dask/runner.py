"""A task runner that has tasks run on a Dask cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from mainspring._clusters.runner import ClusterTaskRunner
from mainspring._clusters.workplace import make_room
from mainspring._processes.main_program import GUARD, refuse_while_imported
from mainspring.exceptions import ConfigurationError
from mainspring.states.conversion import describe_exception

if TYPE_CHECKING:
    from mainspring._clusters.protocol import Cluster

__all__ = ["DaskTaskRunner"]

_PATIENCE = 10
"""Seconds in which a scheduler has to answer."""


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
        client_kwargs: Further arguments for ``distributed.Client``; its ``timeout`` is 10 seconds when omitted.
        performance_report_path: Where Dask writes its performance report when the runner is left.

    Raises:
        TypeError: ``address`` is no text, or ``cluster`` is.
        ValueError: Arguments that exclude each other, no workers, or ``asynchronous``, which is the runner's to decide.
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
        if address is not None and not isinstance(address, str):
            raise TypeError(f"`address` must be text, such as 'tcp://host:8786', not {address!r}.")
        if isinstance(cluster, str):
            raise TypeError(f"`cluster` must be a cluster object of Dask's. Give {cluster!r} as `address`.")
        workers = (cluster_kwargs or {}).get("n_workers")
        if isinstance(workers, int) and workers < (0 if adapt_kwargs else 1):
            raise ValueError(
                f"A cluster with `n_workers` of {workers} runs nothing. Give at least 1, or `adapt_kwargs` as well."
            )
        super().__init__()
        self._given = cluster
        self._address = address
        self._cluster_class = cluster_class
        self._cluster_kwargs = dict(cluster_kwargs or {})
        self._adapt_kwargs = dict(adapt_kwargs or {})
        self._client_kwargs = dict(client_kwargs or {})
        self._report_path = performance_report_path
        self._around: str | None = None  # the address of what the runner of the flow around has started

    def duplicate(self) -> Self:
        """See `TaskRunner.duplicate`."""
        copied = type(self)(
            self._given,
            self._address,
            self._cluster_class,
            self._cluster_kwargs,
            self._adapt_kwargs,
            self._client_kwargs,
            self._report_path,
        )
        copied._around = self._around
        return copied

    def nested(self) -> Self:
        """See `TaskRunner.nested`: one that uses the same cluster."""
        copied = self.duplicate()
        cluster: Any = self._cluster
        if cluster is not None and self._given is None:
            copied._around = cluster.client.scheduler.address
        return copied

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
        except ModuleNotFoundError as error:
            if error.name not in ("dask", "distributed"):  # it is there, and lacks something itself
                raise
            raise ConfigurationError(
                "DaskTaskRunner needs Dask's package `distributed`. Install it: pip install 'mainspring[dask]'"
            ) from None
        wire: Any = import_module("mainspring.integrations.dask.cluster")  # needs the package
        with ExitStack() as stack:
            client = self._open_client(distributed, stack)
            if self._report_path is not None:
                self._begin_report(distributed, client, stack)
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
        if self._given is not None:
            self._check(self._given)
        where: Any = self._given or self._address or self._around
        if where is None:
            where = stack.enter_context(self._start(distributed))
        options = {"set_as_default": False, "timeout": _PATIENCE, **self._client_kwargs}
        try:
            if self._adapt_kwargs and self._around is None:
                where.adapt(**self._adapt_kwargs)
            return stack.enter_context(_connect(distributed.Client, where, options))
        except Exception as error:  # whatever Dask says of it
            raise ConfigurationError(
                f"The Dask cluster cannot be reached at {where}: {describe_exception(error).rstrip('.')}. Check the"
                " address, and that its scheduler runs the same version of Dask."
            ) from error

    @staticmethod
    def _check(cluster: Any) -> None:
        """Refuse what is no cluster, and one that is not there any more; Dask would wait for it."""
        if not hasattr(cluster, "scheduler_address"):
            raise ConfigurationError(
                f"`cluster` must be a cluster object of Dask's, such as a LocalCluster, not {type(cluster).__name__!r}."
            )
        status = getattr(getattr(cluster, "status", None), "name", "running")
        if status != "running":
            raise ConfigurationError(
                f"The Dask cluster {cluster!r} is {status}. Give the runner one that is running."
            )

    def _begin_report(self, distributed: Any, client: Any, stack: ExitStack) -> None:
        """Have Dask write its report when the runner is left."""
        try:
            import_module("bokeh")
        except ImportError as error:
            raise ConfigurationError(
                "Dask needs bokeh for `performance_report_path`. Install it: pip install bokeh"
            ) from error
        report = distributed.performance_report(filename=self._report_path)
        with client.as_current():
            report.__enter__()

        def write(*reason: Any) -> None:
            with client.as_current():
                report.__exit__(*reason)

        stack.push(write)

    def _start(self, distributed: Any) -> Any:
        """A temporary cluster."""
        refuse_while_imported("A temporary Dask cluster")
        kind = self._cluster_class or distributed.LocalCluster
        options = self._cluster_kwargs
        try:
            if isinstance(kind, str):
                module, _, name = kind.rpartition(".")
                kind = getattr(import_module(module), name)
            if kind is distributed.LocalCluster:
                options = {
                    "dashboard_address": ":0",
                    **options,
                }  # the port by default may be that of another one
            return kind(**options)
        except Exception as error:  # whatever a class of somebody else's says
            raise ConfigurationError(
                f"The Dask cluster cannot be started: {describe_exception(error).rstrip('.')}. Check `cluster_class`,"
                f" which is {kind!r}, and `cluster_kwargs`. {GUARD}"
            ) from error


def _connect(kind: Any, where: Any, options: dict[str, Any]) -> Any:
    """A client that is connected.

    One that cannot be made is closed here: Dask leaves it half made, and would close it when it is collected, which
    then stops whatever thread this happens in for twice its timeout.
    """
    client = kind.__new__(kind)
    try:
        client.__init__(where, **options)
    except BaseException:
        with suppress(Exception):  # what became of it is what the caller is told
            client.close(timeout=_PATIENCE)
        raise
    return client
