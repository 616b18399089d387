"""Waking those who wait in other processes for something that a store has just got.

Whoever waits for a slot, a lock or an answer listens; whoever makes it possible rings once its transaction is
committed. A ring is a hint that may get lost, so whoever listens looks for itself now and then, too, but seldom.

How a ring gets to other processes is up to the database: see `mainspring.store.sqlite.bells` and
`mainspring.store.postgres.bells`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from mainspring.logging import get_logger

__all__ = ["ANSWERS", "EVENTS", "LOCKS", "RUNS", "SLOTS", "Bell", "Heard", "SilentBell", "decoded", "encoded"]

SLOTS = "slots"
"""About a limit: some of its slots may be free."""

LOCKS = "locks"
"""About a key: the lock on it was released."""

RUNS = "runs"
"""About a flow run: it is over. The name is its id, in hexadecimal digits."""

ANSWERS = "answers"
"""About a flow run, by its id: somebody has answered it, or wants it to leave or to end."""

EVENTS = "events"
"""Events were written."""

Heard = Callable[[str], object]
"""Gets the name of what a ring is about; an empty one if that is not known, since rings may have been missed."""

_LONGEST = 1_000  # bytes; of names that are too long nothing is said but that it is some name

_logger = get_logger("store")


class Bell(ABC):
    """The bell of a store that is open here. Safe to use from any thread.

    Attributes:
        reaches_others: Whether rings get to other processes. Without that, whoever waits for others has to look often.
    """

    reaches_others: bool = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, tuple[Heard, ...]] = {}

    def ring(self, topic: str, name: str, to: Iterable[str] | None = None) -> None:
        """Wake those in other processes who listen to a topic. Neither raises nor waits.

        Args:
            topic: One of the topics of this module.
            name: What it is about.
            to: The keys of the owners to be woken; all when omitted.
        """
        if to is None or (to := list(to)):
            try:
                self._send(encoded(topic, name), to)
            except Exception as error:  # a hint: those who wait look for themselves, only later
                _logger.debug("Others could not be woken: %s", error)

    def ring_with(self, db: Any, topic: str, name: str, to: str) -> bool:
        """Have the commit of a transaction wake those of one owner who listen to a topic.

        Args:
            db: The cursor of the transaction.
            topic, name: As for `ring`.
            to: The key of the owner.

        Returns:
            False if this bell cannot do so: then it is to be rung after the commit.
        """
        return False

    def listen(self, topic: str, heard: Heard) -> None:
        """Call ``heard`` with each ring of a topic from now on, until the store is closed.

        It is called in a thread of the bell, and must neither raise nor take long. A second call with the same
        function does nothing.
        """
        with self._lock:
            listeners = self._listeners.get(topic, ())
            if heard in listeners:
                return
            self._listeners[topic] = (*listeners, heard)
        self._attend()

    def _tell(self, message: str) -> None:
        """Tell the listeners of what has come."""
        try:
            topic, name = decoded(message)
        except UnicodeError:  # not of ours, or not whole
            self._tell_of_gap()
            return
        for heard in self._listeners.get(topic, ()):
            heard(name)

    def _tell_of_gap(self) -> None:
        """Tell all listeners that rings may have been missed."""
        for listeners in list(self._listeners.values()):
            for heard in listeners:
                heard("")

    @abstractmethod
    def _send(self, message: str, to: list[str] | None) -> None:
        """Send a message to the processes of these owners, or to all others."""

    @abstractmethod
    def _attend(self) -> None:
        """Begin to take in messages, unless that goes on."""

    @abstractmethod
    def close(self) -> None:
        """Listen no more. May be called twice."""

    def abandon(self) -> None:
        """In a forked child: nobody listens here, and another thread may have held the lock."""
        self._lock = threading.Lock()
        self._listeners = {}


class SilentBell(Bell):
    """Of a store that no other process can use."""

    def _send(self, message: str, to: list[str] | None) -> None:
        pass

    def _attend(self) -> None:
        pass

    def close(self) -> None:
        """See `Bell.close`."""


def encoded(topic: str, name: str) -> str:
    """A message of one line about something."""
    # Most names are ids, which need no escapes, and the codec takes long to load.
    escaped = name if name.isascii() and name.isalnum() else name.encode("unicode_escape").decode("ascii")
    return topic if len(escaped) > _LONGEST else f"{topic} {escaped}"


def decoded(message: str) -> tuple[str, str]:
    """Topic and name of a message; without a name, an empty one."""
    topic, _, name = message.partition(" ")
    return topic, name.encode("ascii").decode("unicode_escape")
