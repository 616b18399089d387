"""What Dask calls in a worker."""

from __future__ import annotations

from typing import Any

from distributed import get_worker, secede
from distributed.utils import sync

from mainspring._clusters.parcels import Reply
from mainspring._clusters.protocol import WorkerLost
from mainspring._clusters.workplace import perform

__all__ = ["LargeReply", "mark_of", "perform_once", "perform_parcel", "take_letter"]

_PATIENCE = 1.0
"""Seconds that the scheduler takes to see that there is a mark already."""


class LargeReply(Reply):
    """A reply with values that are to stay where they are. Its type is known where it was asked for before it comes."""

    __slots__ = ()


def perform_parcel(parcel: bytes, *inputs: Any) -> Reply:
    """See `mainspring._clusters.workplace.perform`."""
    reply = perform(parcel, inputs, secede)
    return LargeReply(reply.letter, reply.values) if reply.values else reply


def perform_once(parcel: bytes, *inputs: Any) -> Reply:
    """`perform_parcel`, unless some worker has begun to. Dask gives what a worker dies with to the next one.

    Raises:
        WorkerLost: One has.
    """
    worker: Any = get_worker()
    if not sync(worker.loop, _set_mark, worker, str(worker.get_current_task())):
        raise WorkerLost("Dask has lost the worker that had begun it, or its reply.")
    return perform_parcel(parcel, *inputs)


def mark_of(key: str) -> str:
    """What the scheduler knows the mark by that a parcel was begun: a queue with room for one."""
    return f"mainspring-begun-{key}"


async def _set_mark(worker: Any, key: str) -> bool:
    """Mark a parcel as begun; False if it was marked before."""
    await worker.scheduler.queue_create(name=mark_of(key), client=worker.name, maxsize=1)
    try:
        await worker.scheduler.queue_put(name=mark_of(key), data=1, timeout=_PATIENCE)
    except TimeoutError:
        return False
    return True


def take_letter(reply: Reply) -> bytes:
    """The part of a reply that does not stay."""
    return reply.letter
