"""What there is to know about a database without opening it as a run store."""

from __future__ import annotations

import msgspec

__all__ = ["DatabaseDescription", "Migration", "Vacuuming"]


class DatabaseDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A database that may be a run store.

    Args:
        kind: "sqlite" or "postgresql".
        location: The path of the file, or the address without a password.
        schema_version: The number of the last migration that was applied to it; None if there is no run store yet.
        known_version: The newest one that this version of mainspring knows.
        size: How many bytes it takes; None if that cannot be told.
        flow_runs: How many flow runs it has, subflow runs included.
        task_runs: How many task runs.
    """

    kind: str
    location: str
    schema_version: int | None
    known_version: int
    size: int | None = None
    flow_runs: int = 0
    task_runs: int = 0


class Migration(msgspec.Struct, frozen=True):
    """What was done to the schema of a database: its version before, 0 for none, and after."""

    before: int
    after: int


class Vacuuming(msgspec.Struct, frozen=True):
    """How many bytes a database took before it was vacuumed, and after."""

    before: int
    after: int
