"""The client for sync code."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from mainspring import identifiers
from mainspring.client._caching import CacheExplanation, explain_caching
from mainspring.client._cancelling import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    ask_to_cancel,
    check_patience,
    is_over,
)
from mainspring.concurrency import ConcurrencyLimit, SlotHolder, check_limit, limits_changed
from mainspring.exceptions import AmbiguousId, ObjectNotFound
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State
from mainspring.store.addresses import open_store
from mainspring.store.protocol import LogEntry, RunFilter, RunStore

__all__ = ["Client", "open_client"]

Id = UUID | str
K = TypeVar("K", bound=Run)


class Client:
    """Reads runs, states and logs from a run store, and looks after its concurrency limits.

    Safe to use from any thread.

    Ids may be given as ``UUID`` or text. Methods that take one raise `ObjectNotFound` if nothing has it.

    Args:
        store: The run store.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store

    @property
    def database_url(self) -> str:
        """The address of the run store."""
        return self.store.url

    def read_flow_run(self, flow_run_id: Id) -> FlowRun:
        """One flow run."""
        return self._read(flow_run_id, FlowRun)

    def read_task_run(self, task_run_id: Id) -> TaskRun:
        """One task run."""
        return self._read(task_run_id, TaskRun)

    def read_flow_runs(
        self,
        states: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        parent_task_run_ids: Iterable[Id] | None = None,
        top_level: bool = False,
        limit: int | None = 200,
        offset: int = 0,
    ) -> list[FlowRun]:
        """The flow runs that fit, newest first.

        Args:
            states: Types or names of the current state, in any case.
            names: Names of the run.
            parent_task_run_ids: Subflow runs for which one of these task runs stands in the parent.
            top_level: Leave out subflow runs.
            limit: At most so many; None for all.
            offset: Leave out so many of the newest.
        """
        return self.store.read_flow_runs(
            RunFilter(
                states=states,
                names=names,
                parents=_keys(parent_task_run_ids),
                top_level=top_level,
                limit=limit,
                offset=offset,
            )
        )

    def read_task_runs(
        self,
        flow_run_ids: Iterable[Id] | None = None,
        states: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        top_level: bool = False,
        limit: int | None = 200,
        offset: int = 0,
    ) -> list[TaskRun]:
        """The task runs that fit, newest first.

        Args:
            flow_run_ids: Only those of these flow runs.
            states: Types or names of the current state, in any case.
            names: Names of the run.
            top_level: Leave out those that belong to a flow run.
            limit: At most so many; None for all.
            offset: Leave out so many of the newest.
        """
        return self.store.read_task_runs(
            RunFilter(
                flow_run_keys=_keys(flow_run_ids),
                states=states,
                names=names,
                top_level=top_level,
                limit=limit,
                offset=offset,
            )
        )

    def read_flow_run_states(self, flow_run_id: Id) -> list[State]:
        """All states of a flow run, oldest first."""
        return self.store.read_states(self.read_flow_run(flow_run_id).key)

    def read_task_run_states(self, task_run_id: Id) -> list[State]:
        """All states of a task run, oldest first."""
        return self.store.read_states(self.read_task_run(task_run_id).key)

    def read_logs(self, run_id: Id) -> list[LogEntry]:
        """The log lines of a task run, or of a flow run and its task runs, oldest first."""
        return self.store.read_logs(identifiers.to_bytes(run_id))

    def count_task_runs(self, flow_run_ids: Iterable[Id]) -> dict[UUID, dict[str, int]]:
        """For each flow run, how many task runs it has by state type."""
        counts = self.store.count_task_runs(_keys(flow_run_ids) or [])
        return {UUID(bytes=key): by_type for key, by_type in counts.items()}

    def explain_caching(self, task_run_id: Id) -> CacheExplanation:
        """Why a task run used a kept result, or why it did not: which part of its cache key was new."""
        return explain_caching(self.store, self.read_task_run(task_run_id))

    def find_run(self, text: str) -> TaskRun | FlowRun:
        """The run whose id begins or ends with ``text``.

        Raises:
            ObjectNotFound: There is none.
            AmbiguousId: There are several; the message lists some.
        """
        wanted = text.replace("-", "").lower()
        found = self.store.find_runs(wanted) if wanted else []
        if not found:
            raise ObjectNotFound(f"No run has an id that begins or ends with {text!r}.")
        if len(found) > 1:
            some = ", ".join(f"{run.id} ({run.name})" for run in found)
            raise AmbiguousId(
                f"{text!r} is the beginning or end of more than one id: {some}. Give more of it."
            )
        return found[0]

    def cancel_run(self, run_id: Id, reason: str | None = None, timeout: float = 10.0) -> TaskRun | FlowRun:
        """Cancel a flow run or task run, with all that runs inside of it, whichever process it goes on in.

        The run is Cancelling while its code goes on, and Cancelled once that has ended. What returns before it is
        stopped has Completed. A run that goes on in no process is Cancelled at once.

        Args:
            run_id: The run.
            reason: What its state is to say.
            timeout: Wait so many seconds for its end, at most; 0 does not wait.

        Returns:
            The run as it is then.

        Raises:
            NotCancellable: It is over.
            ValueError: ``timeout`` is negative.
        """
        end = check_patience(timeout)
        run = ask_to_cancel(self.store, run_id, reason)
        pause = FIRST_PAUSE
        while not run.state.is_final() and time.monotonic() < end:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(2 * pause, LONGEST_PAUSE)
            run = is_over(self.store, run) or run
        return run

    def create_or_update_concurrency_limit(
        self, name: str, limit: int, active: bool = True, slot_decay_per_second: float = 0
    ) -> ConcurrencyLimit:
        """Create a concurrency limit, or change the one of that name. What is held stays held.

        Args:
            name: What code asks for. ``tag:<tag>`` limits the task runs that have the tag.
            limit: How many slots there are; with 0 nobody gets any.
            active: Whether the limit counts; one that is not active stops nobody.
            slot_decay_per_second: How many slots become free by themselves each second. With 0 they become free
                when they are given back; rate limits need more than 0.

        Returns:
            The limit as it is now.

        Raises:
            ConfigurationError: One of the arguments cannot work.
        """
        check_limit(name, limit, slot_decay_per_second)
        written = self.store.write_limit(name, limit, bool(active), slot_decay_per_second)
        limits_changed(self.store, name)
        return written

    def read_concurrency_limit(self, name: str) -> ConcurrencyLimit:
        """One concurrency limit, and how much of it is in use.

        Raises:
            ObjectNotFound: There is none of that name.
        """
        found = self._read_limits([name])
        if not found:
            raise self._no_limit(name)
        return found[0]

    def read_concurrency_limits(self) -> list[ConcurrencyLimit]:
        """All concurrency limits, by name."""
        return self._read_limits(None)

    def read_slot_holders(self, name: str) -> list[SlotHolder]:
        """Who holds slots of a concurrency limit, then who waits for some: which run, in which process, since when.

        Raises:
            ObjectNotFound: There is no limit of that name.
        """
        self.read_concurrency_limit(name)
        return self.store.read_slot_holders(name)

    def delete_concurrency_limit(self, name: str) -> None:
        """Delete a concurrency limit. Whoever waits for slots of it goes on.

        Raises:
            ObjectNotFound: There is none of that name.
        """
        if not self.store.delete_limit(name):
            raise self._no_limit(name)
        limits_changed(self.store, name)

    def _read_limits(self, names: list[str] | None) -> list[ConcurrencyLimit]:
        found = self.store.read_limits(names)
        if any(limit.active_slots for limit in found):
            self.store.settle_dead_owners()  # what the dead hold is not in use
            found = self.store.read_limits(names)
        return found

    def _no_limit(self, name: str) -> ObjectNotFound:
        return ObjectNotFound(f"There is no concurrency limit named {name!r} in {self.database_url}.")

    def _read(self, run_id: Id, kind: type[K]) -> K:
        run = self.store.read_run(identifiers.to_bytes(run_id))
        if not isinstance(run, kind):
            raise ObjectNotFound(f"There is no {kind.__name__} with the id {run_id} in {self.database_url}.")
        return run


def _keys(ids: Iterable[Id] | None) -> list[bytes] | None:
    return None if ids is None else [identifiers.to_bytes(each) for each in ids]


@contextmanager
def open_client(create: bool = False) -> Generator[Client]:
    """A client of a run store that is open in the block.

    Args:
        create: Make the run store if there is none.

    Raises:
        StoreError: There is no such store, or it cannot be read.
    """
    settings = get_current_settings()
    store = open_store(
        settings.run_store_url, settings.durability, create, settings.host_id, settings.lease_seconds
    )
    try:
        yield Client(store)
    finally:
        store.close()
