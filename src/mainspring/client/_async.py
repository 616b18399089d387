"""The client for async code: the same methods, each of which waits in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from mainspring.client._caching import CacheExplanation
from mainspring.client._sync import Client, Id
from mainspring.concurrency import ConcurrencyLimit, SlotHolder
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import State
from mainspring.store.protocol import LogEntry, RunStore

__all__ = ["AsyncClient"]

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient:
    """`Client` for async code: same methods, arguments, results and errors.

    Args:
        store: The run store to read.
    """

    def __init__(self, store: RunStore) -> None:
        self._client = Client(store)

    @property
    def database_url(self) -> str:
        """The address of the run store."""
        return self._client.database_url

    async def read_flow_run(self, flow_run_id: Id) -> FlowRun:
        """See `Client.read_flow_run`."""
        return await _in_thread(self._client.read_flow_run, flow_run_id)

    async def read_task_run(self, task_run_id: Id) -> TaskRun:
        """See `Client.read_task_run`."""
        return await _in_thread(self._client.read_task_run, task_run_id)

    async def cancel_run(
        self, run_id: Id, reason: str | None = None, timeout: float = 10.0
    ) -> TaskRun | FlowRun:
        """See `Client.cancel_run`."""
        return await _in_thread(self._client.cancel_run, run_id, reason, timeout)

    async def read_flow_runs(self, states: Sequence[str] | None = None, **where: Any) -> list[FlowRun]:
        """See `Client.read_flow_runs`."""
        return await _in_thread(self._client.read_flow_runs, states, **where)

    async def read_task_runs(self, flow_run_ids: Iterable[Id] | None = None, **where: Any) -> list[TaskRun]:
        """See `Client.read_task_runs`."""
        return await _in_thread(self._client.read_task_runs, flow_run_ids, **where)

    async def read_flow_run_states(self, flow_run_id: Id) -> list[State]:
        """See `Client.read_flow_run_states`."""
        return await _in_thread(self._client.read_flow_run_states, flow_run_id)

    async def read_task_run_states(self, task_run_id: Id) -> list[State]:
        """See `Client.read_task_run_states`."""
        return await _in_thread(self._client.read_task_run_states, task_run_id)

    async def read_logs(self, run_id: Id) -> list[LogEntry]:
        """See `Client.read_logs`."""
        return await _in_thread(self._client.read_logs, run_id)

    async def count_task_runs(self, flow_run_ids: Iterable[Id]) -> dict[UUID, dict[str, int]]:
        """See `Client.count_task_runs`."""
        return await _in_thread(self._client.count_task_runs, flow_run_ids)

    async def explain_caching(self, task_run_id: Id) -> CacheExplanation:
        """See `Client.explain_caching`."""
        return await _in_thread(self._client.explain_caching, task_run_id)

    async def find_run(self, text: str) -> TaskRun | FlowRun:
        """See `Client.find_run`."""
        return await _in_thread(self._client.find_run, text)

    async def create_or_update_concurrency_limit(
        self, name: str, limit: int, active: bool = True, slot_decay_per_second: float = 0
    ) -> ConcurrencyLimit:
        """See `Client.create_or_update_concurrency_limit`."""
        write = self._client.create_or_update_concurrency_limit
        return await _in_thread(write, name, limit, active, slot_decay_per_second)

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


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    import asyncio  # whoever awaits has it already

    return await asyncio.to_thread(function, *args, **kwargs)
