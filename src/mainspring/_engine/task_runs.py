"""What the engines of task runs share: everything about a task run that never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar
from uuid import UUID

from mainspring import _cancel_scopes
from mainspring._core.lineage import Origin
from mainspring._core.outcomes import Outcome
from mainspring._core.transitions import is_rolled_back
from mainspring._engine.bounded import FieldsOnUse, also_named
from mainspring._engine.keeping import Keeping, ResultOptions, checked_key, is_kept_by_commit
from mainspring._engine.places import crash_note
from mainspring._engine.recorded import RecordedRun
from mainspring._engine.staged import StagedRun
from mainspring._engine.steps import active_steps, step_of_task
from mainspring._imports import modules_on_use
from mainspring.annotations import NotSet
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import MainspringError, RunCancelled
from mainspring.logging import enter_context, get_logger, should_log_prints, task_run_logger
from mainspring.recording import current_recorder
from mainspring.results.keys import new_storage_key, render_storage_key
from mainspring.runs import RunInput, TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State, StateType, is_stored
from mainspring.states.state import is_untrackable
from mainspring.store.changes import CacheKey
from mainspring.store.results import Attachment, KeptElsewhere, KeptResult, Withdrawal
from mainspring.suspensions import leave_if_suspended
from mainspring.transactions import BaseTransaction

if TYPE_CHECKING:
    from mainspring._engine.trails import Trail
    from mainspring.context import shipping
    from mainspring.states import conversion
    from mainspring.transactions import recovery, settling
else:
    recovery, settling = modules_on_use("mainspring.transactions", "recovery", "settling")
    conversion, shipping = modules_on_use("mainspring", "states.conversion", "context.shipping")

__all__ = ["BaseTaskRunEngine", "Dependencies", "TaskRunTimeoutError"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Dependencies = dict[str, list[RunInput]]

_engine_logger = get_logger("engine")
_COMPLETED = StateType.COMPLETED  # as globals they are quicker to get at
_FILE, _STAGED = Keeping.FILE, Keeping.STAGED
_STAY = nullcontext()
_TOLD = {  # what a task runner hands over, by where it is kept
    "caller": "_caller",
    "cancel_event": "_cancel_event",
    "check": "_check",
    "claims": "_claims",
    "limit": "tell_limit",
    "losses": "losses",
    "refusal": "_refusal",
    "retries": "retries",
    "step": "_step",
    "trail": "_trail",
}
_SHIPPED = frozenset({"flow_run_context", "task_run_context", "tags_context", "settings_context"})


class TaskRunTimeoutError(TimeoutError):
    """An attempt of a task run took longer than the task's ``timeout_seconds``."""


