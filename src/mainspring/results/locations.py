"""Where results are kept: from an option or a setting to a file system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring._imports import modules_on_use
from mainspring.exceptions import ConfigurationError, StorageError
from mainspring.filesystems import LocalFileSystem, WritableFileSystem
from mainspring.results.history import HistoryStorage
from mainspring.settings import Settings, get_current_settings

if TYPE_CHECKING:
    from mainspring.records import locations as stored
else:
    stored = modules_on_use("mainspring.records", "locations")

__all__ = [
    "default_storage_of",
    "get_default_result_storage",
    "is_usual",
    "path_in",
    "resolve_result_storage",
]


def resolve_result_storage(storage: Any) -> WritableFileSystem:
    """The file system that an option or setting means.

    Args:
        storage: A file system, a ``Path``, or a text: the path of a folder, or an address such as
            ``s3://bucket/results``. Folders need not exist.

    Raises:
        TypeError: It is nothing of these.
    """
    if isinstance(storage, WritableFileSystem):
        return storage
    if isinstance(storage, Path):
        return LocalFileSystem(storage)
    if isinstance(storage, str):
        return stored.file_storage(storage)
    raise TypeError(
        "A file system for results, a Path, or the path or address of one was expected, not"
        f" {storage!r} of type {type(storage).__name__}."
    )


def get_default_result_storage() -> WritableFileSystem:
    """Where results are kept unless a task or flow says it: ``results.default_storage``, else the run store.

    Large results of the run store are files in a local folder, see `HistoryStorage`.
    """
    return default_storage_of(get_current_settings())


def default_storage_of(settings: Settings) -> WritableFileSystem:
    """`get_default_result_storage` for given settings."""
    if settings.results.default_storage is None:
        return HistoryStorage(settings.local_storage_path)
    return stored.file_storage_of(settings)


def is_usual(key: str) -> bool:
    """Whether a storage key is a plain name, which is fine in every storage."""
    return key.isalnum() and key.isascii()


def path_in(storage: WritableFileSystem, key: str) -> str:
    """Where the record of a key is, as its metadata says it.

    Raises:
        ConfigurationError: The key leads out of the storage, or cannot be written down.
    """
    try:
        if is_usual(key) or storage.contains(key):
            path = storage.resolve_path(key)
            path.encode()  # into the record and the history; some file names are no text
            return path
    except (StorageError, UnicodeEncodeError) as error:
        raise ConfigurationError(f"The storage key {key!r} cannot be used in {storage!r}: {error}") from error
    raise ConfigurationError(
        f"The storage key {key!r} is outside of the base path of {storage!r}. Use a relative path without '..'."
    )
