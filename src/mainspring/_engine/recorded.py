"""A run in the hands of an engine: what engines of tasks and flows do alike, none of which ever waits."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from mainspring import clock, identifiers
from mainspring._cancel_scopes import StopKind
from mainspring._core import lifecycle, transitions
from mainspring._core.outcomes import Blocked, Raised, Ready
from mainspring._core.policy import hook_name
from mainspring._engine.bounded import BoundedRun
from mainspring._engine.inputs import is_among, resolve_parameters, resolve_wait_for
from mainspring._engine.keeping import Keeping
from mainspring._engine.signals import cause_of_end
from mainspring._engine.timeouts import limit_of
from mainspring._imports import modules_on_use
from mainspring._representation import shown, traceback_of
from mainspring.annotations import NotSet
from mainspring.exceptions import (
    Abort,
    CancelledRun,
    OwnershipLost,
    Pause,
    RunCancelled,
    SerializationError,
    TerminationSignal,
    UpstreamTaskError,
)
from mainspring.logging import TELLS_AGAIN, TELLS_FAILURE, engine_logs
from mainspring.results import get_result_store
from mainspring.results.keys import new_storage_key
from mainspring.settings import get_current_settings
from mainspring.states import TERMINAL_STATES, StateType
from mainspring.store.results import CrashHooks, Withdrawal

if TYPE_CHECKING:
    from mainspring import records
    from mainspring._cancel_scopes import Stop
    from mainspring._core.outcomes import Outcome
    from mainspring._engine import cancelling, tracebacks
    from mainspring._engine.keeping import ResultOptions
    from mainspring.recording import Recorder
    from mainspring.results import ResultRecord
    from mainspring.runs import Run
    from mainspring.states import State, conversion
    from mainspring.store.results import Attachment, KeptResult
    from mainspring.transactions.base import BaseTransaction
else:
    cancelling, tracebacks = modules_on_use("mainspring._engine", "cancelling", "tracebacks")
    conversion = modules_on_use("mainspring.states", "conversion")
    records = modules_on_use("mainspring", "records")

__all__ = ["RecordedRun"]

_READY = Ready()
_COMPLETED = StateType.COMPLETED  # as globals they are quicker to get at
_ROW, _FILE = Keeping.ROW, Keeping.FILE
_AS_MEANT = frozenset({StateType.COMPLETED, StateType.PAUSED})
_LOOPING = frozenset({StateType.RUNNING, StateType.SCHEDULED})


def _draw() -> float:
    return identifiers.current().uniform()


class RecordedRun(BoundedRun):
    """A run and its engine's bookkeeping. One engine is used by one thread or asyncio task at a time.

    ``subject`` is the task or flow, ``run`` the run record or None before there is one.
    """

    __slots__ = ()

    run_option: ClassVar[str]  # what the option that names runs is called, for messages
    _announced_at: ClassVar[int] = logging.DEBUG  # the level of the line that tells of a new run
    _is_limited: ClassVar[bool] = False  # whether limits on tags count

    parameters: dict[str, Any] | None
    wait_for: Any
    retries: int
    logger: Any

    # What the engine knows while it works; public fields are those of the dataclasses.
    _random: Callable[[], float] = staticmethod(_draw)
    _recorder: Recorder
    _return_value: Any = NotSet
    _raised: Any = NotSet
    _is_started = False
    _refusal: Exception | None = None  # for which the run cannot begin
    _named = False
    _is_announced = False
    _context: Any = None  # of the whole run
    _context_is_fresh = False  # no attempt was made in it
    _outer: Any = None  # the scope in which that context is active
    _hydrated: Any = None  # the contexts of the submitter, if they had to be made again
    losses = 0  # attempts whose process died, and that were made good
    _loss: BaseException | None = None  # how the process that the function was called in has died
    closing = False  # a generator is being closed: whatever comes of it, nobody wants another attempt
    _failure_told = False  # a line has said why the run failed
    _result_store: Any = None
    _keeps_result = False
    _result_key: str | None = None  # what a returned value is kept under, once that is known
    _slots: Any = None  # of the limits on the run's tags, while it holds them
    _has_transaction = False  # which writes what the run returns
    _attachments: tuple[Attachment, ...] = ()  # what is written with the next state
    _entry: Any = None  # what the run store knows of the run, once it has completed in an open transaction
    _kept_under: str | None = None  # the key under which the result counts already, as a row
    _confirms = False  # whatever is entered has to be accepted by the store, for others go on from there
    _unrecorded = False  # a state was refused or could not be written: nobody is to be told of it
    _has_ended_inside = False  # what went on inside of the run when it was told to stop
    _is_lost = (
        False  # it was, because this process counted as dead, which has been told once for all of its runs
    )

    @property
    def state(self) -> State:
        """The current state of the run.

        Raises:
            ValueError: There is no run yet.
        """
        return self._require_run().state

    def is_running(self) -> bool:
        """True as long as attempts are to be made: the run is RUNNING or SCHEDULED."""
        run = self.run
        return run is not None and run.state.type in _LOOPING

    def _enter(self, state: State, confirm: bool = False) -> State:
        """Make ``state`` the run's state and record it; a final one is on disk on return (E-54 to E-59).

        With ``confirm``, the store has accepted it on return, whatever it is.
        """
        run = self.run or self._require_run()
        if self.settler is not None:
            self._refuse_late(state)
        run.claim(state)
        attachments, wait = self._attachments, False
        if attachments:
            self._attachments = ()
        if state.type in TERMINAL_STATES:
            if self.subject.on_crashed_hooks:
                attachments = (*attachments, CrashHooks(run.key, is_over=True))
            wait = not self._trails(state, attachments)
        scope = self._cancel_scope
        try:
            is_entered = self._recorder.enter(
                run,
                state,
                wait=wait,
                confirm=confirm or self._confirms,
                attachments=attachments,
                unless=None if scope is None or scope.deadline is None else self._is_refused,
            )
        except BaseException as error:  # an interrupt too: what is not on disk is told to nobody
            self._unrecorded, self._is_lost = True, isinstance(error, OwnershipLost)
            raise
        if not is_entered:
            self._refuse_late(state)
        return state

    def _trails(self, state: State, attachments: tuple[Attachment, ...]) -> bool:
        """Whether a final state need not be on disk when it has been entered, as nobody learns of it before it is."""
        return False

    def handle_rollback(self, txn: BaseTransaction) -> None:
        """Record that the transaction around the completed run was rolled back (E-74, E-105)."""
        run = self._require_run()
        before = run.state
        if before.is_completed():  # a run that failed by returning a state did not become anything else
            noun = self.subject.policy.noun.lower().split()[0]
            message = f"The {noun}'s transaction was rolled back."
            data = before.data if before.has_data else NotSet
            self._withdraw()
            self._enter(transitions.next_state(run, transitions.Move.ROLL_BACK, self._now(), message, data))

    handle_rollback.log_on_run = False  # type: ignore[attr-defined]
    handle_rollback.is_internal = True  # type: ignore[attr-defined]

    def _withdraw(self) -> None:
        """Let what was kept or staged not count any more, from the next state on."""
        if self._entry is not None or self._kept_under is not None:
            self._attachments = (Withdrawal(self.run.key, self._kept_under),)
        elif getattr(self.run.state.data, "is_persisted", False):
            try:
                self._result_store.remove(self._result_key)
            except Exception as error:  # the run was rolled back whatever became of the file
                self.logger.warning("The result under %r was not removed: %s", self._result_key, error)

    def _outcome(self, raise_on_failure: bool) -> Any:
        """What the run came to: the value or record returned, else the exception, else None (E-20)."""
        if self._return_value is not NotSet:
            return self._return_value
        if self._raised is not NotSet:
            if raise_on_failure:
                raise self._raised
            return self._raised
        return None

    def _require_run(self) -> Run:
        run = self.run
        if run is None:
            raise ValueError("There is no run yet: start the engine or give it one.")
        return run  # type: ignore[no-any-return]

    # Results that outlive the process

    def _choose_store(self) -> None:
        """Decide whether and where the results of the run are kept, by its options and the run around it."""
        options: ResultOptions = self.subject.result_options
        around = self._outside
        store = None if around is None else around.result_store
        self._result_store = options.store_in(get_result_store() if store is None else store)
        self._keeps_result = options.persists_in(around)

    def _is_to_be_kept(self, state: State) -> bool:
        """True for final states whose data belongs into a record; a crash never waits for a storage."""
        return state.type in TERMINAL_STATES and state.type is not StateType.CRASHED

    def _put_into_record(self, state: State) -> ResultRecord[Any] | None:
        """Let the state hold a record of its data; the record is returned if there is something to be written.

        A value that cannot be serialized stays as it is, and a line says so (E-130).
        """
        value = state.data
        # What is returned gets the key of the run; all else one of its own, so that nobody finds it.
        key = self._result_key if state.type is _COMPLETED else new_storage_key()
        record: Any = conversion.keep_result(state, self._result_store, key, self._expiration())
        if not issubclass(type(record), records.ResultRecord) or record.is_persisted:  # as what was found is
            return None
        try:
            record.prepare()
        except SerializationError as error:
            state.keep(value)
            self.logger.warning(
                "Encountered an error while serializing result of %r: %s", self.run.name, error
            )
            return None
        if record is not value and record.result is not value:  # it is a list of what a generator gave
            self._return_value = (each for each in record.result)  # for the caller, as that one is used up
        return record  # type: ignore[no-any-return]

    def _keeping(self, state: State) -> Keeping:
        """When and how a record of the state's data is written."""
        return _ROW if self._result_store.is_in_history else _FILE

    def _attach(self, row: KeptResult, record: ResultRecord[Any], keeping: Keeping) -> None:
        """Have a row written in the same commit as the next state."""
        self._attachments = (*self._attachments, row)
        self._kept_under = row.key
        record.mark_persisted()

    def _holder(self) -> str | None:
        """Who writes results, if their keys may be locked."""
        return None

    def _expiration(self) -> datetime | None:
        """When a result that is kept now stops to count; never, unless the task says otherwise."""
        return None

    def _log_unkept(self, error: Exception, state: State) -> None:
        self.logger.warning(
            "The result of %s %r could not be kept, and the run goes on without: %s",
            self.subject.policy.noun.lower(),
            self.run.name,
            error,
        )

    def _release_value(self) -> None:
        """Leave the value to the storage in which it is; one that is kept nowhere is let go (T-18)."""
        state = self.run.state
        if issubclass(type(state.data), records.ResultRecord):
            if state.data.is_persisted:
                state.forget(state.data.metadata)
        elif state.is_final():
            state.forget()

    # What the phases of the core need

    def _resolve_inputs(self, is_plain: bool) -> Outcome:
        """Parameters resolved and the run named, as the outcome of preparing; waits for nothing that is done.

        Args:
            is_plain: There is nothing to be resolved.
        """
        try:
            if self._refusal is not None:
                self._raised = self._refusal
                return Raised(self._refusal)
            if self.wait_for is not None:
                if is_among(self.run.id, self.wait_for):
                    return self._refuse_itself()
                resolve_wait_for(self.wait_for)
            if self.parameters:
                resolved = dict(self.parameters) if is_plain else resolve_parameters(self.parameters)
                self.parameters = self._validated(resolved)
                if self._context is not None:  # names and hooks look at them there
                    self._context.parameters = self.parameters
            self._name_run()
        except UpstreamTaskError as error:
            self._raised = error
            return Blocked(error)
        except Exception as error:  # recorded as the reason why the run failed, and raised by result()
            self._raised = error
            return Raised(error)
        finally:
            self._announce()
        return _READY

    def _validated(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The resolved parameters as the function gets them; what is raised is the reason why the run fails."""
        return parameters

    def _announce(self) -> None:
        """Say, once, that there is a run, by the name that it goes by from now on (E-30)."""
        if not self._is_announced:
            self._is_announced = True
            if engine_logs(self._announced_at):
                noun = self.subject.policy.noun.lower()
                facts = noun, self.run.name, noun.split()[0], self.subject.name
                self.logger.log(self._announced_at, "Created %s %r for %s %r", *facts)

    def _refuse_itself(self) -> Outcome:
        """The outcome of preparing a run that is among its own inputs and would wait for ever (E-46)."""
        self._raised = error = ValueError(
            f"{self.run!r} is depending on itself: it is among its own inputs or `wait_for`, and waiting for it"
            f" is a deadlock. Did a list in `wait_for` grow after the call? Pass a copy of it."
        )
        return Raised(error)

    def _name_run(self) -> None:
        """Give the run the name its task or flow wants, once per engine (E-35)."""
        wanted = self.subject.run_name
        if wanted is None or self._named:
            return
        if isinstance(wanted, str):
            name = wanted.format(**(self.parameters or {}))
        elif callable(wanted):
            name = wanted(parameters=self.parameters) if _takes_parameters(wanted) else wanted()
        else:
            raise TypeError(
                f"Expected string or callable for '{self.run_option}'; got {type(wanted).__name__} instead."
            )
        if not isinstance(name, str):
            raise TypeError(
                f"Callable {wanted!r} for '{self.run_option}' returned type {type(name).__name__} but a string"
                f" is required."
            )
        run = self._require_run()
        if engine_logs(logging.DEBUG):
            self.logger.debug("Renamed %s %r to %r", self.subject.policy.noun.lower(), run.name, name)
        run.name = name
        self._named = True

    def _decide(self, outcome: Outcome) -> lifecycle.Phase:
        """The core's decision about an outcome."""
        policy = self.subject.policy
        retries = policy.retries if self.closing else self.retries
        return lifecycle.settle(
            policy, self.run, outcome, retries, clock.current().now, self._random, self.hands_on
        )

    def _settle(self, outcome: Raised) -> lifecycle.Phase:
        """The same about an exception, with the bookkeeping and the log lines that belong to it."""
        tracebacks.hide_own_frames(outcome.error)
        stop = self._stop()
        if stop is not None:
            yield from self._stopped(stop, outcome.error)
            return
        granted = yield from self._decide(outcome)
        self._note_decision(outcome, granted)

    def _retry(self, error: Exception) -> lifecycle.Phase:
        """The core's decision whether a failure is retried; nothing else is entered."""
        policy, run = self.subject.policy, self.run
        failure = lifecycle.failure_state(policy, run, error, None, self._now())
        granted = yield from lifecycle.retry(policy, run, failure, self.retries, self._now, self._random)
        self._note_decision(Raised(error), granted, final=False)
        return granted

    def _crash(self, error: BaseException) -> lifecycle.Phase:
        """The core's crash path, and the line that reports it; or its path for what was told to stop."""
        if isinstance(
            cause_of_end(error), TerminationSignal
        ):  # perhaps it makes haste what was asked before (F-46)
            cancelling.see_to_cancellations(self._recorder.store)
        if not self._recorder.has(self.run):  # it ends before its history could begin
            self.run.claim(self.run.state)
            self._recorder.enter(self.run, self.run.state, wait=False)
        stop = self._stop()
        if stop is not None:
            yield from self._stopped(stop, error)
            return
        yield from self._crash_by(error)

    def _crash_by(self, error: BaseException) -> lifecycle.Phase:
        cause = cause_of_end(error)
        crashed = yield from lifecycle.crash(self.subject.policy, self.run, cause, self._now)
        if crashed:
            self._raised = error
            if engine_logs(logging.ERROR):
                self._failure_told = True
                self.logger.error("Crash detected! %s", self.state.message, extra=TELLS_FAILURE)
            if engine_logs(logging.DEBUG):
                self.logger.debug("Crash details:", exc_info=traceback_of(error))

    def _stopped(self, stop: Stop, error: BaseException) -> lifecycle.Phase:
        """What an exception comes to that ends a run which was told to stop, whatever it is."""
        if stop.kind is not StopKind.CANCELLED:
            yield from self._crash_by(RunCancelled(stop.reason))
            return
        policy, run, was_lost = self.subject.policy, self.run, self._confirms
        ended = yield from lifecycle.cancel(policy, run, stop.reason, self._now, was_lost)
        if ended:
            # Whoever called what was cancelled by itself can go on; inside of a tree that was, nobody can.
            kind = CancelledRun if self._is_outermost(stop) else RunCancelled
            self._raised = kind(stop.reason)
            self._failure_told = True
            if engine_logs(logging.WARNING):
                self.logger.warning("%s was cancelled: %s", policy.noun, stop.reason)

    def show(self, state: State) -> None:
        """Enter a state from another thread, for all to see; nothing if the run is over."""
        self.run.claim(state)
        self._recorder.enter(self.run, state, wait=False, unless=lambda _: bool(self.run.state.is_final()))

    def _lose(self, error: BaseException) -> lifecycle.Phase:
        """The core's decision about the death of the process that ran this, and the line that reports it."""
        policy, run = self.subject.policy, self.run
        before, self._confirms = run.state, True
        if isinstance(error, RunCancelled):
            yield from self._crash(error)
            return False
        retries = self.retries if self._loss is not None else None  # else whoever died knew how many
        outcome = self._timed_out(error) if isinstance(error, TimeoutError) else None
        limit, is_last = (None, False) if outcome is None else (outcome.limit, outcome.is_last)
        granted = yield from lifecycle.lose(
            policy, run, error, self._now, self._random, retries, self.losses, limit, is_last
        )
        if run.state is before:
            return granted
        self._raised = error
        if granted:
            is_made_good = not isinstance(error, TimeoutError) and self.losses < policy.crash_retries
            if is_made_good:
                self.losses += 1
            else:
                self.retries += 1
            used, limit = (self.losses, policy.crash_retries) if is_made_good else (None, policy.retries)
            if engine_logs(logging.WARNING):
                wait = max((run.state.scheduled_at or 0) - run.state.at, 0) / 1e6
                when = "immediately" if not wait else f"{wait:g} second(s) from now"
                count = used or (run.run_count - self.losses)
                facts = policy.noun, shown(str(error)), count, limit, when
                self.logger.warning("%s was lost: %s - Retry %s/%s will start %s", *facts)
        elif engine_logs(logging.ERROR):
            self._failure_told = True
            told = run.state.message
            if run.state.is_crashed():
                told = f"Crash detected! {told}"
            self.logger.error("%s", told, extra=TELLS_FAILURE)
        return granted

    # Bookkeeping and lines about it

    def _note_decision(self, outcome: Outcome, granted: bool, final: bool = True) -> None:
        policy, state = self.subject.policy, self.state
        failed = outcome.error if isinstance(outcome, Raised) else state
        if granted:
            self.retries += 1
            if engine_logs(logging.INFO):
                due = state.scheduled_at
                when = "immediately" if due is None else f"{(due - state.at) / 1e6:g} second(s) from now"
                self.logger.info(
                    "%s failed with %s: %s - Retry %s/%s will start %s",
                    policy.noun,
                    "exception" if isinstance(outcome, Raised) else "state",
                    shown(failed),
                    self.retries,
                    policy.retries,
                    when,
                )
            return
        if isinstance(outcome, Raised):
            if final:
                self._raised = outcome.error
            reason = lifecycle.why_no_retry(policy, self.run, self.retries, state.at)
            is_last = self.closing or outcome.is_last or self.retries >= policy.retries or reason
            if is_last and engine_logs(logging.ERROR):
                self._log_failure(outcome, reason)

    def _log_failure(self, outcome: Raised, reason: str) -> None:
        policy, error = self.subject.policy, outcome.error
        self._failure_told = True
        if outcome.limit is not None:
            self.logger.error("%s exceeded %s", policy.noun, outcome.limit, extra=TELLS_FAILURE)
            return
        message, end = "%s failed with exception: %s%s", reason and f" - {reason}"
        details = traceback_of(error) if tracebacks.first_report(error) else None
        self.logger.error(message, policy.noun, shown(error), end, exc_info=details, extra=TELLS_FAILURE)

    def log_finished_message(self) -> None:
        """Log the state in which the run was left: INFO if completed or paused, else ERROR (E-17, E-18)."""
        run = self.run
        if run is None or self._is_lost:
            return
        state = run.state
        level = logging.INFO if state.type in _AS_MEANT else logging.ERROR
        if not engine_logs(level):
            return
        shown = repr(state) if get_current_settings().debug_mode else str(state)
        message = f"Finished in state {shown}"
        if state.is_pending() and state.name != "NotReady":
            message += (
                "\nPlease wait for all submitted tasks to complete before leaving the flow: call `.wait()` on"
                " the future that `.submit()` returns."
            )
        self.logger.log(level, message, extra=TELLS_AGAIN if self._failure_told else None)

    def _log_hook(self, hook: Any, state: State) -> None:
        if engine_logs(logging.INFO):
            self.logger.info("Running hook %r in response to entering state %r", hook_name(hook), state.name)

    def _log_hook_end(self, hook: Any, error: Exception | None) -> None:
        if error is not None:
            self.logger.error(
                "An error was encountered while running hook %r",
                hook_name(hook),
                exc_info=traceback_of(error),
            )
        elif engine_logs(logging.INFO):
            self.logger.info("Hook %r finished running successfully", hook_name(hook))

    def _log_condition_error(self, condition: Any, error: Exception) -> None:
        self.logger.error(
            "An error was encountered while running `retry_condition_fn` check %s for %r",
            shown(condition),
            self.subject.name,
            exc_info=traceback_of(error),
        )

    # The end of an attempt or a run

    def note_pause(self, signal: Pause) -> None:
        """Note that an attempt is left by the signal; a task run is left as it is (E-104)."""

    def _timed_out(self, error: TimeoutError) -> Raised:
        """A timeout as an outcome: of a limit of the run's own, or one that user code met (E-71)."""
        limit = limit_of(error)
        if limit is not None and limit is self._limit:
            return Raised(error, limit.words, limit.is_last)
        policy = self.subject.policy
        if limit is None and isinstance(error, self.timeout_error) and policy.timeout is not None:
            return Raised(error, f"timeout of {policy.timeout} second(s)")
        return Raised(error)

    def _report_end(self, error: BaseException | None) -> None:
        if self.settler is not None:
            return
        if self._confirms and self.hands_on_attempts and self.run.state.is_scheduled():
            return  # another process goes on with it
        if error is not None and isinstance(error, Abort):
            self.logger.error("%s was aborted: %s", self.subject.policy.noun, error)
        self.log_finished_message()

    def _leave_run(self, error: BaseException | None) -> None:
        try:
            self._report_end(error)
            if self.run is not None and not self.subject.result_options.cache_result_in_memory:
                self._release_value()
        finally:
            if self._outer is not None:
                self._outer.__exit__(None, None, None)
            if self._hydrated is not None:
                self._hydrated.__exit__(None, None, None)
            self._leave_scope()
            self._is_started = False

    def _must_crash(self, error: BaseException | None) -> bool:
        """Whether leaving the engine by ``error`` is to be recorded as a crash (X-15 to X-18, W-6)."""
        return (
            error is not None
            and self.run is not None
            and self.settler is None
            and not isinstance(error, Pause | Abort | GeneratorExit)
            and not self.run.state.is_final()
        )


def _takes_parameters(name: Callable[..., Any]) -> bool:
    """Whether a function that names runs wants to be given the parameters (V-4)."""
    try:
        return "parameters" in inspect.signature(name).parameters
    except ValueError:  # some builtins do not tell
        return False