@also_named(task="subject", task_run="run")
class BaseTaskRunEngine(StagedRun, Generic[P, R]):
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
    logger: Any = _engine_logger
    parameters: dict[str, Any] | None = None
    task_run: TaskRun | None
    retries: int = 0
    wait_for: Iterable[Any] | None = None
    context: dict[str, Any] | None = None

    __match_args__ = ("task", "logger", "parameters", "task_run", "retries", "wait_for", "context")
    __dataclass_fields__: ClassVar[dict[str, Any]] = FieldsOnUse()  # type: ignore[assignment]

    run_option: ClassVar[str] = "task_run_name"
    timeout_error: ClassVar[type[TimeoutError]] = TaskRunTimeoutError
    _is_limited: ClassVar[bool] = True
    hands_on_attempts = True
    _caller: Any = None  # calls the function elsewhere
    _cancel_event: Any = None
    _trail: Trail | None = None
    _check: Callable[[Any], object] | None = None
    _step: tuple[str, bool] | None = None
    _looks_up = False  # whether a result under the key would be used
    _cache_key: CacheKey | None = None  # what is told of how the run looks for a result
    _claims = False  # whether others may try to begin the same attempt
    _confirms_end = False  # whether the store has to accept a final state before anything else happens
    _is_shared = False  # whether the key is one that others may use at the same time
    _staged_in: Any = None  # the transaction that decides about what the run came to

    def __init__(
        self,
        task: Any,
        logger: Any = _engine_logger,
        parameters: dict[str, Any] | None = None,
        task_run: TaskRun | None = None,
        retries: int = 0,
        wait_for: Iterable[Any] | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.task_run = task, task_run
        self.parameters = {} if parameters is None else parameters
        # Nearly always these are what the class has, which is looked at sooner than it is set.
        if logger is not _engine_logger:
            self.logger = logger
        if retries:
            self.retries = retries
        if wait_for is not None:
            self.wait_for = wait_for
        if context:
            self.context = context
            for name, told in context.items():
                if name in _TOLD:
                    setattr(self, _TOLD[name], told)
            if not hasattr(self._cancel_event, "is_set"):
                self._cancel_event = None  # nothing to cancel by

    @property
    def hand_over(self) -> Callable[[bool, BaseException | None], object] | None:
        """See `BoundedRun.hand_over`."""
        trail = self._trail
        return None if trail is None or trail.hand_over is None else self._hand_over

    def _hand_over(self, goes_on: bool, problem: BaseException | None) -> None:
        TaskRunContext.activate(self._context.outer)
        if self._transaction is not None:
            BaseTransaction.activate(self._transaction.outer)
        assert self._trail is not None
        assert self._trail.hand_over is not None
        told: dict[str, Any] = {"retries": self.retries}
        if (
            self._is_step and not self._is_shared
        ):  # equal calls are told apart by their order, and this one is not made again
            told["step"] = (self._result_key, self._looks_up)
        self._trail.hand_over(self.run, told if goes_on else None, problem)

    def is_cancelled(self) -> bool:
        """True if whoever runs the task has set the cancel event it handed over (E-11)."""
        return self._cancel_event is not None and bool(self._cancel_event.is_set())

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
        is_completed = state.type is _COMPLETED
        if is_completed and not is_rolled_back(state):
            if not self._keeps_result and self._has_to_be_staged():
                self._attachments = (self._staged_step(None),)
            if self._is_taken_over and self._leftover is not None:
                self._attachments = (Withdrawal(self._leftover.run_key), *self._attachments)
        if self._claims and state.type is StateType.RUNNING:
            self._claims, confirm = False, True
        if self._confirms_end and state.is_final():
            confirm = True
        RecordedRun._enter(self, state, confirm)  # `super()` costs more than it gives here
        if is_completed and self.run.flow_run_key is not None:
            self.trace(state.data)
        return state

    def _trails(self, state: State, attachments: tuple[Attachment, ...]) -> bool:
        """See `RecordedRun._trails`: nobody but the task runner is told, and it waits for the commit (`Trail`)."""
        trail = self._trail
        if (
            trail is None
            or self.settler is not None  # who hands the outcome over, and does not wait
            or not self._recorder.waits
            or (self._keeps_result and not is_kept_by_commit(state, attachments, self._transaction))
            # What a step has done is not to be done again when its flow run is resumed.
            or (attachments and (not self._keeps_result or self._root_key() is not None))
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
        run: Any = self.task_run or self._require_run()
        context = TaskRunContext(
            self.task,
            run,
            self.parameters,
            should_log_prints(self.task.log_prints),
            self._result_store,
            self._keeps_result,
            client,
            cancel_event=self._cancel_event,
        )
        context.scope = self._new_scope()
        return context

    # What the scopes call

    def _create(self, run_id: UUID | bytes | None, dependencies: Dependencies | None) -> None:
        if self.context and not _SHIPPED.isdisjoint(self.context):
            self._hydrated = shipping.hydrated_context(self.context)
            self._hydrated.__enter__()
        self.look_around()
        recorder = self._recorder = current_recorder()
        run = self.task_run
        if run is None:
            leave_if_suspended()
            if isinstance(run_id, UUID):
                self._confirms_end = True  # such a run may be there, of whomever
            run = self.task.create_local_run(run_id, self.parameters, self.wait_for, dependencies)
            self.task_run = run
            is_new = True
        else:
            is_new = not recorder.has(run)
        if is_new:  # its history begins here, whoever made it
            run.claim(run.state)
            note = crash_note(run.key, self.task) if self.task.on_crashed_hooks else ()
            recorder.enter(run, run.state, wait=False, attachments=note)
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
        if self._limit is not None or _cancel_scopes.anybody_was_told:  # else it has nothing to look at
            RecordedRun.check_cancelled(self)
        if self._cancel_event is not None and self.is_cancelled():
            raise RunCancelled(f"The task runner cancelled task run {self.task_run!r}.")

    def check_portable(self, result: Any) -> None:
        """See whether a result can be taken to whoever waits for it; if not, the attempt has failed.

        Raises:
            SerializationError: It cannot.
        """
        if self._check is not None:
            self._check(result)

    def _note_decision(self, outcome: Outcome, granted: bool, final: bool = True) -> None:
        RecordedRun._note_decision(self, outcome, granted, final)
        if granted and self.context and "retries" in self.context:
            self._recorder.flush()  # so whoever finds this process dead knows which retries were used

    def _new_transaction(self, kind: Callable[..., T]) -> T:
        """The transaction of an attempt; its key is computed once, from what the run was given."""
        txn: Any = (
            self._keyed_transaction(kind)
            if self._keeps_result
            else kind(logger=self.logger, write_on_commit=False)
        )
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
        self._recorder.note_cache_key(self.run, found)

    def _take_step(self) -> str | None:
        """The key of this step of its flow run, under which a resumed run finds it; None if it has none."""
        if self.task.isgenerator:
            return None  # what it yields is not kept, so it always runs
        if self._step is not None:
            step, self._looks_up = self._step
            return str(step)
        steps = active_steps(self.run.flow_run_key)
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
        if txn is None or state.type is not _COMPLETED:
            return RecordedRun._keeping(self, state)
        if not settling.commits_alone(txn, self.task.on_commit_hooks):
            return Keeping.STAGED if self._root_key() is not None else Keeping.LATER
        if txn.is_locking:
            self._confirms_end = True  # whoever gets the lock next finds the result
            if not txn.store.is_lock_holder(txn.key, holder=txn.holder):
                return Keeping.LATER  # which refuses it (TX-77)
        keeping = RecordedRun._keeping(self, state)
        if keeping is _FILE:
            self._attachments = (KeptElsewhere(self.run.key),)
            if self._recorder.is_superseded(self.run):
                return Keeping.LATER  # the state is refused, and nothing is written
        return keeping

    def _attach(self, row: KeptResult, record: Any, keeping: Keeping) -> None:
        if keeping is _STAGED:
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
        task, data = self.task, self.run.state.data
        hooks: list[Any] = [self.handle_rollback, *task.on_rollback_hooks]
        if self._is_taken_over:
            if self._unrecorded:
                self._give_back(transaction)
                return
            if self._leftover is not None:
                hooks.insert(0, recovery.RunRollback(self._recorder, self._leftover))
        is_record = is_stored(data)
        if self._keeps_result:
            transaction.write_on_commit = is_record and not getattr(data, "is_persisted", True)
        if self._entry is not None:
            transaction.entry = None if self._unrecorded else self._entry
        is_open = not transaction.is_decided()
        self._staged_in = transaction
        if is_open:
            # At once: an interrupt finds all of them, or comes here again.
            transaction.on_rollback_hooks += hooks
            transaction.stage(data if is_record else result, None, task.on_commit_hooks)
