"""Moments as people write them: how long ago, or a time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import typer

__all__ = ["parse_moment"]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")


def parse_moment(text: str) -> datetime | timedelta:
    """``10m`` is ten minutes ago, ``2026-07-01`` or ``2026-07-01T12:30`` a time here, unless it names its zone.

    Raises:
        typer.BadParameter: It is none of these.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no moment. Say how long ago, with ms, s, m, h, d or w (10m), or a time"
            f" (2026-07-01T12:30)."
        ) from None
