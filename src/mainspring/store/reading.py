"""Results in a run store, as states that were read from it find them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring._imports import modules_on_use
from mainspring.exceptions import StorageError, StoragePathMissing
from mainspring.filesystems import LocalFileSystem, ReadableFileSystem
from mainspring.settings import get_current_settings

if TYPE_CHECKING:
    from mainspring.records import locations, record
    from mainspring.states import State
    from mainspring.store.protocol import RunStore
    from mainspring.store.results import KeptResult, ResultRows
else:
    locations, record = modules_on_use("mainspring.records", "locations", "record")

__all__ = ["StoredResults", "content_of", "large_records", "read_file", "remove_unused_files"]


class StoredResults(ReadableFileSystem):
    """The results of one run store as a file system that can be read. Safe to use from any thread.

    Args:
        store: The run store.
    """

    __slots__ = ("_store",)

    def __init__(self, store: ResultRows) -> None:
        self._store = store

    def read_path(self, path: str) -> bytes:
        return content_of(self._store.read_result, locations.history_key(path), large_records())

    def contains(self, path: str) -> bool:
        return path.startswith(locations.HISTORY)

    def open_for(self, state: State) -> None:
        """Let a state that was read from the store load its result from there."""
        data = state.data
        if isinstance(data, record.ResultRecordMetadata) and (data.storage_key or "").startswith(
            locations.HISTORY
        ):
            data.storage = self

    def __repr__(self) -> str:
        return f"StoredResults({self._store!r})"


def large_records() -> LocalFileSystem:
    """The folder in which the files of large records are, by the settings."""
    return LocalFileSystem(get_current_settings().local_storage_path)


def content_of(
    find: Callable[[str], KeptResult | None], key: str, files: LocalFileSystem, size: int = -1
) -> bytes:
    """The record that is kept under a key.

    Args:
        find: Looks a row up.
        key: The key.
        files: The folder in which large records are.
        size: So many bytes of a file are enough; all of it if negative.

    Raises:
        StoragePathMissing: There is none, or its file has been removed by somebody else.
        StorageError: The file cannot be read.
        StoreError: The run store cannot be read.
    """
    kept = find(key)
    while kept is not None and kept.file is not None:
        try:
            return read_file(kept.file, files, size)
        except StoragePathMissing:
            before, kept = kept, find(key)
            if kept == before:
                raise
            # else it was replaced between the two looks
    if kept is not None and kept.content is not None:
        return kept.content.encode()
    if locations.is_history_key(key) and files.exists(key):  # where earlier versions kept all records
        try:
            return files.read_head(key, size)
        except StorageError:
            pass
    raise StoragePathMissing(f"There is no result under the key {key!r} in the run store: it does not exist.")


def read_file(path: str, files: LocalFileSystem, size: int = -1) -> bytes:
    """What is in the file of a large record, also if the folder has been moved since.

    Args:
        path: Where it was written.
        files: The folder in which such files are now.
        size: So many bytes are enough; all if negative.

    Raises:
        StoragePathMissing: It is not there.
        StorageError: It cannot be read.
    """
    try:
        return files.read_head(path, size)
    except StoragePathMissing:
        try:
            return files.read_head(Path(path).name, size)
        except StoragePathMissing:
            pass
        raise


def remove_unused_files(store: RunStore) -> None:
    """Remove the files of results that were replaced or rolled back. One of another machine is left to that one.

    Raises:
        StoreError: The run store cannot be read or written.
    """
    files = LocalFileSystem()
    removed: list[str] = []
    for file in store.read_unused_files():
        try:
            files.delete_path(file)
        except StoragePathMissing:
            if not Path(file).parent.is_dir():
                continue
        except StorageError:  # not ours to remove
            continue
        removed.append(file)
    if removed:
        store.forget_unused_files(removed)
