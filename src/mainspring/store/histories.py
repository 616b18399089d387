"""All of a history at one moment, in bare rows: for whoever wants to know whether it can have happened.

Nothing is decoded, so a history of thousands of runs is read in some milliseconds. Times are in microseconds since the
epoch, ids are their 16 bytes, as in the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = ["HeldSlots", "History", "HistoryLimit", "HistoryRun", "HistoryState", "KeptRow", "SlotEvent"]


class HistoryRun(NamedTuple):
    """The row of a run.

    Attributes:
        what: The task key, or the name of the flow.
        around: The flow run that a task run belongs to, or the task run that stands for a subflow.
        around_attempt: For a task run, the attempt of its flow run that it was made in.
        policy: The policy of a task run as JSON; None if it had one attempt, or none.
        tags: The tags of a task run as JSON; None if there is no limit on tags.
    """

    kind: Literal["flow", "task"]
    key: bytes
    name: str
    what: str
    around: bytes | None
    around_attempt: int
    policy: str | None
    tags: str | None
    state_id: bytes
    state_type: str
    state_name: str
    run_count: int
    created: int
    updated: int
    start_time: int | None
    end_time: int | None
    total_run_time: int


class HistoryState(NamedTuple):
    """A state of a run. ``data`` says where its result is kept, as JSON."""

    run_key: bytes
    position: int
    key: bytes
    type: str
    name: str
    timestamp: int
    attempt: int
    data: str | None


class HistoryLimit(NamedTuple):
    """A concurrency limit, and since when it is as it is."""

    key: bytes
    name: str
    limit: int
    active: int
    decay: float
    updated: int


class HeldSlots(NamedTuple):
    """Slots that are held, or waited for if they are not ``acquired``. The owner may have ``ended``."""

    limit_key: bytes
    slots: int
    holder_type: str | None
    holder_key: bytes | None
    acquired: int | None
    lease_expires: int
    owner_ended: int | None


class SlotEvent(NamedTuple):
    """The event, as JSON, of slots that were taken or given back, and the run in which they were."""

    key: bytes
    occurred: int
    content: str
    run_key: bytes | None


class KeptRow(NamedTuple):
    """A result that is kept in the run store, and the run that it is of."""

    key: str
    run_key: bytes


class History(NamedTuple):
    """What a run store holds at one moment.

    Attributes:
        runs: Flow runs and task runs, by their ids.
        states: All states, by run and position.
        limits: The concurrency limits.
        slots: What is held of them, and waited for.
        slot_events: When slots were taken and given back, as far as events are kept, in the order of time.
        kept: The results of runs that are kept in the run store.
        cached: The task runs that have looked for a result under a key of their own, which others may have as well.
        staged: The runs that wait for the decision of a transaction, each with the flow run that is resumed.
        settlements: The flow runs in which a commit or rollback goes on.
        crash_hooks: The runs whose ``on_crashed`` hooks somebody may have to call.
    """

    runs: Sequence[HistoryRun]
    states: Sequence[HistoryState]
    limits: Sequence[HistoryLimit]
    slots: Sequence[HeldSlots]
    slot_events: Sequence[SlotEvent]
    kept: Sequence[KeptRow]
    cached: frozenset[bytes]
    staged: Sequence[tuple[bytes, bytes]]
    settlements: Sequence[bytes]
    crash_hooks: Sequence[bytes]
