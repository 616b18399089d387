"""Clients: reading and changing the history of runs, cancelling runs, and looking after concurrency limits.

``_sync``      `Client`
``_async``     `AsyncClient`, the same methods as coroutines
``_runs``      the methods about runs and flows
``_logs``      the methods about what runs have logged
``_limits``    the methods about concurrency limits
``_entering``  a client as a block
``_proposals``  setting states from outside, by the rules that runs follow
``_caching``   why a task run used a kept result, or did not
``_cancelling``  asking the process that a run goes on in to stop it
``_events``    the methods about events; ``_following`` is how that is done
``_contexts``  `get_client`, and one client for a whole block

Names are loaded at their first use: the command line reads the history with the sync client alone.
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.client._async import AsyncClient
    from mainspring.client._caching import CacheComponent, CacheExplanation, CacheOutcome
    from mainspring.client._cancelling import cancel_resting
    from mainspring.client._contexts import AsyncClientContext, SyncClientContext, get_client
    from mainspring.client._following import EventStream, Since
    from mainspring.client._limits import (
        ConcurrencyLease,
        GlobalConcurrencyLimitCreate,
        GlobalConcurrencyLimitUpdate,
    )
    from mainspring.client._logs import LogCreate
    from mainspring.client._proposals import OrchestrationDetails, OrchestrationResult, SetStateStatus
    from mainspring.client._sync import Client, open_client

__all__ = [
    "AsyncClient",
    "AsyncClientContext",
    "CacheComponent",
    "CacheExplanation",
    "CacheOutcome",
    "Client",
    "ConcurrencyLease",
    "EventStream",
    "GlobalConcurrencyLimitCreate",
    "GlobalConcurrencyLimitUpdate",
    "LogCreate",
    "OrchestrationDetails",
    "OrchestrationResult",
    "SetStateStatus",
    "Since",
    "SyncClientContext",
    "cancel_resting",
    "get_client",
    "open_client",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        "._async": ["AsyncClient"],
        "._caching": ["CacheComponent", "CacheExplanation", "CacheOutcome"],
        "._cancelling": ["cancel_resting"],
        "._contexts": ["AsyncClientContext", "SyncClientContext", "get_client"],
        "._following": ["EventStream", "Since"],
        "._limits": ["ConcurrencyLease", "GlobalConcurrencyLimitCreate", "GlobalConcurrencyLimitUpdate"],
        "._logs": ["LogCreate"],
        "._proposals": ["OrchestrationDetails", "OrchestrationResult", "SetStateStatus"],
        "._sync": ["Client", "open_client"],
    },
)
