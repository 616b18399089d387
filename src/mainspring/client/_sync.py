"""The client for sync code."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from mainspring.client._events import EventMethods
from mainspring.client._limits import LimitMethods
from mainspring.client._logs import LogMethods
from mainspring.client._runs import RunMethods
from mainspring.settings import get_current_settings
from mainspring.store.addresses import open_store

__all__ = ["Client", "open_client"]


class Client(RunMethods, LogMethods, EventMethods, LimitMethods):
    """Reads and changes what is in a run store: runs, their states and logs, flows, and concurrency limits.

    Safe to use from any thread. It need not be entered; after a ``with`` block it is closed.

    Ids may be given as ``UUID`` or text. Methods that take one raise `ObjectNotFound` if nothing has it, and
    `ConfigurationError` if it is none. Any method may raise `StoreError`, and RuntimeError if the client was closed.

    Args:
        store: The run store.
    """


@contextmanager
def open_client(create: bool = False) -> Generator[Client]:
    """A client of a run store that is open in the block.

    Args:
        create: Make the run store if there is none.

    Raises:
        StoreError: There is no such store, or it cannot be read.
    """
    settings = get_current_settings()
    store = open_store(
        settings.run_store_url, settings.durability, create, settings.host_id, settings.lease_seconds
    )
    try:
        with Client(store) as client:
            yield client
    finally:
        store.close()
