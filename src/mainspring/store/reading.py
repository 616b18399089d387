"""Results in a run store, as states that were read from it find them."""

from __future__ import annotations

from functools import cache

from mainspring.exceptions import StoragePathMissing
from mainspring.filesystems import LocalFileSystem, ReadableFileSystem
from mainspring.records import ResultRecordMetadata
from mainspring.records.locations import HISTORY, history_key
from mainspring.settings import get_current_settings
from mainspring.states import State
from mainspring.store.addresses import open_store
from mainspring.store.protocol import RunStore
from mainspring.store.results import KeptResult

__all__ = ["StoredResults", "content_of", "results_of"]


class StoredResults(ReadableFileSystem):
    """The results of one run store as a file system that can be read. Safe to use from any thread.

    Args:
        store: The run store.
    """

    __slots__ = ("_store",)

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def read_path(self, path: str) -> bytes:
        key = history_key(path)
        files = LocalFileSystem(get_current_settings().local_storage_path)
        return content_of(self._store.read_result(key), key, files)

    def contains(self, path: str) -> bool:
        return path.startswith(HISTORY)

    def open_for(self, state: State) -> None:
        """Let a state that was read from the store load its result from there."""
        data = state.data
        if isinstance(data, ResultRecordMetadata) and (data.storage_key or "").startswith(HISTORY):
            data.storage = self

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return results_of, (self._store.url,)

    def __repr__(self) -> str:
        return f"StoredResults({self._store!r})"


@cache
def results_of(url: str) -> StoredResults:
    """The results of the run store at an address, for what comes from another process; it stays open."""
    return StoredResults(open_store(url, create=False))


def content_of(kept: KeptResult | None, key: str, files: LocalFileSystem) -> bytes:
    """The record that is kept under a key.

    Args:
        kept: What the run store has under the key.
        key: The key.
        files: The folder in which large records are.

    Raises:
        StoragePathMissing: There is none.
        StorageError: Its file cannot be read.
    """
    if kept is None:
        raise StoragePathMissing(
            f"There is no result under the key {key!r} in the run store: it does not exist."
        )
    if kept.content is not None:
        return kept.content.encode()
    assert kept.file is not None
    return files.read_path(kept.file)
