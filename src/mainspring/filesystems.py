"""File systems: where results are kept, as bytes under a path.

::

    storage = LocalFileSystem(basepath="~/results")
    storage.write_path("today/rows.txt", b"3")

`LocalFileSystem` is a folder, `RemoteFileSystem` whatever fsspec reaches (``s3://``, ``gs://``, ``memory://``),
`NullFileSystem` keeps nothing. To keep results elsewhere, derive from `WritableFileSystem` and define ``read_path`` and
``write_path``; the other methods have defaults that are made from these two.

Whoever reads sees all that was written or nothing: local files are written under another name in the same folder and
then renamed. They are not forced to the disk, so a power cut may lose the latest ones.
"""
# A small result is written within some tens of microseconds, and pathlib would add as many.
# ruff: noqa: PTH100, PTH103, PTH105, PTH108, PTH109, PTH111, PTH116, PTH117, PTH118, PTH120, PTH123

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from io import RawIOBase
from typing import Any, ClassVar, TypeVar

from mainspring import points
from mainspring.exceptions import (
    ConfigurationError,
    StorageDriverMissing,
    StorageError,
    StoragePathMissing,
)

__all__ = [
    "LocalFileSystem",
    "NullFileSystem",
    "ReadableFileSystem",
    "RemoteFileSystem",
    "WritableFileSystem",
    "has_scheme",
    "in_thread",
    "remove_file",
]

T = TypeVar("T")

_TICK = 100_000_000  # nanoseconds; files written within less may have equal times, and numbers are used again
_is_plain = re.compile(
    r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII
).fullmatch  # nothing to be resolved, such as ".."
_ATTEMPTS = 3  # somebody may remove a folder between its making and its use


def has_scheme(path: str) -> bool:
    """True for an address such as ``s3://bucket/key``, False for a plain path."""
    return "://" in path


class ReadableFileSystem:
    """Bytes under paths, to be read. Implementations are safe to use from any thread.

    ``is_quick`` is true if reading takes no longer than async code may take without a thread.
    """

    __slots__ = ()

    is_quick: ClassVar[bool] = False

    def read_path(self, path: str) -> bytes:
        """All bytes under ``path``.

        Raises:
            StoragePathMissing: There is nothing.
            StorageError: It cannot be read; for example it is a folder.
        """
        raise NotImplementedError

    async def aread_path(self, path: str) -> bytes:
        """`read_path` for async code; the reading is done by a thread."""
        return await in_thread(self.read_path, path)

    def read_head(self, path: str, size: int) -> bytes:
        """The first ``size`` bytes under ``path``, or all if there are fewer; raises as `read_path` does."""
        return self.read_path(path)[:size]

    def fingerprint(self, path: str) -> object | None:
        """What changes whenever the bytes under ``path`` do; None if that is not cheap or not certain to be told."""
        return None

    def resolve_path(self, path: str) -> str:
        """The path in a form that another process finds the bytes with, if there is one; else as it is."""
        return path

    def relative_path(self, path: str) -> str:
        """The inverse of `resolve_path`: the path as it is called inside of this file system."""
        return path

    def contains(self, path: str) -> bool:
        """True unless the path leads out of what this file system is meant for."""
        return True


class WritableFileSystem(ReadableFileSystem):
    """Bytes under paths, to be read and written."""

    __slots__ = ()

    def write_path(self, path: str, content: bytes) -> str:
        """Put ``content`` under ``path``, whatever is there now.

        Returns:
            The resolved path.

        Raises:
            StorageError: It cannot be written.
        """
        raise NotImplementedError

    async def awrite_path(self, path: str, content: bytes) -> str:
        """`write_path` for async code; the writing is done by a thread."""
        return await in_thread(self.write_path, path, content)

    def delete_path(self, path: str) -> None:
        """Remove what is under ``path``.

        Raises:
            StoragePathMissing: There is nothing.
            StorageError: It cannot be removed, or this file system never removes anything.
        """
        raise StorageError(f"{self!r} cannot remove {path!r}: it does not define delete_path.")


