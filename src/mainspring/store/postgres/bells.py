"""Bells between processes that share a PostgreSQL database: LISTEN and NOTIFY."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from mainspring.exceptions import StoreError
from mainspring.store.bells import Bell, encoded
from mainspring.store.postgres.connections import Connection, Connections

__all__ = ["NotifyBell"]

_LONGEST_PAUSE = 5.0
_EVERYBODY = "*"


class NotifyBell(Bell):
    """The bell of a store in PostgreSQL. It has a connection and a thread of its own from the first listener on.

    Args:
        connections: Where to get connections.
        own_key: Gives the key of the owner that this process is, empty if it is none.
    """

    def __init__(self, connections: Connections, own_key: Callable[[], str]) -> None:
        super().__init__()
        self._connections = connections
        self._own_key = own_key
        self._channel: str | None = None
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None
        self._listens = threading.Event()
        self._is_closed = False
        self._sender = os.urandom(6).hex()  # who rings is not to hear it

    def _send(self, message: str, to: list[str] | None) -> None:
        with self._connections.borrowed() as connection:
            channel = self._channel_of(connection)
            connection.execute(
                "SELECT pg_notify(%s, key || ' ' || %s) FROM unnest(%s::text[]) AS key",
                [channel, f"{self._sender} {message}", to or [_EVERYBODY]],
            )

    def ring_with(self, db: Any, topic: str, name: str, to: str) -> bool:
        """See `Bell.ring_with`."""
        if self._channel is None:  # which the first ring finds out
            return False
        db.execute("SELECT pg_notify(?, ?)", (self._channel, f"{to} {self._sender} {encoded(topic, name)}"))
        return True

    def _channel_of(self, connection: Connection) -> str:
        """One for each run store in the database; a number, as there is little room for names."""
        if self._channel is None:
            row = connection.execute("SELECT to_regclass('mainspring_schema')::oid").fetchone()
            self._channel = f"mainspring {row[0] if row else ''}"
        return self._channel

    def _attend(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._thread is None:
                self._wake = os.pipe()
                self._listens = threading.Event()
                self._thread = threading.Thread(target=self._hear, name="mainspring-bell", daemon=True)
                self._thread.start()
            listens = self._listens
        listens.wait(1)  # so that nothing that comes from now on is missed, if the server is there

    def _hear(self) -> None:
        pause = 0.05
        wake = self._wake
        assert wake is not None
        while True:
            try:
                with self._connections.connect() as connection:
                    channel = self._channel_of(connection)
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    if self._listens.is_set():
                        self._tell_of_gap()
                    self._listens.set()
                    pause = 0.05
                    if self._is_done(connection, wake[0]):
                        return
            except (psycopg.Error, StoreError):
                self._listens.set()
                if select.select([wake[0]], [], [], pause)[0]:
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _is_done(self, connection: Connection, wake: int) -> bool:
        """Take in messages until the store is closed.

        Raises:
            psycopg.Error: The connection broke.
        """
        while True:
            # What has arrived with an answer is in memory already, so it is looked for before waiting.
            for note in connection.notifies(timeout=0):
                to, _, rest = note.payload.partition(" ")
                sender, _, message = rest.partition(" ")
                if sender != self._sender and to in (_EVERYBODY, self._own_key()):
                    self._tell(message)
            ready, _, _ = select.select([connection.fileno(), wake], [], [])
            if wake in ready:
                return True

    def close(self) -> None:
        """See `Bell.close`."""
        with self._lock:
            self._is_closed = True
            thread, self._thread = self._thread, None
            wake, self._wake = self._wake, None
        if thread is None or wake is None:
            return
        os.write(wake[1], b"\0")
        if thread is not threading.current_thread():
            thread.join()
            for fd in wake:
                os.close(fd)

    def abandon(self) -> None:
        """See `Bell.abandon`: connection and thread are the parent's."""
        super().abandon()
        if self._wake is not None:
            for fd in self._wake:
                os.close(fd)
        self._thread = self._wake = None
        self._sender = os.urandom(6).hex()
