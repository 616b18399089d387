"""The part of a store in a database that is about what runs share: concurrency limits and locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring import clock
from mainspring._imports import modules_on_use
from mainspring.locking.processes import boot_id
from mainspring.store.bells import LOCKS, SLOTS
from mainspring.store.sql.event_log import EventLog

if TYPE_CHECKING:
    from mainspring.store.events import StoredEvent
    from mainspring.store.limits import ConcurrencyLimit, LimitChange, SlotAnswer, SlotHolder, SlotRequest
    from mainspring.store.protocol import HeldLock
    from mainspring.store.sql import event_rows, locks
    from mainspring.store.sql import slots as slot_rows
    from mainspring.store.sql.statements import Cursor
else:
    event_rows, locks, slot_rows = modules_on_use("mainspring.store.sql", "event_rows", "locks", "slots")

__all__ = ["Sharing"]


class Sharing(EventLog):
    """`LimitStore`, and the locks of `RunStore`, for whoever has connections. What happens to slots is an event."""

    # Limits

    def write_limit(
        self, name: str, limit: int, active: bool, slot_decay_per_second: float
    ) -> ConcurrencyLimit:
        """See `LimitStore.write_limit`."""
        now = clock.current().now()
        written = self._transact(slot_rows.write_limit, name, limit, active, slot_decay_per_second, now)
        self.bell.ring(SLOTS, name)
        return written

    def add_limit(
        self, name: str, limit: int, active: bool, slot_decay_per_second: float
    ) -> ConcurrencyLimit | None:
        """See `LimitStore.add_limit`."""
        now = clock.current().now()
        added = self._transact(slot_rows.add_limit, name, limit, active, slot_decay_per_second, now)
        self.bell.ring(SLOTS, name)
        return added

    def change_limit(self, name: str, change: LimitChange) -> ConcurrencyLimit | None:
        """See `LimitStore.change_limit`."""
        changed = self._transact(slot_rows.change_limit, name, change, clock.current().now())
        for each in {name, change.name or name}:
            self.bell.ring(SLOTS, each)
        return changed

    def read_limits(self, names: Sequence[str] | None = None) -> list[ConcurrencyLimit]:
        """See `LimitStore.read_limits`."""
        return self._read(slot_rows.read_limits, names, clock.current().now())

    def read_slot_holders(self, name: str) -> list[SlotHolder]:
        """See `LimitStore.read_slot_holders`."""
        return self._read(slot_rows.read_holders, name, clock.current().now())

    def delete_limit(self, name: str) -> bool:
        """See `LimitStore.delete_limit`."""
        is_deleted = self._transact(slot_rows.delete_limit, name)
        self.bell.ring(SLOTS, name)
        return is_deleted

    def take_slots(self, request: SlotRequest, now: int, wait_until: int | None) -> SlotAnswer:
        """See `LimitStore.take_slots`."""
        answer = self._transact(self._take, request, now, wait_until)
        self._ring_for(answer.next_waiters)
        has_place = wait_until is not None and answer.refusal is None
        if (answer.granted or has_place) and self.on_holding is not None:
            self.on_holding()
        return answer

    def may_take_slots(self, request: SlotRequest, now: int) -> bool:
        """See `LimitStore.may_take_slots`."""
        return self._read(slot_rows.may_take, request, now)

    def read_rivals(self, names: Sequence[str]) -> list[int]:
        """See `LimitStore.read_rivals`."""
        boot = boot_id()
        return (
            []
            if boot is None or not names
            else self._read(slot_rows.rivals, names, self._identity.host, boot)
        )

    def renew_slots(self, leases: Sequence[tuple[bytes, int]]) -> set[bytes]:
        """See `LimitStore.renew_slots`."""
        return self._transact(slot_rows.renew, leases)

    def release_slots(
        self,
        lease_key: bytes,
        now: int,
        occupancy_seconds: float | None,
        events: Sequence[StoredEvent] = (),
    ) -> bool:
        """See `LimitStore.release_slots`."""
        is_released, waiters = self._transact(
            self._release, lease_key, now, occupancy_seconds, events, self._clock.now()
        )
        self._ring_for(waiters)
        if events:
            self._wake_followers()
        return is_released

    def release_some_slots(
        self, names: Sequence[str], slots: int, holder_type: str, now: int, occupancy_seconds: float
    ) -> list[ConcurrencyLimit]:
        """See `LimitStore.release_some_slots`."""
        limits, waiters = self._transact(
            slot_rows.release_some, names, slots, holder_type, now, occupancy_seconds
        )
        self._ring_for(waiters)
        return limits

    def _take(
        self, db: Cursor, owner: int | None, request: SlotRequest, now: int, wait_until: int | None
    ) -> SlotAnswer:
        # What is lost is asked for inside of the transaction: another thread may find out until it begins.
        if self.losses.any:
            self.losses.check("A request for slots", [request.holder[1] if request.holder else None])
        answer = slot_rows.take(db, owner, request, now, wait_until)
        answer.next_waiters = self._not_rung_for(db, answer.next_waiters)
        return answer

    def _release(
        self,
        db: Cursor,
        owner: int | None,
        lease_key: bytes,
        given_back: int,
        occupancy_seconds: float | None,
        events: Sequence[StoredEvent],
        now: int,
    ) -> tuple[bool, dict[str, str]]:
        if events:
            event_rows.write_events(db, events, now, tidy=True)
        is_released, waiters = slot_rows.release(db, owner, lease_key, given_back, occupancy_seconds)
        return is_released, self._not_rung_for(db, waiters)

    def _not_rung_for(self, db: Cursor, owners: dict[str, str]) -> dict[str, str]:
        """Those of other processes that the commit will not wake, by the names of the limits that they wait for."""
        ours = (
            None if self._owner is None else self._owner.key
        )  # who waits here is woken by whoever gives back
        others = {name: key for name, key in owners.items() if key != ours}
        return {name: key for name, key in others.items() if not self.bell.ring_with(db, SLOTS, name, key)}

    def _ring_for(self, owners: dict[str, str]) -> None:
        for name, key in owners.items():
            self.bell.ring(SLOTS, name, [key])

    # Locks

    def take_lock(self, key: str, holder: str, now: int, expires: int | None) -> HeldLock | None:
        """See `RunStore.take_lock`."""
        held = self._transact(self._lock, key, holder, now, expires)
        if held is None and self.on_holding is not None:
            self.on_holding()
        return held

    def _lock(
        self, db: Cursor, owner: int | None, key: str, holder: str, now: int, expires: int | None
    ) -> HeldLock | None:
        if self.losses.any:
            self.losses.check(f"The lock on {key!r}")
        return locks.take(db, owner, key, holder, now, expires)

    def release_lock(self, key: str, holder: str, now: int) -> bool:
        """See `RunStore.release_lock`."""
        is_released = self._transact(locks.release, key, holder, now)
        if is_released:
            self.bell.ring(LOCKS, key)
        return is_released

    def read_lock(self, key: str, now: int) -> HeldLock | None:
        """See `RunStore.read_lock`."""
        owner = self._owner
        return self._read(locks.read, key, now, None if owner is None else owner.id)
