"""Reading events, and following what happens in all processes that share a run store."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary, WeakSet

from mainspring import clock, identifiers
from mainspring._events.records import Event
from mainspring.exceptions import ConfigurationError, ObjectNotFound
from mainspring.filters import ALL, texts
from mainspring.store.bells import EVENTS
from mainspring.store.events import EventFilter, EventKey, Follower
from mainspring.store.protocol import RunStore

__all__ = ["EventStream", "Since", "filtered", "read_events"]

Since = datetime | timedelta
"""A moment, or how long ago one was."""

T = TypeVar("T")

LEASE = 120 * clock.MICROSECONDS
"""For so many microseconds writers care for a follower that gives no sign of life."""

RENEW_SECONDS = 1.0
"""So often a follower that sees something says how far it is."""

IDLE_SECONDS = 30.0
"""The same for one that sees nothing."""

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.25
"""Seconds between looks at the store, unless somebody rings."""

SETTLE_SECONDS = 1.0
"""So often, at most, a follower that sees nothing looks for runs of dead processes."""

LATE = 60 * clock.MICROSECONDS
"""What follows an interruption that was too long is read from so many microseconds before it."""

PAGE = 20_000
CHUNK = 200
MEMORY = 20_000
"""Ids of events that are remembered, so that none is given twice."""


def filtered(
    store: RunStore,
    prefix: str | Iterable[str] = "",
    run_id: UUID | str | None = None,
    since: Since | None = None,
    until: Since | None = None,
) -> EventFilter:
    """The arguments of a client, as stores take them.

    Raises:
        ObjectNotFound: There is no such run.
        ConfigurationError: One of them cannot work.
    """
    key = None if run_id is None else identifiers.to_bytes(run_id)
    if key is not None and store.read_run(key) is None:
        raise ObjectNotFound(f"There is no run with the id {run_id} in {store.address}.")
    prefixes = [prefix] if isinstance(prefix, str) else texts("prefix", prefix) or []
    return EventFilter(
        prefixes=prefixes, run_key=key, since=_moment("since", since), until=_moment("until", until)
    )


def read_events(store: RunStore, where: EventFilter, limit: int) -> list[Event]:
    """The newest events that fit, oldest first; with `ALL` they are read page by page."""
    if limit < ALL:
        return store.read_events(store.read_event_keys(where, limit=limit, newest=True))
    found: list[Event] = []
    after: EventKey | None = None
    while keys := store.read_event_keys(where, after, PAGE):
        found += store.read_events(keys)
        after = keys[-1]
    return found


class EventStream:
    """Events of all processes that share a run store, open inside its ``with`` or ``async with`` block.

    Iterate over it with either kind of loop. It reads from the store at its own pace, and holds some hundred events
    at a time. Nothing is missed, and nothing comes twice, however many processes write, and in whatever order they
    commit. Those of one run come in their order; those of different runs by time as far as they were committed
    together. If one event keeps the reader busy for longer than two minutes, what was committed meanwhile is read by
    time instead. Then an event may be missed that was committed more than a minute after it happened.

    Not for several readers at a time.

    Args:
        store: The run store.
        where: Which events. Without ``since``, those that are committed from now on.
        follow: Wait for further events. Without that the loop ends when there are no more.
    """

    def __init__(self, store: RunStore, where: EventFilter, follow: bool) -> None:
        self._store = store
        self._where = where
        self._follow = follow
        self._scope = None if where.run_key is None else _RunScope(store, where.run_key)
        self._queue: deque[Event] = deque()
        self._keys: deque[EventKey] = deque()  # of the past, still to be read
        self._after: EventKey | None = None
        self._in_past = where.since is not None or not follow
        self._past = where
        self._given: OrderedDict[bytes, None] = OrderedDict()
        self._follower: Follower | None = None
        self._opened = self._open = False
        self._rung = threading.Event()
        self._pause = FIRST_PAUSE
        self._renew_at = math.inf
        self._renewed = self._settle_at = 0.0
        self._has_seen = False

    # Opening and closing

    def __enter__(self) -> Self:
        if self._opened:
            raise RuntimeError("These events were followed before: call follow_events() again.")
        self._opened = self._open = True
        if self._follow:
            _waker(self._store).add(self._rung)
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await _in_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _in_thread(self.close)

    def close(self) -> None:
        """End the loop; what was not read yet is dropped. May be called twice, and from any thread."""
        self._open = False
        self._rung.set()
        follower, self._follower = self._follower, None
        if follower is not None:
            self._store.stop_following(follower)

    def _start(self) -> None:
        self._follower = self._store.start_following(identifiers.new_id(), LEASE)
        self._renewed = time.monotonic()
        self._renew_at = self._renewed + RENEW_SECONDS

    # Reading

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while True:
            event = self._take()
            if event is not None:
                return event
            if not self._look():
                raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            event = self._take()
            if event is not None:
                return event
            if not await _in_thread(self._look):
                raise StopAsyncIteration

    def _take(self) -> Event | None:
        """The next event that was read.

        Raises:
            RuntimeError: The stream was never opened.
        """
        if not self._opened:
            raise RuntimeError("These events are not followed yet: iterate over them in a `with` block.")
        if not self._open or not self._queue or time.monotonic() >= self._renew_at:
            return None
        return self._queue.popleft()

    def _look(self) -> bool:
        """Read further events, or wait a little; False if there will be no more."""
        follower = self._follower
        if not self._open:
            return False
        if follower is not None and time.monotonic() >= self._renew_at:
            self._renew(follower)
        if self._queue:
            return True
        if self._in_past:
            self._read_past()
            return True
        if follower is None:
            return False
        self._rung.clear()
        keys = self._store.read_changes(follower, CHUNK)
        if keys:
            self._has_seen = True
            self._pause = FIRST_PAUSE
            for event in _in_order(self._store.read_events(keys)):
                if self._fits(event):
                    self._give(event)
        else:
            self._wait()
        return True

    def _wait(self) -> None:
        """Nothing has happened: wait for a ring, but not for long."""
        now = time.monotonic()
        if now >= self._settle_at:
            self._settle_at = now + SETTLE_SECONDS
            if self._store.settle_dead_owners():
                return
        if self._rung.wait(self._pause):
            self._pause = FIRST_PAUSE
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _read_past(self) -> None:
        if not self._keys:
            found = self._store.read_event_keys(self._past, self._after, PAGE)
            if not found:
                self._in_past = False
                return
            self._after = found[-1]
            if self._follower is not None:  # after the page: whatever is told later is among these
                unseen = self._store.read_unseen(self._follower)
                found = [key for key in found if (key.key, key.position) not in unseen]
            self._keys.extend(found)
        chunk = [self._keys.popleft() for _ in range(min(CHUNK, len(self._keys)))]
        for event in self._store.read_events(chunk):
            self._give(event)

    def _renew(self, follower: Follower) -> None:
        now = time.monotonic()
        self._renew_at = now + RENEW_SECONDS
        if not self._has_seen and now - self._renewed < IDLE_SECONDS:
            return
        began = follower.expires - LEASE
        if self._store.renew_following(follower, LEASE):
            self._renewed = now
            self._has_seen = False
            return
        self._start()
        self._in_past = True
        self._keys.clear()
        self._after = None
        since = began - LATE
        if self._past.since is not None:
            since = max(since, self._past.since)
        self._past = EventFilter(prefixes=self._where.prefixes, run_key=self._where.run_key, since=since)

    def _fits(self, event: Event) -> bool:
        if self._scope is not None and not self._scope.fits(event):
            return False
        return self._where.fits_name(event.event)

    def _give(self, event: Event) -> None:
        key = event.id.bytes
        if key in self._given:
            return
        self._given[key] = None
        if len(self._given) > MEMORY:
            self._given.popitem(last=False)
        self._queue.append(event)


class _RunScope:
    """What happens in a run. Whatever run has to do with one that is inside is inside, too."""

    def __init__(self, store: RunStore, run_key: bytes) -> None:
        self._inside: set[str] = set()
        for key in store.read_flow_runs_inside(run_key):
            run_id = UUID(bytes=key)
            self._inside |= {f"mainspring.flow-run.{run_id}", f"mainspring.task-run.{run_id}"}

    def fits(self, event: Event) -> bool:
        about = event.resource.id
        if about not in self._inside:
            if not any(resource.id in self._inside for resource in event.related):
                return False
            if about.startswith(("mainspring.flow-run.", "mainspring.task-run.")):
                self._inside.add(about)
        return True


def _in_order(events: list[Event]) -> list[Event]:
    """By time, but none before an earlier one about the same thing, however clocks go."""
    latest: dict[str, datetime] = {}
    ranks: list[tuple[datetime, int, Event]] = []
    for index, event in enumerate(events):
        about = event.resource.id
        latest[about] = rank = max(latest.get(about, event.occurred), event.occurred)
        ranks.append((rank, index, event))
    return [event for _, _, event in sorted(ranks, key=lambda each: each[:2])]


_wakers: WeakKeyDictionary[RunStore, WeakSet[threading.Event]] = WeakKeyDictionary()
_wakers_lock = threading.Lock()


def _waker(store: RunStore) -> WeakSet[threading.Event]:
    """What is set when others have written events to a store."""
    with _wakers_lock:
        known = _wakers.get(store)
        if known is None:
            known = _wakers[store] = WeakSet()
            store.bell.listen(EVENTS, _Heard(known))
    return known


class _Heard:
    """Sets everything in a set."""

    def __init__(self, waiting: WeakSet[threading.Event]) -> None:
        self._waiting = waiting

    def __call__(self, _: str) -> None:
        for event in list(self._waiting):
            event.set()


def _moment(name: str, at: Since | None) -> int | None:
    if at is None:
        return None
    if not isinstance(at, datetime | timedelta):
        raise ConfigurationError(
            f"{name}={at!r} cannot work: give a datetime, or how long ago as a timedelta."
        )
    if isinstance(at, timedelta):
        return clock.ago(at)
    return clock.from_datetime(at if at.tzinfo is not None else at.replace(tzinfo=UTC))


async def _in_thread(function: Callable[[], T]) -> T:
    import asyncio  # whoever awaits has it already

    return await asyncio.to_thread(function)
