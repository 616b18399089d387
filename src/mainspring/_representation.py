"""Showing objects of the user's in messages: whatever they do when they are shown, and however large they are."""

from __future__ import annotations

import traceback
from types import TracebackType

__all__ = ["name_of", "shown", "traceback_of"]

LONGEST = 2_000
"""Characters of a representation that a message has at most."""


def shown(value: object) -> str:
    """``repr(value)``, cut if it is long; if that raises, the type and what it raised."""
    try:
        text = repr(value)
    except Exception as error:  # an object that cannot be shown must not hide what the message is about
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    if len(text) > LONGEST:
        return f"{text[:LONGEST]}... ({len(text):,} characters)"
    return text


def name_of(value: object, *attributes: str) -> str | None:
    """The first of the attributes of ``value`` that is a text with something in it, None if there is none."""
    for attribute in attributes:
        try:
            name = getattr(value, attribute, None)
        except Exception:  # an object that raises when it is asked for its name has none
            name = None
        if isinstance(name, str) and name:
            return name
    return None


def traceback_of(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """An exception as ``exc_info``, which logging can show: one that resists is represented by another.

    Logging would also ask the exception itself whether it is true.
    """
    trace = error.__traceback__
    try:
        traceback.format_exception_only(error)
    except Exception as reason:  # what it raises when it is shown must not get in the way of what is logged
        text = f"a {type(error).__name__} that cannot be shown: {type(reason).__name__}"
        return RuntimeError, RuntimeError(text), trace
    return type(error), error, trace
