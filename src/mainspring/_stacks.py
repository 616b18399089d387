"""Room on the stack for what ends something that has come to a `RecursionError`."""

from __future__ import annotations

import sys

__all__ = ["give_back_room", "make_room"]

ROOM = 500
"""Frames beyond the limit: to record the end of a run takes some forty, an import twenty for each one inside of it."""


def make_room(error: object) -> bool:
    """Let the calling thread take more of the stack than is left, if an error says that it is full.

    The limit is the same for all threads, which does not harm the others.

    Args:
        error: The error; None if there is none.

    Returns:
        Whether room was made, and `give_back_room` is to be called.
    """
    if not isinstance(error, RecursionError):
        return False
    sys.setrecursionlimit(sys.getrecursionlimit() + ROOM)
    return True


def give_back_room() -> None:
    """Let the limit be as before `make_room`, whatever others have made of it meanwhile."""
    limit = sys.getrecursionlimit() - ROOM
    try:
        sys.setrecursionlimit(limit)
    except RecursionError:  # this is the very last frame that it allows
        sys.setrecursionlimit(limit + 2)
