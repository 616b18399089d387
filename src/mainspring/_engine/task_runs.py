"""What the engines of task runs share: everything about a task run that never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar
from uuid import UUID

from mainspring._core.lineage import Origin
from mainspring._core.outcomes import Outcome, Raised
from mainspring._core.transitions import is_rolled_back
from mainspring._engine.keeping import Keeping, ResultOptions, checked_key
from mainspring._engine.places import crash_note
from mainspring._engine.recorded import RecordedRun, also_named
from mainspring._engine.steps import active_steps, root_of, step_of_task
from mainspring._imports import modules_on_use
from mainspring.annotations import NotSet
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import MainspringError, RunCancelled
from mainspring.logging import enter_context, get_logger, should_log_prints, task_run_logger
from mainspring.recording import Recorder, current_recorder
from mainspring.results.keys import new_storage_key, render_storage_key
from mainspring.runs import RunInput, TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State, StateType, is_stored
from mainspring.states.state import is_untrackable
from mainspring.store.changes import CacheKey
from mainspring.store.results import KeptElsewhere, KeptResult, StagedStep, Withdrawal
from mainspring.suspensions import leave_if_suspended
from mainspring.transactions import BaseTransaction

if TYPE_CHECKING:
    from mainspring.context import shipping
    from mainspring.states import conversion
    from mainspring.transactions import ledger, recovery, settling
else:
    ledger, recovery, settling = modules_on_use("mainspring.transactions", "ledger", "recovery", "settling")
    conversion, shipping = modules_on_use("mainspring", "states.conversion", "context.shipping")

__all__ = ["BaseTaskRunEngine", "Dependencies", "TaskRunTimeoutError", "Trail"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Dependencies = dict[str, list[RunInput]]

_engine_logger = get_logger("engine")
_STAY = nullcontext()
_SHIPPED = frozenset({"flow_run_context", "task_run_context", "tags_context", "settings_context"})

HandOver = Callable[[TaskRun, "dict[str, Any] | None", "BaseException | None"], object]


class Trail:
    """What a task runner and the engine of a run that it carries tell each other, apart from the outcome.

    Args:
        hand_over: Called by the thread that has settled an attempt, in the context that the run was submitted in, in
            place of the thread that carries the run and does not come back in time. Gets the run, what the engine that
            goes on with it is to be told if one is, and what has kept the attempt from being settled, if something has.

    ``run`` and ``recorder`` are set by the engine if the run is over and not durable yet. The runner is to tell nobody
    before it is.
    """

    __slots__ = ("hand_over", "recorder", "run")

    def __init__(self, hand_over: HandOver | None = None) -> None:
        self.hand_over = hand_over
        self.run: TaskRun | None = None
        self.recorder: Recorder | None = None


class TaskRunTimeoutError(TimeoutError):
    """An attempt of a task run took longer than the task's ``timeout_seconds``."""


