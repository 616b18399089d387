"""Where records are kept: from a path, an address, a setting or a storage key to a file system."""

from __future__ import annotations

import os

from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import MissingResult
from mainspring.filesystems import (
    LocalFileSystem,
    ReadableFileSystem,
    RemoteFileSystem,
    WritableFileSystem,
    has_scheme,
)
from mainspring.settings import Settings, get_current_settings

__all__ = ["HISTORY", "file_storage", "file_storage_of", "history_key", "is_history_key", "storage_of"]

HISTORY = "history://"
"""What the storage keys of results begin with that are kept in the run store."""

_LOCAL_SCHEMES = ("file://", "local://")


def file_storage(text: str) -> WritableFileSystem:
    """The file system at a path or an address."""
    for scheme in _LOCAL_SCHEMES:
        if text.startswith(scheme):
            return LocalFileSystem(text.removeprefix(scheme))
    return RemoteFileSystem(text) if has_scheme(text) else LocalFileSystem(text)


def file_storage_of(settings: Settings) -> WritableFileSystem:
    """Where results are kept in files: ``results.default_storage``, else the local folder."""
    given = settings.results.default_storage
    return LocalFileSystem(settings.local_storage_path) if given is None else file_storage(given)


def history_key(path: str) -> str:
    """The key of a result in the run store, with or without the scheme before it."""
    return path.removeprefix(HISTORY)


def is_history_key(key: str) -> bool:
    """Whether a result can be kept in the run store under a key, which has to be a relative path without '..'."""
    return not (has_scheme(key) or key.startswith("/") or ".." in key.split("/") or "\0" in key)


def storage_of(key: str) -> ReadableFileSystem:
    """The file system to read a storage key from, which may come from another process.

    An address below the storage of the active run, or below the default one, is read through that storage, with its
    settings. Other addresses are read with those that the environment gives. Absolute paths are local, and keys that
    are neither belong to the storage of the active run.

    Raises:
        MissingResult: The key is of a run store, and nobody knows which.
    """
    if not has_scheme(key) and os.path.isabs(key):  # noqa: PTH117 - a text, and often
        return LocalFileSystem()
    context = TaskRunContext.get() or FlowRunContext.get()
    store = None if context is None else context.result_store
    active = None if store is None else store.result_storage
    storage: ReadableFileSystem = active or file_storage_of(get_current_settings())
    if key.startswith(HISTORY):
        if storage.contains(key) and storage.resolve_path(key) == key:  # in a folder it would be another path
            return storage
        raise MissingResult(
            f"The result {key!r} is kept in a run store. Read the state of its run with a client of that store."
        )
    if not has_scheme(key) or (isinstance(storage, RemoteFileSystem) and storage.contains(key)):
        return storage
    return RemoteFileSystem(key.partition("://")[0] + "://")
