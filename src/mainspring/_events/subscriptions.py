"""Ways to be told of events: functions that are called, and queues that are iterated over; see `receivers`."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mainspring._core.outcomes import is_limit
from mainspring._events import receivers
from mainspring.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mainspring._events.records import Event

__all__ = [
    "Subscriber",
    "Subscription",
    "get_events_subscriber",
    "subscribe",
]

CAPACITY = 1_000
"""Events that wait in a subscriber before those who emit more have to wait."""

PATIENCE = 5.0
"""Seconds for which somebody who emits waits for a reader that takes nothing."""

_logger = logging.getLogger("mainspring.events")


class Filter:
    """Which events somebody wants. See `subscribe` for the arguments."""

    __slots__ = ("_prefixes", "_resource")

    def __init__(self, prefix: str | Iterable[str], resource: str | None) -> None:
        self._prefixes = prefix if isinstance(prefix, str) else tuple(prefix)
        self._resource = resource

    def fits(self, event: Event) -> bool:
        """True if the event is wanted."""
        if not event.event.startswith(self._prefixes):
            return False
        wanted = self._resource
        return wanted is None or any(wanted == resource.id for resource in event.involved_resources)


class Subscription:
    """A function that is called with events, until `close` or the end of a ``with`` block. See `subscribe`."""

    __slots__ = ("_callback", "_filter")

    def __init__(self, callback: Callable[[Event], object], wanted: Filter) -> None:
        self._callback = callback
        self._filter = wanted

    def close(self) -> None:
        """Call the function no more; a call that another thread has begun may still go on. May be called twice."""
        receivers.leave(self)

    def receive(self, event: Event) -> None:
        """See `receivers.Receiver.receive`."""
        if self._filter.fits(event):
            try:
                self._callback(event)
            except (
                Exception
            ) as error:  # by rule: what happened has happened, whatever those say who are told of it
                if is_limit(error):
                    raise
                _logger.exception(
                    "Subscriber %r failed on event %s (%s)", self._callback, event.event, event.id
                )

    def wait_for_room(self) -> None:
        """See `receivers.Receiver.wait_for_room`; there always is."""

    def end(self) -> None:
        """See `receivers.Receiver.end`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Subscriber:
    """A queue of events, open inside its ``with`` or ``async with`` block, to iterate over with either kind of loop.

    Iterating waits for the next event. Once the block is left it gives what is still in the queue, and ends. Safe to
    use from any thread. With several readers each event goes to one of them.

    Nothing is lost. When `capacity` events wait, those who emit more have to wait until the reader has caught up.
    They do not wait if that would be in vain: in the thread that reads, or when the reader has taken nothing for
    `patience` seconds; then the queue grows. At the end of the process, what waits is still given to a reader in
    another thread, for as long.

    Args:
        wanted: Which events go into the queue.
        capacity: How many events may wait before emitters have to.
        patience: Seconds for which they do.
    """

    __slots__ = (
        "_changed",
        "_ended",
        "_filter",
        "_given_up",
        "_is_read",
        "_open",
        "_opened",
        "_queue",
        "_reader",
        "_waiters",
        "capacity",
        "patience",
    )

    def __init__(self, wanted: Filter, capacity: int = CAPACITY, patience: float = PATIENCE) -> None:
        self.capacity = capacity
        self.patience = patience
        self._filter = wanted
        self._queue: deque[Event] = deque()
        self._changed = threading.Condition()
        self._waiters: list[tuple[Any, Any]] = []  # event loops, and futures of theirs that wait for a change
        self._opened = False
        self._open = False
        self._reader: threading.Thread | None = None
        self._is_read = False  # somebody is iterating
        self._ended = False  # whoever iterated has come to the end
        self._given_up = False  # the reader takes nothing: nobody waits for it

    # Writing

    def receive(self, event: Event) -> None:
        """See `receivers.Receiver.receive`."""
        if self._filter.fits(event):
            with self._changed:
                if self._open:
                    self._queue.append(event)
                    self._tell()

    def wait_for_room(self) -> None:
        """See `receivers.Receiver.wait_for_room`."""
        if len(self._queue) <= self.capacity:
            return
        with self._changed:
            if self._given_up or self._reader is threading.current_thread():
                return
            if not self._changed.wait_for(self._has_room, self.patience):
                self._given_up = True
                _logger.warning(
                    "A subscriber holds %d events and has taken none for %s seconds: its queue grows beyond its"
                    " capacity of %d until somebody reads it.",
                    len(self._queue),
                    self.patience,
                    self.capacity,
                )

    def _has_room(self) -> bool:
        return self._given_up or not self._open or len(self._queue) <= self.capacity

    def _tell(self) -> None:
        """Wake everybody who waits; the lock is held."""
        self._changed.notify_all()
        waiters, self._waiters = self._waiters, []
        for loop, waiter in waiters:
            try:
                loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:  # its loop was closed, so nobody waits there
                pass

    # Reading

    def _take(self) -> Event | None:
        """The next event, None if there is none yet; the lock is held.

        Raises:
            RuntimeError: It was never opened.
            StopIteration: It was closed, and everything in it was given.
        """
        if not self._opened:
            raise RuntimeError(
                "This subscriber is not open yet: iterate over it in a `with` block, or after one."
            )
        self._reader = threading.current_thread()
        self._is_read = True
        self._given_up = False
        if self._queue:
            self._changed.notify_all()
            return self._queue.popleft()
        if self._open:
            return None
        self._ended = True
        self._changed.notify_all()
        raise StopIteration

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        with self._changed:
            while True:
                event = self._take()
                if event is not None:
                    return event
                self._changed.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        import asyncio  # whoever awaits has it already

        while True:
            with self._changed:
                try:
                    event = self._take()
                except StopIteration:
                    raise StopAsyncIteration from None
                if event is not None:
                    return event
                loop = asyncio.get_running_loop()
                waiter = loop.create_future()
                self._waiters.append((loop, waiter))
            await waiter

    # Opening and closing

    def __enter__(self) -> Self:
        if self._opened:
            raise RuntimeError(
                "This subscriber was opened before: call get_events_subscriber() for another one."
            )
        self._opened = self._open = True
        self._reader = threading.current_thread()
        receivers.join(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more events; readers get what is left, and then the end. May be called twice."""
        receivers.leave(self)
        with self._changed:
            self._open = False
            self._tell()

    def end(self) -> None:
        """See `receivers.Receiver.end`; a reader that is no more, or was never there, is not waited for."""
        self.close()
        with self._changed:
            reader = self._reader
            if self._is_read and reader is not threading.current_thread() and reader and reader.is_alive():
                self._changed.wait_for(lambda: self._ended, self.patience)


def _wake(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)


def subscribe(
    callback: Callable[[Event], object], prefix: str | Iterable[str] = "", resource: str | None = None
) -> Subscription:
    """Call a function with each event from now on, in the thread and context that emits it, before that goes on.

    An exception from the function is logged and disturbs nobody. Events come from all runs of this process.

    Args:
        callback: The function. It should be quick: whatever emits events waits for it.
        prefix: How the names of wanted events begin, or several such beginnings.
        resource: Only events in which the resource with this id is involved, for example
            ``mainspring.flow-run.<id>``: the events of the flow run and of its task runs.

    Returns:
        The subscription, to be closed or used as a ``with`` block.

    Raises:
        TypeError: The function is async; iterate over `get_events_subscriber` instead. Or it is none.
    """
    if not callable(callback):
        raise TypeError(f"{callback!r} cannot be called with events: give a function.")
    if iscoroutinefunction(callback):
        raise TypeError(
            f"{callback!r} is async, and nobody would await it: use `async for event in subscriber` with"
            f" get_events_subscriber()."
        )
    subscription = Subscription(callback, Filter(prefix, resource))
    receivers.join(subscription)
    return subscription


def get_events_subscriber(
    prefix: str | Iterable[str] = "",
    resource: str | None = None,
    capacity: int = CAPACITY,
    patience: float = PATIENCE,
) -> Subscriber:
    """A queue of events to iterate over; it fills while its ``with`` or ``async with`` block is open.

    Args:
        prefix: How the names of wanted events begin, or several such beginnings.
        resource: Only events in which the resource with this id is involved, see `subscribe`.
        capacity: How many events may wait before those who emit more have to wait as well.
        patience: Seconds for which they wait for a reader that takes nothing.

    Returns:
        The queue, to be entered.

    Raises:
        ConfigurationError: ``capacity`` is no whole number, or less than 0.
    """
    if type(capacity) is not int or capacity < 0:
        raise ConfigurationError(
            f"capacity={capacity!r} cannot work: give a whole number of events, 0 or more."
        )
    return Subscriber(Filter(prefix, resource), capacity, patience)
