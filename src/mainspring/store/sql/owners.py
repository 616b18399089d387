"""Which process a run belongs to, and whether that process is alive.

Each process that writes to a database has a row in ``owners`` and holds an exclusive lock on a file of its
own, ``<key>.lock`` in a folder that goes with the database. The operating system drops the lock at any death,
``kill -9`` included, so whoever can take the lock of a row that has not ended knows that the process is dead.

Locks tell on one host only. So each owner has a lease, too, which it renews while it has something to lose, and which
hosts with another id go by. A process that was stopped for longer than its lease may find that it counts as dead: see
`losses`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from mainspring import clock
from mainspring.exceptions import StoreUnavailable
from mainspring.filesystems import remove_file
from mainspring.locking.processes import boot_id, is_running

if TYPE_CHECKING:
    from mainspring.store.sql.statements import Cursor

__all__ = ["DeadOwner", "Identity", "Owner", "drop_holdings", "holding_dead", "suspects"]

DEFAULT_LEASE_SECONDS = 30.0

JOURNAL_SUFFIX = ".journal"
"""What the names of journals end with, which are in the folder of the locks."""

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
_HAS_LEFT = (  # takes the id four times
    f"SELECT EXISTS (SELECT 1 FROM task_runs WHERE {UNFINISHED})"  # noqa: S608 - constants
    f" OR EXISTS (SELECT 1 FROM flow_runs WHERE {UNFINISHED})"
    " OR EXISTS (SELECT 1 FROM slots WHERE owner_id = ?) OR EXISTS (SELECT 1 FROM locks WHERE owner_id = ?)"
)
_END = "UPDATE owners SET ended = ?, ended_by = ? WHERE id = ? AND ended IS NULL"
_END_EXPIRED = f"{_END} AND lease_expires <= ?"  # it may have been renewed since it was looked at
_CLAIM = "INSERT INTO owners (key, host, boot, pid, started, lease_expires) VALUES (?,?,?,?,?,?)"
_RENEW = "UPDATE owners SET lease_expires = ? WHERE id = ? AND ended IS NULL"
_COLUMNS = "id, key, host, boot, pid, started, lease_expires"


class Identity(msgspec.Struct, frozen=True):
    """How a process names itself to others that use the same database.

    Args:
        host: What tells its host from others.
        lease: For how long it counts as alive on other hosts without a sign of life, in microseconds.
    """

    host: str
    lease: int

    @classmethod
    def of(cls, host_id: str | None, lease_seconds: float) -> Identity:
        """The identity that settings give: the host's own name, unless they name it."""
        return cls(host_id or os.uname().nodename, round(lease_seconds * clock.MICROSECONDS))

    def __str__(self) -> str:
        return f"pid {os.getpid()} on host {self.host}"


if TYPE_CHECKING:

    class OwnJournal(Protocol):
        """What an owner has to know of its journal."""

        @property
        def is_settled(self) -> bool:
            """Whether everything that was noted is committed."""
            ...

        def close(self) -> None:
            """Note nothing any more."""
            ...

        def remove(self) -> None:
            """Remove the files: nothing in them counts any more."""
            ...


