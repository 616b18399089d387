"""Events: what happens, told to whoever wants to know, while it happens.

Every state that a run enters is an event, and programs may emit events of their own. Events reach subscribers in the
same process; they are not kept, since the history in the run store says the same and `events_of` makes events of it.
While nobody is subscribed no event is made.

``records``        events and the resources that they are about
``subscriptions``  who is told: callbacks, and queues to iterate over
``emission``       telling
``related``        which run, flow and tags something happened in
``state_changes``  the events of states, and back from events to states
"""

from mainspring.events.emission import emit_event, publish_event
from mainspring.events.records import Event, RelatedResource, Resource
from mainspring.events.state_changes import (
    emit_flow_run_state_change_event,
    emit_run_state_change_event,
    emit_task_run_state_change_event,
    events_of,
    states_of,
)
from mainspring.events.subscriptions import Subscriber, Subscription, get_events_subscriber, subscribe

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
