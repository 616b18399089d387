"""The records of task and flow runs, and what a task run took as input.

A record is the live object that the engine, hooks and contexts share while a run goes on; the store keeps a
projection of it. Times are integer microseconds in the fields ending in ``_at`` (what the engine computes
with), and ``datetime`` in the properties named as users know them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from mainspring import clock, identifiers
from mainspring.states import State, StateType

__all__ = [
    "Constant",
    "FlowRun",
    "Parameter",
    "RecordedFlow",
    "Resumption",
    "Run",
    "RunInput",
    "TaskRun",
    "TaskRunResult",
]


class TaskRunResult(msgspec.Struct, frozen=True, tag_field="input_type", tag="task_run"):
    """An input that is, or contains, the result of another task run."""

    id: UUID


class Parameter(msgspec.Struct, frozen=True, tag_field="input_type", tag="parameter"):
    """An input that is a parameter of the flow run."""

    name: str


class Constant(msgspec.Struct, frozen=True, tag_field="input_type", tag="constant"):
    """An input that is a plain value of the given type."""

    type: str


RunInput = TaskRunResult | Parameter | Constant


class Run:
    """What task runs and flow runs have in common.

    Not locked: one engine owns a run and changes it from one thread at a time; others may read it.
    ``recorded`` is the key of the newest state known to be on disk, which the next write must follow. ``on_behalf`` is
    the owner that the run belongs to (see `RunStore.owner`) if that is another process, for which this one carries it.
    """

    __slots__ = (
        "created_at",
        "ended_at",
        "expected_start_at",
        "key",
        "name",
        "on_behalf",
        "recorded",
        "run_count",
        "run_time",
        "started_at",
        "state",
        "tags",
        "updated_at",
    )

    def __init__(
        self,
        key: bytes,
        name: str,
        state: State,
        tags: Iterable[str] = (),
    ) -> None:
        self.key = key
        self.name = name
        self.state = state
        self.tags = tags
        self.run_count = 0
        self.run_time = 0
        self.created_at = self.updated_at = self.expected_start_at = state.at
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.recorded: bytes | None = None
        self.on_behalf: int | None = None

    def claim(self, state: State) -> None:
        """Stamp a state with the ids of this run."""
        raise NotImplementedError

    @property
    def id(self) -> UUID:
        """The id of the run."""
        return UUID(bytes=self.key)

    @property
    def state_id(self) -> UUID:
        """The id of the current state."""
        return self.state.id

    @property
    def state_type(self) -> StateType:
        """The type of the current state."""
        return self.state.type

    @property
    def state_name(self) -> str:
        """The name of the current state."""
        return self.state.name

    @property
    def created(self) -> datetime:
        """When the run was created."""
        return clock.to_datetime(self.created_at)

    @property
    def updated(self) -> datetime:
        """When the run last changed its state."""
        return clock.to_datetime(self.updated_at)

    @property
    def expected_start_time(self) -> datetime:
        """When the run was meant to start: when it was created, unless it was scheduled."""
        return clock.to_datetime(self.expected_start_at)

    @property
    def next_scheduled_start_time(self) -> datetime | None:
        """When the run is due, while it is scheduled; None otherwise."""
        due = self.state.scheduled_at if self.state.is_scheduled() else None
        return None if due is None else clock.to_datetime(due)

    @property
    def start_time(self) -> datetime | None:
        """When the run first entered a RUNNING state, None before that."""
        return None if self.started_at is None else clock.to_datetime(self.started_at)

    @property
    def end_time(self) -> datetime | None:
        """When the run entered its final state, None before that."""
        return None if self.ended_at is None else clock.to_datetime(self.ended_at)

    @property
    def total_run_time(self) -> timedelta:
        """The time spent in all RUNNING states so far, waits between attempts excluded."""
        return clock.to_timedelta(self.run_time)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={str(self.id)!r}, name={self.name!r}, state={self.state})"


class TaskRun(Run):
    """One run of a task, over all of its attempts.

    Args:
        key: The id as 16 bytes.
        name: What people call the run.
        state: The first state; its time is the time of creation.
        task_key: What tells the task from others, stable across processes.
        flow_run_key: The id of the flow run it belongs to, if any.
        tags: The task's own and those active where it was created.
        task_version: The task's version, if it has one.
        task_inputs: For each parameter the runs and constants it came from.
        empirical_policy: Retries, delays and jitter as they hold for this run.
        dynamic_key: What tells the run from others of the task, if that is not to be made of the id.
    """

    __slots__ = (
        "empirical_policy",
        "flow_run_key",
        "flow_run_run_count",
        "given_key",
        "task_inputs",
        "task_key",
        "task_version",
    )

    def __init__(
        self,
        key: bytes,
        name: str,
        state: State,
        task_key: str,
        flow_run_key: bytes | None = None,
        tags: Iterable[str] = (),
        task_version: str | None = None,
        task_inputs: dict[str, list[RunInput]] | None = None,
        empirical_policy: Mapping[str, Any] | None = None,
        dynamic_key: str | None = None,
    ) -> None:
        Run.__init__(self, key, name, state, tags)
        self.task_key = task_key
        self.flow_run_key = flow_run_key
        self.task_version = task_version
        self.task_inputs: dict[str, list[RunInput]] = {} if task_inputs is None else task_inputs
        self.empirical_policy: Mapping[str, Any] = {} if empirical_policy is None else empirical_policy
        self.flow_run_run_count = 0
        self.given_key = dynamic_key

    def claim(self, state: State) -> None:
        """See `Run.claim`."""
        state.task_run_key, state.flow_run_key = self.key, self.flow_run_key

    @property
    def flow_run_id(self) -> UUID | None:
        """The id of the flow run that the task run belongs to, if any."""
        return identifiers.to_uuid(self.flow_run_key)

    @property
    def dynamic_key(self) -> str:
        """A text that tells this run from other runs of the same task.

        Outside of a flow it starts with the task key; inside it looks like a random UUID: the id read
        backwards, which is as random as the id itself and needs neither a second draw nor a column.
        """
        if self.given_key is not None:
            return self.given_key
        reverse = self.key[::-1]
        if self.flow_run_key is None:
            return f"{self.task_key}-{reverse.hex()}"
        return str(UUID(bytes=reverse))


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to go on with a flow run that keeps its results.

    Args:
        entrypoint: The flow, as ``module:name``; None if it cannot be found by a name.
        file: The file that defines it, if there is one.
        parameters: Where the parameters are kept by value; None for a subflow run, which gets them from its parent.
        problem: Why the run cannot be resumed by its id alone, if it cannot.
        step: For a subflow run: what tells it from others of the same parent run.
        attempt: The attempt whose steps are gone on with: the latest one that was no resume.
    """

    entrypoint: str | None = None
    file: str | None = None
    parameters: str | None = None
    problem: str | None = None
    step: str | None = None
    attempt: int = 0


class RecordedFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as the history knows it.

    Attributes:
        id: Made of the name, the same everywhere.
        name: The name.
        created: When it was made known, or its first run was created.
    """

    id: UUID
    name: str
    created: datetime


class FlowRun(Run):
    """One run of a flow, over all of its attempts.

    Args:
        key: The id as 16 bytes.
        name: What people call the run.
        state: The first state; its time is the time of creation.
        flow_name: The name of the flow.
        flow_version: The flow's version, if it has one.
        parameters: The arguments of the run by parameter name, defaults included.
        tags: Those active where the run was created.
        parent_task_run_key: The task run that stands for this run in the parent flow, if it is a subflow.

    ``resumption`` is what it takes to go on with the run; None as long as that is not known or not read.
    """

    __slots__ = ("flow_name", "flow_version", "parameters", "parent_task_run_key", "resumption")

    def __init__(
        self,
        key: bytes,
        name: str,
        state: State,
        flow_name: str,
        flow_version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        parent_task_run_key: bytes | None = None,
    ) -> None:
        Run.__init__(self, key, name, state, tags)
        self.flow_name = flow_name
        self.flow_version = flow_version
        self.parameters: Mapping[str, Any] = {} if parameters is None else parameters
        self.parent_task_run_key = parent_task_run_key
        self.resumption: Resumption | None = None

    def claim(self, state: State) -> None:
        """See `Run.claim`; states of a subflow run name the task run that stands for it."""
        state.task_run_key, state.flow_run_key = self.parent_task_run_key, self.key

    @property
    def parent_task_run_id(self) -> UUID | None:
        """The id of the task run that stands for this run in its parent flow, if any."""
        return identifiers.to_uuid(self.parent_task_run_key)