class Owner:
    """This process, as the owner of the runs that it writes to one database.

    Not locked: used under the lock of the connection that writes.
    """

    __slots__ = ("_fd", "_lock_file", "id", "journal", "key", "lease_expires")

    def __init__(self, owner_id: int, key: str, fd: int, lock_file: Path, lease_expires: int) -> None:
        self.id = owner_id
        self.key = key
        self.lease_expires = lease_expires
        self.journal: OwnJournal | None = None
        self._fd = fd
        self._lock_file = lock_file

    @classmethod
    def claim(cls, db: Cursor, folder: Path, identity: Identity, now: int) -> Owner:
        """Take a lock in a folder and write a row of our own, with a lease that begins now.

        Raises:
            StoreUnavailable: The lock file cannot be made or locked.
            Exception: Of the database: the row cannot be written.
        """
        key = os.urandom(8).hex()
        lock_file = _lock_file(folder, key)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)  # not inheritable
        except OSError as error:
            raise _no_lock(lock_file, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            expires = now + identity.lease
            row = key, identity.host, boot_id(), os.getpid(), now, expires
            db.execute(_CLAIM, row)
            (owner_id,) = db.execute("SELECT id FROM owners WHERE key = ?", (key,)).fetchone()
        except BaseException as error:
            os.close(fd)
            remove_file(lock_file, missing_ok=True)
            if isinstance(error, OSError):
                raise _no_lock(lock_file, error) from error
            raise
        return cls(owner_id, key, fd, lock_file, expires)

    def renew(self, db: Cursor, expires: int) -> bool:
        """Move the end of the lease, in a transaction; False if somebody has found this process dead."""
        if not db.execute(_RENEW, (expires, self.id)).rowcount:
            return False
        self.lease_expires = expires
        return True

    def is_holding(self, db: Cursor) -> bool:
        """Whether others would miss something if this process was dead: unfinished runs, slots, or locks."""
        (found,) = db.execute(_HAS_LEFT, (self.id,) * 4).fetchone()
        return bool(found)

    def end_in(self, db: Cursor) -> tuple[int, str]:
        """When this process was found dead, and by whom."""
        found = db.execute("SELECT ended, ended_by FROM owners WHERE id = ?", (self.id,)).fetchone()
        ended, by = found or (self.lease_expires, None)  # the row may be gone by now
        return ended or 0, by or "an unknown process"

    def end(self, db: Cursor, now: int) -> bool:
        """Declare the ownership ended, in a transaction; False if something is left, for the next opener to find."""
        if self.journal is not None and not self.journal.is_settled:
            return False
        (unfinished,) = db.execute(_HAS_UNFINISHED, (self.id, self.id)).fetchone()
        if not unfinished:
            db.execute(_END, (now, None, self.id))
        return not unfinished

    def discard(self) -> None:
        """Let go of an ownership that has ended."""
        if self.journal is not None:
            self.journal.remove()
        remove_file(self._lock_file, missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the lock without a word. In a forked child this leaves the parent's lock alone."""
        if self.journal is not None:
            self.journal.close()
        os.close(self._fd)


class DeadOwner(msgspec.Struct, frozen=True):
    """A process that died without ending its ownership, or counts as dead because its lease has run out."""

    id: int
    key: str
    host: str
    boot: str | None
    pid: int
    started: int
    lease_expires: int | None
    has_expired: int  # it is judged by its lease

    def end(self, db: Cursor, now: int, by: Identity) -> bool:
        """Mark the row as ended; False if somebody else has done so, or it lives. Called inside a transaction."""
        row = now, str(by), self.id
        ended = db.execute(_END_EXPIRED, (*row, now)) if self.has_expired else db.execute(_END, row)
        return ended.rowcount == 1

    @property
    def message(self) -> str:
        """For the state of the runs that died with it."""
        process = (
            f"The process that ran this (pid {self.pid} on host {self.host}, started {_shown(self.started)})"
        )
        if self.has_expired:
            return f"{process} counts as dead: its lease ran out at {_shown(self.lease_expires or 0)}."
        return f"{process} died."


def _shown(moment: int) -> str:
    return clock.to_datetime(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def suspects(db: Cursor, here: Identity, now: int) -> list[DeadOwner]:
    """The owners that may be dead, as far as that can be known from here; `holding_dead` says whether they are.

    Owners of this host are judged by their locks alone: a process that was only slow, or slept with its machine, keeps
    its runs. Those of other hosts are judged by their leases alone, and left alone while they have nothing to lose.
    """
    found = db.execute(  # of a version without leases, by what it had: locks within one start of a machine
        f"SELECT {_COLUMNS}, 0 FROM owners WHERE ended IS NULL"  # noqa: S608 - constants
        " AND (host = ? OR (lease_expires IS NULL AND boot = ?))",
        (here.host, boot_id()),
    ).fetchall()
    expired = db.execute(
        f"SELECT {_COLUMNS}, 1 FROM owners WHERE ended IS NULL AND host <> ? AND lease_expires <= ?",  # noqa: S608
        (here.host, now),
    ).fetchall()
    # `_COLUMNS` begins with the id
    found += [row for row in expired if db.execute(_HAS_LEFT, (row[0],) * 4).fetchone()[0]]
    return [DeadOwner(*row) for row in found]


def drop_holdings(db: Cursor, owner: int) -> None:
    """Free the slots and locks that a process held or waited for: it has ended, or is dead."""
    # Every process ends with this. Who imports a module then that evaluates text, as named tuples do, makes Python
    # forget that the program was ended by an interrupt, and exit with another status.
    db.execute("DELETE FROM slots WHERE owner_id = ?", (owner,))
    db.execute("DELETE FROM locks WHERE owner_id = ?", (owner,))


@contextmanager
def holding_dead(owner: DeadOwner, folder: Path) -> Generator[bool]:
    """Hold the owner's lock; False if the owner is alive or somebody else is at work on it.

    The lock file goes when the block is left without an error. An owner that is judged by its lease has none here.

    Args:
        owner: The suspect.
        folder: Where the lock files are.
    """
    lock_file = _lock_file(folder, owner.key)
    if owner.has_expired:
        yield True
        remove_file(
            lock_file, missing_ok=True
        )  # on a disk that hosts share, say; nobody looks at it any more
        return
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
        remove_file(lock_file, missing_ok=True)
    finally:
        os.close(fd)


def _exists(owner: DeadOwner) -> bool:
    """True if a process of that number is running, which may be another one by now."""
    return owner.boot == boot_id() and is_running(owner.pid)


def _lock_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.lock"


def _no_lock(lock_file: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"The run store cannot be used: its owner's lock {lock_file} cannot be taken ({error}). Check that files can be"
        f" written there, on a file system with locks."
    )
