"""The run store in one SQLite file, or in memory.

One connection writes, under a lock; another reads; a third, when asked to, copies the write-ahead log into
the database, so that no commit waits for that. Other processes do the same with connections of their own.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from mainspring import points
from mainspring._imports import modules_on_use
from mainspring.exceptions import OwnershipLost, StoreUnavailable
from mainspring.store import forks
from mainspring.store.bells import SilentBell
from mainspring.store.sql.owners import DEFAULT_LEASE_SECONDS, JOURNAL_SUFFIX, DeadOwner, Owner
from mainspring.store.sql.store import RowExists, SQLRunStore
from mainspring.store.sqlite.bells import PipeBell
from mainspring.store.sqlite.connections import MEMORY, Database, Link, translated

if TYPE_CHECKING:
    from mainspring.store.changes import Durability
    from mainspring.store.protocol import Journal
    from mainspring.store.sql import journaling
    from mainspring.store.sql.journaling import Page
    from mainspring.store.sql.statements import Cursor
    from mainspring.store.sqlite import journals
else:
    journaling = modules_on_use("mainspring.store.sql", "journaling")
    journals = modules_on_use("mainspring.store.sqlite", "journals")

__all__ = ["SQLiteRunStore"]

CHECKPOINT_ROWS = 500  # as many tasks, each with a commit of its own: about 4 MB of log
CATCH_UP_PAGES = 8_192  # 16 MB
_CATCH_UP_SECONDS = 0.2
_LOOK_SECONDS = 0.002
_CLOSE_WAIT_MILLISECONDS = 100
_FORK_WAIT_SECONDS = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class SQLiteRunStore(SQLRunStore):
    """A run store in an SQLite database.

    Safe to use from any thread. In a forked child it opens connections of its own when it is used, and owns
    what it writes from then on; a store in memory cannot be used there.

    Args:
        path: The file, or ``":memory:"``.
        durability: What a commit survives; "relaxed" is up to whoever calls `write`, here it is "process". With
            "journal" there is a journal besides.
        create: With False a database that does not exist is an error.
        host_id: What tells this host from others; its name when omitted.
        lease_seconds: For how long other hosts wait for a sign of life of this process.

    Raises:
        StoreUnavailable: The file cannot be made, opened or written, or belongs to another program.
        StoreCorrupt: The file is no database, or a damaged one.
        StoreTooNew: The file was written by a newer version.
    """

    def __init__(
        self,
        path: str | Path,
        durability: Durability = "process",
        create: bool = True,
        host_id: str | None = None,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
    ) -> None:
        # Locks and the log are known by the path; through a link it would have another name.
        place = MEMORY if str(path) == MEMORY else str(Path(path).resolve())
        self._database = Database(place, durability)
        in_memory = self._database.in_memory
        super().__init__(host_id, lease_seconds, None if in_memory else Path(f"{place}.owners"))
        self.bell = PipeBell(self._owners, self._own_key) if self._owners is not None else SilentBell()
        self._writer = Link(self._database, self._database.prepare(create))
        if in_memory:
            self._reader = self._maintenance = self._writer
            self._links = [self._writer]
        else:
            self._reader = Link(self._database)
            self._maintenance = Link(self._database, busy_seconds=_CATCH_UP_SECONDS)
            # In the order in which locks are taken: catching up holds the last two.
            self._links = [self._reader, self._maintenance, self._writer]
        self._rows_copied = 0
        self._catch_up_at = CATCH_UP_PAGES
        self._resting: list[Link] = []
        forks.watch(self)

    @classmethod
    def open(
        cls, path: str | Path, durability: Durability = "process", create: bool = True
    ) -> SQLiteRunStore:
        """The store at ``path``; see the class."""
        return cls(path, durability, create)

    @property
    def url(self) -> str:
        """See `RunStore.url`."""
        return "sqlite://" if self._database.in_memory else f"sqlite:///{self._database.path}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._database.path, self._database.durability)

    # Transactions

    def _transact_once(
        self, work: Callable[Concatenate[Cursor, int | None, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        writer = self._writer
        try:
            with writer.lock:
                db = writer.db
                owner: Owner | None = None
                try:
                    if db is None:
                        db = writer.open()
                    owner = self._owner
                    if owner is None and self._owners is not None:
                        owner = self._claim(self._owners)
                    cursor = writer.cursor()
                    cursor.execute("BEGIN IMMEDIATE")
                    if owner is None:
                        result = work(cursor, None, *args, **kwargs)
                    else:
                        if owner.lease_expires <= self._clock.now():  # else nobody can have found us dead
                            self._renew(cursor, owner)
                        result = work(cursor, owner.id, *args, **kwargs)
                    if points.observer is not None:
                        points.observer("store.commit", (work, args))
                    cursor.execute("COMMIT")
                    if points.observer is not None:
                        points.observer("store.committed", (work, args))
                    return result
                except BaseException as error:  # signals may raise anything between two statements
                    if db is not None and db.in_transaction:
                        db.execute("ROLLBACK")
                    if owner is not None:
                        owner.lease_expires = 0  # what was renewed may not be there: look next time
                    if isinstance(error, sqlite3.IntegrityError):
                        raise RowExists(str(error)) from error
                    if isinstance(error, sqlite3.Error):
                        raise translated(error, self._database.path) from error
                    raise
        except OwnershipLost:
            self.losses.tell()
            raise

    def _change(self, work: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        writer = self._writer
        with writer.lock:
            db = writer.db
            try:
                cursor = writer.cursor()
                db = writer.db
                cursor.execute("BEGIN IMMEDIATE")
                result = work(cursor, *args, **kwargs)
                if points.observer is not None:
                    points.observer("store.commit", (work, args))
                cursor.execute("COMMIT")
                if points.observer is not None:
                    points.observer("store.committed", (work, args))
                return result
            except BaseException as error:
                if db is not None and db.in_transaction:
                    db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise translated(error, self._database.path) from error
                raise

    def _read(self, query: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        reader = self._reader
        with reader.lock:
            try:
                return query(reader.reading(), *args, **kwargs)
            except sqlite3.Error as error:
                raise translated(error, self._database.path) from error

    def _fetch(self, query: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        # The connection that writes knows its own pages; the other one would read them anew after each commit.
        writer = self._writer
        with writer.lock:
            try:
                return query(writer.cursor(), *args, **kwargs)
            except sqlite3.Error as error:
                raise translated(error, self._database.path) from error

    def _claim(self, folder: Path) -> Owner:
        """Become an owner; the lock of the connection that writes is held."""
        if points.observer is not None:
            points.observer("store.commit", "the claim of an owner")
        owner = self._owner = Owner.claim(self._writer.cursor(), folder, self._identity, self._clock.now())
        if points.observer is not None:
            points.observer("store.committed", "the claim of an owner")
        return owner

    # Maintenance

    def checkpoint(self) -> None:
        """See `RunStore.checkpoint`: copies the write-ahead log into the database when it has grown.

        Writers go on meanwhile. If they outrun the copying they wait until it has caught up.
        """
        if self._database.in_memory:
            return
        link = self._maintenance
        try:
            if self._rows_written() - self._rows_copied < CHECKPOINT_ROWS:
                return
            with link.lock:
                db = link.db or link.open()
                self._rows_copied = self._rows_written()
                if points.observer is not None:
                    points.observer("store.checkpoint", self.url)
                _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if points.observer is not None:
                    points.observer("store.checkpointed", self.url)
                if pages > self._catch_up_at:
                    with self._writer.lock:  # our own writers queue up here instead of polling
                        if points.observer is not None:
                            points.observer("store.checkpoint", self.url)
                        busy, _, _ = db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                        if points.observer is not None:
                            points.observer("store.checkpointed", self.url)
                    # If somebody reads for long, waiting for it each time would help nobody.
                    self._catch_up_at = 2 * pages if busy else CATCH_UP_PAGES
        except sqlite3.Error as error:
            raise translated(error, self._database.path) from error

    def _rows_written(self) -> int:
        db = self._writer.db
        return 0 if db is None else db.total_changes

    def close(self) -> None:
        """See `RunStore.close`. May be called twice; reading or writing raises from then on."""
        self.bell.close()  # with no lock in hand, as its thread may want one
        for link in self._links[:-1]:
            link.close()
        writer = self._writer
        with writer.lock:
            db, writer.db, writer.closed = writer.db, None, True
            if db is None:
                self._leave(None)
                return
            try:
                db.execute(f"PRAGMA busy_timeout = {_CLOSE_WAIT_MILLISECONDS}")
                db.execute("BEGIN IMMEDIATE")
                self._leave(db)
                if points.observer is not None:
                    points.observer("store.commit", "the end of an owner")
                db.execute("COMMIT")
                if points.observer is not None:
                    points.observer("store.committed", "the end of an owner")
                if points.observer is not None:
                    points.observer("store.checkpoint", self.url)
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if points.observer is not None:
                    points.observer("store.checkpointed", self.url)
            except sqlite3.Error:
                pass  # what was committed is safe, and the next opener does what is left
            finally:
                db.close()

    # The journal

    def open_journal(self) -> Journal | None:
        """See `RunStore.open_journal`."""
        owner, folder = self._owner, self._owners
        if owner is None or folder is None or self._database.durability != "journal" or not journals.CAN_MAP:
            return None
        try:
            owner.journal = journal = journals.MappedJournal(owner, folder)
        except OSError:
            return None  # each task has a commit of its own, then
        return journal

    def catch_up(self) -> None:
        """See `RunStore.catch_up`."""
        folder, owner = self._owners, self._owner
        if folder is None or not _has_journals(folder):
            return
        noted = journals.pages_in_use(folder, None if owner is None else owner.key)
        time = self._clock
        end = time.monotonic() + _CATCH_UP_SECONDS
        while noted:
            settled = self._read(journaling.settled_pages, noted)
            noted = {key: page for key, page in noted.items() if settled.get(key, page) < page}
            if noted:
                if time.monotonic() >= end:
                    return
                time.sleep(_LOOK_SECONDS)

    def _read_pages(self, suspect: DeadOwner) -> Sequence[Page]:
        folder = self._owners
        assert folder is not None
        try:
            return journals.read_pages(folder, suspect.key)
        except OSError as error:
            raise StoreUnavailable(
                f"What the dead process {suspect.pid} has noted in {folder} cannot be read: {error}. Make its files"
                f" readable, or remove those that begin with {suspect.key} to go on without it."
            ) from error

    def _remove_pages(self, suspect: DeadOwner) -> None:
        assert self._owners is not None
        journals.remove_pages(self._owners, suspect.key)

    # Forks

    def before_fork(self) -> None:
        """Wait until no thread is inside of SQLite; a copy of it in that condition is of no use."""
        for link in self._links:
            if link.lock.acquire(timeout=_FORK_WAIT_SECONDS):
                self._resting.append(link)

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        while self._resting:
            self._resting.pop().lock.release()

    def after_fork_in_child(self) -> None:
        """Leave connections and ownership to the parent."""
        self._resting.clear()
        for link in self._links:
            link.abandon()
        self._forget_owner()
        self._rows_copied = 0


@cache
def _has_journals(folder: Path) -> bool:
    try:
        with os.scandir(folder) as found:
            return any(each.name.endswith(JOURNAL_SUFFIX) for each in found)
    except FileNotFoundError:
        return False


def _reopened(path: str, durability: Durability) -> SQLiteRunStore:
    """The store for what comes from another process and reads there; it stays open."""
    return SQLiteRunStore(path, durability, create=False)
