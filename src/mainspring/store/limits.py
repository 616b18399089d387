"""What a run store does for concurrency limits: the contract, and the records that go in and out.

A limit has slots. Whoever wants some asks with a `SlotRequest` and gets a `SlotAnswer`: granted, not yet, or
never. A request that has to wait keeps its place in a queue that all processes share, so a big one is not
overtaken by small ones for ever. Slots are held on a lease, which the holder renews; a process that dies loses
them as soon as somebody notices, or else when the lease runs out.

All times are wall times in microseconds since the epoch, and come from the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from mainspring.store.events import StoredEvent

__all__ = ["ConcurrencyLimit", "LimitChange", "LimitStore", "SlotAnswer", "SlotHolder", "SlotRequest"]


class ConcurrencyLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A named limit, and how much of it is in use.

    Attributes:
        id: The id of the limit.
        name: What callers ask for; ``tag:<tag>`` limits the task runs with that tag.
        limit: How many slots there are.
        active: Whether the limit counts; one that is not active stops nobody.
        active_slots: How many are taken now.
        denied_slots: How many are waited for now.
        slot_decay_per_second: How many become free by themselves each second; 0 if they have to be released.
        avg_slot_occupancy_seconds: How long slots were held lately, at least 0.1.
    """

    id: UUID
    name: str
    limit: int
    active: bool = True
    active_slots: int = 0
    denied_slots: int = 0
    slot_decay_per_second: float = 0.0
    avg_slot_occupancy_seconds: float = 0.1


class SlotHolder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds slots of a limit, or waits for some. Times are in microseconds since the epoch.

    Attributes:
        slots: How many.
        requested: When they were asked for.
        acquired: Since when they are held; None while they are waited for.
        lease_expires: Until when that is so without a sign of life.
        holder_type: ``flow_run``, ``task_run`` or ``deployment``; None outside of runs.
        holder_id: The id of the run.
        run_name: Its name, if it is in the same database.
        host: The host of the process; None for a store in memory.
        pid: Its process id there.
    """

    slots: int
    requested: int
    acquired: int | None
    lease_expires: int
    holder_type: str | None = None
    holder_id: UUID | None = None
    run_name: str | None = None
    host: str | None = None
    pid: int | None = None


class LimitChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is changed about a limit. Members that are None stay as they are.

    Args:
        name: Its new name; its id and what is held stay.
        limit: How many slots there are.
        active: Whether it counts.
        slot_decay_per_second: How many become free by themselves each second.
        holders: Instead of all that is held: how many slots for whom, each on a lease of its own.
        lease_microseconds: For how long these are held.
    """

    name: str | None = None
    limit: int | None = None
    active: bool | None = None
    slot_decay_per_second: float | None = None
    holders: Sequence[tuple[int, tuple[str, bytes] | None]] | None = None
    lease_microseconds: int = 0


class SlotRequest:
    """Somebody wants slots of all of these limits, or of none.

    Args:
        lease_key: 16 bytes, made up by the caller: what was granted, or queued, is given back under it.
        names: The names of the limits, sorted, each once.
        slots: How many of each.
        lease_microseconds: For how long they are held unless the lease is renewed.
        holder: Type and key of the run that they are for, if any.
        decays: True if slots are to go by decay only and never by a release: a rate limit.
        strict: Take nothing if one of the limits is missing.
        owned: Whether they are free when this process ends, and not only when the lease does.

    Attributes:
        is_queued: Whether it has been given a place in the queue; the store keeps it.
    """

    __slots__ = (
        "decays",
        "holder",
        "is_queued",
        "lease_key",
        "lease_microseconds",
        "names",
        "owned",
        "slots",
        "strict",
    )

    def __init__(
        self,
        lease_key: bytes,
        names: Sequence[str],
        slots: int,
        lease_microseconds: int,
        holder: tuple[str, bytes] | None = None,
        decays: bool = False,
        strict: bool = False,
        owned: bool = True,
    ) -> None:
        self.lease_key = lease_key
        self.names = names
        self.slots = slots
        self.lease_microseconds = lease_microseconds
        self.holder = holder
        self.decays = decays
        self.strict = strict
        self.owned = owned
        self.is_queued = False


