"""The methods of clients that are about concurrency limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.client._entering import Enterable
from mainspring.client._runs import key_of
from mainspring.concurrency import DAY, ConcurrencyLimit, LeaseHolder, Terms, check_limit, understood_holder
from mainspring.exceptions import (
    ConcurrencySlotAcquisitionError,
    ConfigurationError,
    ObjectAlreadyExists,
    ObjectNotFound,
)
from mainspring.filters import page_of, record_of
from mainspring.identifiers import new_id
from mainspring.store.limits import LimitChange, SlotRequest

if TYPE_CHECKING:
    from mainspring.client._runs import Id
    from mainspring.concurrency import SlotHolder
    from mainspring.concurrency import _tags as tag_limits
else:
    tag_limits = modules_on_use("mainspring.concurrency", "_tags")

__all__ = [
    "FIRST_LIMITS",
    "ConcurrencyLease",
    "GlobalConcurrencyLimitCreate",
    "GlobalConcurrencyLimitUpdate",
    "LimitMethods",
    "Mode",
]

Mode = Literal["concurrency", "rate_limit"]
Names = str | Iterable[str] | None
Holder = LeaseHolder | Mapping[str, Any] | None

FIRST_LIMITS = 10  # so many limits are read where no number is given
_CLIENT = "client"  # the type of the holders of slots that were taken without a lease


class GlobalConcurrencyLimitCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A concurrency limit to be created. See `Client.create_or_update_concurrency_limit`.

    Args:
        name: What code asks for.
        limit: How many slots there are.
        active: Whether it counts.
        active_slots: How many are taken from the start, by nobody.
        slot_decay_per_second: How many become free by themselves each second.
    """

    name: str
    limit: int
    active: bool = True
    active_slots: int = 0
    slot_decay_per_second: float = 0.0


class GlobalConcurrencyLimitUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What to change about a concurrency limit. Members that are None stay as they are.

    Args:
        name: Its new name.
        limit: How many slots there are.
        active: Whether it counts.
        active_slots: Take the slots from all that hold some, and let nobody hold so many.
        slot_decay_per_second: How many become free by themselves each second.
    """

    name: str | None = None
    limit: int | None = None
    active: bool | None = None
    active_slots: int | None = None
    slot_decay_per_second: float | None = None


class ConcurrencyLease(msgspec.Struct, frozen=True, kw_only=True):
    """Slots that were taken, to be renewed and given back by their id.

    Attributes:
        lease_id: The id.
        limits: The active limits that they are of. With none, nothing is held.
    """

    lease_id: UUID
    limits: list[ConcurrencyLimit]


class LimitMethods(Enterable):
    """The methods about concurrency limits."""

    def create_or_update_concurrency_limit(
        self, name: str, limit: int, active: bool = True, slot_decay_per_second: float = 0
    ) -> ConcurrencyLimit:
        """Create a concurrency limit, or change the one of that name. What is held stays held.

        What is omitted gets its default, also if it is something else now.

        Args:
            name: What code asks for. ``tag:<tag>`` limits the task runs that have the tag.
            limit: How many slots there are; with 0 whoever asks is refused.
            active: Whether the limit counts; one that is not active stops nobody.
            slot_decay_per_second: How many slots become free by themselves each second. With 0 they become free
                when they are given back; rate limits need more than 0.

        Returns:
            The limit as it is now.

        Raises:
            ConfigurationError: One of the arguments cannot work.
        """
        check_limit(name, limit, slot_decay_per_second)
        written = self.store.write_limit(name, limit, bool(active), slot_decay_per_second)
        tag_limits.limits_changed(self.store, name)
        return written

    def read_concurrency_limit(self, name: str) -> ConcurrencyLimit:
        """One concurrency limit, and how much of it is in use.

        Raises:
            ObjectNotFound: There is none of that name.
        """
        found = self._read_limits([name])
        if not found:
            raise self._no_limit(name)
        return found[0]

    def read_concurrency_limits(self) -> list[ConcurrencyLimit]:
        """All concurrency limits, by name."""
        return self._read_limits(None)

    def read_slot_holders(self, name: str) -> list[SlotHolder]:
        """Who holds slots of a concurrency limit, then who waits for some: which run, in which process, since when.

        Raises:
            ObjectNotFound: There is no limit of that name.
        """
        self.read_concurrency_limit(name)
        return self.store.read_slot_holders(name)

    def delete_concurrency_limit(self, name: str) -> None:
        """Delete a concurrency limit. Whoever waits for slots of it goes on.

        Raises:
            ObjectNotFound: There is none of that name.
        """
        if not self.store.delete_limit(name):
            raise self._no_limit(name)
        tag_limits.limits_changed(self.store, name)

    # The same under the names of the contract, and more

    def create_global_concurrency_limit(
        self, concurrency_limit: GlobalConcurrencyLimitCreate | Mapping[str, Any]
    ) -> UUID:
        """Create a concurrency limit; its id.

        Raises:
            ObjectAlreadyExists: There is one of that name. Nothing was changed.
            ConfigurationError: It cannot be one.
        """
        try:
            new = record_of(GlobalConcurrencyLimitCreate, concurrency_limit)
        except TypeError as error:
            raise ConfigurationError(f"{concurrency_limit!r} is no concurrency limit: {error}.") from error
        if new is None:
            raise ConfigurationError("None is no concurrency limit.")
        check_limit(new.name, new.limit, new.slot_decay_per_second)
        holders = _nobody(new.active_slots)
        added = self.store.add_limit(new.name, new.limit, bool(new.active), new.slot_decay_per_second)
        if added is None:
            raise ObjectAlreadyExists(
                f"There is a concurrency limit named {new.name!r} in {self.store.address} already."
            )
        if holders:
            self.store.change_limit(new.name, LimitChange(holders=holders, lease_microseconds=_LONGEST))
        tag_limits.limits_changed(self.store, new.name)
        return added.id

    def read_global_concurrency_limit_by_name(self, name: str) -> ConcurrencyLimit:
        """`read_concurrency_limit`."""
        return self.read_concurrency_limit(name)

    def read_global_concurrency_limits(
        self, limit: int | None = FIRST_LIMITS, offset: int = 0
    ) -> list[ConcurrencyLimit]:
        """Concurrency limits by name: at most so many, without the first.

        Args:
            limit: At most so many.
            offset: Leave out so many of the first.
        """
        count, start = page_of(limit, offset, FIRST_LIMITS)
        return self._read_limits(None)[start : start + count]

    def update_global_concurrency_limit(
        self, name: str, concurrency_limit: GlobalConcurrencyLimitUpdate | Mapping[str, Any]
    ) -> ConcurrencyLimit:
        """Change a concurrency limit, or its name. What is held stays held, unless ``active_slots`` is given.

        Args:
            name: Its name until now.
            concurrency_limit: What to change.

        Returns:
            The limit as it is now.

        Raises:
            ObjectNotFound: There is none of that name.
            ObjectAlreadyExists: Another one has the new name. Nothing was changed.
            ConfigurationError: It cannot become that.
        """
        new = record_of(GlobalConcurrencyLimitUpdate, concurrency_limit) or GlobalConcurrencyLimitUpdate()
        check_limit(
            name if new.name is None else new.name,
            0 if new.limit is None else new.limit,
            0 if new.slot_decay_per_second is None else new.slot_decay_per_second,
        )
        change = LimitChange(
            name=new.name,
            limit=new.limit,
            active=new.active,
            slot_decay_per_second=new.slot_decay_per_second,
            holders=None if new.active_slots is None else _nobody(new.active_slots),
            lease_microseconds=_LONGEST,
        )
        return self._changed(name, change)

    def upsert_global_concurrency_limit_by_name(
        self, name: str, limit: int, slot_decay_per_second: float = 0, active: bool = True
    ) -> ConcurrencyLimit:
        """`create_or_update_concurrency_limit`."""
        return self.create_or_update_concurrency_limit(name, limit, active, slot_decay_per_second)

    def delete_global_concurrency_limit_by_name(self, name: str) -> None:
        """`delete_concurrency_limit`."""
        self.delete_concurrency_limit(name)

    def reset_global_concurrency_limit_by_name(
        self, name: str, slot_override: Sequence[Id] | None = None
    ) -> ConcurrencyLimit:
        """Take the slots of a limit from all that hold some.

        Whoever held them is treated as if its lease was lost.

        Args:
            name: The limit.
            slot_override: Task runs that hold one slot each from then on, for a day or until the next reset.

        Returns:
            The limit as it is now.

        Raises:
            ObjectNotFound: There is none of that name.
        """
        holders = [(1, ("task_run", key_of(each))) for each in slot_override or ()]
        return self._changed(name, LimitChange(holders=holders, lease_microseconds=_LONGEST))

    # Slots

    def increment_concurrency_slots(
        self, names: Names, slots: int = 1, mode: Mode = "concurrency", create_if_missing: bool = False
    ) -> list[ConcurrencyLimit]:
        """Take slots of all of these limits or of none, without waiting.

        They are held until `release_concurrency_slots`, until this process ends, or for a day.
        `mainspring.concurrency.sync.concurrency` waits for its turn, and gives back by itself.

        Args:
            names: The limits.
            slots: How many of each.
            mode: "rate_limit" for slots that are given back by decay only.
            create_if_missing: Create limits that are missing, not active and with one slot.

        Returns:
            The active limits of these names.

        Raises:
            ConcurrencySlotAcquisitionError: They are not free, or cannot be had.
            ConfigurationError: One of the arguments cannot work.
        """
        return self._take(names, slots, mode, DAY, (_CLIENT, new_id()), create_if_missing, owned=True).limits

    def release_concurrency_slots(
        self, names: Names, slots: int = 1, occupancy_seconds: float = 0.0
    ) -> list[ConcurrencyLimit]:
        """Give back slots that were taken by `increment_concurrency_slots`, in whatever process; never more than that.

        Args:
            names: The limits.
            slots: How many of each.
            occupancy_seconds: For how long they were held, for the average.

        Returns:
            The limits as they are now.
        """
        terms = Terms(names, slots)
        now = clock.current().now()
        released = self.store.release_some_slots(terms.names, slots, _CLIENT, now, float(occupancy_seconds))
        for name in terms.names:
            tag_limits.limits_changed(self.store, name)
        return released

    def increment_concurrency_slots_with_lease(
        self,
        names: Names,
        slots: int = 1,
        mode: Mode = "concurrency",
        lease_duration: float = 300.0,
        holder: Holder = None,
    ) -> ConcurrencyLease:
        """Take slots of all of these limits or of none, without waiting, until the lease ends or is given back.

        The lease does not depend on this process: whoever has its id renews it and gives it back.

        Args:
            names: The limits.
            slots: How many of each.
            mode: "rate_limit" for slots that are given back by decay only.
            lease_duration: For how many seconds they are held.
            holder: For whom.

        Raises:
            ConcurrencySlotAcquisitionError: They are not free, or cannot be had.
            ConfigurationError: One of the arguments cannot work.
        """
        return self._take(names, slots, mode, lease_duration, understood_holder(holder), False, owned=False)

    def renew_concurrency_lease(self, lease_id: Id, lease_duration: float = 300.0) -> None:
        """Let a lease end so many seconds from now.

        Raises:
            ObjectNotFound: There is no such lease: it was given back, has run out, or never held anything.
        """
        until = clock.current().now() + round(Terms(None, lease_seconds=lease_duration).lease_seconds * 1e6)
        if self.store.renew_slots([(key_of(lease_id), until)]):
            raise ObjectNotFound(f"There is no lease with the id {lease_id} in {self.store.address}.")

    def release_concurrency_slots_with_lease(self, lease_id: Id) -> bool:
        """Give back what is held on a lease; False if there is nothing."""
        store = self.store
        is_released = store.release_slots(key_of(lease_id), clock.current().now(), None)
        tag_limits.limits_changed(store, "")
        return is_released

    # Inside

    def _take(
        self,
        names: Names,
        slots: int,
        mode: Mode,
        lease_seconds: float,
        holder: tuple[str, bytes] | None,
        create_if_missing: bool,
        owned: bool,
    ) -> ConcurrencyLease:
        if mode not in ("concurrency", "rate_limit"):
            raise ConfigurationError(f"mode={mode!r} cannot work: give 'concurrency' or 'rate_limit'.")
        terms = Terms(names, slots, lease_seconds=lease_seconds, decays=mode == "rate_limit")
        store, key = self.store, new_id()
        if not terms.names:
            return ConcurrencyLease(lease_id=UUID(bytes=key), limits=[])
        if create_if_missing:
            for name in terms.names:
                store.add_limit(name, 1, False, 0)
        request = SlotRequest(
            key, terms.names, terms.slots, round(terms.lease_seconds * 1e6), holder, terms.decays, owned=owned
        )
        answer = store.take_slots(request, clock.current().now(), None)
        if not answer.granted and answer.refusal is None:
            store.settle_dead_owners()  # what the dead hold is free
            answer = store.take_slots(request, clock.current().now(), None)
        if not answer.granted:
            named = ", ".join(map(repr, terms.names))
            reason = answer.refusal or "others hold them"
            raise ConcurrencySlotAcquisitionError(f"{slots} slot(s) of {named} cannot be taken: {reason}.")
        return ConcurrencyLease(lease_id=UUID(bytes=key), limits=answer.limits)

    def _changed(self, name: str, change: LimitChange) -> ConcurrencyLimit:
        changed = self.store.change_limit(name, change)
        if changed is None:
            raise self._no_limit(name)
        for each in {name, changed.name}:
            tag_limits.limits_changed(self.store, each)
        return changed

    def _read_limits(self, names: list[str] | None) -> list[ConcurrencyLimit]:
        found = self.store.read_limits(names)
        if any(limit.active_slots for limit in found):
            self.store.settle_dead_owners()  # what the dead hold is not in use
            found = self.store.read_limits(names)
        return found

    def _no_limit(self, name: str) -> ObjectNotFound:
        return ObjectNotFound(f"There is no concurrency limit named {name!r} in {self.store.address}.")


_LONGEST = round(DAY * 1e6)


def _nobody(slots: object) -> list[tuple[int, None]]:
    """So many slots that nobody in particular holds."""
    if isinstance(slots, bool) or not isinstance(slots, int) or slots < 0:
        raise ConfigurationError(f"active_slots={slots!r} cannot work: give a whole number, 0 or more.")
    return [(slots, None)] if slots else []
