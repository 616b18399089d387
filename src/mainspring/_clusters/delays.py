"""Runs that were sent and do not begin: because no worker can take them, or the cluster has much else to do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from mainspring._clusters.assignments import Assignment
from mainspring._clusters.protocol import Cluster, Ticket
from mainspring.exceptions import StoreError
from mainspring.logging import get_run_logger_or
from mainspring.recording import current_recorder
from mainspring.states.conversion import describe_exception

__all__ = ["Delays", "has_begun"]

_TOLD_AFTER = 5.0
"""Seconds that a run waits for a worker before anybody is told what keeps it."""

_DROPPED_AFTER = 1.0
"""Seconds that runs which are not to begin any more have to have begun in."""

_AT_ONCE = 256
"""Parcels that are looked at in one go."""


class Delays:
    """Looks after parcels that have not come back. Used by one thread.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._since: dict[Ticket, float] = {}
        self._told: list[Mapping[str, Any]] = []
        self._closing: float | None = None

    def look(self, sent: Iterable[Assignment], *, is_closed: bool) -> list[Assignment]:
        """Say once for each kind of options what keeps runs that want these from beginning.

        Args:
            sent: The runs that were sent and have not come back.
            is_closed: Nothing is to begin any more.

        Returns:
            Runs that will not begin any more, and that the cluster was told not to begin.
        """
        now = time.monotonic()
        parcels: dict[Ticket, list[Assignment]] = {}
        for assignment in sent:
            if assignment.ticket is not None:
                parcels.setdefault(assignment.ticket, []).append(assignment)
        self._since = {ticket: self._since.get(ticket, now) for ticket in parcels}
        if not is_closed:
            for ticket, (assignment, *_) in list(parcels.items())[:_AT_ONCE]:
                if now - self._since[ticket] > _TOLD_AFTER and assignment.lot.options not in self._told:
                    assignment.context.copy().run(self._tell, assignment)
            return []
        if self._closing is None:
            self._closing = now
        if now - self._closing < _DROPPED_AFTER:
            return []
        dropped: list[Assignment] = []
        for ticket, assignments in list(parcels.items())[:_AT_ONCE]:
            if not any(map(has_begun, assignments)):
                ticket.drop()
                dropped += assignments
        return dropped

    def _tell(self, assignment: Assignment) -> None:
        options = assignment.lot.options
        if has_begun(assignment):
            return
        try:
            obstacle = self._cluster.obstacle(options)
        except Exception as error:  # a question that the cluster does not answer: the run itself may go on
            get_run_logger_or("task_runner").debug(
                "The cluster was asked in vain: %s", describe_exception(error)
            )
            return
        if obstacle is None:
            return
        self._told.append(options)
        get_run_logger_or("task_runner").warning(
            "No worker has begun %s for %d s, as %s. It waits until there is one that can take it.",
            assignment.label(),
            _TOLD_AFTER,
            obstacle,
        )


def has_begun(assignment: Assignment) -> bool:
    """Whether the history knows more of a run than when it was sent, or is not there to be asked."""
    known = assignment.lost.run
    try:
        found = assignment.context.copy().run(lambda: current_recorder().store.read_run(known.key))
    except StoreError:
        return True
    if found is None:
        return False
    return known.recorded is None or found.state.key != known.state.key
