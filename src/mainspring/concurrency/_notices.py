"""The events of taking slots and of giving them back: one for each limit.

From these events it can be told who held slots at any moment. So the first is dated after the slots were granted, and
the second before they are given back, and it is written in the same commit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mainspring._events import receivers
from mainspring.events import Event
from mainspring.events.emission import are_kept, are_wanted, keep, make_event
from mainspring.exceptions import EventTooLarge
from mainspring.store.events import StoredEvent, stored
from mainspring.store.limits import ConcurrencyLimit

__all__ = ["Notice", "acquired", "keep_all", "released", "rows", "tell"]

_KIND = "mainspring.concurrency-limit"
_logger = logging.getLogger("mainspring.concurrency")

Notice = tuple[Event, StoredEvent]
"""An event, and what the run store keeps of it."""


def acquired(limits: Sequence[ConcurrencyLimit], slots: int) -> list[Notice | None]:
    """That so many slots of each limit were taken now. Empty if nobody wants to know."""
    if not are_wanted():
        return []
    return [_notice("acquired", limit, limits, slots, None) for limit in limits]


def released(
    limits: Sequence[ConcurrencyLimit], slots: int, before: Sequence[Notice | None]
) -> list[Notice | None]:
    """That the slots are given back now; each event follows the one of its acquisition."""
    if not are_wanted():
        return []
    made: list[Notice | None] = []
    for index, limit in enumerate(limits):
        follows = before[index] if before else None
        made.append(_notice("released", limit, limits, slots, follows))
    return made


def rows(notices: Sequence[Notice | None]) -> list[StoredEvent]:
    """What the run store is to keep of them; nothing if events are not kept."""
    return [notice[1] for notice in notices if notice is not None] if notices and are_kept() else []


def keep_all(notices: Sequence[Notice | None]) -> None:
    """Have them kept with the next commit."""
    for notice in notices:
        if notice is not None:
            keep(*notice)


def tell(notices: Sequence[Notice | None]) -> None:
    """Tell the subscribers of this process."""
    if receivers.active:
        for notice in notices:
            if notice is not None:
                receivers.deliver(notice[0])


def _notice(
    phase: str,
    limit: ConcurrencyLimit,
    limits: Sequence[ConcurrencyLimit],
    slots: int,
    follows: Notice | None,
) -> Notice | None:
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
        event, content = make_event(
            f"{_KIND}.{phase}",
            resource,
            related=related,
            follows=None if follows is None else follows[0],
        )
        return event, stored(event, content)
    except (ValueError, EventTooLarge) as error:  # settings of events must not stop whoever takes slots
        _logger.warning("No event tells that slots of %r were %s: %s", limit.name, phase, error)
        return None


def _labels(limit: ConcurrencyLimit) -> dict[str, str]:
    return {"mainspring.resource.id": f"{_KIND}.{limit.id}", "mainspring.resource.name": limit.name}
