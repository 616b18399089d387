"""Connections to one PostgreSQL database: made when needed, shared by threads, and given up when they break.

A pool of our own, as that of psycopg opens connections in threads of its own and keeps to itself why it cannot.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8Dumper
from psycopg.waiting import wait_poll

from mainspring.exceptions import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from mainspring.store.addresses import shown_address
from mainspring.store.protocol import Durability

__all__ = [
    "BUSY_SECONDS",
    "Connection",
    "Connections",
    "is_lost",
    "is_passing",
    "pipelined",
    "translated_error",
    "wait_a_little",
]

BUSY_SECONDS = 30.0
"""For so long a transaction is tried again when the server is away, or others are in its way."""

MOST_CONNECTIONS = 4
"""Of a process; servers allow a hundred in all by default. Most processes need one or two."""

_LOOK_SECONDS = 1.0
"""Between two looks at the pool of who waits for a connection."""

OLDEST_SERVER = 130000

_DEFAULTS = {  # for what the address does not say
    "application_name": "mainspring",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    # a network that is gone without a word is found out about in a minute
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "40000",
}
# A process that stands still in the middle of a transaction must not keep others from settling what it has left, nor
# somebody who holds a table keep us for ever. That others are seen once they are committed is what our statements need.
_SESSION = (
    "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s';"
    " SET default_transaction_isolation = 'read committed'"
)

_INTERVAL = 0.1


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits are ended by what a signal raises: psycopg's own go on until there is an answer.

    It is closed then, since nobody knows which answers are still to come.
    """

    def wait(self, gen: Any, interval: float = _INTERVAL, *args: Any, **options: Any) -> Any:
        """See `psycopg.Connection`."""
        try:
            return wait_poll(gen, self.pgconn.socket, interval, *args, **options)
        except (psycopg.Error, UnicodeError):  # the latter before anything was sent
            raise
        except BaseException:
            _close(self)
            try:
                gen.close()
            except Exception:  # noqa: S110
                pass  # it wanted to go on with the connection
            raise

    def __del__(self, *_: Any) -> None:
        """Without the warning of psycopg: an exception of a signal may lose a connection anywhere."""


# What a commit survives is up to the server's own settings, unless more or less is asked for.
_SYNCHRONOUS: dict[Durability, str | None] = {
    "process": None,
    "journal": None,  # a commit is on another machine: nothing here could stand for it
    "disk": "on",
    "relaxed": "off",
}

_abandoned: list[object] = []


class Connections:
    """The connections of a process to one database. Safe to use from any thread.

    Args:
        url: The address, as libpq reads it.
        durability: What a commit survives.

    Raises:
        ConfigurationError: It cannot be read as one.
    """

    def __init__(self, url: str, durability: Durability) -> None:
        self.address = shown_address(url)
        try:
            given: dict[str, Any] = conninfo_to_dict(url)
            # An @ that belongs to a password without being escaped may have left the rest of it anywhere.
            if any("@" in str(given.get(name, "")) for name in ("host", "port", "dbname")):
                raise psycopg.ProgrammingError
            if not str(given.get("port", "")).replace(",", "0").isdigit() and "port" in given:
                raise psycopg.ProgrammingError
        except psycopg.Error:
            raise ConfigurationError(
                f"{self.address} cannot be read as the address of a PostgreSQL database: write"
                f" postgresql://user:password@host:port/database, and special characters in it as %40 for @."
            ) from None  # what libpq says quotes the password
        self._options: dict[str, Any] = {**_DEFAULTS, **given}
        self._durability: Durability = durability
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._free: list[Connection] = []
        # Those that are, and places for those that come. An exception of a signal may strike anywhere, so what nobody
        # has in hand any more counts no more.
        self._all: WeakSet[Any] = WeakSet()
        self._closed = False

    @contextmanager
    def borrowed(self) -> Generator[Connection]:
        """A connection for the block and its thread. One that is not at rest afterwards is given up.

        Raises:
            StoreUnavailable: The store was closed.
            psycopg.Error: There is no connection to be had.
        """
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _take(self) -> Connection:
        with self._changed:
            while True:
                if self._closed:
                    raise StoreUnavailable(f"The run store {self.address} was closed.")
                if self._free:
                    return self._free.pop()
                if len(self._all) < MOST_CONNECTIONS:
                    break
                self._changed.wait(_LOOK_SECONDS)
            place = _Place()
            self._all.add(place)
        try:
            connection = self.connect()
        except BaseException:
            with self._changed:
                self._all.discard(place)
                self._changed.notify()
            raise
        with self._changed:
            self._all.discard(place)
            self._all.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        is_usable = (
            not connection.closed
            and connection.info.transaction_status == pq.TransactionStatus.IDLE
            and connection.info.pipeline_status == pq.PipelineStatus.OFF
        )
        with self._changed:
            if is_usable and not self._closed:
                self._free.append(connection)
                self._changed.notify()
                return
            self._all.discard(connection)
            self._changed.notify()
        _close(connection)

    def connect(self) -> Connection:
        """A connection of the caller's own.

        Raises:
            psycopg.Error: There is none to be had.
        """
        connection = Connection.connect("", autocommit=True, **self._options)
        try:
            connection.adapters.register_dumper(int, Int8Dumper)  # one type, so one prepared statement
            level = _SYNCHRONOUS[self._durability]
            asked = _SESSION if level is None else f"{_SESSION}; SET synchronous_commit = {level}"
            connection.execute(asked.encode())
        except BaseException:
            _close(connection)
            raise
        return connection

    def drop_free(self) -> None:
        """Give up what nobody uses now, as the server was away."""
        with self._changed:
            dropped, self._free = self._free, []
            for connection in dropped:
                self._all.discard(connection)
            self._changed.notify_all()
        for connection in dropped:
            _close(connection)

    def close(self) -> None:
        """Close all, those in use when they are given back. May be called twice."""
        with self._changed:
            self._closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        for connection in free:
            _close(connection)

    def abandon(self) -> None:
        """In a forked child: the connections are the parent's, and closing them would say good-bye in its name."""
        _abandoned.extend(self._all)
        self._reset()


