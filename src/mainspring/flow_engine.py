"""The flow engine: one run of one flow, from creation to its final state.

`run_flow` runs a flow; both of its forms are the same loop as in `mainspring.task_engine`. A flow
called inside a flow is a subflow: a task run of the parent stands for it there and goes through the same states.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from mainspring import clock, identifiers
from mainspring._core import transitions
from mainspring._core.lineage import Origin
from mainspring._core.outcomes import Outcome
from mainspring._core.steps import Steps
from mainspring._engine.drivers import AsyncDriver, SyncDriver
from mainspring._engine.inputs import collect_inputs, find_unfinished
from mainspring._engine.recorded import also_named
from mainspring._engine.resumable import Answer, ResumableFlowRun
from mainspring._engine.scopes import AsyncRunScope, FlowScope, SyncRunScope
from mainspring._engine.signals import capture_sigterm
from mainspring.annotations import NotSet
from mainspring.context import FlowRunContext, TagsContext, TaskRunContext
from mainspring.exceptions import MissingResult, NotResumable, SupersededRun
from mainspring.futures import resolve_futures_to_states
from mainspring.futures.turns import by_thread
from mainspring.logging import flow_run_logger, get_logger, should_log_prints
from mainspring.recording import current_recorder
from mainspring.runs import FlowRun, Parameter, TaskRun
from mainspring.states import State, StateDetails, StateType, is_state
from mainspring.transactions.faces import adrive, drive

__all__ = [
    "AsyncFlowRunEngine",
    "BaseFlowRunEngine",
    "FlowRunEngine",
    "FlowRunTimeoutError",
    "run_flow",
    "run_flow_async",
    "run_flow_sync",
]

ReturnType = Literal["state", "result"]

_engine_logger = get_logger("engine")


class FlowRunTimeoutError(TimeoutError):
    """An attempt of a flow run took longer than the flow's ``timeout_seconds``."""