class LocalFileSystem(WritableFileSystem):
    """A folder of this machine.

    Args:
        basepath: Relative paths start here; the current directory when None. ``~`` is the home directory. It is
            looked at at each call. Absolute paths are taken as they are. Folders are made as they are needed.
    """

    __slots__ = ("_fixed", "basepath")

    def __init__(self, basepath: str | os.PathLike[str] | None = None) -> None:
        self.basepath = None if basepath is None else os.fspath(basepath)
        # The folder, if no change of directory or of HOME can move it: then plain names need no look at the system.
        self._fixed = ""
        if basepath is not None and os.path.isabs(basepath):
            self._fixed = self._folder()

    def resolve_path(self, path: str) -> str:
        if self._fixed:
            if _is_plain(path):
                return self._fixed + path
            if path.startswith(self._fixed) and _is_plain(path, len(self._fixed)):
                return path
        if "\0" in path:
            raise StorageError(f"The path {path!r} contains a NUL character, which no file name can.")
        return os.path.abspath(os.path.join(self._base(), path))

    def relative_path(self, path: str) -> str:
        if not os.path.isabs(path):
            return path
        folder = self._folder()
        target = self.resolve_path(path)
        return target[len(folder) :] if target.startswith(folder) else path

    def contains(self, path: str) -> bool:
        return self.resolve_path(path).startswith(self._folder())

    def read_path(self, path: str) -> bytes:
        return self._read(path, -1)

    def read_head(self, path: str, size: int) -> bytes:
        return self._read(path, size)

    def write_path(self, path: str, content: bytes) -> str:
        target = self.resolve_path(path)
        folder = os.path.dirname(target)
        temporary = os.path.join(folder, f".{os.urandom(8).hex()}.tmp")
        try:
            _write_new(temporary, content, target)
            try:
                if points.observer is not None:
                    points.observer("file.rename", target)
                os.replace(temporary, target)
            except BaseException:
                remove_file(temporary)
                raise
            if points.observer is not None:
                points.observer("file.renamed", target)
        except IsADirectoryError:
            raise StorageError(f"Cannot write {target!r}: it is a folder.") from None
        except OSError as error:
            raise StorageError(f"Cannot write {target!r}: {error}.") from error
        return target

    def delete_path(self, path: str) -> None:
        target = self.resolve_path(path)
        try:
            remove_file(target)
        except FileNotFoundError:
            raise StoragePathMissing(f"Cannot remove {target!r}: it does not exist.") from None
        except OSError as error:
            raise StorageError(f"Cannot remove {target!r}: {error}.") from error

    def fingerprint(self, path: str) -> object | None:
        try:
            found = os.stat(self.resolve_path(path))
        except OSError:
            return None
        if (
            time.time_ns() - found.st_mtime_ns < _TICK
        ):  # not our clock: what counts is that of the file system
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns

    def exists(self, path: str) -> bool:
        """Whether there is something under ``path``, as far as can be seen; quicker than to try and read it."""
        try:
            return os.access(self.resolve_path(path), os.F_OK)
        except (StorageError, ValueError):  # no path at all
            return False

    def _folder(self) -> str:
        """The base path with a slash at its end."""
        return self._fixed or os.path.abspath(self._base()).rstrip(os.sep) + os.sep

    def _base(self) -> str:
        return os.getcwd() if self.basepath is None else os.path.expanduser(self.basepath)

    def _read(self, path: str, size: int) -> bytes:
        target = self.resolve_path(path)
        try:
            with open(target, "rb", buffering=0) as file:
                return file.read(size) or b"" if size >= 0 else file.readall()
        except FileNotFoundError:
            raise StoragePathMissing(f"The path {target!r} does not exist.") from None
        except IsADirectoryError:
            raise StorageError(f"The path {target!r} is not a file.") from None
        except OSError as error:
            raise StorageError(f"Cannot read {target!r}: {error}.") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalFileSystem) and other.basepath == self.basepath

    def __hash__(self) -> int:
        return hash((LocalFileSystem, self.basepath))

    def __repr__(self) -> str:
        return f"LocalFileSystem(basepath={self.basepath!r})"


