"""Durations as people write them: ``90m``, ``12h``, ``30d``, ``1d12h``."""

from __future__ import annotations

import re
from datetime import timedelta

from mainspring.exceptions import ConfigurationError

__all__ = ["parse_duration"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])\s*", re.ASCII)


def parse_duration(text: str, option: str) -> timedelta:
    """The duration that a text means: numbers with a unit each, the units being s, m, h, d and w.

    Args:
        text: What somebody has written, as in ``30d``.
        option: What it was written for, for the message.

    Raises:
        ConfigurationError: It is no duration, or one of ages.
    """
    rest = text.strip().lower()
    parts = list(_PART.finditer(rest))
    if not parts or "".join(part[0] for part in parts) != rest:
        raise ConfigurationError(
            f"{option} {text!r} is no duration: give numbers with a unit each, as in 90m, 12h, 30d, 2w or 1d12h."
        )
    try:
        found = sum((timedelta(**{_UNITS[part[2]]: float(part[1])}) for part in parts), timedelta())
    except OverflowError:
        found = timedelta.max
    if found > timedelta(days=365_000):
        raise ConfigurationError(f"{option} {text!r} is longer than a thousand years.")
    return found
