"""Futures: handles to runs that were started elsewhere, and waiting for many of them.

A future only observes: waiting for it, giving up on waiting or dropping it never touches the run.

- ``base``: what a future is, whatever runs behind it
- ``promises``: the other end of a future of this process
- ``local``, ``background``: futures of this process, of task runs and of flow runs
- ``reservations``: the ids of runs that are not there yet
- ``recorded``: futures of runs in the history, of any process
- ``lookout``: the thread that notices when those are over
- ``turns``: what becomes of the turn that work has in a pool while it waits, and circles of waiting
- ``waiting``: waiting for many at once
- ``streams``: runs submitted one by one, and results handed out one by one
- ``lists``: what ``map`` gives, and ``completion``: futures in the order in which they are done
- ``resolving``: values with futures in them
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.futures.base import Future, RunFuture
    from mainspring.futures.completion import CompletedFutures, as_completed
    from mainspring.futures.lists import FutureList
    from mainspring.futures.local import ConcurrentFuture
    from mainspring.futures.recorded import DistributedFuture, FlowRunFuture
    from mainspring.futures.resolving import resolve_futures_to_results, resolve_futures_to_states
    from mainspring.futures.waiting import DoneAndNotDoneFutures, wait, wait_async

__all__ = [
    "CompletedFutures",
    "ConcurrentFuture",
    "DistributedFuture",
    "DoneAndNotDoneFutures",
    "FlowRunFuture",
    "Future",
    "FutureList",
    "RunFuture",
    "as_completed",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "wait",
    "wait_async",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".base": ["Future", "RunFuture"],
        ".completion": ["CompletedFutures", "as_completed"],
        ".lists": ["FutureList"],
        ".local": ["ConcurrentFuture"],
        ".recorded": ["DistributedFuture", "FlowRunFuture"],
        ".resolving": ["resolve_futures_to_results", "resolve_futures_to_states"],
        ".waiting": ["DoneAndNotDoneFutures", "wait", "wait_async"],
    },
)
