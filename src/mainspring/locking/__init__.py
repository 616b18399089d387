"""Locks on keys: at most one holder at a time, in one process or over many.

``protocol``    `LockManager`, what every lock manager offers; isolation levels; who holds a lock by default
``memory``      `MemoryLockManager`, for the threads and asyncio tasks of one process
``filesystem``  `FileSystemLockManager`, for all processes that share a folder
``waiting``     waiting for a lock, in a thread or in an asyncio task
``processes``   which process holds a lock, and whether it is alive

`mainspring.store_locks` has one more manager, for all processes that share a run store.

The package itself exports nothing: transactions need a word of ``protocol`` only, and are quicker to load so.
"""

__all__ = []
