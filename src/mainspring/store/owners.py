"""Which process a run belongs to, and whether that process is alive.

Each process that writes to a database has a row in ``owners`` and holds an exclusive lock on a file of its
own, ``<database>.owners/<key>.lock``. The operating system drops the lock at any death, ``kill -9``
included, so whoever can take the lock of a row that has not ended knows that the process is dead.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mainspring import clock
from mainspring.exceptions import StoreUnavailable
from mainspring.locking.processes import boot_id, is_running

__all__ = ["DeadOwner", "Owner", "dead_owners"]

# What its owner's death ends: not what waits for a resume, nor what never began for want of its inputs.
# The term on COMPLETED says nothing new; it tells SQLite that the index over the others will do.
UNFINISHED = (
    "owner_id = ? AND state_type <> 'COMPLETED' AND state_name <> 'NotReady'"
    " AND state_type IN ('SCHEDULED', 'PENDING', 'RUNNING', 'CANCELLING')"
)
_HAS_UNFINISHED = (
    f"SELECT EXISTS (SELECT 1 FROM task_runs WHERE {UNFINISHED})"  # noqa: S608 - constants
    f" OR EXISTS (SELECT 1 FROM flow_runs WHERE {UNFINISHED})"
)
_END = "UPDATE owners SET ended = ? WHERE id = ? AND ended IS NULL"


class Owner:
    """This process, as the owner of the runs that it writes to one database.

    Not locked: used under the lock of the connection that writes.
    """

    __slots__ = ("_fd", "_lock_file", "id")

    def __init__(self, owner_id: int, fd: int, lock_file: Path) -> None:
        self.id = owner_id
        self._fd = fd
        self._lock_file = lock_file

    @classmethod
    def claim(cls, db: sqlite3.Connection, database: str) -> Owner:
        """Take a lock and write a row of our own.

        Raises:
            StoreUnavailable: The lock file cannot be made or locked.
            sqlite3.Error: The row cannot be written.
        """
        key = os.urandom(8).hex()
        lock_file = _lock_file(database, key)
        try:
            lock_file.parent.mkdir(exist_ok=True)
            fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)  # not inheritable
        except OSError as error:
            raise _no_lock(database, lock_file, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            cursor = db.execute(
                "INSERT INTO owners (key, host, boot, pid, started) VALUES (?,?,?,?,?)",
                (key, os.uname().nodename, boot_id(), os.getpid(), clock.current().now()),
            )
        except BaseException as error:
            os.close(fd)
            lock_file.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _no_lock(database, lock_file, error) from error
            raise
        assert cursor.lastrowid is not None
        return cls(cursor.lastrowid, fd, lock_file)

    def release(self, db: sqlite3.Connection) -> None:
        """Declare the ownership ended, unless runs are left: those are for the next opener to find.

        Raises:
            sqlite3.Error: The row cannot be written; the lock is dropped all the same.
        """
        try:
            db.execute("BEGIN IMMEDIATE")
            (unfinished,) = db.execute(_HAS_UNFINISHED, (self.id, self.id)).fetchone()
            if not unfinished:
                db.execute(_END, (clock.current().now(), self.id))
            db.execute("COMMIT")
            if not unfinished:
                self._lock_file.unlink(missing_ok=True)
        finally:
            self.abandon()
            if db.in_transaction:
                db.execute("ROLLBACK")

    def abandon(self) -> None:
        """Let go of the lock without a word. In a forked child this leaves the parent's lock alone."""
        os.close(self._fd)


class DeadOwner(NamedTuple):
    """A process that died without ending its ownership."""

    id: int
    key: str
    host: str
    boot: str | None
    pid: int
    started: int

    def end(self, db: sqlite3.Connection) -> bool:
        """Mark the row as ended; False if somebody else has done so. Called inside a transaction."""
        return db.execute(_END, (clock.current().now(), self.id)).rowcount == 1

    @property
    def message(self) -> str:
        """For the state of the runs that died with it."""
        since = clock.to_datetime(self.started).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"The process that ran this (pid {self.pid} on host {self.host}, started {since}) died."


def dead_owners(db: sqlite3.Connection, database: str) -> Iterator[DeadOwner]:
    """The dead owners that can be known from here, each while its lock is held for the caller.

    An owner on another host is left alone: whether it lives cannot be seen from here.

    Raises:
        sqlite3.Error: The rows cannot be read.
    """
    rows = db.execute(
        "SELECT id, key, host, boot, pid, started FROM owners WHERE ended IS NULL AND (host = ? OR boot = ?)",
        (os.uname().nodename, boot_id()),
    ).fetchall()
    for owner in map(DeadOwner._make, rows):
        with _lock_of_dead(owner, database) as is_dead:
            if is_dead:
                yield owner


@contextmanager
def _lock_of_dead(owner: DeadOwner, database: str) -> Generator[bool]:
    """Hold the owner's lock; False if the owner is alive or somebody else is at work on it.

    The lock file goes when the block is left without an error.
    """
    lock_file = _lock_file(database, owner.key)
    try:
        fd = os.open(lock_file, os.O_RDWR)
    except FileNotFoundError:
        # Somebody settled the owner just now, removed the files, or moved the database.
        yield not _exists(owner)
        return
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
        lock_file.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _exists(owner: DeadOwner) -> bool:
    """True if a process of that number is running, which may be another one by now."""
    return owner.boot == boot_id() and is_running(owner.pid)


def _lock_file(database: str, key: str) -> Path:
    return Path(f"{database}.owners", f"{key}.lock")


def _no_lock(database: str, lock_file: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"The run store {database} cannot be used: its owner's lock {lock_file} cannot be taken"
        f" ({error}). Check that files can be written beside the database, on a file system with locks."
    )
