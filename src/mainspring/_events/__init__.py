"""Events as records, those of states, and who is told of them in this process.

This is the part of `mainspring.events` that the run store and the recorder are built on.

``records``        events and the resources that they are about
``receivers``      who is told in this process
``subscriptions``  ways to be told: callbacks, and queues to iterate over
``related``        which run, flow and tags something happened in
``state_changes``  the events of states, and back from events to states
"""
