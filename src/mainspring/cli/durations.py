"""Durations as people write them: ``90m``, ``12h``, ``30d``, ``1d12h``."""

from __future__ import annotations

import re
from datetime import timedelta

from mainspring.exceptions import ConfigurationError

__all__ = ["LONGEST", "parse_duration", "read_duration"]

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*", re.ASCII)
LONGEST = timedelta(days=365_000)
"""A duration that leads from now to a date that there is."""


def parse_duration(text: str, option: str) -> timedelta:
    """The duration that a text means.

    Args:
        text: What somebody has written; see `read_duration`.
        option: What it was written for, for the message.

    Raises:
        ConfigurationError: It is no duration, or one of ages.
    """
    found = read_duration(text)
    if found is None:
        raise ConfigurationError(
            f"{option} {text!r} is no duration: give numbers with a unit each, as in 90m, 12h, 30d, 2w or 1d12h."
        )
    if found > LONGEST:
        raise ConfigurationError(f"{option} {text!r} is longer than a thousand years.")
    return found


def read_duration(text: str) -> timedelta | None:
    """The duration that a text means: numbers with a unit each, the units being ms, s, m, h, d and w.

    Returns:
        The longest there is if it is longer than that, None if the text is no duration.
    """
    rest = text.strip().lower()
    parts = list(_PART.finditer(rest))
    if not parts or "".join(part[0] for part in parts) != rest:
        return None
    try:
        return sum((timedelta(**{_UNITS[part[2]]: float(part[1])}) for part in parts), timedelta())
    except OverflowError:
        return timedelta.max
