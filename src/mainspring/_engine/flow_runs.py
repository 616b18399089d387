"""What the engines of flow runs share: everything about a flow run that never waits."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, cast
from uuid import UUID

import msgspec

from mainspring import clock, identifiers
from mainspring._cancel_scopes import CancelScope
from mainspring._core import transitions
from mainspring._core.lineage import Origin
from mainspring._core.steps import Steps
from mainspring._engine.background import BackgroundRuns
from mainspring._engine.bounded import FieldsOnUse, also_named
from mainspring._engine.inputs import collect_inputs
from mainspring._engine.pausing import PausableFlowRun
from mainspring._engine.places import crash_note
from mainspring._engine.recorded import RecordedRun
from mainspring._engine.scopes import FlowScope
from mainspring.annotations import NotSet
from mainspring.context import FlowRunContext, TagsContext, TaskRunContext
from mainspring.exceptions import NotResumable, ObjectNotFound, SupersededRun
from mainspring.logging import flow_run_logger, get_logger, should_log_prints
from mainspring.recording import current_recorder
from mainspring.results.keys import render_storage_key
from mainspring.runs import FlowRun, Parameter, TaskRun
from mainspring.states import State, StateDetails, StateType, is_state
from mainspring.states.state import is_untrackable
from mainspring.suspensions import SuspensionWatch, leave_if_suspended

if TYPE_CHECKING:
    from mainspring.store.protocol import RunStore

__all__ = ["BaseFlowRunEngine", "FlowRunTimeoutError", "read_flow_run"]

_engine_logger = get_logger("engine")
_STAY = nullcontext()


class FlowRunTimeoutError(TimeoutError):
    """An attempt of a flow run took longer than the flow's ``timeout_seconds``."""