@also_named(flow="subject", flow_run="run")
@dataclass
class BaseFlowRunEngine(ResumableFlowRun):
    """What both flow engines share. Constructing one does nothing yet.

    Args:
        flow: The flow to run.
        parameters: The arguments by parameter name.
        flow_run: A run record to execute, possibly again; a new one is created when omitted.
        wait_for: Futures and states to wait for besides those among the parameters.
        retries: Retries already started by this engine.
        logger: Where the engine reports; the run's own logger once there is a run.
        resumes: ``flow_run`` has ended and is gone on with: what it has finished is not done again.
    """

    flow: Any
    parameters: dict[str, Any] | None = None
    flow_run: FlowRun | None = None
    wait_for: Iterable[Any] | None = None
    retries: int = 0
    logger: Any = field(default=_engine_logger)
    resumes: bool = False

    _goes_on: bool = field(default=False, init=False, repr=False)  # this attempt goes on with an earlier one
    _has_lost: bool = field(default=False, init=False, repr=False)  # somebody else goes on with the run

    run_option: ClassVar[str] = "flow_run_name"
    timeout_error: ClassVar[type[TimeoutError]] = FlowRunTimeoutError
    _announced_at: ClassVar[int] = logging.INFO

    def __post_init__(self) -> None:
        if self.parameters is None:
            self.parameters = {}

    def _enter(self, state: State, confirm: bool = False) -> State:
        """Enter and record a state; the task run that stands for a subflow enters one like it first.

        Raises:
            NotResumable: The run was to be gone on with, and is no longer as it was.
        """
        run = self._require_run()
        begins_to_resume = self.resumes and state.type is StateType.RUNNING
        if state.type is StateType.RUNNING:
            self._begin_steps(begins_to_resume)
        if self._stand_in is not None:
            self._mirror(self._stand_in, state)
            if state.type is StateType.COMPLETED and self._around is not None:
                self._around.run_results.note(state.data, Origin(self._stand_in.key))
        completes = state.type is StateType.COMPLETED and not transitions.is_rolled_back(state)
        joins = completes and self._stand_in is not None
        entry = self._stage_run() if joins else None
        try:
            super()._enter(state, confirm or begins_to_resume)
        except SupersededRun as error:
            if not begins_to_resume:
                raise
            self._has_lost = True
            raise NotResumable(
                f"Flow run {run.name!r} ({run.id}) is not resumed: somebody else has resumed it at the same time."
            ) from error
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
        self._recorder = current_recorder()
        flow = self.flow
        run = self.flow_run
        if run is None:
            key = identifiers.new_id() if run_id is None else run_id.bytes
            pending = State(StateType.PENDING, at=clock.current().now())
            run = self.flow_run = FlowRun(
                key,
                f"{flow.name}-{identifiers.shorten(key)}",
                pending,
                flow.name,
                flow.version,
                self.parameters,
                TagsContext.get().current_tags,
            )
            self._create_stand_in(run)
            run.claim(pending)
            self._recorder.enter(run, pending, wait=False)
        elif not self._recorder.has(run):  # made by hand: its history begins here
            run.claim(run.state)
            self._recorder.enter(run, run.state, wait=False)
        if self.resumes:
            self._is_announced = self._named = True
        self.logger = flow_run_logger(run, flow)

    def _create_stand_in(self, run: FlowRun) -> None:
        """In a flow: the task run that stands for the new subflow run in its parent (F-36, F-37)."""
        around = FlowRunContext.get()
        if around is None or around.flow_run is None:
            return
        self._around = around
        task_context = self._caller = TaskRunContext.get()
        parents = [] if task_context is None else [task_context.task_run]
        pending = State(StateType.PENDING, at=run.state.at)
        stand_in = self._stand_in = TaskRun(
            identifiers.new_id(),
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
        pending.state_details.child_flow_run_id = run.id
        stand_in.claim(pending)
        self._recorder.enter(stand_in, pending, wait=False)

    def _mirror(self, stand_in: TaskRun, state: State) -> None:
        details = msgspec.structs.replace(state.state_details) if state.has_details else StateDetails()
        details.child_flow_run_id = self.flow_run.id if self.flow_run else None
        copy = State(state.type, state.name, state.message, NotSet, None, details, at=state.at)
        before = stand_in.state
        stand_in.claim(copy)
        transitions.enter(stand_in, copy)
        self._recorder.enter(stand_in, copy, wait=False, before=before)

    def _enter_run(self) -> None:
        self._choose_store()
        self._outer = scope = self._open_scope()
        self._context = scope.context

    def _enter_attempt(self) -> FlowScope:
        scope = self._open_scope()
        run = self.run
        if self._keeps_result and run.resumption is not None:
            root_key, staged = self._root()
            attempt = run.resumption.attempt
            scope.context.steps = Steps(run.key, attempt, self._goes_on, root_key, staged, os.getpid())
        return scope

    def _open_scope(self) -> FlowScope:
        scope = self._scope = FlowScope(self.setup_run_context())
        return scope.__enter__()

    def setup_run_context(self) -> FlowRunContext:
        """A fresh context of the run, to be entered; it knows where the parameters came from."""
        context = FlowRunContext(
            self.flow,
            self.flow_run,
            None,
            self.parameters,
            should_log_prints(self.flow.log_prints),
            self._result_store,
            self._keeps_result,
        )
        for name, value in (self.parameters or {}).items():
            context.run_results.note(value, Origin(Parameter(name=name)))
        return context

    def _start_runner(self) -> Any:
        """Start a copy of the flow's task runner, for the tasks of this attempt."""
        runner = self.flow.task_runner.duplicate().__enter__()
        self._scope.context.task_runner = runner
        return runner


class FlowRunEngine(BaseFlowRunEngine, SyncDriver):
    """Runs a sync flow in the calling thread."""

    def start(self, flow_run_id: UUID | None = None) -> SyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            flow_run_id: The id for a new run; random when omitted.
        """
        return SyncRunScope(self, flow_run_id, None, begins=True)

    def find_answer(self) -> Answer | None:
        """What this call has come to already, in an earlier attempt of the flow run around (F-38, F-60).

        None for any other call, and if that is not known any more. An earlier run that did not complete is then the
        run of this engine, if the flow run around is resumed.
        """
        if not self._is_repeated():
            return None
        self.wait_for_inputs()
        state = self._take_up()
        if state is None:
            return None
        try:
            return self._answer(state, state.result())
        except MissingResult:  # by rule E-29: what has vanished is computed again
            return None

    def prepare(self) -> Outcome:
        """Prepare as every run does, then keep what it takes to go on with this one."""
        outcome = super().prepare()
        if self._must_note_resumption(outcome) and self._note_resumption():
            try:
                self._result_store.store_parameters(self.run.id, self.parameters)
            except Exception as error:  # by rule: a run that cannot be resumed can still be run
                self._note_unkept_parameters(error)
        return outcome

    def call_flow_fn(self) -> Any:
        """Call the flow's function once with a started task runner and settle what it returns (F-20, F-21)."""
        runner = self._start_runner()
        try:
            finishing = self._finishing()
            if finishing is not None:
                drive(finishing)
            result = self.flow.arguments.call(self.parameters)
            for future in find_unfinished(result):
                future.wait()
        finally:
            leave(runner)
        undoing = self._undoing()
        if undoing is not None:
            drive(undoing)
        return self.handle_success(resolve_futures_to_states(result))

    def handle_success(self, result: Any) -> Any:
        """Enter the state that the result means; a failed one may be retried."""
        if self._limit is not None:
            self._limit.end()
        return self._succeed(result)


class AsyncFlowRunEngine(BaseFlowRunEngine, AsyncDriver):
    """Runs an async flow in the calling asyncio task."""

    def start(self, flow_run_id: UUID | None = None) -> AsyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            flow_run_id: The id for a new run; random when omitted.
        """
        return AsyncRunScope(self, flow_run_id, None, begins=True)

    async def find_answer(self) -> Answer | None:
        """What this call has come to already, in an earlier attempt of the flow run around (F-38, F-60).

        None for any other call, and if that is not known any more. An earlier run that did not complete is then the
        run of this engine, if the flow run around is resumed.
        """
        if not self._is_repeated():
            return None
        await self.wait_for_inputs()
        state = self._take_up()
        if state is None:
            return None
        try:
            return self._answer(state, await state.aresult())
        except MissingResult:  # by rule E-29: what has vanished is computed again
            return None

    async def prepare(self) -> Outcome:
        """Prepare as every run does, then keep what it takes to go on with this one."""
        outcome = await super().prepare()
        if self._must_note_resumption(outcome) and self._note_resumption():
            try:
                await self._result_store.astore_parameters(self.run.id, self.parameters)
            except Exception as error:  # by rule: a run that cannot be resumed can still be run
                self._note_unkept_parameters(error)
        return outcome

    async def call_flow_fn(self) -> Any:
        """Call the flow's function once with a started task runner and settle what it returns (F-20, F-21)."""
        runner = self._start_runner()
        try:
            finishing = self._finishing()
            if finishing is not None:
                await adrive(finishing)
            result = await self.flow.arguments.call(self.parameters)
            for future in find_unfinished(result):
                await future.wait_async()
        finally:
            await aleave(runner)
        undoing = self._undoing()
        if undoing is not None:
            await adrive(undoing)
        return await self.handle_success(resolve_futures_to_states(result))

    async def handle_success(self, result: Any) -> Any:
        """Enter the state that the result means; a failed one may be retried."""
        if self._limit is not None:
            self._limit.end()
        return await self._succeed(result)


def leave(runner: Any) -> None:
    """Leave a task runner, which waits for what has begun."""
    runner.__exit__(None, None, None)


async def aleave(runner: Any) -> None:
    """Leave a task runner, which waits for what has begun, without blocking the event loop."""
    await by_thread(partial(runner.__exit__, None, None, None))


def run_flow(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> Any:
    """Run a flow.

    Args:
        flow: The flow.
        flow_run: A run record to execute instead of a new one.
        parameters: The arguments by parameter name, complete with defaults.
        wait_for: Futures and states that must be there first.
        return_type: "result" returns the value or raises; "state" returns the final state.
        resumes: ``flow_run`` has ended and is gone on with.

    Returns:
        The result or state of a sync flow, a coroutine for an async one.
    """
    runner: Any = run_flow_async if flow.isasync else run_flow_sync
    return runner(flow, flow_run, parameters, wait_for, return_type, resumes)


def run_flow_sync(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> Any:
    """`run_flow` for a sync flow."""
    engine = FlowRunEngine(flow, parameters, flow_run, wait_for, resumes=resumes)
    with capture_sigterm():
        answer = engine.find_answer()
        if answer is not None:
            return answer.state if return_type == "state" else answer.value
        with engine.start():
            while engine.is_running():
                with engine.run_context():
                    engine.call_flow_fn()
    return engine.state if return_type == "state" else engine.result()


async def run_flow_async(
    flow: Any,
    flow_run: FlowRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    resumes: bool = False,
) -> Any:
    """`run_flow` for an async flow."""
    engine = AsyncFlowRunEngine(flow, parameters, flow_run, wait_for, resumes=resumes)
    with capture_sigterm():
        answer = await engine.find_answer()
        if answer is not None:
            return answer.state if return_type == "state" else answer.value
        async with engine.start():
            while engine.is_running():
                async with engine.run_context():
                    await engine.call_flow_fn()
    return engine.state if return_type == "state" else await engine.result()
