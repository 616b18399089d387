"""A store as transactions see it, which tells what was asked of it."""

import json
from typing import Any

from mainspring.exceptions import LockedByAnother, SerializationError
from mainspring.locking.memory import MemoryLockManager
from mainspring.locking.protocol import IsolationLevel, LockManager


class Record:
    """A value as JSON."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def serialize(self) -> str:
        try:
            return json.dumps(self.value)
        except TypeError as error:
            raise SerializationError(f"{self.value!r} cannot be serialized.") from error


class DictStore:
    """Keeps values in a dict. ``told`` lists the reads and writes; writing a key in ``broken`` fails.

    Every store locks keys of its own: the manager in memory is one for all tests.
    """

    def __init__(self, kept: dict[str, Any] | None = None, locks: LockManager | None = None) -> None:
        self.kept = dict(kept or {})
        self.told: list[str] = []
        self.broken: set[str] = set()
        self.locks = locks

    def _lock_key(self, key: str) -> str:
        return f"{id(self)}:{key}"

    def supports_isolation_level(self, level: IsolationLevel) -> bool:
        return level is IsolationLevel.READ_COMMITTED or self.locks is not None

    def exists(self, key: str) -> bool:
        return key in self.kept

    async def aexists(self, key: str) -> bool:
        return self.exists(key)

    def read(self, key: str, holder: str | None = None) -> Any:
        if self.locks is not None and not self.locks.is_lock_holder(self._lock_key(key), str(holder)):
            self.locks.wait_for_lock(self._lock_key(key))
        self.told.append(f"read {key}")
        return self.kept[key]

    async def aread(self, key: str, holder: str | None = None) -> Any:
        self.told.append("async")
        return self.read(key, holder)

    def create_result_record(self, obj: Any, key: str | None = None) -> Record:
        return Record(obj)

    def write(self, obj: Any, *, key: str, holder: str | None = None) -> None:
        if self.is_locked(key) and not self.is_lock_holder(key, holder):
            raise LockedByAnother(f"{key!r} is locked by another holder.")
        Record(obj).serialize()
        if key in self.broken:
            raise OSError(f"No space left for {key}")
        self.told.append(f"write {key}")
        self.kept[key] = obj

    async def awrite(self, obj: Any, *, key: str, holder: str | None = None) -> None:
        self.told.append("async")
        self.write(obj, key=key, holder=holder)

    def persist_result_record(self, result_record: Any, holder: str | None = None) -> None:
        self.told.append("persist")
        self.kept[result_record.storage_key] = result_record

    async def apersist_result_record(self, result_record: Any, holder: str | None = None) -> None:
        self.told.append("async")
        self.persist_result_record(result_record, holder)

    def acquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        assert self.locks is not None
        return self.locks.acquire_lock(self._lock_key(key), str(holder), timeout)

    async def aacquire_lock(self, key: str, holder: str | None = None, timeout: float | None = None) -> bool:
        assert self.locks is not None
        return await self.locks.aacquire_lock(self._lock_key(key), str(holder), timeout)

    def release_lock(self, key: str, holder: str | None = None) -> None:
        assert self.locks is not None
        self.locks.release_lock(self._lock_key(key), str(holder))

    def is_lock_holder(self, key: str, holder: str | None = None) -> bool:
        return self.locks is not None and self.locks.is_lock_holder(self._lock_key(key), str(holder))

    def is_locked(self, key: str) -> bool:
        return self.locks is not None and self.locks.is_locked(self._lock_key(key))


def locking(kept: dict[str, Any] | None = None) -> DictStore:
    """A store for SERIALIZABLE transactions."""
    return DictStore(kept, MemoryLockManager())
