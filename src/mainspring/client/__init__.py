"""Clients: reading the history of runs, cancelling runs, and looking after concurrency limits.

``_sync``      `Client`
``_async``     `AsyncClient`, the same methods as coroutines
``_caching``   why a task run used a kept result, or did not
``_cancelling``  asking the process that a run goes on in to stop it
``_following``  reading events, and following them
``_contexts``  `get_client`, and one client for a whole block
"""

from mainspring.client._async import AsyncClient
from mainspring.client._caching import CacheComponent, CacheExplanation, CacheOutcome
from mainspring.client._cancelling import cancel_resting
from mainspring.client._contexts import AsyncClientContext, SyncClientContext, get_client
from mainspring.client._following import EventStream, Since
from mainspring.client._sync import Client, open_client

__all__ = [
    "AsyncClient",
    "AsyncClientContext",
    "CacheComponent",
    "CacheExplanation",
    "CacheOutcome",
    "Client",
    "EventStream",
    "Since",
    "SyncClientContext",
    "cancel_resting",
    "get_client",
    "open_client",
]
