"""Where results are kept: from a path, an address or a setting to a file system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.filesystems import (
    LocalFileSystem,
    ReadableFileSystem,
    RemoteFileSystem,
    WritableFileSystem,
    has_scheme,
)
from mainspring.settings import Settings, get_current_settings

__all__ = ["get_default_result_storage", "resolve_result_storage", "storage_of"]

_LOCAL_SCHEMES = ("file://", "local://")


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
        return _from_text(storage)
    raise TypeError(
        "A file system for results, a Path, or the path or address of one was expected, not"
        f" {storage!r} of type {type(storage).__name__}."
    )


def get_default_result_storage() -> WritableFileSystem:
    """Where results are kept unless a task or flow says it: ``results.default_storage``, else the local folder."""
    return default_storage_of(get_current_settings())


def default_storage_of(settings: Settings) -> WritableFileSystem:
    """`get_default_result_storage` for given settings."""
    given = settings.results.default_storage
    return LocalFileSystem(settings.local_storage_path) if given is None else _from_text(given)


def storage_of(key: str) -> ReadableFileSystem:
    """The file system to read a storage key from, which may come from another process.

    An address below the storage of the active run, or below the default one, is read through that storage, with its
    settings. Other addresses are read with those that the environment gives. Absolute paths are local, and keys that
    are neither belong to the storage of the active run.
    """
    if not has_scheme(key) and os.path.isabs(key):  # noqa: PTH117 - a text, and often
        return LocalFileSystem()
    context = TaskRunContext.get() or FlowRunContext.get()
    store = None if context is None else context.result_store
    active = None if store is None else store.result_storage
    storage: ReadableFileSystem = active or get_default_result_storage()
    if not has_scheme(key) or (isinstance(storage, RemoteFileSystem) and storage.contains(key)):
        return storage
    return RemoteFileSystem(key.partition("://")[0] + "://")


def _from_text(text: str) -> WritableFileSystem:
    for scheme in _LOCAL_SCHEMES:
        if text.startswith(scheme):
            return LocalFileSystem(text.removeprefix(scheme))
    return RemoteFileSystem(text) if has_scheme(text) else LocalFileSystem(text)
