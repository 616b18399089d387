"""Moments as people write them: how long ago, or a time."""

from __future__ import annotations

from datetime import datetime, timedelta

import typer

from mainspring.cli.durations import LONGEST, read_duration

__all__ = ["parse_moment"]


def parse_moment(text: str) -> datetime | timedelta:
    """``10m`` is ten minutes ago, ``2026-07-01`` or ``2026-07-01T12:30`` a time here, unless it names its zone.

    Raises:
        typer.BadParameter: It is none of these.
    """
    ago = read_duration(text)
    if ago is not None and ago <= LONGEST:
        return ago
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no moment. Say how long ago, with ms, s, m, h, d or w (10m), or a time"
            f" (2026-07-01T12:30)."
        ) from None
