"""What other processes ask of the runs that go on here: that they stop. Looked for by the supervisor with each beat."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

from mainspring._cancel_scopes import Stop, StopKind, live
from mainspring._engine.stopping import stop_run
from mainspring.client import cancel_resting
from mainspring.runs import Run
from mainspring.store.protocol import RunStore

__all__ = ["see_to_cancellations", "stop_lost"]

_known: WeakSet[RunStore] = WeakSet()  # stores whose losses are listened to


def see_to_cancellations(store: RunStore) -> None:
    """Stop the runs of this process that somebody wants to be cancelled; one that rests is Cancelled at once.

    A request is forgotten when its run is over.

    Raises:
        StoreError: The store cannot be read or written.
    """
    if store not in _known:
        _known.add(store)
        store.losses.listen(stop_lost)
    for request in store.read_cancellations():
        if request.run_key in live:
            stop_run(request.run_key, Stop(StopKind.CANCELLED, request.reason))
            continue
        run = store.read_run(request.run_key)
        if run is None or run.state.is_final():
            store.drop_cancellation(request.run_key)
        elif run.state.is_paused() or run.state.name == "NotReady":
            cancel_resting(store, run, request.reason)


def stop_lost(runs: Sequence[Run]) -> None:
    """Stop runs that somebody else may go on with: nothing that they do counts any more."""
    for run in runs:
        stop_run(run.key, Stop(StopKind.LOST, "This process was taken for dead, and the run was settled."))
