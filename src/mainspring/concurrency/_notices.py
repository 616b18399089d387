"""The events of taking slots and of giving them back: one for each limit."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mainspring.events import Event, emit_event, subscriptions
from mainspring.exceptions import EventTooLarge
from mainspring.store.limits import ConcurrencyLimit

__all__ = ["tell_acquired", "tell_released"]

_KIND = "mainspring.concurrency-limit"
_logger = logging.getLogger("mainspring.concurrency")


def tell_acquired(limits: Sequence[ConcurrencyLimit], slots: int) -> list[Event | None]:
    """Tell that so many slots of each limit were taken; the events, if anybody was told."""
    if not subscriptions.active:
        return []
    return [_emit("acquired", limit, limits, slots, None) for limit in limits]


def tell_released(limits: Sequence[ConcurrencyLimit], slots: int, acquired: Sequence[Event | None]) -> None:
    """Tell that the slots were given back; each event follows the one of its acquisition."""
    if subscriptions.active:
        for index, limit in enumerate(limits):
            _emit("released", limit, limits, slots, acquired[index] if acquired else None)


def _emit(
    phase: str,
    limit: ConcurrencyLimit,
    limits: Sequence[ConcurrencyLimit],
    slots: int,
    follows: Event | None,
) -> Event | None:
    resource = {
        **_labels(limit),
        "slots-acquired": str(slots),
        "limit": str(limit.limit),
    }
    related = [
        {**_labels(other), "mainspring.resource.role": "concurrency-limit"}
        for other in limits
        if other is not limit
    ]
    try:
        return emit_event(f"{_KIND}.{phase}", resource, related=related, follows=follows)
    except (ValueError, EventTooLarge) as error:  # settings of events must not stop whoever takes slots
        _logger.warning("No event tells that slots of %r were %s: %s", limit.name, phase, error)
        return None


def _labels(limit: ConcurrencyLimit) -> dict[str, str]:
    return {"mainspring.resource.id": f"{_KIND}.{limit.id}", "mainspring.resource.name": limit.name}
