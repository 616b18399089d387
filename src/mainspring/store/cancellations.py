"""Requests to cancel runs: the contract."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec

__all__ = ["CancellationRequest", "CancellationRows"]


class CancellationRequest(msgspec.Struct, frozen=True):
    """Somebody wants a run to be cancelled.

    Args:
        run_key: The run.
        reason: Why, for people.
    """

    run_key: bytes
    reason: str


class CancellationRows(Protocol):
    """The part of a run store that keeps requests to cancel runs. Methods raise `StoreError` as the others do."""

    def request_cancellation(self, request: CancellationRequest, now: int) -> bool:
        """Ask the process in which an unfinished run goes on to cancel it; the first request counts.

        Requests for runs that are over meanwhile are forgotten.

        Returns:
            False, with nothing changed, if the run goes on in no process that is known to live, or is over.
        """
        ...

    def read_cancellations(self, run_keys: Collection[bytes] | None = None) -> list[CancellationRequest]:
        """What is asked of this process; or about the given runs, whosever they are."""
        ...

    def drop_cancellation(self, run_key: bytes) -> None:
        """Forget a request."""
        ...
