"""Results in the run store: small ones as rows, large ones as files that rows point at.

This is where results are kept unless somebody names another storage. A row is written in the same commit as the state
of its run, so one is never there without the other. A large record is written to a file under a name of its own
before, and is not found by anybody until its row is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring._imports import modules_on_use
from mainspring.exceptions import StorageError, StoragePathMissing
from mainspring.filesystems import LocalFileSystem, WritableFileSystem, in_thread
from mainspring.recording import current_recorder
from mainspring.store.reading import content_of

if TYPE_CHECKING:
    from mainspring.records import locations
    from mainspring.store import results as kept
    from mainspring.store.results import KeptResult
else:
    locations = modules_on_use("mainspring.records", "locations")
    kept = modules_on_use("mainspring.store", "results")

__all__ = ["LARGEST_ROW", "HistoryStorage"]

LARGEST_ROW = 16_384
"""Bytes up to which a record is a row."""


class HistoryStorage(WritableFileSystem):
    """The run store of the calling context as a file system, for records. Safe to use from any thread.

    Args:
        folder: Where the files of large records are. It is made when it is needed.
    """

    __slots__ = ("_files",)

    is_quick = True

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._files = LocalFileSystem(folder)

    @property
    def folder(self) -> Path:
        """Where the files of large records are."""
        return Path(self._files.resolve_path("."))

    def resolve_path(self, path: str) -> str:
        return path if path.startswith(locations.HISTORY) else locations.HISTORY + path

    def relative_path(self, path: str) -> str:
        key = path.removeprefix(locations.HISTORY)
        if key.isalnum() or not os.path.isabs(key):  # noqa: PTH117 - a text, and often
            return key
        return self._files.relative_path(key)  # as earlier versions had them

    def contains(self, path: str) -> bool:
        return locations.is_history_key(locations.history_key(path))

    def read_path(self, path: str) -> bytes:
        """See `ReadableFileSystem.read_path`; also raises a `StoreError` if the run store cannot be read."""
        return content_of(current_recorder().read_result, locations.history_key(path), self._files)

    def read_head(self, path: str, size: int) -> bytes:
        return content_of(current_recorder().read_result, locations.history_key(path), self._files, size)[
            :size
        ]

    async def aread_path(self, path: str) -> bytes:
        return self.read_path(path)

    def write_path(self, path: str, content: bytes) -> str:
        self.write_paths([(path, content)])
        return self.resolve_path(path)

    def write_paths(self, contents: Sequence[tuple[str, bytes]]) -> None:
        """Put several contents under their paths: all of them, or none.

        Raises:
            StorageError: A file cannot be written.
            StoreError: The run store cannot be written.
        """
        current_recorder().keep_results([self.pack(path, content) for path, content in contents])

    def write_along(self, path: str, content: bytes) -> None:
        """Put a content under a path with the next commit, which tells where it is. The file of a large one is complete
        on return.

        Raises:
            StorageError: The file cannot be written.
        """
        current_recorder().keep_results([self.pack(path, content)], wait=False)

    async def awrite_along(self, path: str, content: bytes) -> None:
        """`write_along` for async code; a file is written by a thread."""
        current_recorder().keep_results([await self.apack(path, content)], wait=False)

    def delete_path(self, path: str) -> None:
        key = locations.history_key(path)
        was_there = current_recorder().delete_result(key)
        if self.contains(key):
            try:
                self._files.delete_path(key)  # where earlier versions kept all records
                was_there = True
            except StorageError:
                pass
        if not was_there:
            raise StoragePathMissing(f"Cannot remove the result under the key {key!r}: it does not exist.")

    def pack(self, path: str, content: bytes, run_key: bytes | None = None) -> KeptResult:
        """A row for the run store. The file of a large record is complete on return.

        Args:
            path: The key.
            content: The record.
            run_key: The run whose result it is.

        Raises:
            StorageError: The file cannot be written.
        """
        key = path.removeprefix(locations.HISTORY)
        if len(content) <= LARGEST_ROW:
            try:
                return kept.KeptResult(key, content.decode(), None, run_key)
            except UnicodeDecodeError:  # the value alone, whose description is kept elsewhere
                pass
        file = self._files.write_path(os.urandom(16).hex(), content)
        return kept.KeptResult(key, None, file, run_key)

    async def apack(self, path: str, content: bytes, run_key: bytes | None = None) -> KeptResult:
        """`pack` for async code; a file is written by a thread."""
        if len(content) <= LARGEST_ROW:
            return self.pack(path, content, run_key)
        return await in_thread(self.pack, path, content, run_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HistoryStorage) and other._files == self._files

    def __hash__(self) -> int:
        return hash((HistoryStorage, self._files))

    def __reduce__(self) -> tuple[type[HistoryStorage], tuple[Any, ...]]:
        return HistoryStorage, (self._files.basepath,)

    def __repr__(self) -> str:
        return f"HistoryStorage({self._files.basepath!r})"
