"""What Dask calls in a worker."""

from __future__ import annotations

from typing import Any

from distributed import secede

from mainspring._clusters.parcels import Reply
from mainspring._clusters.workplace import perform

__all__ = ["LargeReply", "perform_parcel", "take_letter"]


class LargeReply(Reply):
    """A reply with values that are to stay where they are. Its type is known where it was asked for before it comes."""

    __slots__ = ()


def perform_parcel(parcel: bytes, *inputs: Any) -> Reply:
    """See `mainspring._clusters.workplace.perform`."""
    reply = perform(parcel, inputs, secede)
    return LargeReply(reply.letter, reply.values) if reply.values else reply


def take_letter(reply: Reply) -> bytes:
    """The part of a reply that does not stay."""
    return reply.letter
