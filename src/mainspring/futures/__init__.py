"""Futures: handles to runs that were started elsewhere, and waiting for many of them.

A future only observes: waiting for it, giving up on waiting or dropping it never touches the run.

- ``base``: what a future is, whatever runs behind it
- ``local``: futures of task runs in this process
- ``background``: futures of flow runs in this process
- ``recorded``: futures of runs in the history, of any process
- ``lookout``: the thread that notices when those are over
- ``waiting``: waiting for many at once
- ``lists``: what ``map`` gives
- ``resolving``: values with futures in them
"""

from mainspring.futures.base import Future, RunFuture
from mainspring.futures.lists import FutureList
from mainspring.futures.local import ConcurrentFuture
from mainspring.futures.recorded import DistributedFuture, FlowRunFuture
from mainspring.futures.resolving import resolve_futures_to_results, resolve_futures_to_states
from mainspring.futures.waiting import DoneAndNotDoneFutures, as_completed, wait

__all__ = [
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
]
