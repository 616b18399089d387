"""What happened when a driver did what the core could not: values, so that no exception enters the core."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Blocked", "Outcome", "Raised", "Ready", "Returned", "is_limit"]


class Outcome(msgspec.Struct, eq=False):
    """Something that happened. Each kind is a class of its own; the transition table knows them by type."""


class Ready(Outcome, eq=False):
    """Every input of the run is there."""


class Blocked(Outcome, eq=False):
    """An upstream run did not complete, so this one must not start."""

    error: Exception


class Returned(Outcome, eq=False):
    """The function returned, or would have: ``cached`` values come from an earlier run."""

    value: Any
    cached: bool = False


class Raised(Outcome, eq=False):
    """An ordinary exception came out.

    Args:
        error: The exception.
        limit: If it is a limit on time that the run itself has to keep to: what people call it.
        is_last: No further attempt can be made, because the time for all of them is over.
    """

    error: Exception
    limit: str | None = None
    is_last: bool = False


def is_limit(error: BaseException) -> bool:
    """True if a time limit of code around has expired: that is no failure of the code that was interrupted."""
    if not isinstance(error, TimeoutError):
        return False
    # The exception itself is not asked: it may be of a class of the user's.
    limit = BaseException.__getattribute__(error, "__dict__").get("limit")
    return bool(getattr(limit, "active", False))
