"""Events in a run store: what is kept of them, and the contract of reading and following them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

import msgspec

from mainspring import clock

if TYPE_CHECKING:
    from mainspring._events.records import Event

__all__ = ["EventFilter", "EventKey", "EventRows", "Follower", "StoredEvent", "stored"]

_FLOW_RUN = "mainspring.flow-run."
_TASK_RUN = "mainspring.task-run."


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as the store keeps it.

    Args:
        key: The 16 bytes of its id. An event under the same id is the same event.
        occurred: When it happened, in microseconds.
        event: What happened.
        resource_id: What it happened to.
        flow_run_key: The flow run that it happened in.
        task_run_key: The task run that it happened in.
        content: The event as JSON.
    """

    key: bytes
    occurred: int
    event: str
    resource_id: str
    flow_run_key: bytes | None
    task_run_key: bytes | None
    content: str


def stored(event: Event, content: bytes) -> StoredEvent:
    """An event as the store keeps it.

    Args:
        event: The event.
        content: It as JSON.
    """
    named = [resource.id for resource in event.involved_resources]
    return StoredEvent(
        event.id.bytes,
        clock.from_datetime(event.occurred),
        event.event,
        event.resource.id,
        _first_key(named, _FLOW_RUN),
        _first_key(named, _TASK_RUN),
        content.decode(),
    )


def _first_key(names: Sequence[str], prefix: str) -> bytes | None:
    for name in names:
        if name.startswith(prefix):
            try:
                return UUID(name.removeprefix(prefix)).bytes
            except ValueError:  # somebody's own idea of a run
                continue
    return None


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to read. Members that are None do not restrict.

    Args:
        prefixes: How the name of the event begins: in any of these ways.
        run_key: What happened in this run, with all that ran inside of it.
        since: What happened then or later, in microseconds.
        until: What happened before, in microseconds.
    """

    prefixes: Sequence[str] = ("",)
    run_key: bytes | None = None
    since: int | None = None
    until: int | None = None

    def fits_name(self, event: str) -> bool:
        """Whether an event of this name is wanted."""
        return event.startswith(tuple(self.prefixes))


class EventKey(NamedTuple):
    """Where an event is. Keys are in the order of `EventRows.read_event_keys`.

    Args:
        occurred: When it happened, in microseconds.
        key: The run whose state it is, or the id of a stored event.
        position: The position of the state within the run; 0 for stored events.
    """

    occurred: int
    key: bytes
    position: int


class Follower:
    """Somebody who is told of each commit: who it is, and up to where it has seen. Not for two threads at a time.

    Attributes:
        key: Its id.
        owner_key: The owner that is woken for it; empty if nobody is.
        base: Positions up to this one were written before it began.
        transaction_id: Up to where it has seen.
        position: Likewise.
        expires: Until when writers know of it, in microseconds.
    """

    __slots__ = ("base", "expires", "key", "owner_key", "position", "transaction_id")

    def __init__(self, key: bytes, owner_key: str, expires: int, base: int) -> None:
        self.key = key
        self.owner_key = owner_key
        self.expires = expires
        self.base = base
        self.transaction_id = 0
        self.position = 0


class EventRows(Protocol):
    """The part of a run store that is about events. Methods raise `StoreError` as the others do.

    Events are kept by `RunStore.write`. The events of states are made of the history.
    """

    def read_event_keys(
        self, where: EventFilter, after: EventKey | None = None, limit: int = 1_000, newest: bool = False
    ) -> list[EventKey]:
        """Where the events are that fit, those of states and stored ones, by time.

        Args:
            where: Which ones.
            after: Go on behind this one.
            limit: At most so many, the oldest.
            newest: The newest ones instead, still in order.
        """
        ...

    def read_events(self, keys: Sequence[EventKey]) -> list[Event]:
        """The events at these places, in the same order; those that are no more are left out."""
        ...

    def read_flow_runs_inside(self, run_key: bytes) -> list[bytes]:
        """The keys of the flow run and the flow runs inside of it, at any depth; just the key if it is a task run."""
        ...

    def start_following(self, key: bytes, lease: int) -> Follower:
        """Have everything told from now on: what is committed after this call, by whichever process, is not missed.

        Args:
            key: The id of the new follower.
            lease: For how many microseconds writers care for it, unless it is renewed.
        """
        ...

    def renew_following(self, follower: Follower, lease: int) -> bool:
        """Note how far it has seen, and have writers care for it for so long from now on.

        What everybody has seen is removed.

        Returns:
            False if it came too late: something may have been missed, and it has to start again.
        """
        ...

    def read_changes(self, follower: Follower, limit: int = 200) -> list[EventKey]:
        """Where the next events are, in the order of commits, those of a run in their order; `occurred` is 0.

        Each commit is told once, to the same `Follower` object, and never before one that will be told later could
        still turn up in front of it.

        Args:
            follower: Who asks.
            limit: At most so many commits.
        """
        ...

    def read_unseen(self, follower: Follower) -> set[tuple[bytes, int]]:
        """Key and position of all events that `read_changes` will tell by what is committed now."""
        ...

    def stop_following(self, follower: Follower) -> None:
        """Have nothing told any more."""
        ...