class RemoteFileSystem(WritableFileSystem):
    """A place that fsspec reaches.

    Args:
        basepath: An address with a scheme, such as ``s3://bucket/results``. Relative paths start here, and addresses
            outside of it are refused.
        settings: Arguments for fsspec's file system: keys, endpoints. They are never written anywhere, so whoever
            reads a result finds it with the credentials of its own environment, or with the same storage.

    Raises:
        ConfigurationError: The base path has no scheme.
    """

    __slots__ = ("_found", "basepath", "settings")

    def __init__(self, basepath: str, settings: Mapping[str, Any] | None = None) -> None:
        if not has_scheme(basepath) or basepath.startswith("://"):
            raise ConfigurationError(
                f"The base path of a remote file system needs a scheme, as in 's3://bucket/folder'; got {basepath!r}."
            )
        self.basepath = basepath
        self.settings = dict(settings or {})
        self._found: Any = None

    def resolve_path(self, path: str) -> str:
        """The address of a path.

        Raises:
            StorageError: It is outside of the base path.
        """
        base = self._base()
        address = path if has_scheme(path) else base + path.lstrip("/")
        if has_scheme(path) and path.partition("://")[0] != base.partition("://")[0]:
            raise StorageError(
                f"The path {path!r} does not have the scheme of the base path {self.basepath!r}."
            )
        inside = address.startswith(base) or address == base.rstrip("/")
        if not inside or ".." in address.partition("://")[2].split("/"):
            raise StorageError(f"The path {path!r} is outside of the base path {self.basepath!r}.")
        return address

    def relative_path(self, path: str) -> str:
        return path.removeprefix(self._base())

    def contains(self, path: str) -> bool:
        try:
            self.resolve_path(path)
        except StorageError:
            return False
        return True

    def read_path(self, path: str) -> bytes:
        return self._read(path)

    def read_head(self, path: str, size: int) -> bytes:
        return self._read(path, start=0, end=size)

    def write_path(self, path: str, content: bytes) -> str:
        address = self.resolve_path(path)
        place = self._path(address)
        try:
            if points.observer is not None:
                points.observer("file.write", address)
            try:
                self._system.pipe_file(place, content)
            except FileNotFoundError:  # a kind of file system that has folders
                self._system.makedirs(self._system._parent(place), exist_ok=True)
                self._system.pipe_file(place, content)
            if points.observer is not None:
                points.observer("file.written", address)
        except (OSError, ValueError) as error:  # archives that are only read raise the latter
            raise StorageError(f"Cannot write {address!r}: {error}.") from error
        return address

    def delete_path(self, path: str) -> None:
        address = self.resolve_path(path)
        try:
            if points.observer is not None:
                points.observer("file.remove", address)
            self._system.rm_file(self._path(address))
            if points.observer is not None:
                points.observer("file.removed", address)
        except FileNotFoundError:
            raise StoragePathMissing(f"Cannot remove {address!r}: it does not exist.") from None
        except OSError as error:
            raise StorageError(f"Cannot remove {address!r}: {error}.") from error

    def _base(self) -> str:
        return self.basepath if self.basepath.endswith("://") else self.basepath.rstrip("/") + "/"

    def _read(self, path: str, **part: int) -> bytes:
        address = self.resolve_path(path)
        try:
            content: bytes = self._system.cat_file(self._path(address), **part)
        except FileNotFoundError:
            raise StoragePathMissing(f"The path {address!r} does not exist.") from None
        except IsADirectoryError:
            raise StorageError(f"The path {address!r} is not a file.") from None
        except OSError as error:
            raise StorageError(f"Cannot read {address!r}: {error}.") from error
        return content

    def _path(self, address: str) -> str:
        path: str = self._system._strip_protocol(address)
        return path

    @property
    def _system(self) -> Any:
        """The file system of fsspec, made at first use."""
        if self._found is None:
            fsspec: Any = import_module("fsspec")  # only results that are kept elsewhere need it
            scheme = self.basepath.partition("://")[0]
            try:
                self._found = fsspec.filesystem(scheme, **self.settings)
            except ImportError as error:
                raise StorageDriverMissing(
                    f"Results at {self.basepath!r} need a package that is not installed: {error}."
                ) from error
            except ValueError as error:
                raise ConfigurationError(
                    f"Unable to find a file system for {self.basepath!r}: {error}."
                ) from error
        return self._found

    def __getstate__(self) -> tuple[str, dict[str, Any]]:
        return self.basepath, self.settings

    def __setstate__(self, state: tuple[str, dict[str, Any]]) -> None:
        self.basepath, self.settings = state
        self._found = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RemoteFileSystem)
            and other.basepath == self.basepath
            and other.settings == self.settings
        )

    def __hash__(self) -> int:
        return hash((RemoteFileSystem, self.basepath))

    def __repr__(self) -> str:
        return f"RemoteFileSystem(basepath={self.basepath!r})"  # settings may hold a password


class NullFileSystem(WritableFileSystem):
    """Keeps nothing: writes are forgotten, and nothing is there to be read."""

    __slots__ = ()

    def read_path(self, path: str) -> bytes:
        raise StoragePathMissing(f"The path {path!r} does not exist: a NullFileSystem keeps nothing.")

    def write_path(self, path: str, content: bytes) -> str:
        return path

    def delete_path(self, path: str) -> None:
        raise StoragePathMissing(f"Cannot remove {path!r}: a NullFileSystem keeps nothing.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NullFileSystem)

    def __hash__(self) -> int:
        return hash(NullFileSystem)

    def __repr__(self) -> str:
        return "NullFileSystem()"


def remove_file(path: str | os.PathLike[str], *, missing_ok: bool = False) -> None:
    """Remove a file of this machine.

    Args:
        path: The file.
        missing_ok: It may be gone.

    Raises:
        OSError: It cannot be removed.
    """
    if points.observer is not None:
        points.observer("file.remove", path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        if not missing_ok:
            raise
    if points.observer is not None:
        points.observer("file.removed", path)


def _write_new(path: str, content: bytes, target: str) -> None:
    """Write a new file, which is to become another one; leave none behind if that fails."""
    with _create(path) as file:
        try:
            view = memoryview(content)
            if points.observer is not None:
                points.observer("file.write", target)
                half = len(view) // 2
                _write_all(file, view[:half])
                points.observer("file.half_written", target)
                view = view[half:]
            _write_all(file, view)
            if points.observer is not None:
                points.observer("file.written", target)
        except BaseException:
            remove_file(path)
            raise


def _write_all(file: RawIOBase, view: memoryview) -> None:
    while view:  # one write may take less than all
        view = view[file.write(view) or 0 :]


def _create(path: str) -> RawIOBase:
    """Open a new file, making the folders above it if they are missing."""
    for _ in range(_ATTEMPTS):
        try:
            return open(path, "xb", buffering=0)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, "xb", buffering=0)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function that may block in a thread, with the context variables of the caller."""
    import asyncio  # costs more than a whole sync script needs; only async code comes here

    return await asyncio.to_thread(function, *args)
