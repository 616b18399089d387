"""Locks for all processes that share a folder, on one host or on several.

A lock is a JSON file that says who holds it. It is written aside and renamed into place, so a reader finds all
of it or none. What is decided about locks is decided under an operating system lock on one more file of the
folder, for some microseconds at a time: nobody else can look or write in between, and no crash leaves it locked.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from mainspring import clock
from mainspring.exceptions import ConfigurationError
from mainspring.locking.processes import Process
from mainspring.locking.protocol import not_held

__all__ = ["FileSystemLockManager"]

_GUARD = ".guard"
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05
_LONGEST_NAME = 200  # bytes; file systems take 255, and the file is written under a longer name first
_FOREVER = float("inf")


class _Lock(msgspec.Struct):
    """What a lock file says: who holds it, in which process, until when (ISO 8601, None for no end)."""

    holder: str
    expiration: str | None
    process: Process

    def is_over(self) -> bool:
        """Whether it has expired, or its process is known to be dead."""
        if self.expiration is not None and _moment(self.expiration) <= clock.current().now():
            return True
        return self.process.is_dead()


_decoder = msgspec.json.Decoder(_Lock)


class FileSystemLockManager:
    """Locks as files ``<key>.lock`` in a folder. See `LockManager` for the methods.

    A lock whose process has died is free at once for processes on the same host; elsewhere it is held until its
    hold timeout. So hosts that share a folder need different names, and clocks that agree about hold timeouts.
    The folder has to be on a file system with locks and renaming, as local ones and NFS 4 are. Waiting polls:
    every millisecond at first, then less and less often, down to twenty times a second.

    Args:
        lock_files_directory: The folder; made when it is needed, ``~`` is expanded.
    """

    __slots__ = ("lock_files_directory",)

    def __init__(self, lock_files_directory: Path | str) -> None:
        self.lock_files_directory = Path(lock_files_directory).expanduser()

    def __repr__(self) -> str:
        return f"FileSystemLockManager({str(self.lock_files_directory)!r})"

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        for pause in self._tries(key, holder, acquire_timeout, hold_timeout, True):
            if pause is None:
                return True
            clock.current().sleep(pause)
        return False

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        for pause in self._tries(key, holder, acquire_timeout, hold_timeout, False):
            if pause is None:
                return True
            await clock.current().asleep(pause)
        return False

    def release_lock(self, key: str, holder: str) -> None:
        path = self._path(key)
        with self._guard(True):
            lock = self._held(path)
            if lock is None or lock.holder != holder:
                raise not_held(key, holder)
            path.unlink(missing_ok=True)

    def is_locked(self, key: str) -> bool:
        return self._held(self._path(key)) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        lock = self._held(self._path(key))
        return lock is not None and lock.holder == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        for pause in self._tries(key, None, timeout, None, True):
            if pause is None:
                return True
            clock.current().sleep(pause)
        return False

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        for pause in self._tries(key, None, timeout, None, False):
            if pause is None:
                return True
            await clock.current().asleep(pause)
        return False

    # Inside

    def _tries(
        self, key: str, holder: str | None, timeout: float | None, hold_timeout: float | None, may_block: bool
    ) -> Generator[float | None]:
        """Try until the lock is free; yields how long to sleep before the next try, and None once it is free.

        Args:
            key: What is locked.
            holder: Who is to hold it; None only looks.
            timeout: Seconds after which to give up.
            hold_timeout: Seconds after which the lock is to free itself.
            may_block: Whether to wait for the guard here; otherwise that is a reason for a pause too.
        """
        path = self._path(key)
        end = _FOREVER if timeout is None else clock.current().monotonic() + timeout
        pause = _SHORTEST_PAUSE
        while True:
            free = self._try(path, holder, hold_timeout, may_block)
            if free:
                yield None
                return
            left = end - clock.current().monotonic()
            if free is None:  # nobody knows yet, and the guard is never kept for long
                yield _SHORTEST_PAUSE
            elif left <= 0:
                return
            else:
                yield min(pause, left)
                pause = min(1.5 * pause, _LONGEST_PAUSE)

    def _try(
        self, path: Path, holder: str | None, hold_timeout: float | None, may_block: bool
    ) -> bool | None:
        """Take the lock if it is free. True if that is so, False if not, None if the guard was taken."""
        lock = self._held(path)
        if lock is not None and lock.holder != holder:
            return False
        if holder is None:
            return True
        with self._guard(may_block) as guarded:
            if not guarded:
                return None
            lock = self._held(path)  # as it is now that nobody else can change it
            if lock is not None and lock.holder != holder:
                return False
            self._write(path, holder, hold_timeout)
            return True

    def _held(self, path: Path) -> _Lock | None:
        """The lock in a file, unless there is none or it is over."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if not content:  # the host lost power before it was on the disk, and so died the holder
            return None
        try:
            lock = _decoder.decode(content)
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigurationError(
                f"{path} is no lock file of this version ({error}). If nobody is using it, remove it."
            ) from error
        return None if lock.is_over() else lock

    def _write(self, path: Path, holder: str, hold_timeout: float | None) -> None:
        """Put a lock file in its place, whole at once. Called under the guard."""
        expiration = None
        if hold_timeout is not None:
            moment = clock.current().now() + round(hold_timeout * clock.MICROSECONDS)
            expiration = clock.to_datetime(moment).isoformat()
        aside = path.with_name(f"{path.name}.new")
        aside.write_bytes(msgspec.json.encode(_Lock(holder, expiration, Process.this())))
        aside.replace(path)

    @contextmanager
    def _guard(self, may_block: bool) -> Generator[bool]:
        """Be the only one who decides about locks in the folder; False if somebody else is and we do not wait."""
        fd = self._open_guard()
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX if may_block else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)  # closing would not do: a forked child may have a copy of it
        finally:
            os.close(fd)

    def _open_guard(self) -> int:
        path = self.lock_files_directory / _GUARD
        flags = os.O_RDWR | os.O_CREAT
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:
            self.lock_files_directory.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o666)

    def _path(self, key: str) -> Path:
        """The file of a key: its name tells the key, and no other key has the same."""
        from urllib.parse import quote  # only who locks files pays for these

        name = quote(key, safe=" ", errors="surrogatepass")
        if len(name) > _LONGEST_NAME:
            import hashlib

            digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{name[: _LONGEST_NAME - len(digest) - 1]}+{digest}"  # "+" is escaped in other names
        return self.lock_files_directory / f"{name}.lock"


def _moment(text: str) -> int:
    """The wall time of an ISO 8601 text, in microseconds."""
    return clock.from_datetime(datetime.fromisoformat(text))
