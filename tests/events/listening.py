"""What tests of events share: hearing of events, and short ways to say what they tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mainspring.events import Event, subscribe

ABOUT = {"mainspring.resource.id": "shop.order.7"}


@contextmanager
def heard(prefix: Any = "", resource: str | None = None) -> Iterator[list[Event]]:
    """The events that are emitted inside the block, in their order."""
    events: list[Event] = []
    with subscribe(events.append, prefix, resource):
        yield events


def names(events: list[Event]) -> str:
    """The names of events without what all names of states begin with, as one text."""
    return " ".join(event.event.removeprefix("mainspring.task-run.") for event in events)


def told(event: Event) -> dict[str, Any]:
    """What the event of a task run tells of the state."""
    described: dict[str, Any] = event.payload["validated_state"]
    return described


def related(event: Event) -> list[tuple[str, str, str | None]]:
    """Role, id and name of the related resources."""
    return [(each.role, each.id, each.name) for each in event.related]
