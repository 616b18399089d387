"""Durable history: which runs there were, which states they went through, what they logged.

``protocol``       what a run store does; every backend keeps it, one conformance suite checks it
``limits``         the parts of it: concurrency limits,
``results``        results, and transactions of runs,
``events``         events, and those who follow,
``pauses``         flow runs that wait for somebody,
``cancellations``  requests to cancel runs,
``aging``          what is old and may go

``addresses``      from ``MAINSPRING_DATABASE_URL`` to an open store
``histories``      all of it at one moment, in bare rows
``describing``     what there is to know about a database as a whole
``sql``            the store in a database, whichever it is
``sqlite``         the default backend, one file: connections, transactions, migrations
``postgres``       the backend for many machines: likewise

``encoding``       what columns and messages hold as JSON
``reading``        results in a store, as states that were read from it find them
``bells``          waking those who wait in other processes
``losses``         what this process has lost because others took it for dead
``forks``          what happens to an open store when its process forks
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.store.addresses import open_store
    from mainspring.store.events import EventFilter, EventKey, Follower, StoredEvent
    from mainspring.store.limits import ConcurrencyLimit, LimitStore, SlotAnswer, SlotHolder, SlotRequest
    from mainspring.store.protocol import (
        CacheKey,
        Change,
        Durability,
        HeldLock,
        LogEntry,
        RunFilter,
        RunStore,
    )

__all__ = [
    "CacheKey",
    "Change",
    "ConcurrencyLimit",
    "Durability",
    "EventFilter",
    "EventKey",
    "Follower",
    "HeldLock",
    "LimitStore",
    "LogEntry",
    "RunFilter",
    "RunStore",
    "SlotAnswer",
    "SlotHolder",
    "SlotRequest",
    "StoredEvent",
    "open_store",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".addresses": ["open_store"],
        ".events": ["EventFilter", "EventKey", "Follower", "StoredEvent"],
        ".limits": ["ConcurrencyLimit", "LimitStore", "SlotAnswer", "SlotHolder", "SlotRequest"],
        ".protocol": ["CacheKey", "Change", "Durability", "HeldLock", "LogEntry", "RunFilter", "RunStore"],
    },
)
