"""Concurrency limits: never more than so many at a time, across threads, tasks and processes.

The limits are kept in the run store; `mainspring.client.Client` creates, reads and deletes them. Code takes slots of
them with the context managers of `mainspring.concurrency.sync` and `mainspring.concurrency.asyncio`, and rate limits
with the functions there. Slots that belong to a run are released at its end, whatever became of the code that took
them. They are held on leases, which one background thread renews for all holders of the process.

``sync``, ``asyncio``  what programs use
``_terms``             what a caller asks for, checked
``_blocks``              the context managers, sync and async
``_slots``             one request: waiting, holding, giving back
``_waiting``           who waits in this process, and who is woken
``_keeper``            the background thread: renewals, and the store calls of async code
``_interrupts``        ending a block whose lease was lost
``_left_over``         what runs hold, to be released when they end
``_tags``              slots for the tags of task runs
``_notices``           the events of taking and giving back
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.concurrency._left_over import arelease_left_over, noted, release_left_over
    from mainspring.concurrency._slots import Slots
    from mainspring.concurrency._tags import atake_tag_slots, limits_changed, take_tag_slots
    from mainspring.concurrency._terms import DAY, LeaseHolder, Terms, check_limit, understood_holder
    from mainspring.exceptions import (
        AcquireConcurrencySlotTimeoutError,
        ConcurrencyLeaseLost,
        ConcurrencySlotAcquisitionError,
    )
    from mainspring.store.limits import ConcurrencyLimit, SlotHolder

__all__ = [
    "DAY",
    "AcquireConcurrencySlotTimeoutError",
    "ConcurrencyLeaseLost",
    "ConcurrencyLimit",
    "ConcurrencySlotAcquisitionError",
    "LeaseHolder",
    "SlotHolder",
    "Slots",
    "Terms",
    "arelease_left_over",
    "atake_tag_slots",
    "check_limit",
    "limits_changed",
    "noted",
    "release_left_over",
    "take_tag_slots",
    "understood_holder",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        "._left_over": ["arelease_left_over", "noted", "release_left_over"],
        "._slots": ["Slots"],
        "._tags": ["atake_tag_slots", "limits_changed", "take_tag_slots"],
        "._terms": ["DAY", "LeaseHolder", "Terms", "check_limit", "understood_holder"],
        "mainspring.exceptions": [
            "AcquireConcurrencySlotTimeoutError",
            "ConcurrencyLeaseLost",
            "ConcurrencySlotAcquisitionError",
        ],
        "mainspring.store.limits": ["ConcurrencyLimit", "SlotHolder"],
    },
)
