"""Connections to one PostgreSQL database: made when needed, shared by threads, and given up when they break.

A pool of our own, as that of psycopg opens connections in threads of its own and keeps to itself why it cannot.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import pq
from psycopg.types.numeric import Int8Dumper

from mainspring.exceptions import StoreCorrupt, StoreError, StoreMissing, StoreUnavailable
from mainspring.store.protocol import Durability

__all__ = [
    "BUSY_SECONDS",
    "Connection",
    "Connections",
    "is_lost",
    "is_passing",
    "shown_address",
    "translated_error",
    "wait_a_little",
]

BUSY_SECONDS = 30.0
"""For so long a transaction is tried again when the server is away, or others are in its way."""

MOST_CONNECTIONS = 4
"""Of a process; servers allow a hundred in all by default. Most processes need one or two."""

CONNECT_SECONDS = 10

Connection = psycopg.Connection[tuple[Any, ...]]

# What a commit survives is up to the server's own settings, unless more or less is asked for.
_SYNCHRONOUS: dict[Durability, str | None] = {"process": None, "disk": "on", "relaxed": "off"}

_abandoned: list[Connection] = []


class Connections:
    """The connections of a process to one database. Safe to use from any thread.

    Args:
        url: The address, as libpq reads it.
        durability: What a commit survives.
    """

    def __init__(self, url: str, durability: Durability) -> None:
        self.url = url
        self.address = shown_address(url)
        self._durability: Durability = durability
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._coming = 0
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
                if len(self._all) + self._coming < MOST_CONNECTIONS:
                    break
                self._changed.wait()
            self._coming += 1
        connection: Connection | None = None
        try:
            connection = self.connect()
        finally:
            with self._changed:
                self._coming -= 1
                if connection is None:
                    self._changed.notify()
                else:
                    self._all.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        is_usable = connection.info.transaction_status == pq.TransactionStatus.IDLE and not connection.closed
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
        connection = psycopg.connect(
            self.url,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name=f"mainspring {os.getpid()}",
        )
        try:
            connection.adapters.register_dumper(int, Int8Dumper)  # one type, so one prepared statement
            level = _SYNCHRONOUS[self._durability]
            if level is not None:
                connection.execute(f"SET synchronous_commit = {level}".encode())
        except BaseException:
            _close(connection)
            raise
        return connection

    def drop_free(self) -> None:
        """Give up what nobody uses now, as the server was away."""
        with self._changed:
            dropped, self._free = self._free, []
            self._all.difference_update(dropped)
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


def _close(connection: Connection) -> None:
    try:
        connection.close()
    except psycopg.Error:
        pass  # it is gone either way


def shown_address(url: str) -> str:
    """The address without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@", 1)))


# Errors

_AWAY = ("57P01", "57P02", "57P03", "53300")  # shut down, crashed, starting up, too many connections
_IN_THE_WAY = ("40001", "40P01", "55P03")


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the connection broke, or that there is none for now."""
    if not isinstance(error, psycopg.OperationalError):
        return isinstance(error, psycopg.InterfaceError)
    state = error.sqlstate
    return state is None or state in _AWAY or state.startswith("08")


def is_passing(error: BaseException) -> bool:
    """Whether others were in the way, and the same transaction may do well now."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _IN_THE_WAY


def translated_error(error: psycopg.Error, address: str) -> StoreError:
    """The error of ours for one of PostgreSQL: which database, what happened, what to do."""
    kind, reason = _reason(error)
    text = " ".join(str(error).split())
    return kind(
        f"The run store {address} cannot be used: {reason}. PostgreSQL says: {text or type(error).__name__}."
    )


def _reason(error: psycopg.Error) -> tuple[type[StoreError], str]:
    state = error.sqlstate or ""
    text = str(error)
    if state.startswith("28") or ("password" in text and not state):
        return StoreUnavailable, "the server refuses to let us in. Check user, password and pg_hba.conf"
    if state == "3D000" or ("database" in text and "does not exist" in text):
        return (
            StoreMissing,
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
    if state == "53300":
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
