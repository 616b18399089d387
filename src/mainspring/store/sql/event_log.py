"""The part of a store in a database that is about events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from mainspring._imports import modules_on_use
from mainspring.exceptions import StoreError
from mainspring.logging import get_logger
from mainspring.store.bells import EVENTS
from mainspring.store.sql.transacting import Transactions

if TYPE_CHECKING:
    from mainspring._events.records import Event
    from mainspring.store.events import EventFilter, EventKey, Follower
    from mainspring.store.sql import event_rows
else:
    event_rows = modules_on_use("mainspring.store.sql", "event_rows")

__all__ = ["EventLog"]

LOOK_SECONDS = 0.1
"""So often, at most, whoever writes looks whether there is somebody to be woken."""

RING_SECONDS = 0.005
"""So often, at most, they are woken. They look again for themselves some moments later."""

P = ParamSpec("P")
T = TypeVar("T")

_logger = get_logger("store")


class EventLog(Transactions):
    """`EventRows`, for whoever has connections."""

    _look_at = 0.0
    _ring_at = 0.0
    _followers: tuple[str, ...] = ()

    def read_event_keys(
        self, where: EventFilter, after: EventKey | None = None, limit: int = 1_000, newest: bool = False
    ) -> list[EventKey]:
        """See `EventRows.read_event_keys`."""
        return self._read(event_rows.event_keys, where, after, limit, newest)

    def read_events(self, keys: Sequence[EventKey]) -> list[Event]:
        """See `EventRows.read_events`."""
        return self._read(event_rows.events, keys)

    def read_flow_runs_inside(self, run_key: bytes) -> list[bytes]:
        """See `EventRows.read_flow_runs_inside`."""
        return self._read(event_rows.flow_runs_inside, run_key)

    def start_following(self, key: bytes, lease: int) -> Follower:
        """See `EventRows.start_following`."""
        expires = self._clock.now() + lease
        owner_key = self._own_key() if self.bell.reaches_others else ""
        return self._change(event_rows.start, key, owner_key, expires)

    def renew_following(self, follower: Follower, lease: int) -> bool:
        """See `EventRows.renew_following`."""
        now = self._clock.now()
        expires = now + lease
        is_in_time = self._change(event_rows.renew, follower, now, expires)
        follower.expires = expires
        return is_in_time

    def read_changes(self, follower: Follower, limit: int = 200) -> list[EventKey]:
        """See `EventRows.read_changes`."""
        found, seen = self._read(event_rows.changes, follower, limit)
        if seen is not None:
            follower.transaction_id, follower.position = seen
        return found

    def read_unseen(self, follower: Follower) -> set[tuple[bytes, int]]:
        """See `EventRows.read_unseen`."""
        return self._read(event_rows.unseen, follower)

    def stop_following(self, follower: Follower) -> None:
        """See `EventRows.stop_following`."""
        self._change(event_rows.stop, follower, self._clock.now())

    def _wake_followers(self) -> None:
        """Something was committed: wake those who follow, wherever they are."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            try:
                found = self._fetch(event_rows.followers, self._clock.now())
            except StoreError as error:  # what was committed is committed, and they look for themselves
                _logger.debug("It is not known who follows: %s", error)
                return
            self._followers = tuple({key for key in found if key})
        if self._followers and now >= self._ring_at:
            self._ring_at = now + RING_SECONDS
            self.bell.ring(EVENTS, "", self._followers)
