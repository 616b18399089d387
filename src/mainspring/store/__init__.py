"""Durable history: which runs there were, which states they went through, what they logged.

``protocol``     what a run store does; every backend keeps it, one conformance suite checks it
``limits``       the part of it for concurrency limits
``addresses``    from ``MAINSPRING_DATABASE_URL`` to an open store
``sqlite``       the default backend, one file; the modules below are its parts
``connections``  how connections are made and guarded, and what their errors mean
``schema``       recognising a database and bringing it up to date with ``migrations/*.sql``
``writing``      appending states and logs inside a transaction
``queries``      everything that is read about runs
``slots``        concurrency limits, and who holds or waits for their slots
``locks``        locks on keys, and who holds them
``pauses``       the part of the protocol for flow runs that wait for somebody; ``waiting`` is that in the database
``rows``         records as rows and rows as records
``encoding``     the columns that hold JSON
``owners``       which process a run belongs to, and whether that process is alive
``settling``     what becomes of the runs, slots and locks of a dead one
``losses``       what this process has lost because others took it for dead
``forks``        what happens to an open store when its process forks
"""

from mainspring.store.addresses import open_store
from mainspring.store.limits import ConcurrencyLimit, LimitStore, SlotAnswer, SlotRequest
from mainspring.store.protocol import CacheKey, Change, Durability, HeldLock, LogEntry, RunFilter, RunStore

__all__ = [
    "CacheKey",
    "Change",
    "ConcurrencyLimit",
    "Durability",
    "HeldLock",
    "LimitStore",
    "LogEntry",
    "RunFilter",
    "RunStore",
    "SlotAnswer",
    "SlotRequest",
    "open_store",
]
