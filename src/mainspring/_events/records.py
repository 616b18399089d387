"""Events, and the resources that they are about, as values with a form in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import msgspec

from mainspring import clock, identifiers
from mainspring.exceptions import EventTooLarge
from mainspring.settings import get_current_settings

__all__ = ["CLOSE", "ID", "NAME", "ROLE", "Event", "RelatedResource", "Resource", "require_size"]

R = TypeVar("R", bound="Resource")

ID = "mainspring.resource.id"
NAME = "mainspring.resource.name"
ROLE = "mainspring.resource.role"

CLOSE = timedelta(minutes=5)
"""An event follows another one if less than this is between them."""


class Resource(Mapping[str, str]):
    """Something that an event is about, as a mapping of labels to texts that nobody changes.

    Args:
        labels: The labels. ``mainspring.resource.id`` says what the resource is and must not be empty.

    Raises:
        ValueError: A required label is missing or empty, a label is no text, or there are more labels than the
            setting ``events.maximum_labels_per_resource`` allows.
    """

    __slots__ = ("_labels",)
    required: ClassVar[tuple[str, ...]] = (ID,)

    def __init__(self, labels: Mapping[str, str]) -> None:
        if not isinstance(labels, Mapping):
            raise ValueError(
                f"A resource is a mapping of labels, not {type(labels).__name__}: give it at least"
                f" {{{ID!r}: ...}}."
            )
        given: Mapping[Any, Any] = labels
        for label, value in given.items():
            if not isinstance(label, str) or not isinstance(value, str):
                raise ValueError(
                    f"Labels of resources are texts, {label!r} is not: {value!r}. Put other facts into the payload."
                )
        self._labels: dict[str, str] = dict(given)
        for label in self.required:
            if not self._labels.get(label):
                raise ValueError(
                    f"A {type(self).__name__} needs the label {label!r}; it has {self._labels!r}."
                )
        limit = get_current_settings().events.maximum_labels_per_resource
        if len(self._labels) > limit:
            raise ValueError(
                f"The resource {self.id!r} has {len(self._labels)} labels, and {limit} are allowed"
                f" (events.maximum_labels_per_resource)."
            )

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels as a plain mapping, not to be changed."""
        return self._labels

    @property
    def id(self) -> str:
        """What the resource is."""
        return self._labels[ID]

    @property
    def name(self) -> str | None:
        """What people call it, None if it has no such label."""
        return self._labels.get(NAME)

    def __getitem__(self, label: str) -> str:
        return self._labels[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._labels!r})"


class RelatedResource(Resource):
    """A resource that has to do with an event; ``mainspring.resource.role`` says what it has to do with it."""

    __slots__ = ()
    required = (ID, ROLE)

    @property
    def role(self) -> str:
        """What the resource has to do with the event."""
        return self[ROLE]


def _now() -> datetime:
    return clock.to_datetime(clock.current().now())


def _new_id() -> UUID:
    return UUID(bytes=identifiers.new_id())


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened.

    An event is a value. Threads may share it; nobody should change its payload.

    Args:
        occurred: When it happened; now when omitted. Naive times are UTC.
        event: What happened, as a dotted name.
        resource: What it happened to; a plain mapping of labels will do.
        related: What else has to do with it; plain mappings will do.
        payload: Further facts, as JSON can hold them.
        id: The id of the event; a fresh one when omitted.
        follows: The id of the event that came right before, if there is one.

    Raises:
        ValueError: A resource does not work, or there are more related ones than the setting
            ``events.maximum_related_resources`` allows.
    """

    occurred: datetime = msgspec.field(default_factory=_now)
    event: str
    resource: Resource
    related: Sequence[RelatedResource] = ()
    payload: dict[str, Any] = msgspec.field(default_factory=dict)
    id: UUID = msgspec.field(default_factory=_new_id)
    follows: UUID | None = None

    def __post_init__(self) -> None:
        force = msgspec.structs.force_setattr
        if self.occurred.tzinfo is None:
            force(self, "occurred", self.occurred.replace(tzinfo=UTC))
        force(self, "resource", _as(Resource, self.resource))
        force(self, "related", [_as(RelatedResource, resource) for resource in self.related])
        limit = get_current_settings().events.maximum_related_resources
        if len(self.related) > limit:
            raise ValueError(
                f"The event {self.event!r} has {len(self.related)} related resources, and {limit} are allowed"
                f" (events.maximum_related_resources)."
            )

    @property
    def involved_resources(self) -> list[Resource]:
        """The resource and those related to it."""
        return [self.resource, *self.related]

    @property
    def resources_in_role(self) -> dict[str, list[RelatedResource]]:
        """The related resources by role."""
        found: dict[str, list[RelatedResource]] = {}
        for resource in self.related:
            found.setdefault(resource.role, []).append(resource)
        return found

    @property
    def resource_in_role(self) -> dict[str, RelatedResource]:
        """The first related resource of each role."""
        return {role: resources[0] for role, resources in self.resources_in_role.items()}

    def find_resource_label(self, label: str) -> str | None:
        """The value of a label of the resource, None if there is none.

        Args:
            label: The label. ``related:<role>:<label>`` looks at the related resources of a role instead and takes
                the first that has it.
        """
        if label.startswith("related:") and label.count(":") >= 2:
            _, role, label = label.split(":", 2)
            resources: Sequence[Resource] = self.resources_in_role.get(role, [])
        else:
            resources = [self.resource]
        return next((resource[label] for resource in resources if label in resource), None)

    def to_json(self) -> str:
        """The event as a JSON object.

        Raises:
            TypeError: The payload holds something that JSON has no form for.
        """
        return self.encode().decode()

    def encode(self) -> bytes:
        """`to_json` as UTF-8."""
        return _encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Event:
        """The event of a JSON object; fields that events do not have are ignored.

        Raises:
            ValueError: The text is no such object.
        """
        try:
            return _decoder().decode(text)
        except msgspec.MsgspecError as error:
            raise ValueError(f"This is not the JSON of an event: {error}.") from error


def require_size(event: Event) -> bytes:
    """Refuse an event that is too long.

    Returns:
        The event as JSON.

    Raises:
        EventTooLarge: It is longer than the setting ``events.maximum_size_bytes`` allows.
    """
    content = event.encode()
    size, limit = len(content), get_current_settings().events.maximum_size_bytes
    if size > limit:
        raise EventTooLarge(
            f"The event {event.event!r} ({event.id}) about {event.resource.id!r} has {size} bytes, and {limit} are"
            f" allowed (events.maximum_size_bytes). Put less into its payload, for example the place where to find"
            f" the rest."
        )
    return content


def _as(kind: type[R], labels: Mapping[str, str]) -> R:
    return labels if isinstance(labels, kind) else kind(labels)


def _plain(value: Any) -> Any:
    if isinstance(value, Resource):
        return value.labels
    raise TypeError(f"Events cannot hold a {type(value).__name__}: JSON has no form for it.")


def _resource(kind: type[R], labels: Any) -> R:
    return kind(labels)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


@cache
def _decoder() -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(Event, dec_hook=_resource)
