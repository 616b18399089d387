"""Locks on keys: at most one holder at a time, in one process or over many.

``protocol``    `LockManager`, what every lock manager offers; isolation levels; who holds a lock by default
``memory``      `MemoryLockManager`, for the threads and asyncio tasks of one process
``filesystem``  `FileSystemLockManager`, for all processes that share a folder
``processes``   which process holds a lock, and whether it is alive

The package itself exports nothing: transactions need a word of ``protocol`` only, and are quicker to load so.
"""

__all__ = []
