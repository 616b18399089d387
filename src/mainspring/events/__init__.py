"""Events: what happens, told to whoever wants to know, while it happens.

Every state that a run enters is an event, and programs may emit events of their own. Events reach subscribers in the
same process at once, and those who follow the run store from any process a moment later. Those that programs emit are
kept there; those of states are made of the history, which says the same.

``records``        events and the resources that they are about
``subscriptions``  who is told in this process: callbacks, and queues to iterate over
``emission``       keeping and telling; it needs the run store, so it is loaded when it is used
``related``        which run, flow and tags something happened in
``state_changes``  the events of states, and back from events to states
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mainspring.events.records import Event, RelatedResource, Resource
from mainspring.events.state_changes import (
    emit_flow_run_state_change_event,
    emit_run_state_change_event,
    emit_task_run_state_change_event,
    events_of,
    states_of,
)
from mainspring.events.subscriptions import Subscriber, Subscription, get_events_subscriber, subscribe

if TYPE_CHECKING:
    from mainspring.events.emission import emit_event, publish_event

__all__ = [
    "Event",
    "RelatedResource",
    "Resource",
    "Subscriber",
    "Subscription",
    "emit_event",
    "emit_flow_run_state_change_event",
    "emit_run_state_change_event",
    "emit_task_run_state_change_event",
    "events_of",
    "get_events_subscriber",
    "publish_event",
    "states_of",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    if name not in ("emit_event", "publish_event"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module("mainspring.events.emission"), name)
    return value
