"""Durable history: which runs there were, which states they went through, what they logged.

``protocol``     what a run store does; every backend keeps it, one conformance suite checks it
``limits``       the part of it for concurrency limits
``addresses``    from ``MAINSPRING_DATABASE_URL`` to an open store
``describing``   what there is to know about a database as a whole
``sql``          the store in a database, whichever it is; the modules below are its parts
``statements``   what runs statements, and how one text serves both databases
``sqlite``       the default backend, one file: connections, transactions, migrations
``postgres``     the backend for many machines: likewise
``bells``        waking those who wait in other processes
``writing``      appending states and logs inside a transaction
``deleting``     deleting runs with all that belongs to them
``aging``        what is old and may go, apart from runs
``queries``      everything that is read about runs
``slots``        concurrency limits, and who holds or waits for their slots
``locks``        locks on keys, and who holds them
``keeping``      results, and transactions that go on
``requests``     what people ask of runs: to wait for them, to leave, to stop
``events``       the part of the protocol for events, and for those who follow; ``event_rows`` is that in the
                 database, and ``event_log`` calls it
``pauses``       the part of the protocol for flow runs that wait for somebody; ``waiting`` is that in the database
``rows``         records as rows and rows as records
``encoding``     the columns that hold JSON
``owners``       which process a run belongs to, and whether that process is alive
``settling``     what becomes of the runs, slots and locks of a dead one
``losses``       what this process has lost because others took it for dead
``forks``        what happens to an open store when its process forks
"""

from mainspring.store.addresses import open_store
from mainspring.store.events import EventFilter, EventKey, Follower, StoredEvent
from mainspring.store.limits import ConcurrencyLimit, LimitStore, SlotAnswer, SlotHolder, SlotRequest
from mainspring.store.protocol import CacheKey, Change, Durability, HeldLock, LogEntry, RunFilter, RunStore

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
