"""The runners that keep the rules of this folder: how each is made, and in what it differs by design.

A further runner is one more function that opens what its runners share, and one more line in `KINDS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import pytest

from mainspring._clusters.sessions import Session
from mainspring.integrations.dask import DaskTaskRunner
from mainspring.integrations.ray import RayTaskRunner
from mainspring.task_runners import (
    InlineTaskRunner,
    ProcessPoolTaskRunner,
    TaskRunner,
    ThreadPoolTaskRunner,
)

__all__ = ["AT_ONCE", "KINDS", "Kind", "Site", "Traits"]

AT_ONCE = 2
"""How many tasks go on at a time, in the runners that have several."""


class Traits(NamedTuple):
    """In what a runner differs from others by design. A test that is about one of these names it as a need.

    Attributes:
        at_once: `submit` returns before the task has run, and `AT_ONCE` tasks go on at the same time. An inline runner
            has one thread, that of whoever submits.
        in_this_process: Functions, hooks and values are those of the submitter, who sees what they change, and its open
            transaction reaches them. Elsewhere there are copies of all of these, and no transaction.
        travels: Tasks, arguments and results are pickled, so what cannot be pickled is an error. It is the opposite of
            `in_this_process`.
        survives_deaths: A process that dies in a task is the loss of an attempt. Where tasks run in the process of the
            submitter, there is nobody left who could see it.
        interrupts_calls: A time limit interrupts a call that blocks in the system, because the task is in the main
            thread of its process. In other threads such a call is given up, and goes on.
        whole_runs: All that a run is goes on in one place. Elsewhere only the function is called in a worker, which
            does not reach the run store: nothing tells it to end, it has no transaction, no slots can be taken in it,
            what cannot be taken there or back is found out by a run that has begun, and of a worker that dies nobody
            knows what it had done.
    """

    at_once: bool = True
    in_this_process: bool = False
    travels: bool = True
    survives_deaths: bool = True
    interrupts_calls: bool = True
    whole_runs: bool = True


class Site:
    """What the runners of one kind share: worker processes, a cluster. It is opened once for all tests.

    Args:
        make: Makes a runner that is not started, and shares what there is to share.
        lasting: A started runner for all tests, where starting one takes long and nothing can be shared otherwise.
    """

    def __init__(self, make: Callable[[], TaskRunner[Any]], lasting: TaskRunner[Any] | None = None) -> None:
        self.make = make
        self._lasting = lasting

    @contextmanager
    def started(self) -> Iterator[TaskRunner[Any]]:
        """A runner that is started."""
        if self._lasting is not None:
            yield self._lasting
            return
        with self.make() as runner:
            yield runner


class Kind(NamedTuple):
    """One kind of runners.

    Args:
        open: Opens what they share, for a ``with`` block.
        traits: In what they differ.
        threads: What the names of threads begin with that outlive a runner, since they are of what is shared.
        marks: Marks of pytest for all tests of the kind.
    """

    open: Callable[[], AbstractContextManager[Site]]
    traits: Traits = Traits()
    threads: tuple[str, ...] = ()
    marks: tuple[pytest.MarkDecorator, ...] = ()


@contextmanager
def threads() -> Iterator[Site]:
    yield Site(lambda: ThreadPoolTaskRunner(AT_ONCE))


@contextmanager
def inline() -> Iterator[Site]:
    yield Site(InlineTaskRunner)


@contextmanager
def processes() -> Iterator[Site]:
    with ProcessPoolTaskRunner(AT_ONCE) as lasting:
        yield Site(lambda: ProcessPoolTaskRunner(AT_ONCE), lasting)


class ApartTaskRunner(DaskTaskRunner):
    """A runner that takes its workers not to reach the run store, from the first run on."""

    def __repr__(self) -> str:
        return super().__repr__().replace(DaskTaskRunner.__name__, ApartTaskRunner.__name__)

    def _open_session(self) -> Session:
        session = super()._open_session()
        session.unreached = "they are on another host"
        return session


@contextmanager
def apart() -> Iterator[Site]:
    """Workers of Dask that do not write history: it comes home with the results."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=AT_ONCE, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield Site(lambda: ApartTaskRunner(cluster))


@contextmanager
def dask() -> Iterator[Site]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=AT_ONCE, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield Site(lambda: DaskTaskRunner(cluster))


@contextmanager
def ray() -> Iterator[Site]:
    pytest.importorskip("ray")
    os.environ["RAY_TQDM_PATCH_PRINT"] = "0"  # or it replaces `print` for good
    with RayTaskRunner(init_kwargs={"num_cpus": AT_ONCE, "log_to_driver": False}):
        yield Site(RayTaskRunner)


_HERE = Traits(in_this_process=True, travels=False, survives_deaths=False)

_CLUSTER = Traits(interrupts_calls=False)

_DASK_THREADS = (
    "AsyncProcess",
    "Dask",
    "IO loop",
    "Profile",
    "QueueFeederThread",
    "ThreadPoolExecutor",
    "asyncio",
)

KINDS = {
    "threads": Kind(threads, _HERE._replace(interrupts_calls=False)),
    "inline": Kind(inline, _HERE._replace(at_once=False)),
    "processes": Kind(processes, threads=("mainspring-processpool",)),
    "dask": Kind(dask, _CLUSTER, _DASK_THREADS, (pytest.mark.dask,)),
    "dask-apart": Kind(apart, _CLUSTER._replace(whole_runs=False), _DASK_THREADS, (pytest.mark.distributed,)),
    "ray": Kind(
        ray,
        _CLUSTER,
        ("Dummy", "PythonGCThread", "Thread", "ray_"),
        (pytest.mark.ray, pytest.mark.distributed),
    ),
}
