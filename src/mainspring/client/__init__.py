"""Clients: reading the history of runs.

``_sync``   `Client`
``_async``  `AsyncClient`, the same methods as coroutines
"""

from mainspring.client._async import AsyncClient
from mainspring.client._sync import Client, get_client, open_client

__all__ = ["AsyncClient", "Client", "get_client", "open_client"]
