"""A network between clients and a server that can be watched and cut."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg import conninfo

__all__ = ["Proxy", "proxied"]


class Proxy:
    """Hands on what clients and server say, and counts how often a client waits for an answer.

    Args:
        upstream: The address of the server, as libpq reads it.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.round_trips = 0
        self.is_cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The address of the server by way of this."""
        facts = conninfo.conninfo_to_dict(self._upstream)
        options = parse_qs(urlsplit(self._upstream).query).get("options", [""])[0]
        query = f"?options={options.replace('=', '%3D')}" if options else ""
        login = f"{facts['user']}:{facts.get('password', '')}@" if facts.get("user") else ""
        return f"postgresql://{login}127.0.0.1:{self.port}/{facts['dbname']}{query}"

    def cut(self) -> None:
        """Break all connections, and let nobody through until `mend`."""
        self.is_cut = True
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                _close(end)

    def mend(self) -> None:
        """Let clients through again."""
        self.is_cut = False

    def close(self) -> None:
        """Break everything for good."""
        self._listener.close()
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
        try:
            while content := source.recv(65_536):
                if is_client:
                    has_asked[0] = True
                elif has_asked[0]:
                    has_asked[0] = False
                    self.round_trips += 1
                target.sendall(content)
        except OSError:
            pass
        _close(source)
        _close(target)


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
