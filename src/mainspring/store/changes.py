"""What is written about runs: states that were entered, lines that were logged, keys of results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec

from mainspring import clock, identifiers

if TYPE_CHECKING:
    from mainspring.runs import Run
    from mainspring.states import State
    from mainspring.store.results import Attachment

__all__ = ["CacheKey", "Change", "Durability", "LogEntry"]

Durability = Literal["process", "disk", "relaxed", "journal"]
"""What a commit survives: the death of the process; a power cut; neither for some milliseconds."""


class Change:
    """The states that one run entered since it was last written, oldest first.

    ``follows`` is the key of the state that must be the run's newest one in the store, or None if the
    run must not be there yet. There is at least one state. What the store keeps about the run's progress
    is worked out from the states alone, so the run may move on while the change is being written; its
    name, tags and the like are read from the record. ``attachments`` is what is written if the states are accepted,
    and so is ``cache_key``, how the run looks for a kept result, if it was noted since then.
    ``rows`` is what the store has made of it already, if anything.
    """

    __slots__ = ("attachments", "cache_key", "follows", "rows", "run", "states")

    def __init__(
        self,
        run: Run,
        states: list[State],
        follows: bytes | None,
        attachments: Sequence[Attachment] = (),
    ) -> None:
        self.run = run
        self.states = states
        self.follows = follows
        self.attachments = attachments
        self.cache_key: CacheKey | None = None
        self.rows: Any = None


class LogEntry(msgspec.Struct, frozen=True):
    """One log line of a run. ``at`` is in microseconds since the epoch, ``level`` as in `logging`."""

    at: int
    level: int
    logger: str
    message: str
    flow_run_key: bytes | None = None
    task_run_key: bytes | None = None

    @property
    def timestamp(self) -> datetime:
        """When it was written."""
        return clock.to_datetime(self.at)

    @property
    def flow_run_id(self) -> UUID | None:
        """The id of the flow run, if there is one."""
        return identifiers.to_uuid(self.flow_run_key)

    @property
    def task_run_id(self) -> UUID | None:
        """The id of the task run, if there is one."""
        return identifiers.to_uuid(self.task_run_key)


class CacheKey(msgspec.Struct, frozen=True):
    """How a task run looked for a kept result: under which key, and what the key is made of.

    Args:
        task_run_key: The run.
        key: The key; None if there was none.
        components: What went into the key by name; the text is None for what could not be hashed.
        skipped: Why nothing was looked up, or None if something was: "refresh" (the result was to be computed anew),
            "disabled" (by a setting), "generator" (its task is one), "no key" (the policy gave none), "error" (the
            key could not be computed).
        message: What the error was.
    """

    task_run_key: bytes
    key: str | None
    components: dict[str, Any]
    skipped: str | None = None
    message: str | None = None
