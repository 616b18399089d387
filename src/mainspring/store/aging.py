"""What is old in a run store and may go: the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

__all__ = ["AgingRows", "Ended", "OldResult"]


class Ended(msgspec.Struct, frozen=True):
    """Which runs are old: flow runs that are no subflows, and task runs outside of flows, that are over.

    Args:
        before: They ended before this time, in microseconds since the epoch.
        states: Types or names of their states, in any case; None for all.
        keep: Leave out the newest so many runs of each flow and of each task.
    """

    before: int
    states: Sequence[str] | None = None
    keep: int = 0


class OldResult(msgspec.Struct, frozen=True):
    """A result whose run is not there any more.

    Args:
        key: What it is kept under.
        created: When it was kept.
        content: The record as text; None if it is in a file.
        file: The path of that file.
    """

    key: str
    created: int
    content: str | None
    file: str | None


class AgingRows(Protocol):
    """The part of a run store that finds and deletes what is old. Methods raise `StoreError` as the others do."""

    def find_ended_runs(self, which: Ended) -> list[bytes]:
        """The keys of runs that are old, oldest first.

        Left out are those with a transaction that was never decided, or whose hooks were not all called. Those whose
        deletion was interrupted are among them.
        """
        ...

    def read_results_without_runs(self, before: int, after: str, limit: int) -> list[OldResult]:
        """Results that were kept before a time and whose run is gone, or which are of none.

        Parameters of runs are left out: they go with their runs.

        Args:
            before: The time.
            after: Only keys that come after this one, in the order of the answer.
            limit: At most so many.
        """
        ...

    def delete_old_results(self, results: Sequence[OldResult]) -> int:
        """Delete results unless they were replaced since, and return how many were deleted."""
        ...

    def read_files(self) -> set[str]:
        """The paths of all files that rows lead to, unused ones included."""
        ...

    def read_places_elsewhere(self) -> list[str]:
        """What states say about where their results are, for those which are not in the run store: JSON objects."""
        ...

    def delete_remains(self, before: int) -> None:
        """Delete what is of no run: processes that ended before a time, and log lines and events from before it."""
        ...
