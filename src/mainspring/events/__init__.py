"""Events: what happens, told to whoever wants to know, while it happens.

Every state that a run enters is an event, and programs may emit events of their own. Events reach subscribers in the
same process at once, and those who follow the run store from any process a moment later. Those that programs emit are
kept there; those of states are made of the history, which says the same.

``emission``  keeping and telling; all else is in `mainspring._events`, which the run store is built on
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring._events.records import Event, RelatedResource, Resource
    from mainspring._events.state_changes import (
        emit_flow_run_state_change_event,
        emit_run_state_change_event,
        emit_task_run_state_change_event,
        events_of,
        states_of,
    )
    from mainspring._events.subscriptions import Subscriber, Subscription, get_events_subscriber, subscribe
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

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".emission": ["emit_event", "publish_event"],
        "mainspring._events.records": ["Event", "RelatedResource", "Resource"],
        "mainspring._events.state_changes": [
            "emit_flow_run_state_change_event",
            "emit_run_state_change_event",
            "emit_task_run_state_change_event",
            "events_of",
            "states_of",
        ],
        "mainspring._events.subscriptions": [
            "Subscriber",
            "Subscription",
            "get_events_subscriber",
            "subscribe",
        ],
    },
)
