"""A network between clients and a server that can be watched and cut, down to single messages."""

import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg import conninfo

__all__ = ["Message", "Proxy", "proxied"]

_HEADER = 5  # the kind and the length


class Message(NamedTuple):
    """What one side says to the other, in the protocol of PostgreSQL; the first one of a client has no kind."""

    of_client: bool
    kind: bytes
    content: bytes

    @property
    def is_answer_to_commit(self) -> bool:
        return not self.of_client and self.kind == b"C" and self.content[_HEADER:] == b"COMMIT\0"


Cut = Callable[[Message], bool]


class Proxy:
    """Hands on what clients and server say, and counts how often a client waits for an answer.

    Args:
        upstream: The address of the server, as libpq reads it.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._cut: Cut | None = None
        self.round_trips = 0
        self.connections = 0
        self.is_cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The address of the server by way of this."""
        facts = conninfo.conninfo_to_dict(self._upstream)
        options = parse_qs(urlsplit(self._upstream).query).get("options", [""])[0]
        query = "?sslmode=disable&gssencmode=disable"  # so that the messages can be read
        if options:
            query += f"&options={options.replace('=', '%3D')}"
        login = f"{facts['user']}:{facts.get('password', '')}@" if facts.get("user") else ""
        return f"postgresql://{login}127.0.0.1:{self.port}/{facts['dbname']}{query}"

    def cut(self) -> None:
        """Break all connections, and let nobody through until `mend`."""
        self.is_cut = True
        self.drop()

    def drop(self) -> None:
        """Break all connections that there are now."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                _close(end)

    def cut_once(self, wanted: Cut) -> None:
        """Break the connection in which the next message of a kind comes, instead of handing it on."""
        self._cut = wanted

    def cut_at(self, index: int) -> None:
        """Break the connection in which the message with this number comes, of all from now on."""
        seen = 0

        def is_due(_: Message) -> bool:
            nonlocal seen
            seen += 1
            return seen > index

        self._cut = is_due

    def disarm(self) -> bool:
        """Cut no message any more; whether one was cut."""
        with self._lock:
            was_cut, self._cut = self._cut is None, None
        return was_cut

    def mend(self) -> None:
        """Let clients through again."""
        self.is_cut = False

    def close(self) -> None:
        """Break everything for good."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_cut:
                _close(client)
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, self._connect())
            with self._lock:
                self._pairs.add(pair)
                self.connections += 1
            has_asked = [False]
            for source, target, is_client in ((client, pair[1], True), (pair[1], client, False)):
                threading.Thread(
                    target=self._hand_on, args=(source, target, is_client, has_asked), daemon=True
                ).start()

    def _connect(self) -> socket.socket:
        facts = conninfo.conninfo_to_dict(self._upstream)
        host, port = str(facts.get("host") or "127.0.0.1"), int(facts.get("port") or 5432)
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, port))

    def _hand_on(
        self, source: socket.socket, target: socket.socket, is_client: bool, has_asked: list[bool]
    ) -> None:
        messages = _Messages(is_client)
        try:
            while content := source.recv(65_536):
                if is_client:
                    has_asked[0] = True
                elif has_asked[0]:
                    has_asked[0] = False
                    self.round_trips += 1
                whole, is_over = b"", False
                for message in messages.feed(content):
                    if self._is_due(message):
                        is_over = True
                        break
                    whole += message.content
                target.sendall(whole)
                if is_over:
                    break
        except OSError:
            pass
        _close(source)
        _close(target)

    def _is_due(self, message: Message) -> bool:
        if self._cut is None:
            return False
        with self._lock:
            if self._cut is None or not self._cut(message):
                return False
            self._cut = None
            return True


class _Messages:
    """Cuts a stream into messages."""

    def __init__(self, of_client: bool) -> None:
        self._of_client = of_client
        self._has_begun = not of_client
        self._left = b""

    def feed(self, content: bytes) -> Iterator[Message]:
        self._left += content
        while True:
            start = 1 if self._has_begun else 0
            if len(self._left) < start + 4:
                return
            size = start + int.from_bytes(self._left[start : start + 4], "big")
            if len(self._left) < size:
                return
            whole, self._left = self._left[:size], self._left[size:]
            self._has_begun = True
            yield Message(self._of_client, whole[:start], whole)


def _close(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()


@contextmanager
def proxied(upstream: str) -> Generator[Proxy]:
    """A proxy in front of a server for the block."""
    psycopg.connect(upstream).close()
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
