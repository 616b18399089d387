"""The methods of clients that are about runs and flows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from mainspring import clock, identifiers
from mainspring._imports import modules_on_use
from mainspring.client._entering import Enterable
from mainspring.exceptions import (
    AmbiguousId,
    ConfigurationError,
    NotDeletable,
    ObjectAlreadyExists,
    ObjectNotFound,
)
from mainspring.filters import (
    FlowFilter,
    FlowRunFilter,
    FlowRunSort,
    FlowSort,
    TaskRunFilter,
    TaskRunSort,
    TextFilter,
    listed,
    page_of,
    record_of,
    sort_of,
    texts,
)
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateType
from mainspring.store.protocol import Amendment, FlowQuery, RunFilter

if TYPE_CHECKING:
    from mainspring.client import _caching as caching
    from mainspring.client import _cancelling as cancelling
    from mainspring.client import _proposals as proposals
    from mainspring.client._caching import CacheExplanation
    from mainspring.client._proposals import OrchestrationResult
    from mainspring.runs import RecordedFlow, RunInput
else:
    caching, cancelling, proposals = modules_on_use(
        "mainspring.client", "_caching", "_cancelling", "_proposals"
    )

__all__ = ["Id", "RunMethods", "key_of"]

Id = UUID | str
K = TypeVar("K", bound=Run)
R = TypeVar("R", TaskRun, FlowRun)

_SHORT = 3  # digits of the id in the name of a task run


class RunMethods(Enterable):
    """The methods about runs and flows."""

    # Flow runs

    def read_flow_run(self, flow_run_id: Id) -> FlowRun:
        """One flow run."""
        return self._read(flow_run_id, FlowRun)

    def read_flow_runs(
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
        """The flow runs that fit everything that is given, newest first unless ``sort`` says otherwise.

        Args:
            states: Types or names of the current state, in any case.
            names: Names of the run.
            parent_task_run_ids: Subflow runs for which one of these task runs stands in the parent.
            top_level: Leave out subflow runs.
            limit: At most so many, 200 when omitted; `mainspring.filters.ALL` for all.
            offset: Leave out so many of the first.
            flow_filter: Only runs of these flows.
            flow_run_filter: Only these runs.
            task_run_filter: Only runs with such a task run.
            sort: The order.

        Raises:
            ConfigurationError: A filter, the order, or a number cannot work.
        """
        limit, offset = page_of(limit, offset)
        return self.store.read_flow_runs(
            RunFilter(
                states=texts("states", states),
                names=texts("names", names),
                parents=_keys("parent_task_run_ids", parent_task_run_ids),
                top_level=top_level,
                flow=record_of(FlowFilter, flow_filter),
                flow_run=record_of(FlowRunFilter, flow_run_filter),
                task_run=record_of(TaskRunFilter, task_run_filter),
                sort=sort_of(FlowRunSort, sort, FlowRunSort.ID_DESC),
                limit=limit,
                offset=offset,
            )
        )

    def create_flow_run(
        self,
        flow: Any,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        tags: Iterable[str] | None = None,
        parent_task_run_id: Id | None = None,
        state: State | None = None,
        id: Id | None = None,  # noqa: A002 - the name of the field
    ) -> FlowRun:
        """Record a flow run that nothing has begun. An engine goes on with it: ``run_flow(flow, flow_run=run)``.

        It belongs to no process until then, so it stays as it is for as long as that takes.

        Args:
            flow: The flow, or the name of one.
            name: What people call the run; made of the flow's name and the id when omitted.
            parameters: The arguments by parameter name. The run that is returned has these very objects.
            tags: Its tags.
            parent_task_run_id: The task run that stands for it, if it is a subflow run.
            state: Its state; pending when omitted.
            id: Its id; a fresh one when omitted.

        Returns:
            The run.

        Raises:
            ObjectAlreadyExists: There is a run with the id.
            ObjectNotFound: There is no task run with the id of the parent.
        """
        parent = None if parent_task_run_id is None else self.read_task_run(parent_task_run_id).key
        key = identifiers.new_id() if id is None else key_of(id)
        flow_name, version = (flow, None) if isinstance(flow, str) else (flow.name, flow.version)
        run = FlowRun(
            key,
            name or f"{flow_name}-{identifiers.shorten(key)}",
            _pending(),
            flow_name,
            version,
            parameters,
            set(texts("tags", tags) or ()),
            parent,
        )
        return self._created(run, state)

    def update_flow_run(
        self,
        flow_run_id: Id,
        flow_version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        name: str | None = None,
        tags: Iterable[str] | None = None,
    ) -> None:
        """Replace what is recorded about a flow run; what is omitted stays. Its states are `set_flow_run_state`'s.

        A run that goes on is not told: its code goes on with the parameters and tags that it was called with. Its
        process does not change the name any more.

        Args:
            flow_run_id: The run.
            flow_version: The version of its flow.
            parameters: All of its parameters.
            name: Its name.
            tags: All of its tags.

        Raises:
            ObjectNotFound: There is no such flow run.
            ConfigurationError: The name or the tags cannot be some. Nothing was changed.
        """
        run = self.read_flow_run(flow_run_id)
        given = texts("tags", tags)
        amendment = Amendment(
            name=name,
            tags=None if given is None else sorted(set(given)),
            flow_version=flow_version,
            parameters=parameters,
        )
        self._amend(run, amendment)

    def set_flow_run_name(self, flow_run_id: Id, name: str) -> None:
        """Give a flow run another name, which stays even if the run goes on."""
        self._amend(self.read_flow_run(flow_run_id), Amendment(name=name))

    def set_flow_run_state(self, flow_run_id: Id, state: State, force: bool = False) -> OrchestrationResult:
        """Propose a state for a flow run, by the rules that runs themselves follow. See `OrchestrationResult`.

        To cancel a run that goes on in a process is left to that one, as `cancel_run` does: the answer is WAIT. Any
        other state takes the run away from the process that it goes on in: what that one makes of it from then on is
        refused, but its code is not stopped. No hooks are called. A result in the state is not kept, unless it is in a
        storage already.

        Args:
            flow_run_id: The run.
            state: The state. The run gets a copy, with an id of its own.
            force: Enter the state whatever the rules say.

        Raises:
            ObjectNotFound: There is no such flow run.
            ConfigurationError: ``state`` is no state.
        """
        return proposals.propose(self.store, FlowRun, flow_run_id, state, force)

    def read_flow_run_states(self, flow_run_id: Id) -> list[State]:
        """All states of a flow run, oldest first."""
        return self.store.read_states(self.read_flow_run(flow_run_id).key)

    def delete_flow_run(self, flow_run_id: Id) -> None:
        """Delete a flow run that is over, with its states, logs, results, task runs and subflow runs.

        Results that other runs may use stay: those under cache keys.

        Raises:
            ObjectNotFound: There is no such flow run.
            NotDeletable: It, something inside of it, or a flow run around it goes on. Nothing was changed.
        """
        self._delete(self.read_flow_run(flow_run_id))

    # Task runs

    def read_task_run(self, task_run_id: Id) -> TaskRun:
        """One task run."""
        return self._read(task_run_id, TaskRun)

    def read_task_runs(
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
        """The task runs that fit everything that is given, newest first unless ``sort`` says otherwise.

        Args:
            flow_run_ids: Only those of these flow runs.
            states: Types or names of the current state, in any case.
            names: Names of the run.
            top_level: Leave out those that belong to a flow run.
            limit: At most so many, 200 when omitted; `mainspring.filters.ALL` for all.
            offset: Leave out so many of the first.
            flow_filter: Only those in runs of these flows.
            flow_run_filter: Only those in these flow runs.
            task_run_filter: Only these runs.
            sort: The order.

        Raises:
            ConfigurationError: A filter, the order, or a number cannot work.
        """
        limit, offset = page_of(limit, offset)
        return self.store.read_task_runs(
            RunFilter(
                flow_run_keys=_keys("flow_run_ids", flow_run_ids),
                states=texts("states", states),
                names=texts("names", names),
                top_level=top_level,
                flow=record_of(FlowFilter, flow_filter),
                flow_run=record_of(FlowRunFilter, flow_run_filter),
                task_run=record_of(TaskRunFilter, task_run_filter),
                sort=sort_of(TaskRunSort, sort, TaskRunSort.ID_DESC),
                limit=limit,
                offset=offset,
            )
        )

    def create_task_run(
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
        """Record a task run that nothing has begun; as for `create_flow_run` it belongs to no process.

        Args:
            task: The task.
            flow_run_id: The flow run that it belongs to, if any.
            dynamic_key: What tells it from other runs of the task.
            id: Its id; a fresh one when omitted.
            name: What people call the run; made of the task's name and the id when omitted.
            extra_tags: Tags besides those of the task.
            state: Its state; pending when omitted.
            task_inputs: For each parameter the runs and constants it comes from; ``wait_for`` and ``__parents__``
                name what it waits for, and the task run around it.

        Returns:
            The run.

        Raises:
            ObjectAlreadyExists: There is a run with the id.
            ObjectNotFound: There is no flow run with the id.
        """
        around = None if flow_run_id is None else self.read_flow_run(flow_run_id).key
        key = identifiers.new_id() if id is None else key_of(id)
        run = TaskRun(
            key,
            name or f"{task.name}-{identifiers.shorten(key, _SHORT)}",
            _pending(),
            task.task_key,
            around,
            {*task.tags, *(texts("extra_tags", extra_tags) or ())},
            task.version,
            {parameter: list(inputs) for parameter, inputs in (task_inputs or {}).items()},
            dict(task.policy.recorded),
            str(dynamic_key),
        )
        return self._created(run, state)

    def set_task_run_name(self, task_run_id: Id, name: str) -> None:
        """Give a task run another name, which stays even if the run goes on."""
        self._amend(self.read_task_run(task_run_id), Amendment(name=name))

    def set_task_run_state(self, task_run_id: Id, state: State, force: bool = False) -> OrchestrationResult:
        """`set_flow_run_state` for a task run. One that stands for a subflow run passes it on to that.

        Args:
            task_run_id: The run.
            state: The state. The run gets a copy, with an id of its own.
            force: Enter the state whatever the rules say.

        Raises:
            ObjectNotFound: There is no such task run.
            ConfigurationError: ``state`` is no state.
        """
        return proposals.propose(self.store, TaskRun, task_run_id, state, force)

    def read_task_run_states(self, task_run_id: Id) -> list[State]:
        """All states of a task run, oldest first."""
        return self.store.read_states(self.read_task_run(task_run_id).key)

    def delete_task_run(self, task_run_id: Id) -> None:
        """Delete a task run that is over, with what is inside of it. Raises as `delete_flow_run` does."""
        self._delete(self.read_task_run(task_run_id))

    def count_task_runs(self, flow_run_ids: Iterable[Id]) -> dict[UUID, dict[str, int]]:
        """For each flow run, how many task runs it has by state type."""
        counts = self.store.count_task_runs(_keys("flow_run_ids", flow_run_ids) or [])
        return {UUID(bytes=key): by_type for key, by_type in counts.items()}

    def explain_caching(self, task_run_id: Id) -> CacheExplanation:
        """Why a task run used a kept result, or why it did not: which part of its cache key was new."""
        return caching.explain_caching(self.store, self.read_task_run(task_run_id))

    # Both

    def find_run(self, text: Id) -> TaskRun | FlowRun:
        """The run whose id begins or ends with ``text``, in any case and with or without hyphens.

        Raises:
            ObjectNotFound: There is none.
            AmbiguousId: There are several; the message lists some.
        """
        wanted = str(text).replace("-", "").lower()
        found = self.store.find_runs(wanted) if wanted else []
        if not found:
            raise ObjectNotFound(f"No run has an id that begins or ends with '{text}'.")
        if len(found) > 1:
            some = ", ".join(f"{run.id} ({run.name})" for run in found)
            raise AmbiguousId(
                f"'{text}' is the beginning or end of more than one id: {some}. Give more of it."
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
            ObjectNotFound: There is no such run.
            NotCancellable: It is over.
            ValueError: ``timeout`` is negative.
        """
        end = cancelling.check_patience(timeout)
        run = cancelling.ask_to_cancel(self.store, run_id, reason)
        pause = cancelling.FIRST_PAUSE
        while not run.state.is_final() and time.monotonic() < end:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(2 * pause, cancelling.LONGEST_PAUSE)
            run = self.store.read_run(run.key) or run
        return run

    # Flows

    def create_flow(self, flow: Any) -> UUID:
        """Make a flow known before its first run; harmless if it is. Returns its id, which is made of its name."""
        return self.create_flow_from_name(flow.name)

    def create_flow_from_name(self, name: str) -> UUID:
        """`create_flow` for the name of one."""
        return self.store.write_flow(name, clock.current().now()).id

    def read_flow(self, flow_id: Id) -> RecordedFlow:
        """One flow: it has runs, or was made known before.

        Raises:
            ObjectNotFound: There is none with the id.
        """
        found = self.read_flows(flow_filter={"id": {"any_": [flow_id]}})
        if not found:
            raise ObjectNotFound(f"There is no flow with the id {flow_id} in {self.store.address}.")
        return found[0]

    def read_flow_by_name(self, name: str) -> RecordedFlow:
        """One flow by its name; raises as `read_flow` does."""
        found = self.read_flows(flow_filter=FlowFilter(name=TextFilter(any_=[name])))
        if not found:
            raise ObjectNotFound(f"There is no flow named {name!r} in {self.store.address}.")
        return found[0]

    def read_flows(
        self,
        *,
        flow_filter: FlowFilter | Mapping[str, Any] | None = None,
        flow_run_filter: FlowRunFilter | Mapping[str, Any] | None = None,
        task_run_filter: TaskRunFilter | Mapping[str, Any] | None = None,
        sort: FlowSort | str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[RecordedFlow]:
        """The flows that fit everything that is given, the newest first unless ``sort`` says otherwise.

        Args:
            flow_filter: Only these flows.
            flow_run_filter: Only flows with such a run.
            task_run_filter: Only flows with a run that has such a task run.
            sort: The order.
            limit: At most so many, 200 when omitted; `mainspring.filters.ALL` for all.
            offset: Leave out so many of the first.

        Raises:
            ConfigurationError: A filter, the order, or a number cannot work.
        """
        limit, offset = page_of(limit, offset)
        return self.store.read_flows(
            FlowQuery(
                flow=record_of(FlowFilter, flow_filter),
                flow_run=record_of(FlowRunFilter, flow_run_filter),
                task_run=record_of(TaskRunFilter, task_run_filter),
                sort=sort_of(FlowSort, sort, FlowSort.CREATED_DESC),
                limit=limit,
                offset=offset,
            )
        )

    # Inside

    def _read(self, run_id: Id, kind: type[K]) -> K:
        run = self.store.read_run(key_of(run_id))
        if not isinstance(run, kind):
            raise self._no_run(run_id, kind)
        return run

    def _no_run(self, run_id: Id, kind: type[Run]) -> ObjectNotFound:
        return ObjectNotFound(f"There is no {kind.__name__} with the id {run_id} in {self.store.address}.")

    def _created(self, run: R, state: State | None) -> R:
        if not proposals.record_new(self.store, run, state):
            raise ObjectAlreadyExists(f"There is a run with the id {run.id} in {self.store.address} already.")
        return run

    def _amend(self, run: Run, amendment: Amendment) -> None:
        if amendment.name is not None:
            _check_name(amendment.name)
        if not self.store.amend_run(run.key, amendment):
            raise self._no_run(run.id, type(run))  # somebody has deleted it meanwhile

    def _delete(self, run: Run) -> None:
        store = self.store
        store.settle_dead_owners()
        if not store.delete_runs([run.key]) and store.read_run(run.key) is not None:
            raise NotDeletable(
                f"The run {run.name!r} ({run.id}) is not deleted: it, something inside of it, or a flow run around it"
                " goes on. Cancel it, or wait for its end. Nothing was changed."
            )


def key_of(run_id: Id) -> bytes:
    """The key for an id as users give it."""
    return identifiers.to_bytes(run_id)


def _keys(where: str, ids: Iterable[Id] | None) -> list[bytes] | None:
    found = listed(where, ids, "ids")
    return None if found is None else [key_of(each) for each in found]


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a run: give a text of at least one character."
        )


def _pending() -> State:
    return State(StateType.PENDING, at=clock.current().now())
