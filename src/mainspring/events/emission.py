"""Telling subscribers of an event."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from mainspring._core.outcomes import is_limit
from mainspring.context import current_scope
from mainspring.events import subscriptions
from mainspring.events.records import Event, RelatedResource, Resource
from mainspring.events.related import with_context
from mainspring.exceptions import EventTooLarge
from mainspring.settings import get_current_settings

__all__ = ["CLOSE", "emit_event", "publish_event", "require_size"]

CLOSE = timedelta(minutes=5)
"""An event follows another one if less than this is between them."""

_logger = logging.getLogger("mainspring.events")


def emit_event(
    event: str,
    resource: Mapping[str, str],
    occurred: datetime | None = None,
    related: Iterable[Mapping[str, str]] | None = None,
    payload: Mapping[str, Any] | None = None,
    id: UUID | None = None,  # noqa: A002 - the parameter's name in the contract
    follows: Event | None = None,
) -> Event | None:
    """Tell all subscribers that something happened.

    Inside of a run, the run, its flow and its tags are added to the related resources. The payload is copied.
    Safe to call from any thread. It waits if the queue of a subscriber is full, see `get_events_subscriber`.

    Args:
        event: What happened, as a dotted name.
        resource: What it happened to: labels, with ``mainspring.resource.id`` among them.
        occurred: When it happened; now when omitted. Naive times are UTC.
        related: What else has to do with it: labels, each with ``mainspring.resource.role``.
        payload: Further facts, as JSON can hold them.
        id: The id of the event; a fresh one when omitted.
        follows: The event that came before. It is left out unless less than five minutes are between the two.

    Returns:
        The event as subscribers got it. None if nobody is subscribed, if the attempt around was given up, or if
        something unexpected was in the way, which is logged.

    Raises:
        ValueError: A resource does not work, see `Resource`.
        EventTooLarge: The event is longer than the setting ``events.maximum_size_bytes`` allows.
    """
    if not subscriptions.active:
        return None
    scope = current_scope()
    if scope is not None and scope.is_given_up():
        return None
    try:
        about = resource if isinstance(resource, Resource) else Resource(resource)
        given = [
            each if isinstance(each, RelatedResource) else RelatedResource(each) for each in related or ()
        ]
        facts: dict[str, Any] = {"id": id, "occurred": occurred}
        built = Event(
            event=event,
            resource=about,
            related=with_context(about, given),
            payload=msgspec.json.decode(msgspec.json.encode(dict(payload))) if payload else {},
            **{name: value for name, value in facts.items() if value is not None},
        )
        if follows is not None and abs(built.occurred - follows.occurred) < CLOSE:
            built = msgspec.structs.replace(built, follows=follows.id)
        publish_event(built)
    except ValueError:  # the caller's mistake, which the message names
        raise
    except Exception as error:  # whoever emits an event has other work, which goes on
        if is_limit(error):
            raise
        _logger.exception("Event %r could not be emitted", event)
        return None
    return built


def publish_event(event: Event) -> None:
    """Tell all subscribers of an event that was made elsewhere: in another process, or from the history.

    Subscribers may get an event more than once that way. They know it by its id.

    Raises:
        EventTooLarge: The event is longer than the setting ``events.maximum_size_bytes`` allows.
    """
    if subscriptions.active:
        require_size(event)
        subscriptions.deliver(event)


def require_size(event: Event) -> None:
    """Refuse an event that is too long.

    Raises:
        EventTooLarge: It is longer than the setting ``events.maximum_size_bytes`` allows.
    """
    size, limit = len(event.encode()), get_current_settings().events.maximum_size_bytes
    if size > limit:
        raise EventTooLarge(
            f"The event {event.event!r} ({event.id}) about {event.resource.id!r} has {size} bytes, and {limit} are"
            f" allowed (events.maximum_size_bytes). Put less into its payload, for example the place where to find"
            f" the rest."
        )
