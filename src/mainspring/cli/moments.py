"""Moments as people write them: how long ago, or a time."""

from __future__ import annotations

from datetime import datetime, timedelta

from mainspring.cli.durations import parse_duration, read_duration
from mainspring.exceptions import ConfigurationError

__all__ = ["parse_moment"]


def parse_moment(text: str, option: str) -> datetime | timedelta:
    """``10m`` is ten minutes ago, ``2026-07-01`` or ``2026-07-01T12:30`` a time here, unless it names its zone.

    Args:
        text: What somebody has written.
        option: What it was written for, for the message.

    Raises:
        ConfigurationError: It is none of these, or ages ago.
    """
    if read_duration(text) is not None:
        return parse_duration(text, option)
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{option} {text!r} is no moment: say how long ago, as in 90m, 12h, 30d, 2w or 1d12h, or a time, as in"
            f" 2026-07-01T12:30."
        ) from None
