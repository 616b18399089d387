"""The words of transactions: their states and modes, and what a store has to offer."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from mainspring.locking.protocol import IsolationLevel

__all__ = ["CommitMode", "IsolationLevel", "TransactionState", "TransactionStore"]


class TransactionState(str, Enum):
    """Where a transaction is in its life."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    STAGED = "STAGED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"


class CommitMode(str, Enum):
    """When a transaction is committed: on leaving it, with the outermost one, or only by hand."""

    EAGER = "EAGER"
    LAZY = "LAZY"
    OFF = "OFF"


class TransactionStore(Protocol):
    """Where a transaction keeps what was staged under its key: `mainspring.results.ResultStore`, or the like.

    The methods whose names begin with an ``a`` do the same for async code. The holder is who may read and
    write in spite of a lock. The methods about locks are called for ``SERIALIZABLE`` transactions only.
    """

    def supports_isolation_level(self, level: IsolationLevel) -> bool:
        """Whether transactions of this level can be had here."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is something under the key that still counts."""
        ...

    async def aexists(self, key: str) -> bool:
        """Async `exists`."""
        ...

    def read(self, key: str, holder: str | None = None) -> Any:
        """What is kept under the key; waits while somebody else has it locked."""
        ...

    async def aread(self, key: str, holder: str | None = None) -> Any:
        """Async `read`."""
        ...

    def create_result_record(self, obj: Any, key: str | None = None) -> Any:
        """A record of ``obj`` whose ``serialize()`` says whether it can be kept; nothing is written."""
        ...

    def write(self, obj: Any, *, key: str | None = None, holder: str | None = None) -> Any:
        """Keep ``obj`` under the key."""
        ...

    async def awrite(self, obj: Any, *, key: str | None = None, holder: str | None = None) -> Any:
        """Async `write`."""
        ...

    def persist_result_record(self, result_record: Any, holder: str | None = None) -> Any:
        """Keep a record under the key it carries."""
        ...

    async def apersist_result_record(self, result_record: Any, holder: str | None = None) -> Any:
        """Async `persist_result_record`."""
        ...

    def acquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Lock the key; waits while somebody else has it locked. False if it was not free in time."""
        ...

    async def aacquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        """Async `acquire_lock`."""
        ...

    def release_lock(self, key: str, holder: str | None = None) -> None:
        """Free the key; a ``ValueError`` if the holder does not hold it (any more)."""
        ...

    def is_lock_holder(self, key: str, holder: str | None = None) -> bool:
        """Whether the holder has the key locked."""
        ...
