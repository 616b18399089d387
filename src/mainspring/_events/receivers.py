"""Who is told of events in this process.

``active`` holds everybody who is subscribed. Whoever is about to emit an event looks at it first: while it is empty,
nothing is to be done, and that look is all that events cost.
"""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING, Protocol

from mainspring import _forks

if TYPE_CHECKING:
    from mainspring._events.records import Event

__all__ = ["active", "deliver", "join", "leave"]


if TYPE_CHECKING:

    class Receiver(Protocol):
        """Somebody who is subscribed."""

        def receive(self, event: Event) -> None:
            """Take an event, or leave it if it is not wanted. Does not wait for anybody."""
            ...

        def wait_for_room(self) -> None:
            """Return when there is room for another event."""
            ...

        def end(self) -> None:
            """The process ends: take no more events, and return when those taken were seen."""
            ...


active: tuple[Receiver, ...] = ()
_active_lock = threading.Lock()


def deliver(event: Event) -> None:
    """Give an event to everybody who wants it, and return when there is room for the next one.

    Everybody has it before anybody is waited for, so an interrupt while waiting loses nothing.
    """
    told = active
    for receiver in told:
        receiver.receive(event)
    for receiver in told:
        receiver.wait_for_room()


def join(receiver: Receiver) -> None:
    """Give it all events from now on."""
    global active
    with _active_lock:
        active = (*active, receiver)


def leave(receiver: Receiver) -> None:
    """Give it no more events. May be called twice."""
    global active
    with _active_lock:
        active = tuple(known for known in active if known is not receiver)


def _end_all() -> None:
    for receiver in active:
        receiver.end()


@_forks.in_child
def _forget_inherited() -> None:
    """In a forked child: nobody is subscribed there. Queues have their readers in the parent."""
    global active, _active_lock
    active = ()
    _active_lock = threading.Lock()


atexit.register(_end_all)
