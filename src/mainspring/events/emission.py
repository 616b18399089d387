"""Emitting events: making them, keeping them in the run store, and telling subscribers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from mainspring._core.outcomes import is_limit
from mainspring._events import receivers
from mainspring._events.records import CLOSE, Event, RelatedResource, Resource, require_size
from mainspring._events.related import with_context
from mainspring.context import current_scope
from mainspring.exceptions import ConfigurationError
from mainspring.recording.current import current_recorder
from mainspring.settings import get_current_settings
from mainspring.store.events import StoredEvent, stored

__all__ = ["are_kept", "are_wanted", "emit_event", "keep", "make_event", "publish_event"]

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
    """Keep in the run store that something happened, and tell all subscribers.

    The event is written with the next commit of this process, or some tens of milliseconds later. What a run has
    emitted is on disk when its final state is. An event under an id that is there already is not kept a second time.

    Inside of a run, the run, its flow and its tags are added to the related resources. The payload is copied.
    Safe to call from any thread. It waits for the store if thousands of events wait to be written, and if the queue of
    a subscriber is full, see `get_events_subscriber`.

    Args:
        event: What happened, as a dotted name.
        resource: What it happened to: labels, with ``mainspring.resource.id`` among them.
        occurred: When it happened; now when omitted. Naive times are UTC.
        related: What else has to do with it: labels, each with ``mainspring.resource.role``.
        payload: Further facts, as JSON can hold them.
        id: The id of the event; a fresh one when omitted.
        follows: The event that came before. It is left out unless less than five minutes are between the two.

    Returns:
        The event as it is kept and told. None if events are not kept (the setting ``events.enabled``) and nobody is
        subscribed, if the attempt around was given up, or if something unexpected was in the way, which is logged.

    Raises:
        ValueError: The event has no name, or a resource does not work, see `Resource`.
        EventTooLarge: The event is longer than the setting ``events.maximum_size_bytes`` allows.
    """
    if not are_wanted():
        return None
    scope = current_scope()
    if scope is not None and scope.is_given_up():
        return None
    try:
        built, content = make_event(event, resource, occurred, related, payload, id, follows)
        keep(built, content)
        receivers.deliver(built)
    except ValueError:  # the caller's mistake, which the message names
        raise
    except Exception as error:  # whoever emits an event has other work, which goes on
        if is_limit(error):
            raise
        _logger.exception("Event %r could not be emitted", event)
        return None
    return built


def are_wanted() -> bool:
    """Whether an event would be kept, or told to anybody."""
    return bool(receivers.active) or are_kept()


def are_kept() -> bool:
    """Whether events are kept in the run store."""
    return get_current_settings().events.enabled


def make_event(
    event: str,
    resource: Mapping[str, str],
    occurred: datetime | None = None,
    related: Iterable[Mapping[str, str]] | None = None,
    payload: Mapping[str, Any] | None = None,
    id: UUID | None = None,  # noqa: A002 - as in `emit_event`
    follows: Event | None = None,
) -> tuple[Event, bytes]:
    """An event as `emit_event` makes it, and as JSON; nobody is told. Raises whatever is in the way."""
    if not event:
        raise ConfigurationError(
            "An event needs a name that says what happened, such as 'shop.order.shipped'."
        )
    about = resource if isinstance(resource, Resource) else Resource(resource)
    given = [each if isinstance(each, RelatedResource) else RelatedResource(each) for each in related or ()]
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
    return built, require_size(built)


def keep(event: Event, content: bytes | StoredEvent) -> None:
    """Keep an event in the run store, if events are kept. If that does not work it is logged, and everybody goes on.

    Args:
        event: The event.
        content: It as JSON, or as it is to be stored.
    """
    if not are_kept():
        return
    try:
        row = content if isinstance(content, StoredEvent) else stored(event, content)
        current_recorder().keep_event(row)
    except Exception as error:  # by rule: whoever emits an event has other work, which goes on
        if is_limit(error):
            raise
        _logger.exception("Event %r could not be kept", event.event)


def publish_event(event: Event) -> None:
    """Tell subscribers in this process of an event that was made elsewhere: in another process, or from the history.

    It is not kept. Subscribers may get an event more than once that way. They know it by its id.

    Raises:
        EventTooLarge: The event is longer than the setting ``events.maximum_size_bytes`` allows.
    """
    if receivers.active:
        require_size(event)
        receivers.deliver(event)
