"""Flow runs that can be gone on with: what they note for that, and how they go on where an earlier one has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakSet

import msgspec

from mainspring import identifiers
from mainspring._core.lineage import Origin
from mainspring._core.outcomes import Outcome, Ready
from mainspring._core.transitions import is_rolled_back
from mainspring._engine.inputs import resolve_parameters, resolve_wait_for
from mainspring._engine.places import place_of
from mainspring._engine.recorded import RecordedRun
from mainspring._engine.steps import root_of, step_of_flow
from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.recording import current_recorder
from mainspring.runs import FlowRun, Resumption, TaskRun
from mainspring.store.results import StagedStep
from mainspring.transactions import BaseTransaction, Transaction

if TYPE_CHECKING:
    from mainspring._core.steps import Steps
    from mainspring._engine import subflows
    from mainspring.futures import reservations
    from mainspring.states import State
    from mainspring.transactions import ledger, recovery
    from mainspring.transactions.steps import Steps as TransactionSteps
else:
    subflows = modules_on_use("mainspring._engine", "subflows")
    reservations = modules_on_use("mainspring.futures", "reservations")
    ledger, recovery = modules_on_use("mainspring.transactions", "ledger", "recovery")

__all__ = ["Answer", "ResumableFlowRun"]

_TOLD: WeakSet[Any] = WeakSet()  # flows whose runs are known not to be resumable


class Answer(msgspec.Struct, frozen=True):
    """What an earlier run of a subflow has come to: its final state, and the value that it completed with."""

    state: State
    value: Any


class ResumableFlowRun(RecordedRun):
    """The part of flow engines that is about earlier attempts, other processes, and what is around a subflow."""

    flow: Any

    _stand_in: TaskRun | None = None  # the task run that stands for a subflow in its parent flow
    _own_id: UUID | None = None  # of the subflow run, as the details of its stand-in's states have it
    _around: FlowRunContext | None = None  # that flow
    _caller: TaskRunContext | None = None
    _scope: Any = None
    _has_started_runner = False  # so that other attempts need another one
    _step: str | None = None  # what tells a subflow from others of its parent
    _has_step = False  # or is known to have none
    _found: FlowRun | None = None  # the run of an earlier attempt that answers the call
    _has_looked = False  # whether such a run was looked for
    _reservation: reservations.Reservation | None = (
        None  # the ids of the run, if they were known before it began
    )
    _is_resumed = False  # an earlier process has begun the run
    _staged: recovery.StagedSteps | None = None  # left by an earlier process, and not taken over yet

    def _is_repeated(self) -> bool:
        """Whether an earlier attempt of the flow run around may have made this call of a subflow."""
        around = FlowRunContext.get()
        if around is None or around.steps is None or around.flow_run is None or self.run is not None:
            return False
        return around.flow_run.run_count > 1

    def reserve(self, inputs_are_there: bool) -> reservations.Reservation:
        """Settle the ids of the run, and which step it is of the flow run around, before it begins.

        Equal calls are told apart by their order, which is that of the program here, and that of threads where they
        run. Without its inputs the step cannot be known, and the run finds out by itself.
        """
        around = FlowRunContext.get()
        is_subflow = around is not None and around.flow_run is not None
        self._reservation = reservations.Reservation(is_subflow)
        if is_subflow and inputs_are_there:
            if self._is_repeated():
                self._take_up()
            else:
                self._take_step()
        return self._reservation

    def _take_step(self) -> Steps | None:
        """Find out which step of the flow run around the call is; None if its inputs do not allow that."""
        around, caller = FlowRunContext.get(), TaskRunContext.get()
        if around is None or around.steps is None:
            return None
        try:
            if self.wait_for is not None:
                resolve_wait_for(self.wait_for)
            parameters = self._validated(resolve_parameters(self.parameters or {}))
        except Exception:  # met again, and recorded, where the inputs are resolved
            return None
        self._step, self._has_step = step_of_flow(around.steps, self.flow, parameters, caller), True
        return around.steps

    def _take_up(self) -> State | None:
        """The state of the completed run that an earlier attempt has made by this call, if there is one.

        One that did not complete is gone on with by this engine if the flow run around is.
        """
        if self._has_looked:
            return None if self._found is None else self._found.state
        self._has_looked = True
        around, steps = FlowRunContext.get(), self._take_step()
        if around is None or steps is None:
            return None
        assert isinstance(around.flow_run, FlowRun)
        recorder = current_recorder()
        run = subflows.earlier_runs(steps, around.flow_run, recorder).get(self._step or "")
        if run is None or is_rolled_back(run.state):
            return None
        if run.state.is_completed():
            if self.flow.isgenerator or not run.state.has_data:  # what was yielded is not kept
                return None
            self._around, self._found = around, run
            self._note_ids_of(run)
            return run.state
        stand_in = recorder.store.read_run(run.parent_task_run_key or b"")
        is_left = run.state.is_final() or run.state.is_paused()
        if steps.goes_on and is_left and isinstance(stand_in, TaskRun):
            self.run, self.resumes = run, True
            self._around, self._stand_in = around, stand_in
            self._note_ids_of(run)
        return None

    def _note_ids_of(self, run: FlowRun) -> None:
        if self._reservation is not None:
            self._reservation.flow_run_key = run.key
            self._reservation.stand_in_key = run.parent_task_run_key

    def _reject_answer(self) -> None:
        """Go on as if no earlier run had been found: what it has come to is not there any more."""
        self._found = None
        if self._reservation is not None:
            self._reservation.renew()

    def _answer(self, state: State, value: Any) -> Answer:
        """What the caller gets instead of another run; the flow run around knows where the value came from."""
        if self._around is not None:
            task_run_id = state.state_details.task_run_id
            if task_run_id is not None:
                self._around.run_results.note(value, Origin(task_run_id.bytes))
            if self._found is not None and self._around.steps is not None:
                self._adopt(self._found, self._around.steps.staged)
        return Answer(state, value)

    def _adopt(self, run: FlowRun, staged: recovery.StagedSteps | None) -> None:
        """Let the open transaction decide about a completed subflow run whose own one had no end."""
        outer = _open_transaction()
        step = None if staged is None or outer is None else staged.take_run(run.key)
        if step is None:
            return
        assert staged is not None
        assert outer is not None
        steps = [step, *staged.take_inside(run.key)]
        try:
            recovery.adopt(steps, outer, current_recorder(), outer.logger)
        except BaseException:
            staged.put_back(steps)
            raise

    def _must_note_resumption(self, outcome: Outcome) -> bool:
        return self._keeps_result and type(outcome) is Ready and not self.resumes

    def _find_resumption(self) -> Resumption:
        """How to go on with the run, once its parameters are kept where that says."""
        run = self._require_run()
        if self._stand_in is not None:
            steps = None if self._around is None else self._around.steps
            if steps is not None and not self._has_step:
                self._step = step_of_flow(steps, self.flow, self.parameters, self._caller)
            return Resumption(step=self._step)
        place = place_of(self.flow)
        path = self._result_store.parameters_path(identifiers.to_text(run.key))
        if place.problem is not None:
            self._tell_problem(place.problem, "Resume it with `resume_flow_run(id, flow=...)`.")
        return Resumption(
            entrypoint=place.entrypoint, file=place.file, parameters=path, problem=place.problem
        )

    def _resumption_without_parameters(self, error: Exception) -> Resumption:
        """What to note of a run that cannot be gone on with, as nobody can know its parameters."""
        problem = f"its parameters could not be kept: {type(error).__name__}: {error}"
        self._tell_problem(problem, "It runs as usual.")
        return Resumption(problem=problem)

    def _tell_problem(self, problem: str, advice: str) -> None:
        """Warn, once for each flow, that its runs are not resumable by their ids."""
        if self.flow not in _TOLD:
            _TOLD.add(self.flow)
            name = self._require_run().name
            self.logger.warning("Flow run %r cannot be resumed by its id: %s. %s", name, problem, advice)

    def _finishing(self) -> TransactionSteps | None:
        """The steps that finish what attempts before this one had decided about transactions, and not done."""
        if self.run.run_count < 2 or self._stand_in is not None or not self._keeps_result:
            return None
        # Now, as until this process had the run, another one that was thought dead may have gone on.
        leftovers = self._recorder.store.read_leftovers(self.run.key)
        if self._is_resumed and self._staged is None:
            self._staged = recovery.StagedSteps(leftovers.steps)
            self._scope.context.steps.staged = self._staged
        if not leftovers.settlements and not self._staged:
            return None
        return recovery.finish_settlements(leftovers, self._staged, self._recorder, self.logger)

    def _undoing(self) -> TransactionSteps | None:
        """The steps that roll back what an earlier process had completed in transactions that nobody went on with."""
        staged = self._staged
        if staged is None or not staged:
            return None
        return recovery.roll_back(staged.take_all(), staged, self._recorder, self.logger)

    # The transaction around a subflow

    def _root(self) -> tuple[bytes | None, recovery.StagedSteps | None]:
        """The outermost flow run, None if that cannot be resumed; and what its transactions have left."""
        if self._stand_in is None:
            return self.run.key, self._staged
        around = None if self._around is None else self._around.steps
        return (None, None) if around is None else (root_of(around), around.staged)

    def _stage_run(self) -> ledger.Entry | None:
        """Have it written with the next state that the transaction around the subflow goes on, if there is one."""
        root_key = self._root()[0]
        if root_key is None or not self._keeps_result or _open_transaction() is None:
            return None
        assert self._around is not None
        around = self._caller.task_run if self._caller is not None else self._around.flow_run
        around_key = None if around is None else around.key
        step = StagedStep(self.run.key, around_key, root_key, is_step=self._step is not None)
        self._attachments = (*self._attachments, step)
        return ledger.Entry(self._recorder, self.run.key, root_key, False)

    def _join_transaction(self, entry: ledger.Entry | None) -> None:
        """Let the transaction around the subflow decide about its run, too: what it did is part of that."""
        outer = _open_transaction()
        if outer is not None:
            txn = Transaction(logger=self.logger)
            txn.run_key, txn.entry, txn.parent = self.run.key, entry, outer
            txn.stage(None, [self.handle_rollback])
            outer.add_child(txn)


def _open_transaction() -> BaseTransaction | None:
    txn = BaseTransaction.current()
    return None if txn is None or txn.is_decided() else txn
