"""The client for async code: the same methods, each of which waits in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, ParamSpec, Self, TypeVar
from uuid import UUID

from mainspring._events.records import Event
from mainspring.client._caching import CacheExplanation
from mainspring.client._following import EventStream, Since, filtered
from mainspring.client._limits import (
    FIRST_LIMITS,
    ConcurrencyLease,
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
    Holder,
    Mode,
    Names,
)
from mainspring.client._logs import LogCreate
from mainspring.client._proposals import OrchestrationResult
from mainspring.client._runs import Id
from mainspring.client._sync import Client
from mainspring.concurrency import ConcurrencyLimit, SlotHolder
from mainspring.filters import (
    FlowFilter,
    FlowRunFilter,
    FlowRunSort,
    FlowSort,
    LogFilter,
    LogSort,
    TaskRunFilter,
    TaskRunSort,
)
from mainspring.runs import FlowRun, RecordedFlow, RunInput, TaskRun
from mainspring.states import State
from mainspring.store.protocol import LogEntry, RunStore

__all__ = ["AsyncClient"]

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient:
    """`Client` for async code: same methods, arguments, results and errors. Safe to use from any thread and event loop.

    The database is asked in another thread, so the event loop goes on.

    Args:
        store: The run store.
    """

    def __init__(self, store: RunStore) -> None:
        self._client = Client(store)

    @property
    def store(self) -> RunStore:
        """See `Client.store`."""
        return self._client.store

    @property
    def database_url(self) -> str:
        """See `Client.database_url`."""
        return self._client.database_url

    def __repr__(self) -> str:
        return f"Async{self._client!r}"

    def __enter__(self) -> NoReturn:
        raise RuntimeError("An AsyncClient must be entered with an async context: `async with`, not `with`.")

    def __exit__(self, *_: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.__exit__()

    # Runs and flows

    async def read_flow_run(self, flow_run_id: Id) -> FlowRun:
        """See `Client.read_flow_run`."""
        return await _in_thread(self._client.read_flow_run, flow_run_id)

    async def read_flow_runs(
        self,
        states: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        parent_task_run_ids: Iterable[Id] | None = None,
        top_level: bool = False,
        limit: int | None = None,
        offset: int = 0,
        *,
        flow_filter: FlowFilter | Mapping[str, Any] | None = None,
        flow_run_filter: FlowRunFilter | Mapping[str, Any] | None = None,
        task_run_filter: TaskRunFilter | Mapping[str, Any] | None = None,
        sort: FlowRunSort | str | None = None,
    ) -> list[FlowRun]:
        """See `Client.read_flow_runs`."""
        return await _in_thread(
            self._client.read_flow_runs,
            states,
            names,
            parent_task_run_ids,
            top_level,
            limit,
            offset,
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            sort=sort,
        )

    async def create_flow_run(
        self,
        flow: Any,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        parent_task_run_id: Id | None = None,
        state: State | None = None,
        id: Id | None = None,  # noqa: A002 - the name of the field
    ) -> FlowRun:
        """See `Client.create_flow_run`."""
        return await _in_thread(
            self._client.create_flow_run, flow, name, parameters, tags, parent_task_run_id, state, id
        )

    async def update_flow_run(
        self,
        flow_run_id: Id,
        flow_version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        name: str | None = None,
        tags: Iterable[str] | None = None,
    ) -> None:
        """See `Client.update_flow_run`."""
        await _in_thread(self._client.update_flow_run, flow_run_id, flow_version, parameters, name, tags)

    async def set_flow_run_name(self, flow_run_id: Id, name: str) -> None:
        """See `Client.set_flow_run_name`."""
        await _in_thread(self._client.set_flow_run_name, flow_run_id, name)

    async def set_flow_run_state(
        self, flow_run_id: Id, state: State, force: bool = False
    ) -> OrchestrationResult:
        """See `Client.set_flow_run_state`."""
        return await _in_thread(self._client.set_flow_run_state, flow_run_id, state, force)

    async def read_flow_run_states(self, flow_run_id: Id) -> list[State]:
        """See `Client.read_flow_run_states`."""
        return await _in_thread(self._client.read_flow_run_states, flow_run_id)

    async def delete_flow_run(self, flow_run_id: Id) -> None:
        """See `Client.delete_flow_run`."""
        await _in_thread(self._client.delete_flow_run, flow_run_id)

    async def read_task_run(self, task_run_id: Id) -> TaskRun:
        """See `Client.read_task_run`."""
        return await _in_thread(self._client.read_task_run, task_run_id)

    async def read_task_runs(
        self,
        flow_run_ids: Iterable[Id] | None = None,
        states: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        top_level: bool = False,
        limit: int | None = None,
        offset: int = 0,
        *,
        flow_filter: FlowFilter | Mapping[str, Any] | None = None,
        flow_run_filter: FlowRunFilter | Mapping[str, Any] | None = None,
        task_run_filter: TaskRunFilter | Mapping[str, Any] | None = None,
        sort: TaskRunSort | str | None = None,
    ) -> list[TaskRun]:
        """See `Client.read_task_runs`."""
        return await _in_thread(
            self._client.read_task_runs,
            flow_run_ids,
            states,
            names,
            top_level,
            limit,
            offset,
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            sort=sort,
        )

    async def create_task_run(
        self,
        task: Any,
        flow_run_id: Id | None,
        dynamic_key: str | int,
        id: Id | None = None,  # noqa: A002 - the name of the field
        name: str | None = None,
        extra_tags: Iterable[str] | None = None,
        state: State | None = None,
        task_inputs: Mapping[str, Sequence[RunInput]] | None = None,
    ) -> TaskRun:
        """See `Client.create_task_run`."""
        return await _in_thread(
            self._client.create_task_run,
            task,
            flow_run_id,
            dynamic_key,
            id,
            name,
            extra_tags,
            state,
            task_inputs,
        )

    async def set_task_run_name(self, task_run_id: Id, name: str) -> None:
        """See `Client.set_task_run_name`."""
        await _in_thread(self._client.set_task_run_name, task_run_id, name)

    async def set_task_run_state(
        self, task_run_id: Id, state: State, force: bool = False
    ) -> OrchestrationResult:
        """See `Client.set_task_run_state`."""
        return await _in_thread(self._client.set_task_run_state, task_run_id, state, force)

    async def read_task_run_states(self, task_run_id: Id) -> list[State]:
        """See `Client.read_task_run_states`."""
        return await _in_thread(self._client.read_task_run_states, task_run_id)

    async def delete_task_run(self, task_run_id: Id) -> None:
        """See `Client.delete_task_run`."""
        await _in_thread(self._client.delete_task_run, task_run_id)

    async def read_events(
        self,
        prefix: str | Iterable[str] = "",
        run_id: Id | None = None,
        since: Since | None = None,
        until: Since | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """See `Client.read_events`."""
        return await _in_thread(self._client.read_events, prefix, run_id, since, until, limit)

    async def follow_events(
        self,
        prefix: str | Iterable[str] = "",
        run_id: Id | None = None,
        since: Since | None = None,
        follow: bool = True,
    ) -> EventStream:
        """See `Client.follow_events`: for ``async with`` and ``async for``."""
        where = await _in_thread(filtered, self._client.store, prefix, run_id, since)
        return EventStream(self._client.store, where, follow)

    async def count_task_runs(self, flow_run_ids: Iterable[Id]) -> dict[UUID, dict[str, int]]:
        """See `Client.count_task_runs`."""
        return await _in_thread(self._client.count_task_runs, flow_run_ids)

    async def explain_caching(self, task_run_id: Id) -> CacheExplanation:
        """See `Client.explain_caching`."""
        return await _in_thread(self._client.explain_caching, task_run_id)

    async def find_run(self, text: Id) -> TaskRun | FlowRun:
        """See `Client.find_run`."""
        return await _in_thread(self._client.find_run, text)

    async def cancel_run(
        self, run_id: Id, reason: str | None = None, timeout: float = 10.0
    ) -> TaskRun | FlowRun:
        """See `Client.cancel_run`."""
        return await _in_thread(self._client.cancel_run, run_id, reason, timeout)

    async def create_flow(self, flow: Any) -> UUID:
        """See `Client.create_flow`."""
        return await _in_thread(self._client.create_flow, flow)

    async def create_flow_from_name(self, name: str) -> UUID:
        """See `Client.create_flow_from_name`."""
        return await _in_thread(self._client.create_flow_from_name, name)

    async def read_flow(self, flow_id: Id) -> RecordedFlow:
        """See `Client.read_flow`."""
        return await _in_thread(self._client.read_flow, flow_id)

    async def read_flow_by_name(self, name: str) -> RecordedFlow:
        """See `Client.read_flow_by_name`."""
        return await _in_thread(self._client.read_flow_by_name, name)

    async def read_flows(
        self,
        *,
        flow_filter: FlowFilter | Mapping[str, Any] | None = None,
        flow_run_filter: FlowRunFilter | Mapping[str, Any] | None = None,
        task_run_filter: TaskRunFilter | Mapping[str, Any] | None = None,
        sort: FlowSort | str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[RecordedFlow]:
        """See `Client.read_flows`."""
        return await _in_thread(
            self._client.read_flows,
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            sort=sort,
            limit=limit,
            offset=offset,
        )

    # Log lines

    async def read_logs(
        self,
        log_filter: LogFilter | Mapping[str, Any] | Id | None = None,
        limit: int | None = None,
        offset: int | None = None,
        sort: LogSort | str | None = None,
    ) -> list[LogEntry]:
        """See `Client.read_logs`."""
        return await _in_thread(self._client.read_logs, log_filter, limit, offset, sort)

    async def create_logs(self, logs: Iterable[LogCreate | LogEntry | Mapping[str, Any]]) -> None:
        """See `Client.create_logs`."""
        await _in_thread(self._client.create_logs, logs)

    # Concurrency limits

    async def create_or_update_concurrency_limit(
        self, name: str, limit: int, active: bool = True, slot_decay_per_second: float = 0
    ) -> ConcurrencyLimit:
        """See `Client.create_or_update_concurrency_limit`."""
        return await _in_thread(
            self._client.create_or_update_concurrency_limit, name, limit, active, slot_decay_per_second
        )

    async def read_concurrency_limit(self, name: str) -> ConcurrencyLimit:
        """See `Client.read_concurrency_limit`."""
        return await _in_thread(self._client.read_concurrency_limit, name)

    async def read_concurrency_limits(self) -> list[ConcurrencyLimit]:
        """See `Client.read_concurrency_limits`."""
        return await _in_thread(self._client.read_concurrency_limits)

    async def read_slot_holders(self, name: str) -> list[SlotHolder]:
        """See `Client.read_slot_holders`."""
        return await _in_thread(self._client.read_slot_holders, name)

    async def delete_concurrency_limit(self, name: str) -> None:
        """See `Client.delete_concurrency_limit`."""
        await _in_thread(self._client.delete_concurrency_limit, name)

    async def create_global_concurrency_limit(
        self, concurrency_limit: GlobalConcurrencyLimitCreate | Mapping[str, Any]
    ) -> UUID:
        """See `Client.create_global_concurrency_limit`."""
        return await _in_thread(self._client.create_global_concurrency_limit, concurrency_limit)

    async def read_global_concurrency_limit_by_name(self, name: str) -> ConcurrencyLimit:
        """See `Client.read_global_concurrency_limit_by_name`."""
        return await _in_thread(self._client.read_global_concurrency_limit_by_name, name)

    async def read_global_concurrency_limits(
        self, limit: int | None = FIRST_LIMITS, offset: int = 0
    ) -> list[ConcurrencyLimit]:
        """See `Client.read_global_concurrency_limits`."""
        return await _in_thread(self._client.read_global_concurrency_limits, limit, offset)

    async def update_global_concurrency_limit(
        self, name: str, concurrency_limit: GlobalConcurrencyLimitUpdate | Mapping[str, Any]
    ) -> ConcurrencyLimit:
        """See `Client.update_global_concurrency_limit`."""
        return await _in_thread(self._client.update_global_concurrency_limit, name, concurrency_limit)

    async def upsert_global_concurrency_limit_by_name(
        self, name: str, limit: int, slot_decay_per_second: float = 0, active: bool = True
    ) -> ConcurrencyLimit:
        """See `Client.upsert_global_concurrency_limit_by_name`."""
        return await _in_thread(
            self._client.upsert_global_concurrency_limit_by_name, name, limit, slot_decay_per_second, active
        )

    async def delete_global_concurrency_limit_by_name(self, name: str) -> None:
        """See `Client.delete_global_concurrency_limit_by_name`."""
        await _in_thread(self._client.delete_global_concurrency_limit_by_name, name)

    async def reset_global_concurrency_limit_by_name(
        self, name: str, slot_override: Sequence[Id] | None = None
    ) -> ConcurrencyLimit:
        """See `Client.reset_global_concurrency_limit_by_name`."""
        return await _in_thread(self._client.reset_global_concurrency_limit_by_name, name, slot_override)

    async def increment_concurrency_slots(
        self, names: Names, slots: int = 1, mode: Mode = "concurrency", create_if_missing: bool = False
    ) -> list[ConcurrencyLimit]:
        """See `Client.increment_concurrency_slots`."""
        return await _in_thread(
            self._client.increment_concurrency_slots, names, slots, mode, create_if_missing
        )

    async def release_concurrency_slots(
        self, names: Names, slots: int = 1, occupancy_seconds: float = 0.0
    ) -> list[ConcurrencyLimit]:
        """See `Client.release_concurrency_slots`."""
        return await _in_thread(self._client.release_concurrency_slots, names, slots, occupancy_seconds)

    async def increment_concurrency_slots_with_lease(
        self,
        names: Names,
        slots: int = 1,
        mode: Mode = "concurrency",
        lease_duration: float = 300.0,
        holder: Holder = None,
    ) -> ConcurrencyLease:
        """See `Client.increment_concurrency_slots_with_lease`."""
        return await _in_thread(
            self._client.increment_concurrency_slots_with_lease, names, slots, mode, lease_duration, holder
        )

    async def renew_concurrency_lease(self, lease_id: Id, lease_duration: float = 300.0) -> None:
        """See `Client.renew_concurrency_lease`."""
        await _in_thread(self._client.renew_concurrency_lease, lease_id, lease_duration)

    async def release_concurrency_slots_with_lease(self, lease_id: Id) -> bool:
        """See `Client.release_concurrency_slots_with_lease`."""
        return await _in_thread(self._client.release_concurrency_slots_with_lease, lease_id)


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    import asyncio  # whoever awaits has it already

    return await asyncio.to_thread(function, *args, **kwargs)
