"""Futures of flow runs that this process has started."""

from __future__ import annotations

from typing import Any, TypeVar

from mainspring.futures.local import LocalFuture
from mainspring.futures.promises import Promise
from mainspring.futures.recorded import FlowRunFuture
from mainspring.futures.reservations import Reservation

__all__ = ["BackgroundFlowRun"]

R = TypeVar("R", covariant=True)


class BackgroundFlowRun(LocalFuture[R], FlowRunFuture[R]):
    """What ``flow.submit`` returns: what the run comes to is known here, also if it is kept nowhere.

    Args:
        reservation: The ids of the run.
        promise: Comes to the final state of the run, or to what ended it from outside.
    """

    def __init__(self, reservation: Reservation, promise: Promise) -> None:
        self._reservation = reservation
        self.wrapped_future = promise

    @property
    def run_key(self) -> bytes:
        """See `RunFuture.run_key`; in a resumed flow run it may be that of an earlier run, once that is known."""
        return self._reservation.flow_run_key

    @property
    def origin_key(self) -> bytes | None:
        """See `RunFuture.origin_key`."""
        return self._reservation.stand_in_key

    def __reduce__(self) -> tuple[Any, ...]:
        return FlowRunFuture, (str(self.run_id),)

    def __repr__(self) -> str:
        return f"FlowRunFuture({str(self.run_id)!r}, done={self.is_done()})"
