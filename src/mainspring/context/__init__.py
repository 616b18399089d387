"""What is active where: the current flow run, task run, tags and settings, as context variables.

Holders only hold: they are built by the engines and read by everybody. Types from higher layers are held
by protocol. Context variables follow asyncio tasks by themselves, and threads when a task runner copies them.
To other processes they go as the dict that `serialize_context` gives, and `hydrated_context` makes them active
there.

``runs``      the contexts of flow and task runs
``tagging``   tags for runs created in a block
``stopping``  waits that end when a run is told to stop, and clearing up that does not
``shipping``  contexts on their way to other processes

`SettingsContext` is made in `mainspring.settings`, which it is the mechanism of. The contexts of clients,
`SyncClientContext` and `AsyncClientContext`, are in `mainspring.client`: clients know the store, contexts do not.
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring._holder import ContextModel
    from mainspring.context.runs import (
        EngineContext,
        FlowRunContext,
        RunContext,
        TaskRunContext,
        current_scope,
        get_run_context,
    )
    from mainspring.context.shipping import hydrated_context, is_elsewhere, serialize_context, with_context
    from mainspring.context.stopping import shielded, stoppable
    from mainspring.context.tagging import TagsContext, tags
    from mainspring.settings.current import SettingsContext, get_settings_context

__all__ = [
    "ContextModel",
    "EngineContext",
    "FlowRunContext",
    "RunContext",
    "SettingsContext",
    "TagsContext",
    "TaskRunContext",
    "current_scope",
    "get_run_context",
    "get_settings_context",
    "hydrated_context",
    "is_elsewhere",
    "serialize_context",
    "shielded",
    "stoppable",
    "tags",
    "with_context",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".runs": [
            "EngineContext",
            "FlowRunContext",
            "RunContext",
            "TaskRunContext",
            "current_scope",
            "get_run_context",
        ],
        ".shipping": ["hydrated_context", "is_elsewhere", "serialize_context", "with_context"],
        ".stopping": ["shielded", "stoppable"],
        ".tagging": ["TagsContext", "tags"],
        "mainspring._holder": ["ContextModel"],
        "mainspring.settings.current": ["SettingsContext", "get_settings_context"],
    },
)