class _Place:
    """Of a connection that is being made."""

    __slots__ = ("__weakref__",)


def _close(connection: Connection) -> None:
    try:
        connection.close()
    except psycopg.Error:
        pass  # it is gone either way


# Pipelines


@contextmanager
def pipelined(connection: Connection) -> Generator[psycopg.Pipeline]:
    """A pipeline for the block. If it is not left in order, nor by an error of the database, the connection is closed.

    An exception of a signal may strike while answers are taken in, and who would count them then might wait for ever.
    """
    _ours.quiet = True
    try:
        with connection.pipeline() as pipeline:
            try:
                yield pipeline
            except psycopg.Error:
                raise
            except BaseException:
                _close(connection)
                raise
    except psycopg.Error:
        raise
    except BaseException:
        _close(connection)
        raise
    finally:
        _ours.quiet = False


_ours = threading.local()


def _is_wanted(line: logging.LogRecord) -> bool:
    """Whether a line of psycopg's is of interest: not that our pipeline cannot be left once its connection is gone."""
    return not (getattr(_ours, "quiet", False) and str(line.msg).startswith("error ignored"))


logging.getLogger("psycopg").addFilter(_is_wanted)


# Errors

# Shut down, crashed, starting up, ended as it was idle or took too long; too many connections
_AWAY = ("57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "53300")
_IN_THE_WAY = ("40001", "40P01", "55P03")


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the connection broke, or that there is none for now."""
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _AWAY or state.startswith("08")


def is_passing(error: BaseException) -> bool:
    """Whether others were in the way, and the same transaction may do well now."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _IN_THE_WAY


def translated_error(error: psycopg.Error, address: str) -> StoreError:
    """The error of ours for one of PostgreSQL: which database, what happened, what to do."""
    kind, reason = _reason(error)
    text = " ".join(str(error).split())
    said = text or type(error).__name__
    end = "" if said.endswith((".", "?")) else "."
    return kind(f"The run store {address} cannot be used: {reason}. PostgreSQL says: {said}{end}")


# What servers say to who connects; libpq gives no code with it.
_REFUSED = re.compile(
    r'password|pg_hba\.conf|authentication failed|role "[^"]*" does not exist|not permitted to log in'
)
_NO_DATABASE = re.compile(r'database "[^"]*" does not exist')
_CROWDED = ("too many", "remaining connection slots")


def _reason(error: psycopg.Error) -> tuple[type[StoreError], str]:
    state = error.sqlstate or ""
    text = str(error)
    if state.startswith("28") or (not state and _REFUSED.search(text)):
        return StoreUnavailable, "the server refuses to let us in. Check user, password and pg_hba.conf"
    if state == "3D000" or (not state and _NO_DATABASE.search(text)):
        return (
            StoreUnavailable,  # not StoreMissing: a name that is misspelt is no history that has not begun
            "there is no such database. Make it with `createdb`, or correct MAINSPRING_DATABASE_URL",
        )
    if state == "42501":
        return StoreUnavailable, (
            "rights are missing. The user needs to read and write the tables there, and to create them the first time"
        )
    if state in ("3F000",):
        return (
            StoreUnavailable,
            "the schema that the address names is not there. Make it with `CREATE SCHEMA`",
        )
    if state == "53300" or (not state and any(part in text for part in _CROWDED)):
        return (
            StoreUnavailable,
            "the server has no connection left. Raise its max_connections, or use a pooler",
        )
    if state.startswith("53"):
        return (
            StoreUnavailable,
            "the server has run out of something. Free some space; what was written before is safe",
        )
    if state in ("XX001", "XX002"):
        return StoreCorrupt, "the database is damaged"
    if state == "25006":
        return StoreUnavailable, "it cannot be written: it is a standby, or read-only"
    if is_lost(error):
        return StoreUnavailable, (
            "the server cannot be reached. Check that it runs and lets us connect, or set MAINSPRING_DATABASE_URL to"
            " another one"
        )
    if is_passing(error):
        return StoreUnavailable, f"others were in the way for {BUSY_SECONDS:.0f} seconds"
    return StoreError, "the database refused"


def wait_a_little(tries: int) -> None:
    """Before another try, ever longer."""
    time.sleep(min(0.01 * 1.5**tries, 0.5))
