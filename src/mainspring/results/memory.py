"""Records kept in memory, as the bytes that are in the storage.

What is kept are bytes, not values: each reader gets a value of its own, and what it does to it reaches nobody else. A
kept record counts only as long as the file has the fingerprint that it had before it was read, so what another process
writes is seen at once. Storages that cannot tell a fingerprint cheaply, remote ones, are always read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from mainspring.records import ResultRecordMetadata

__all__ = ["MAXIMUM_RECORDS", "Found", "KeptRecord", "RecordCache"]

MAXIMUM_RECORDS = 1000
_MAXIMUM_BYTES = 32 * 2**20
_LARGEST_RECORD = 2**20


class KeptRecord(msgspec.Struct, frozen=True):
    """A record as bytes, and the fingerprint of its file from before it was read."""

    fingerprint: object
    metadata: bytes
    payload: bytes | None  # None if only the metadata was asked for


class Found(msgspec.Struct, eq=False):
    """What is under a key: its description, and the value as bytes if that was read with it, for one reader."""

    described: ResultRecordMetadata
    payload: bytes | None


class RecordCache:
    """The records used last. Safe to use from any thread.

    Args:
        maximum_records: How many are kept at most.
        maximum_bytes: How long they may be together. Records of more than a megabyte are never kept.
    """

    __slots__ = ("_kept", "_lock", "_size", "maximum_bytes", "maximum_records")

    def __init__(self, maximum_records: int = MAXIMUM_RECORDS, maximum_bytes: int = _MAXIMUM_BYTES) -> None:
        self.maximum_records = maximum_records
        self.maximum_bytes = maximum_bytes
        self._kept: OrderedDict[str, KeptRecord] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, path: str, fingerprint: object) -> KeptRecord | None:
        """The record under a path, if its file still has this fingerprint."""
        with self._lock:
            kept = self._kept.get(path)
            if kept is None:
                return None
            if kept.fingerprint != fingerprint:
                self._drop(path)
                return None
            self._kept.move_to_end(path)
            return kept

    def put(self, path: str, record: KeptRecord) -> None:
        """Keep a record, and drop those that were not used for longest if there are too many."""
        with self._lock:
            self._drop(path)
            if _size(record) > _LARGEST_RECORD:
                return
            self._kept[path] = record
            self._size += _size(record)
            while len(self._kept) > self.maximum_records or self._size > self.maximum_bytes:
                self._drop(next(iter(self._kept)))

    def discard(self, path: str) -> None:
        """Drop the record under a path, if there is one."""
        with self._lock:
            self._drop(path)

    def _drop(self, path: str) -> None:
        dropped = self._kept.pop(path, None)
        if dropped is not None:
            self._size -= _size(dropped)

    def __contains__(self, path: object) -> bool:
        return path in self._kept

    def __len__(self) -> int:
        return len(self._kept)


def _size(record: KeptRecord) -> int:
    return len(record.metadata) + len(record.payload or b"")
