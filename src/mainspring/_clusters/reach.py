"""Whether a process reaches the run store of another one: the very same database, not one that looks like it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from mainspring.exceptions import StoreError
from mainspring.locking.processes import boot_id
from mainspring.recording import Recorder, current_recorder
from mainspring.store.protocol import RunStore

__all__ = ["Database", "Unreachable", "open_recorder"]

_MEMORY = "sqlite://"
_FILE = "sqlite:///"

_FORGIVEN_AFTER = 30.0
"""Seconds after which a server that could not be reached is tried again."""

_SURE_FOR = 1.0
"""Seconds for which a database that was reached is not looked at again."""

_failed: dict[str, tuple[float, str]] = {}
_reached: dict[Database, float] = {}


class Unreachable(Exception):  # noqa: N818 - names a situation
    """The run store cannot be reached from here; the message says why."""


class Database(NamedTuple):
    """Where a run store is.

    Args:
        url: Its address.
        boot: What tells the host of a file from others, and this start of it; None for a server.
        file: Device and number of the file.
    """

    url: str
    boot: str | None = None
    file: tuple[int, int] | None = None

    @classmethod
    def of(cls, store: RunStore) -> Database:
        """Where an open store is."""
        url = store.url
        if url == _MEMORY or not url.startswith(_FILE):
            return cls(url)
        found = Path(url.removeprefix(_FILE)).stat()
        return cls(url, boot_id(), (found.st_dev, found.st_ino))

    @property
    def is_in_memory(self) -> bool:
        """Whether no other process can reach it."""
        return self.url == _MEMORY

    def problem(self) -> str | None:
        """Why it cannot be reached from here, as far as that can be told without opening it."""
        if self.is_in_memory:
            return "it is in the memory of the process that has submitted the run"
        if self.file is None:
            return None
        if self.boot is None or self.boot != boot_id():
            return "it is a file on another host"
        try:
            found = Path(self.url.removeprefix(_FILE)).stat()
        except OSError as error:
            return str(error)
        return None if (found.st_dev, found.st_ino) == self.file else "there is another file in its place"


def open_recorder(database: Database) -> Recorder:
    """The recorder for a database that other settings of the same context name, too.

    Raises:
        Unreachable: It cannot be opened here.
    """
    if time.monotonic() < _reached.get(database, 0.0):
        return current_recorder()
    problem = database.problem()
    known = _failed.get(database.url)
    if problem is None and known is not None and time.monotonic() < known[0]:
        problem = known[1]
    if problem is not None:
        raise Unreachable(problem)
    try:
        recorder = current_recorder()
        if database.file is None:
            recorder.store.read_lock("", 0)  # a server is found out at the first statement
    except StoreError as error:
        _failed[database.url] = time.monotonic() + _FORGIVEN_AFTER, str(error)
        raise Unreachable(str(error)) from error
    _failed.pop(database.url, None)
    _reached.clear()
    _reached[database] = time.monotonic() + _SURE_FOR
    return recorder
