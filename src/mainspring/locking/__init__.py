"""Locks on keys: at most one holder at a time, in one process or over many.

``protocol``    what every lock manager offers, isolation levels, and who holds a lock by default
``memory``      for the threads and asyncio tasks of one process
``filesystem``  for all processes that share a folder
"""

from mainspring.locking.filesystem import FileSystemLockManager
from mainspring.locking.memory import MemoryLockManager
from mainspring.locking.protocol import IsolationLevel, LockManager, default_holder

__all__ = [
    "FileSystemLockManager",
    "IsolationLevel",
    "LockManager",
    "MemoryLockManager",
    "default_holder",
]