@also_named(task="subject", task_run="run")
@dataclass
class BaseTaskRunEngine(RecordedRun, Generic[P, R]):
    """What both task engines share. Constructing one does nothing yet (E-7).

    Args:
        task: The task to run.
        logger: Where the engine reports; the run's own logger once there is a run.
        parameters: The arguments by parameter name.
        task_run: A run record to execute, possibly again; a new one is created when omitted.
        retries: Retries already started by this engine.
        wait_for: Futures and states to wait for besides those among the parameters.
        context: What a task runner hands over: a ``threading.Event`` that cancels as ``cancel_event``, what
            `mainspring.context.serialize_context` gave where the run was submitted, as ``step`` which step of
            its flow run this is, if that was known there, as ``trail`` a `Trail`, as ``retries`` how many were
            granted elsewhere, as ``losses`` how many lost attempts were made good there, as ``claims`` that others may
            begin the same attempt, as ``limit`` a function that is told until when an attempt may go on, as ``refusal``
            an exception for which the run cannot begin, as ``check`` a function that raises if it cannot take a result
            to whoever waits for it, and as ``caller`` what calls the task's function with parameters by name in place
            of the task itself.
    """

    task: Any
    logger: Any = field(default=_engine_logger)
    parameters: dict[str, Any] | None = None
    task_run: TaskRun | None = None
    retries: int = 0
    wait_for: Iterable[Any] | None = None
    context: dict[str, Any] | None = None

    run_option: ClassVar[str] = "task_run_name"
    timeout_error: ClassVar[type[TimeoutError]] = TaskRunTimeoutError
    _is_limited: ClassVar[bool] = True
    hands_on_attempts = True
    _caller: Any = None  # calls the function elsewhere
    _looks_up = False  # whether a result under the key would be used
    _cache_key: CacheKey | None = None  # what is told of how the run looks for a result
    _claims = False  # whether others may try to begin the same attempt
    _confirms_end = False  # whether the store has to accept a final state before anything else happens
    _is_step = False  # whether the same call of a resumed flow run has the same key
    _is_shared = False  # whether the key is one that others may use at the same time
    _transaction: Any = None  # of the attempt
    _leftover: StagedStep | None = None  # what this step has come to before its process died
    _is_taken_over = False  # the result is that one
    _staged_in: Any = None  # the transaction that decides about what the run came to
    _taken: Sequence[StagedStep] = ()  # it, and those that ran inside of it

    def __post_init__(self) -> None:
        if self.parameters is None:
            self.parameters = {}
        if self.context:
            self.retries = self.context.get("retries", self.retries)
            self.losses = self.context.get("losses", 0)
            self.tell_limit = self.context.get("limit")
            self._claims = self.context.get("claims", False)
            self._caller = self.context.get("caller")

    @property
    def hand_over(self) -> Callable[[bool, BaseException | None], object] | None:
        """See `BoundedRun.hand_over`."""
        trail: Trail | None = self.context.get("trail") if self.context else None
        return None if trail is None or trail.hand_over is None else self._hand_over

    def _hand_over(self, goes_on: bool, problem: BaseException | None) -> None:
        TaskRunContext.activate(self._context.outer)
        if self._transaction is not None:
            BaseTransaction.activate(self._transaction.outer)
        assert self.context is not None
        told: dict[str, Any] = {"retries": self.retries}
        if (
            self._is_step and not self._is_shared
        ):  # equal calls are told apart by their order, and this one is not made again
            told["step"] = (self._result_key, self._looks_up)
        self.context["trail"].hand_over(self.run, told if goes_on else None, problem)

    def is_cancelled(self) -> bool:
        """True if whoever runs the task has set the cancel event it handed over (E-11)."""
        event = self._cancel_event()
        return event is not None and bool(event.is_set())

    def _cancel_event(self) -> Any:
        """What whoever runs the task has handed over to cancel it by, None if that is nothing to cancel by."""
        event = self.context.get("cancel_event") if self.context else None
        return event if hasattr(event, "is_set") else None

    def compute_transaction_key(self) -> str | None:
        """The key under which the result of this run is looked up and kept: the cache policy's, else the
        task's storage key, else None (E-13 to E-15).

        A policy that fails is reported, and the run goes on without a key (V-12).
        """
        options: ResultOptions = self.task.result_options
        policy = options.cache_policy
        if policy is not None and options.has_policy:
            if get_current_settings().tasks.disable_caching:
                self._tell_key(None, skipped="disabled")
                return None
            flow_context = FlowRunContext.get()
            components: dict[str, str | None] = {}
            try:
                found = policy.examine(
                    TaskRunContext.get(),
                    self.parameters or {},
                    None if flow_context is None else flow_context.parameters,
                )
                components = found.components
                key = checked_key(found.checked())
            except Exception as error:  # by rule V-12: what cannot be cached can still be run
                is_ours = isinstance(error, MainspringError)  # whose messages need no type before them
                told = str(error) if is_ours else conversion.describe_exception(error)
                self._tell_key(None, components, "error", told)
                is_default = options.given_cache_policy is NotSet and options.cache_key_fn is None
                level = logging.WARNING if is_default else logging.ERROR
                self.logger.log(
                    level, "The cache key could not be computed, so the run is not cached: %s", told
                )
                return None
            self._tell_key(key, components, "no key" if key is None else None)
            return key
        if options.result_storage_key is not None:
            key = render_storage_key(options.result_storage_key)
            self._tell_key(key, {"result_storage_key": key})
            return key
        return None

    def _tell_key(
        self,
        key: str | None,
        components: dict[str, str | None] | None = None,
        skipped: str | None = None,
        message: str | None = None,
    ) -> None:
        """Remember how the run looks for a result, to be recorded (see `CacheKey` for the arguments)."""
        if self.run is not None:
            self._cache_key = CacheKey(self.run.key, key, components or {}, skipped, message)

    def record_terminal_state_timing(self, state: State) -> None:
        """Note when the run ended and how long it ran, unless that is known; `set_state` does so by itself."""
        run = self._require_run()
        if run.started_at is not None and run.ended_at is None:
            run.ended_at = state.at
            if run.state.is_running():
                run.run_time += state.at - run.state.at

    def _enter(self, state: State, confirm: bool = False) -> State:
        """Enter and record a state; what a completed run came to is known in its flow run from then on."""
        if state.type is StateType.COMPLETED and not is_rolled_back(state):
            if not self._keeps_result and self._has_to_be_staged():
                self._attachments = (self._staged_step(None),)
            if self._is_taken_over and self._leftover is not None:
                self._attachments = (Withdrawal(self._leftover.run_key), *self._attachments)
        if self._claims and state.type is StateType.RUNNING:
            self._claims, confirm = False, True
        confirm = confirm or (self._confirms_end and state.is_final())
        RecordedRun._enter(self, state, confirm)  # `super()` costs more than it gives here
        if state.type is StateType.COMPLETED:
            self.trace(state.data)
        return state

    def _trails(self) -> bool:
        """See `RecordedRun._trails`: nobody but the task runner is told, and it waits for the commit (`Trail`)."""
        trail: Trail | None = self.context.get("trail") if self.context else None
        if (
            trail is None
            or self.settler is not None  # who hands the outcome over, and does not wait
            or not self._recorder.waits
            or self._keeps_result
            or self._slots is not None
            or self.task.has_final_hooks
            or self.task.isgenerator
        ):
            return False
        trail.run, trail.recorder = self.run, self._recorder
        return True

    def trace(self, value: Any, running: bool = False) -> None:
        """Let the flow run know that ``value`` came from this run (T-83, G-3).

        Args:
            value: What was returned or yielded.
            running: True for a value that was yielded.
        """
        run = self.task_run
        if run is None or run.flow_run_key is None or is_untrackable(value):
            return
        if is_stored(value):
            if not value.has_cached_object():
                return  # nobody loads it for this (E-57)
            value = value.get()
        context = FlowRunContext.get()
        if context is not None:
            context.run_results.note(value, Origin(run.key, running))

    def setup_run_context(self, client: object = None) -> TaskRunContext:
        """A fresh context of the run, to be entered; prints are logged inside if the task wants that.

        Raises:
            ValueError: There is no run yet.
        """
        run = self._require_run()
        assert isinstance(run, TaskRun)
        context = TaskRunContext(
            self.task,
            run,
            self.parameters,
            should_log_prints(self.task.log_prints),
            self._result_store,
            self._keeps_result,
            client,
            cancel_event=self._cancel_event() if self.context else None,
        )
        context.scope = self._new_scope()
        return context

    # What the scopes call

    def _create(self, run_id: UUID | bytes | None, dependencies: Dependencies | None) -> None:
        if self.context and not _SHIPPED.isdisjoint(self.context):
            self._hydrated = shipping.hydrated_context(self.context)
            self._hydrated.__enter__()
        self.look_around()
        self._recorder = current_recorder()
        run = self.task_run
        if run is None:
            leave_if_suspended()
            self._confirms_end = isinstance(run_id, UUID)  # such a run may be there, of whomever
            run = self.task_run = self.task.create_local_run(
                id=run_id,
                parameters=self.parameters,
                wait_for=self.wait_for,
                extra_task_inputs=dependencies,
            )
        if not self._recorder.has(run):  # its history begins here, whoever made it
            run.claim(run.state)
            note = crash_note(run.key, self.task) if self.task.on_crashed_hooks else ()
            self._recorder.enter(run, run.state, wait=False, attachments=note)
        if self.retries:  # it was told of, and has its name, since its first attempt
            self._is_announced = self._named = True
        self.logger = task_run_logger(run, self.task)

    def _enter_run(self) -> None:
        self._choose_store()
        self._context = self.setup_run_context()
        self._outer = enter_context(self._context)
        self._context_is_fresh = True

    def _enter_attempt(self) -> AbstractContextManager[Any]:
        if self._context_is_fresh:  # the first attempt goes on in the context that its run began in
            self._context_is_fresh = False
            self._context.parameters = self.parameters
            return _STAY
        return enter_context(self.setup_run_context())

    def open_generator(self) -> Any:
        """What the function of a generator task gives; nothing of it has happened yet."""
        return (self._caller or self.task.arguments.call)(self.parameters)

    def check_cancelled(self) -> None:
        """Leave the run at once if it was told to stop, or has no time left.

        Raises:
            RunCancelled: It was, by a cancellation or by whoever runs it.
            TimeoutError: It has none.
        """
        RecordedRun.check_cancelled(self)
        if self.context and self.is_cancelled():
            raise RunCancelled(f"The task runner cancelled task run {self.task_run!r}.")

    def check_portable(self, result: Any) -> None:
        """See whether a result can be taken to whoever waits for it; if not, the attempt has failed.

        Raises:
            SerializationError: It cannot.
        """
        check = self.context.get("check") if self.context else None
        if check is not None:
            check(result)

    def _resolve_inputs(self) -> Outcome:
        refusal = self.context.get("refusal") if self.context else None
        if refusal is None:
            return RecordedRun._resolve_inputs(self)
        self._raised = refusal
        self._announce()
        return Raised(refusal)

    def _note_decision(self, outcome: Outcome, granted: bool, final: bool = True) -> None:
        RecordedRun._note_decision(self, outcome, granted, final)
        if granted and self.context and "retries" in self.context:
            self._recorder.flush()  # so whoever finds this process dead knows which retries were used

    def _report_end(self, error: BaseException | None) -> None:
        is_handed_on = self._confirms and self.run.state.is_scheduled()
        if not is_handed_on:
            RecordedRun._report_end(self, error)

    def _new_transaction(self, kind: Callable[..., T]) -> T:
        """The transaction of an attempt; its key is computed once, from what the run was given."""
        txn: Any = kind(logger=self.logger) if not self._keeps_result else self._keyed_transaction(kind)
        txn.run_key = self.run.key
        self._transaction = txn
        return txn  # type: ignore[no-any-return]

    def _keyed_transaction(self, kind: Callable[..., T]) -> T:
        options: ResultOptions = self.task.result_options
        refreshes = self._refreshes()
        if not self._has_transaction:
            self._has_transaction = True
            key = None
            if not self.task.isgenerator:
                key = self.compute_transaction_key()
            elif options.has_policy:
                # Generators always run: what they yielded is not kept, only what they returned (G-8).
                self._tell_key(None, skipped="generator")
            self._is_shared = self._looks_up = key is not None
            self._is_step = self._is_shared and not refreshes
            if key is None:
                key = self._take_step()
                self._is_step = key is not None
            if key is None:
                key = self._result_store.storage_key_fn()
            self._result_key = key
            if self._cache_key is not None:
                self._record_cache_key(self._cache_key, refreshes)
            if self._looks_up and not refreshes:
                self._leftover = self._staged_before(key)
        level = None
        if self._is_shared and options.cache_policy is not None:
            level = options.cache_policy.isolation_level
        return kind(
            key=self._result_key,
            store=self._result_store,
            isolation_level=level,
            # What this step had come to is its own, also if somebody else has used the key since.
            overwrite=not self._looks_up or refreshes or self._leftover is not None,
            logger=self.logger,
        )

    def _refreshes(self) -> bool:
        """Whether a kept result is to be computed anew and overwritten (K-30)."""
        refresh: bool | None = self.task.result_options.refresh_cache
        return get_current_settings().tasks.refresh_cache if refresh is None else refresh

    def _record_cache_key(self, found: CacheKey, refreshes: bool) -> None:
        """Have it written with the states of the run, to be compared by whoever asks why nothing was used."""
        if found.key is not None and refreshes:
            found = CacheKey(found.task_run_key, found.key, found.components, "refresh")
        self._recorder.note_cache_key(found)

    def _take_step(self) -> str | None:
        """The key of this step of its flow run, under which a resumed run finds it; None if it has none."""
        run = self._require_run()
        assert isinstance(run, TaskRun)
        if self.task.isgenerator:
            return None  # what it yields is not kept, so it always runs
        given = self.context.get("step") if self.context else None
        if given is not None:
            step, self._looks_up = given
            return str(step)
        steps = active_steps(run.flow_run_key)
        if steps is None or self._result_store.storage_key_fn is not new_storage_key:
            return None
        key = step_of_task(steps, self.task, self.parameters, self._context.outer)
        self._looks_up = steps.goes_on and key is not None
        return key

    def _leave_run(self, error: BaseException | None) -> None:
        self._transaction = self._staged_in = None  # their hooks hold the engine
        RecordedRun._leave_run(self, error)

    # Results, and the transaction that they belong to

    def _keeping(self, state: State) -> Keeping:
        txn = self._transaction
        if txn is None or not state.is_completed():
            return RecordedRun._keeping(self, state)
        if not settling.commits_alone(txn, self.task.on_commit_hooks):
            return Keeping.STAGED if self._root_key() is not None else Keeping.LATER
        if txn.is_locking:
            self._confirms_end = True  # whoever gets the lock next finds the result
            if not txn.store.is_lock_holder(txn.key, holder=txn.holder):
                return Keeping.LATER  # which refuses it (TX-77)
        keeping = RecordedRun._keeping(self, state)
        if keeping is Keeping.FILE:
            self._attachments = (KeptElsewhere(self.run.key),)
            if self._recorder.is_superseded(self.run):
                return Keeping.LATER  # the state is refused, and nothing is written
        return keeping

    def _attach(self, row: KeptResult, record: Any, keeping: Keeping) -> None:
        if keeping is Keeping.STAGED:
            self._attachments = (self._staged_step(row),)
        else:
            RecordedRun._attach(self, row, record, keeping)

    def _holder(self) -> str | None:
        txn = self._transaction
        return txn.holder if txn is not None and txn.is_locking else None

    def _log_unkept(self, error: Exception, state: State) -> None:
        if self._transaction is None or not state.is_completed():
            RecordedRun._log_unkept(self, error, state)
        # else its transaction tries again, and is rolled back if that fails, too

    def _root_key(self) -> bytes | None:
        """The flow run that can be resumed if the process dies, None if none can."""
        steps = active_steps(self.run.flow_run_key)
        return None if steps is None else root_of(steps)

    def _around_key(self) -> bytes | None:
        """The run around this one."""
        outer = self._context.outer
        while outer is not None and outer.task_run is self.run:  # an earlier attempt's
            outer = outer.outer
        return self.run.flow_run_key if outer is None else outer.task_run.key  # type: ignore[no-any-return]

    def _has_to_be_staged(self) -> bool:
        """Whether the death of the process would lose something of a completed run that keeps nothing.

        That is its hooks, and that what was staged inside of it belongs to what is around it.
        """
        task, txn = self.task, self._transaction
        if txn is None or not (
            task.on_rollback_hooks
            or task.on_commit_hooks
            or txn.on_rollback_hooks
            or txn.on_commit_hooks
            or any(getattr(child, "entry", None) is not None for child in txn.children)
        ):
            return False
        return not settling.commits_alone(txn, task.on_commit_hooks) and self._root_key() is not None

    def _staged_step(self, row: KeptResult | None) -> StagedStep:
        """What is written of the completed run while its transaction goes on."""
        task, txn, store = self.task, self._transaction, self._result_store
        run_key, root_key, taken = self.run.key, self._root_key(), self._leftover
        assert root_key is not None
        is_elsewhere = row is not None and not store.is_in_history
        hooks = ledger.dump_hooks(task, txn)
        step = StagedStep(
            run_key,
            self._around_key(),
            root_key,
            None if row is None else row.key,
            row is not None and self._is_step,
            ledger.dump_storage(store) if is_elsewhere else None,
            None if row is None else row.content,
            None if row is None else row.file,
            hooks,
            ledger.dump_values(txn) if hooks is not None else None,
            earlier_keys=(*taken.earlier_keys, taken.run_key)
            if self._is_taken_over and taken is not None
            else (),
        )
        self._entry = ledger.Entry(self._recorder, run_key, root_key, is_elsewhere)
        return step

    def _staged_before(self, key: str) -> StagedStep | None:
        """What the step with this key had come to in a transaction that was open when its process died."""
        steps = active_steps(self.run.flow_run_key)
        return None if steps is None or steps.staged is None else steps.staged.take(key)

    def _take_over(self, transaction: BaseTransaction) -> Any:
        """Go on with a step that had completed: its result, as a record that is still to be committed."""
        step, steps = self._leftover, active_steps(self.run.flow_run_key)
        assert step is not None
        assert steps is not None
        steps.staged.take_run(step.run_key)  # an attempt before this one may have failed to
        taken = [step, *steps.staged.take_inside(step.run_key)]
        try:
            record = recovery.open_step(step, self._result_store, transaction)
            recovery.adopt(taken[1:], transaction, self._recorder, self.logger)
        except BaseException:
            steps.staged.put_back(taken)
            raise
        self._is_taken_over, self._taken = True, taken
        return record

    def _give_back(self, transaction: BaseTransaction) -> None:
        """Leave a step that was taken over as it was: it is not recorded that it was."""
        steps = active_steps(self.run.flow_run_key)
        assert steps is not None
        transaction.children.clear()
        steps.staged.put_back(self._taken)

    def _is_cached(self, transaction: BaseTransaction) -> bool:
        return self._is_taken_over or transaction.is_committed()

    def _expiration(self) -> datetime | None:
        options: ResultOptions = self.task.result_options
        return None if options.cache_expiration is None else options.expiration_at(self._now())

    def _require_store(self) -> None:
        """Refuse to settle a result where nobody could keep it (E-60)."""
        context = TaskRunContext.get()
        if context is None or context.result_store is None:
            raise ValueError("There is no result store: `handle_success` belongs into the run's context.")

    def _stage(self, transaction: BaseTransaction, result: Any) -> None:
        """Let the transaction decide about what the run came to; a second time changes nothing."""
        if self._staged_in is transaction:
            return
        if self._is_taken_over and self._unrecorded:
            self._give_back(transaction)
            return
        task, data = self.task, self.run.state.data
        is_record = is_stored(data)
        is_persisted = is_record and getattr(data, "is_persisted", True)
        transaction.write_on_commit = self._keeps_result and is_record and not is_persisted
        transaction.entry = None if self._unrecorded else self._entry
        hooks: list[Any] = [self.handle_rollback, *task.on_rollback_hooks]
        if self._is_taken_over and self._leftover is not None:
            hooks.insert(0, recovery.RunRollback(self._recorder, self._leftover))
        is_open = not transaction.is_decided()
        self._staged_in = transaction
        if is_open:
            # At once: an interrupt finds all of them, or comes here again.
            transaction.on_rollback_hooks += hooks
        transaction.stage(data if is_record else result, None, task.on_commit_hooks)