class SlotAnswer:
    """What became of a request.

    Attributes:
        granted: True if it holds its slots now; so does a request that matches no active limit.
        limits: The active limits that it matches.
        missing: The names that no limit has.
        refusal: Why the request can never be granted as things are, or None.
        retry_after: Seconds until decay may have made room, or None if that is up to the holders.
        place: Where the request is in the queue, if it has to wait there: less than those who came later.
        next_waiters: The keys of the owners whose turn it may be now, by the names of the limits.
    """

    __slots__ = ("granted", "limits", "missing", "next_waiters", "place", "refusal", "retry_after")

    def __init__(self, limits: list[ConcurrencyLimit], missing: list[str]) -> None:
        self.granted = False
        self.limits = limits
        self.missing = missing
        self.refusal: str | None = None
        self.retry_after: float | None = None
        self.place = 0
        self.next_waiters: dict[str, str] = {}


class LimitStore(Protocol):
    """The part of a run store that keeps concurrency limits.

    Methods may be called from any thread and block only for as long as the database takes: none of them waits
    for slots. Each raises `StoreError` if the database does not let it.
    """

    def write_limit(
        self, name: str, limit: int, active: bool, slot_decay_per_second: float
    ) -> ConcurrencyLimit:
        """Create the limit, or change the one of that name; what is held stays held."""
        ...

    def add_limit(
        self, name: str, limit: int, active: bool, slot_decay_per_second: float
    ) -> ConcurrencyLimit | None:
        """Create a limit; None, with nothing changed, if there is one of that name."""
        ...

    def change_limit(self, name: str, change: LimitChange) -> ConcurrencyLimit | None:
        """Change a limit; None if there is none of that name.

        Raises:
            ObjectAlreadyExists: Another one has the new name. Nothing was changed.
        """
        ...

    def read_limits(self, names: Sequence[str] | None = None) -> list[ConcurrencyLimit]:
        """The limits with these names, or all of them, by name."""
        ...

    def read_slot_holders(self, name: str) -> list[SlotHolder]:
        """Who holds slots of a limit, then who waits for some, each in the order in which they are served.

        Slots of limits with decay belong to nobody once they were given.
        """
        ...

    def delete_limit(self, name: str) -> bool:
        """Delete a limit with all that is held or waited for; False if there is none."""
        ...

    def take_slots(self, request: SlotRequest, now: int, wait_until: int | None) -> SlotAnswer:
        """Grant the request if its slots are free and not needed by those who came before.

        Args:
            request: What is wanted. Asking again is safe only while it was not granted.
            now: The time.
            wait_until: If it cannot be granted, keep its place in the queue, from its first call on, until
                then or until a later call; None leaves no trace.
        """
        ...

    def may_take_slots(self, request: SlotRequest, now: int) -> bool:
        """Whether `take_slots` would do something for a queued request. Changes nothing, and disturbs nobody."""
        ...

    def read_rivals(self, names: Sequence[str]) -> list[int]:
        """The numbers of the processes of this host that hold or wait for slots of these limits."""
        ...

    def renew_slots(self, leases: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """Move the ends of leases, given by key and new end, and return the keys of those that are lost.

        A lease that has run out can be renewed for as long as nobody else needed its slots.
        """
        ...

    def release_slots(
        self,
        lease_key: bytes,
        now: int,
        occupancy_seconds: float | None,
        events: Sequence[StoredEvent] = (),
    ) -> bool:
        """Give back what is held or queued under a key. False, and nothing done, if there is nothing.

        Args:
            lease_key: The key of the request.
            now: The time.
            occupancy_seconds: For how long the slots were held, for the average; since they were granted if None.
            events: What is to be kept in the same commit.
        """
        ...

    def release_some_slots(
        self, names: Sequence[str], slots: int, holder_type: str, now: int, occupancy_seconds: float
    ) -> list[ConcurrencyLimit]:
        """Give back so many slots of each limit, or as many as holders of a type have, oldest first.

        Returns:
            The limits that were found, as they are now.
        """
        ...
