"""The run store in a PostgreSQL database, for many machines.

A transaction sends its statements without waiting, and waits where an answer is needed: usually once, for the commit.
If the connection breaks, it is done again with another one. Whether a commit whose answer was lost took place is asked
of the server, by the id of the transaction. Of transactions in which nothing was asked that id is not known: they may
be done twice without harm.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg

from mainspring import points
from mainspring.exceptions import OwnershipLost, StoreError, StoreUnavailable
from mainspring.store import forks
from mainspring.store.postgres import schema
from mainspring.store.postgres.bells import NotifyBell
from mainspring.store.postgres.connections import (
    BUSY_SECONDS,
    OLDEST_SERVER,
    Connection,
    Connections,
    is_lost,
    is_passing,
    pipelined,
    translated_error,
    wait_a_little,
)
from mainspring.store.postgres.dialect import PipelinedCursor
from mainspring.store.protocol import Durability
from mainspring.store.sql.owners import DEFAULT_LEASE_SECONDS, Owner
from mainspring.store.sql.statements import Cursor
from mainspring.store.sql.store import RowExists, SQLRunStore

__all__ = ["PostgresRunStore"]

_HAS_ENDED = "MS001"  # raised by `mainspring_enter`
_IS_LATE = "MS002"  # raised by `mainspring_require_attempt`
_START = "CAST(extract(epoch FROM pg_postmaster_start_time()) AS text)"
_ENTER = f"SELECT mainspring_enter(?, ?), {_START}"
_FATE = f"SELECT pg_xact_status(%s::xid8), {_START}"

P = ParamSpec("P")
T = TypeVar("T")


class PostgresRunStore(SQLRunStore):
    """A run store in a PostgreSQL database, or in a schema of one.

    Safe to use from any thread. In a forked child it opens connections of its own when it is used, and owns what it
    writes from then on. While the server is away, calls wait for it for half a minute.

    Args:
        url: ``postgresql://user:password@host:port/database?options``, as libpq reads it.
        durability: What a commit survives: "process" leaves that to the server, "disk" and "relaxed" ask for a
            synchronous commit, and for none.
        create: With False a database that is no run store is an error.
        host_id: What tells this host from others; its name when omitted.
        lease_seconds: For how long other hosts wait for a sign of life of this process.

    Raises:
        ConfigurationError: The address cannot be read.
        StoreUnavailable: There is no such database, or it cannot be reached or written.
        StoreMissing: It is no run store, and not to be made one.
        StoreTooNew, StoreTooOld: It was written by another version.
    """

    look_seconds = 0.5  # the server is asked by many

    _refuses_late = True

    def __init__(
        self,
        url: str,
        durability: Durability = "process",
        create: bool = True,
        host_id: str | None = None,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
    ) -> None:
        super().__init__(host_id, lease_seconds, _folder_of_owners(url))
        self._url = url
        self._durability: Durability = durability
        self._connections = Connections(url, durability)
        self._claiming = threading.Lock()
        self._is_closed = False
        self.bell = NotifyBell(self._connections, self._known_key)
        try:
            with self._connections.borrowed() as connection:
                _require_server(connection, self._connections.address)
                version = schema.read_version(connection)
                if version is None and create:
                    schema.migrate(connection, self._connections.address)
                else:
                    schema.require_current(version, self._connections.address)
        except psycopg.Error as error:
            self._connections.close()
            raise translated_error(error, self._connections.address) from error
        except BaseException:
            self._connections.close()
            raise
        forks.watch(self)

    @property
    def url(self) -> str:
        """See `RunStore.url`."""
        return self._url

    @property
    def address(self) -> str:
        """See `RunStore.address`."""
        return self._connections.address

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._url, self._durability)

    # Transactions

    def _transact_once(
        self, work: Callable[Concatenate[Cursor, int | None, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            result: T = self._until_done(self._as_owner, work, args, kwargs)
            return result
        except OwnershipLost:
            self.losses.tell()
            raise

    def _change(self, work: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._until_done(self._as_nobody, work, args, kwargs)
        return result

    def _read(self, query: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def ask(connection: Connection) -> T:
            return query(PipelinedCursor(connection), *args, **kwargs)

        return self._until_done(ask)

    def _fetch(self, query: Callable[Concatenate[Cursor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._read(query, *args, **kwargs)

    def _until_done(self, attempt: Callable[..., T], *args: Any) -> T:
        """Call ``attempt`` with a connection and the arguments, again while the server is away or others in the way."""
        give_up_at = time.monotonic() + BUSY_SECONDS
        tries = 0
        doubtful: _LostCommit | None = None
        while True:
            try:
                with self._connections.borrowed() as connection:
                    if doubtful is not None:
                        if doubtful.xid is None:
                            raise RowExists(
                                "The connection broke during a commit, which may have taken place."
                            )
                        if _is_committed(connection, doubtful, give_up_at):
                            result: T = doubtful.result
                            return result
                        doubtful = None
                    return attempt(connection, *args)
            except _LostCommit as lost:
                doubtful, problem = lost, lost.error
            except psycopg.Error as error:
                problem = error
            if is_lost(problem):
                self._connections.drop_free()
            elif isinstance(problem, psycopg.errors.UniqueViolation) or problem.sqlstate == _IS_LATE:
                raise RowExists(str(problem)) from problem
            elif not is_passing(problem):
                raise translated_error(problem, self._connections.address) from problem
            if time.monotonic() >= give_up_at:
                raise translated_error(problem, self._connections.address) from problem
            wait_a_little(tries)
            tries += 1

    def _as_nobody(
        self,
        connection: Connection,
        work: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        try:
            with pipelined(connection) as pipeline:
                cursor = PipelinedCursor(connection, pipeline)
                cursor.execute("BEGIN")
                result = work(cursor, *args, **kwargs)
                if points.observer is not None:
                    points.observer("store.commit", (work, args))
                cursor.execute("COMMIT")
            if points.observer is not None:
                points.observer("store.committed", (work, args))
        except psycopg.Error:
            _roll_back(connection)
            raise
        return result

    def _as_owner(
        self,
        connection: Connection,
        work: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        owner = self._owner or self._claim(connection)
        xid: str | None = None
        server = ""
        result: Any = None
        is_committing = False
        now = self._clock.now()
        expires = now + self._identity.lease if owner.lease_expires <= now else 0
        try:
            with pipelined(connection) as pipeline:
                cursor = PipelinedCursor(connection, pipeline)
                cursor.execute("BEGIN")
                entry = cursor.execute(_ENTER, (owner.id, expires))
                result = work(cursor, owner.id, *args, **kwargs)
                if entry.is_known:
                    xid, server = entry.fetchone()
                if points.observer is not None:
                    points.observer("store.commit", (work, args))
                is_committing = True
                cursor.execute("COMMIT")
            if points.observer is not None:
                points.observer("store.committed", (work, args))
        except psycopg.Error as error:
            if is_lost(error):
                if is_committing:
                    raise _LostCommit(error, xid, server, result) from error
                raise
            _roll_back(connection)
            if error.sqlstate == _HAS_ENDED:
                self._be_lost(PipelinedCursor(connection), owner)
            raise
        if expires:
            owner.lease_expires = expires
        done: T = result
        return done

    def _claim(self, connection: Connection) -> Owner:
        with self._claiming:
            if self._owner is None:
                folder = self._owners or _folder_of_owners(self._url)
                owner: Owner | None = None
                try:
                    with connection.transaction():
                        owner = Owner.claim(
                            PipelinedCursor(connection), folder, self._identity, self._clock.now()
                        )
                        if points.observer is not None:
                            points.observer("store.commit", "the claim of an owner")
                    if points.observer is not None:
                        points.observer("store.committed", "the claim of an owner")
                except BaseException:
                    if owner is not None:
                        owner.discard()  # a row that is there nevertheless has nothing, and goes with this process
                    raise
                self._owner = owner  # now that others can see it
            return self._owner

    def _known_key(self) -> str:
        """The key of the owner that this process is, empty if it is none yet."""
        owner = self._owner
        return "" if owner is None else owner.key

    # Maintenance

    def checkpoint(self) -> None:
        """See `RunStore.checkpoint`: the server does that by itself."""

    def close(self) -> None:
        """See `RunStore.close`. May be called twice; reading or writing raises from then on."""
        if self._is_closed:
            return
        self._is_closed = True
        self.bell.close()  # with no connection in hand, as its thread may want one
        try:
            if self._owner is not None:
                with self._connections.borrowed() as connection, connection.transaction():
                    self._leave(PipelinedCursor(connection))
                    if points.observer is not None:
                        points.observer("store.commit", "the end of an owner")
        except (psycopg.Error, StoreError):
            pass  # what was committed is safe, and the next opener does what is left
        finally:
            self._leave(None)
            self._connections.close()

    # Forks

    def before_fork(self) -> None:
        """Nothing has to rest: the child leaves all connections alone."""

    def after_fork_in_parent(self) -> None:
        """Nothing has been stopped."""

    def after_fork_in_child(self) -> None:
        """Leave connections and ownership to the parent."""
        self._claiming = threading.Lock()
        self._connections.abandon()
        self._forget_owner()


class _LostCommit(Exception):  # noqa: N818 - names a situation
    """The connection broke when the commit was on its way.

    Args:
        error: What was met.
        xid: The id of the transaction, if it is known.
        server: Which start of the server gave it.
        result: What the transaction was done for.
    """

    def __init__(self, error: psycopg.Error, xid: str | None, server: str, result: object) -> None:
        super().__init__(str(error))
        self.error = error
        self.xid = xid
        self.server = server
        self.result: Any = result


def _require_server(connection: Connection, address: str) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise StoreUnavailable(
            f"The run store {address} cannot be used: its server is too old (PostgreSQL"
            f" {connection.info.server_version // 10_000}),"
            f" and {OLDEST_SERVER // 10_000} or newer is needed."
        )


def _is_committed(connection: Connection, lost: _LostCommit, give_up_at: float) -> bool:
    """Whether a transaction took place whose connection is no more; waits until that is decided.

    Raises:
        psycopg.Error: It is not for long: what was met first.
    """
    tries = 0
    while True:
        try:
            row = connection.execute(_FATE, [lost.xid]).fetchone()
        except psycopg.errors.InvalidParameterValue:
            return False  # the server has lost it in a crash, and never had it as it knows
        assert row is not None
        status, server = row
        if status != "in progress":
            return status == "committed" and (server == lost.server or not _is_given_again(connection, lost))
        if time.monotonic() >= give_up_at:
            raise lost.error
        wait_a_little(tries)
        tries += 1


def _is_given_again(connection: Connection, lost: _LostCommit) -> bool:
    """Whether the id of a transaction is that of another one now, as the server has crashed before it kept anything.

    A server that has crashed makes a checkpoint before it lets anybody in; it gives ids from there on.
    """
    row = connection.execute("SELECT next_xid FROM pg_control_checkpoint()").fetchone()
    assert row is not None
    epoch, _, number = row[0].partition(":")
    return int(lost.xid or 0) >= (int(epoch) << 32) + int(number)


def _roll_back(connection: Connection) -> None:
    try:
        if not connection.closed:
            connection.rollback()
    except psycopg.Error:
        pass  # the connection is given up, which does the same


def _folder_of_owners(url: str) -> Path:
    """Where the processes of this host have the locks by which they know of one another.

    Whoever has them elsewhere, as with another user or another spelling of the address, goes by the process's number.
    """
    place = hashlib.sha256(url.rpartition("@")[2].encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"mainspring-{os.getuid()}", place)


@cache
def _reopened(url: str, durability: Durability) -> PostgresRunStore:
    """The store for what comes from another process and reads there; it stays open."""
    return PostgresRunStore(url, durability, create=False)