@also_named(flow="subject", flow_run="run")
class BaseFlowRunEngine(PausableFlowRun):
    """What both flow engines share. Constructing one does nothing yet.

    Args:
        flow: The flow to run; with ``flow_run_id`` it is found by where it was defined.
        parameters: The arguments by parameter name.
        flow_run: A run record to execute, possibly again; a new one is created when omitted.
        wait_for: Futures and states to wait for besides those among the parameters.
        retries: Retries already started by this engine.
        logger: Where the engine reports; the run's own logger once there is a run.
        resumes: ``flow_run`` has ended and is gone on with: what it has finished is not done again.
        flow_run_id: Instead of ``flow_run``: the id under which the run store has it.

    Raises:
        ValueError: There is neither a flow nor an id.
        ObjectNotFound: The run store has no flow run with the id.
    """

    flow: Any
    flow_run: FlowRun | None

    __match_args__ = (
        "flow",
        "parameters",
        "flow_run",
        "wait_for",
        "retries",
        "logger",
        "resumes",
        "flow_run_id",
    )
    __dataclass_fields__: ClassVar[dict[str, Any]] = FieldsOnUse()  # type: ignore[assignment]

    run_option: ClassVar[str] = "flow_run_name"
    timeout_error: ClassVar[type[TimeoutError]] = FlowRunTimeoutError
    _announced_at: ClassVar[int] = logging.INFO
    _goes_on = False  # this attempt goes on with an earlier one
    _has_lost = False  # somebody else goes on with the run

    def __init__(
        self,
        flow: Any = None,
        parameters: dict[str, Any] | None = None,
        flow_run: FlowRun | None = None,
        wait_for: Iterable[Any] | None = None,
        retries: int = 0,
        logger: Any = _engine_logger,
        resumes: bool = False,
        flow_run_id: UUID | None = None,
    ) -> None:
        if flow is None and flow_run is None and flow_run_id is not None:
            flow, flow_run = self._load(flow_run_id)
        if flow is None:
            raise ValueError("An engine needs a flow, or the id of a recorded flow run: pass `flow_run_id`.")
        self.flow = flow
        self.parameters: dict[str, Any] | None = {} if parameters is None else parameters
        self.wait_for = wait_for
        self.retries = retries
        self.logger = logger
        self.resumes = resumes
        self.flow_run_id = flow_run_id
        self._has_kept_parameters = resumes  # which were converted then
        self._unrecorded = resumes  # what it came to before was told then
        self._task_runner = (
            flow.new_task_runner()
        )  # now, so that nothing begins if there is none of that name
        if flow_run_id is not None and flow_run is None:
            recorder = current_recorder()
            recorder.flush()
            flow_run = read_flow_run(recorder.store, flow_run_id)
        self.flow_run = flow_run

    def _load(self, flow_run_id: UUID) -> tuple[Any, FlowRun | None]:
        """The flow and the record of a run; nothing, as to load flows is for engines above this one."""
        return None, None

    def _enter(self, state: State, confirm: bool = False) -> State:
        """Enter and record a state; the task run that stands for a subflow enters one like it first.

        Raises:
            NotResumable: The run was to be gone on with, and is no longer as it was.
        """
        run = self._require_run()
        if self.settler is not None:
            self._refuse_late(state)
        is_resumed, begins_to_resume, joins = self.resumes, False, False
        if state.type is StateType.RUNNING:
            begins_to_resume = is_resumed
            if not transitions.goes_on(run.state, state):
                self._begin_steps(begins_to_resume)
            if begins_to_resume:
                self._attachments = crash_note(run.key, self.flow)
                self._recorder.store.drop_cancellation(run.key)  # that was meant for what has ended
        if self._stand_in is not None:
            self._mirror(self._stand_in, state)
            if state.type is StateType.COMPLETED:
                if self._around is not None:
                    self._around.run_results.note(state.data, Origin(self._stand_in.key))
                joins = not transitions.is_rolled_back(state)
        entry = self._stage_run() if joins else None
        try:
            RecordedRun._enter(self, state, confirm or begins_to_resume)  # as `super()` costs more
        except SupersededRun as error:
            if not begins_to_resume:
                raise
            self._has_lost = True
            raise NotResumable(
                f"Flow run {run.name!r} ({run.id}) is not resumed: somebody else has resumed it at the same time."
            ) from error
        if is_resumed:
            self._unrecorded = False
        if begins_to_resume:
            self.logger.info("Resumed flow run %r for flow %r", run.name, self.flow.name)
        if joins:
            self._join_transaction(entry)
        return state

    def _begin_steps(self, resumes: bool) -> None:
        """Note whose steps the attempt that begins goes on with: its own, unless it resumes another one."""
        run, self.resumes, self._goes_on = self.run, False, resumes
        self._is_resumed |= resumes
        if run.resumption is not None and not resumes:
            run.resumption = msgspec.structs.replace(run.resumption, attempt=run.run_count + 1)

    def _must_crash(self, error: BaseException | None) -> bool:
        return not self._has_lost and super()._must_crash(error)

    def is_run_of_ours(self) -> bool:
        """Whether there is a run, and nobody else goes on with it: its state tells what came of this engine."""
        return self.run is not None and not self._has_lost

    def _report_end(self, error: BaseException | None) -> None:
        if not self._has_lost:  # else it is the run of somebody else
            super()._report_end(error)

    def _outcome(self, raise_on_failure: bool) -> Any:
        """What the run came to: the value of a completed run, else what its state says (F-14, F-62)."""
        if self._raised is not NotSet or self._return_value is NotSet:
            return super()._outcome(raise_on_failure)
        if self.state.is_completed() and not is_state(self._return_value):
            return self._return_value
        return self.state.result(raise_on_failure=raise_on_failure)

    # What the scopes call

    def _create(self, run_id: UUID | None, dependencies: object) -> None:
        self.look_around()
        self._recorder = current_recorder()
        flow = self.flow
        run = self.flow_run
        if run is None:
            leave_if_suspended()
            key = self._new_key() if run_id is None else run_id.bytes
            pending = State(StateType.PENDING, at=clock.current().now())
            run = self.flow_run = FlowRun(
                key,
                f"{flow.name}-{identifiers.shorten(key)}",
                pending,
                flow.name,
                flow.version,
                flow.own_parameters(self.parameters or {}),
                TagsContext.get().current_tags,
            )
            self._create_stand_in(run)
            run.claim(pending)
            self._recorder.enter(run, pending, wait=False, attachments=crash_note(run.key, flow))
        elif not self._recorder.has(run):  # made by hand: its history begins here
            run.claim(run.state)
            self._recorder.enter(run, run.state, wait=False, attachments=crash_note(run.key, flow))
        if self.resumes:
            self._is_announced = self._named = True
        self.logger = flow_run_logger(run, flow)

    def show(self, state: State) -> None:
        """See `RecordedRun.show`; the task run that stands for a subflow run shows it, too."""
        if self._stand_in is not None:
            self._mirror(self._stand_in, state, unless_over=True)
        super().show(state)

    def _new_key(self) -> bytes:
        return identifiers.new_id() if self._reservation is None else self._reservation.flow_run_key

    def _validated(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the flow's annotations say (F-15); the run has them from then on."""
        flow, run = self.flow, self.run
        if not flow.should_validate_parameters or self._has_kept_parameters:
            return parameters
        converted: dict[str, Any] = flow.validate_parameters(parameters)
        if run is not None and converted is not parameters:
            run.parameters = flow.own_parameters(converted)
        return converted

    def _name_run(self) -> None:
        """Give the run the name that its flow wants, and its result the key."""
        super()._name_run()
        template = self.flow.result_options.result_storage_key
        if template is not None:
            self._result_key = render_storage_key(template)

    def _create_stand_in(self, run: FlowRun) -> None:
        """In a flow: the task run that stands for the new subflow run in its parent (F-36, F-37)."""
        around = FlowRunContext.get()
        if around is None or around.flow_run is None:
            return
        self._around = around
        task_context = self._caller = TaskRunContext.get()
        parents = [] if task_context is None else [task_context.task_run]
        pending = State(StateType.PENDING, at=run.state.at)
        reserved = self._reservation
        stand_in = self._stand_in = TaskRun(
            identifiers.new_id()
            if reserved is None or reserved.stand_in_key is None
            else reserved.stand_in_key,
            run.name,
            pending,
            self.flow.name,
            around.flow_run.key,
            run.tags,
            self.flow.version,
            collect_inputs(self.parameters or {}, self.wait_for, parents, around.run_results),
        )
        stand_in.flow_run_run_count = around.flow_run.run_count
        run.parent_task_run_key = stand_in.key
        self._own_id = pending.state_details.child_flow_run_id = run.id
        stand_in.claim(pending)
        self._recorder.enter(stand_in, pending, wait=False)

    def _mirror(self, stand_in: TaskRun, state: State, unless_over: bool = False) -> None:
        details = msgspec.structs.replace(state.state_details) if state.has_details else StateDetails()
        if self._own_id is None and self.run is not None:
            self._own_id = self.run.id
        details.child_flow_run_id = self._own_id
        copy = State(state.type, state.name, state.message, NotSet, None, details, at=state.at)
        stand_in.claim(copy)

        def is_over(_: State) -> bool:
            return stand_in.state.is_final()

        self._recorder.enter(stand_in, copy, wait=False, unless=is_over if unless_over else None)

    def _enter_run(self) -> None:
        self._choose_store()
        self._outer = scope = FlowScope(self._new_context(self._new_scope())).__enter__()
        self._context = scope.context
        self._context_is_fresh = True

    def _enter_attempt(self) -> AbstractContextManager[Any]:
        is_fresh, self._context_is_fresh = self._context_is_fresh, False
        is_all = is_fresh and not self.flow.policy.retries and not any(self.flow.policy.hooks.values())
        if is_all:  # nothing of the user's comes after the attempt that must not be in its context
            scope = self._scope = self._outer
        else:
            bounds = self._cancel_scope if is_fresh else self._new_scope()
            scope = self._scope = FlowScope(self._new_context(bounds)).__enter__()
        context, run = scope.context, self.run
        self._note_parameters(context)
        context.engine = weakref.ref(self)
        if self._keeps_result and run.resumption is not None:
            root_key, staged = self._root()
            attempt = run.resumption.attempt
            if root_key is not None:
                context.suspension = SuspensionWatch(self._recorder, root_key)
            context.steps = Steps(run.key, attempt, self._goes_on, root_key, staged, os.getpid())
        return _STAY if is_all else scope

    def setup_run_context(self) -> FlowRunContext:
        """A fresh context of the run, to be entered; it knows where the parameters came from."""
        context = self._new_context(self._new_scope())
        self._note_parameters(context)
        return context

    def _new_context(self, bounds: CancelScope | None) -> FlowRunContext:
        context = FlowRunContext(
            self.flow,
            self.flow_run,
            None,
            self.parameters,
            should_log_prints(self.flow.log_prints),
            self._result_store,
            self._keeps_result,
            make_client=cast(Any, self).client_maker() if self._is_started else None,  # which is the driver's
        )
        context.scope = bounds
        return context

    def _note_parameters(self, context: FlowRunContext) -> None:
        for name, value in (self.parameters or {}).items():
            context.run_results.note(value, Origin(Parameter(name=name)))

    def _start_runner(self) -> tuple[Any, BackgroundRuns]:
        """Start a task runner like the flow's, for the tasks of this attempt, and have room for flows."""
        wanted = self._task_runner.duplicate() if self._has_started_runner else self._task_runner
        self._has_started_runner = True
        runner = wanted.__enter__()
        background = BackgroundRuns()
        context = self._scope.context
        context.task_runner, context.background = runner, background
        return runner, background

    def trace(self, value: Any) -> None:
        """Let the flow run around know that ``value`` was yielded by this one (F-50)."""
        if self._stand_in is not None and self._around is not None and not is_untrackable(value):
            self._around.run_results.note(value, Origin(self._stand_in.key, running=True))


def read_flow_run(store: RunStore, flow_run_id: UUID | str) -> FlowRun:
    """The flow run with an id.

    Raises:
        ObjectNotFound: The store has none.
    """
    run = store.read_run(identifiers.to_bytes(flow_run_id))
    if not isinstance(run, FlowRun):
        raise ObjectNotFound(f"There is no flow run with the id {flow_run_id} in {store.address}.")
    return run
