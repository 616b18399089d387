"""What Ray calls in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainspring._clusters.parcels import Reply
from mainspring._clusters.workplace import perform

__all__ = ["perform_parcel"]


def perform_parcel(parcel: bytes, forms: Sequence[bool], *given: Any) -> tuple[bytes, Reply | None]:
    """See `mainspring._clusters.workplace.perform`.

    Args:
        parcel: The parcel.
        forms: For each input, whether it is a reply, which has come in two parts.
        given: These parts, and the inputs that are values.

    Returns:
        The letter of the reply; and the whole of it, if there are values with it that are to stay.
    """
    parts = iter(given)
    inputs: list[Any] = []
    for is_reply in forms:
        if is_reply:
            letter, whole = next(parts), next(parts)
            inputs.append(Reply(letter) if whole is None else whole)
        else:
            inputs.append(next(parts))
    reply = perform(parcel, inputs)
    return reply.letter, reply if reply.values else None
