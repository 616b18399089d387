"""Carrying out what the core asks for. The two drivers are one text, once with ``await`` and once without.

A driver has the loop that sends effects to where they are performed (`drive`), what performs them, and the methods
by which an engine is used (`begin_run`, `handle_exception`, ...). A test compares the two classes word by word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mainspring import clock, points
from mainspring._core import lifecycle
from mainspring._core.effects import Ask, EndInside, Enter, Prepare, RunHooks, SleepUntil
from mainspring._core.outcomes import Outcome, Raised, Ready, Returned
from mainspring._core.traverse import is_atomic
from mainspring._engine.inputs import find_unfinished
from mainspring._engine.keeping import Keeping
from mainspring._engine.recorded import RecordedRun
from mainspring._engine.scopes import AsyncAttemptScope, SyncAttemptScope
from mainspring._engine.timeouts import comes_from_outside
from mainspring._imports import modules_on_use
from mainspring._portal import afinish, current_task, finish, no_task
from mainspring._representation import shown
from mainspring.annotations import NotSet
from mainspring.context import shielded
from mainspring.exceptions import IllegalTransition, RunCancelled
from mainspring.states import State, is_stored
from mainspring.supervision import on_beats

if TYPE_CHECKING:
    from mainspring import client as clients
    from mainspring import concurrency
    from mainspring._engine import cancelling, overdue, stopping
    from mainspring.futures import turns
    from mainspring.states import constructors
else:
    clients, concurrency = modules_on_use("mainspring", "client", "concurrency")
    cancelling, overdue, stopping = modules_on_use("mainspring._engine", "cancelling", "overdue", "stopping")
    turns = modules_on_use("mainspring.futures", "turns")
    constructors = modules_on_use("mainspring.states", "constructors")

__all__ = ["AsyncDriver", "SyncDriver"]

_FILE, _LATER = Keeping.FILE, Keeping.LATER  # as globals they are quicker to get at

# Wherever there are engines, there may be runs that somebody wants to stop.
on_beats(lambda store: cancelling.see_to_cancellations(store))


class SyncDriver(RecordedRun):
    """The driver for sync functions: whatever waits blocks the calling thread."""

    asyncio_task = staticmethod(no_task)

    @property
    def client(self) -> clients.Client:
        """A client of the run store.

        Raises:
            RuntimeError: The engine has not started, or is done.
        """
        if not self._is_started:
            raise RuntimeError("Engine has not started.")
        return self.client_maker()()

    def client_maker(self) -> Callable[[], clients.Client]:
        """What makes clients of the run store that the run is recorded in, whether or not the engine is done."""
        store = self._recorder.store
        return lambda: clients.Client(store)

    def set_state(self, state: State, force: bool = False) -> State:
        """Make ``state`` the run's state and record it; a final one is on disk on return (E-54 to E-59).

        Args:
            state: The state to enter; returned unchanged.
            force: Accepted for compatibility; a state is never refused here.

        Raises:
            ValueError: There is no run yet.
            SupersededRun: Somebody else has settled the run.
            StoreError: The state cannot be written.
        """
        return self._enter(state)

    def result(self, raise_on_failure: bool = True) -> Any:
        """What the run came to: the value returned, else the exception, else None.

        Args:
            raise_on_failure: With False the exception is returned.
        """
        outcome = self._outcome(raise_on_failure)
        return outcome.get() if is_stored(outcome) else outcome

    def run_context(self) -> SyncAttemptScope:
        """The scope around an attempt: an exception leaving it becomes a retry or the final state."""
        return SyncAttemptScope(self)

    def drive(self, phase: lifecycle.Phase) -> Any:
        """Perform the effects of a phase one after the other; returns what the phase returns."""
        reply: Any = None
        while True:
            try:
                effect = phase.send(reply)
            except StopIteration as end:
                return end.value
            except IllegalTransition:
                self.raise_if_stopped()  # it was shown as Cancelling a moment ago, and nothing but that counts
                raise
            reply = None
            if type(effect) is Enter:
                if self._keeps_result and self._is_to_be_kept(effect.state):
                    self.keep(effect.state)
                reply = self._enter(effect.state)
            elif type(effect) is Prepare:
                reply = self.prepare()
            elif type(effect) is RunHooks:
                self.run_hooks(effect.hooks, effect.state)
            elif type(effect) is Ask:
                reply = self.ask(effect.condition, effect.state)
            elif type(effect) is SleepUntil:
                self.sleep_until(effect.when)
            elif type(effect) is EndInside:
                self.end_inside()

    # Effects

    def keep(self, state: State) -> None:
        """Put what the run came to into a record, and write it, or have it written with the state."""
        record = self._put_into_record(state)
        if record is None:
            return
        keeping = self._keeping(state)
        if keeping is _LATER:
            return
        try:
            if keeping is _FILE:
                self._result_store.persist_result_record(record, self._holder())
            else:
                row = self._result_store.pack(record, self.run.key, self._holder())
                self._attach(row, record, keeping)
        except Exception as error:  # by rule: the run is what it is, whether or not it can be kept
            self._log_unkept(error, state)

    def prepare(self) -> Outcome:
        """Wait for the upstream runs, then resolve the parameters and name the run."""
        if self._around_scope is not None:
            self.raise_if_stopped()
        given = self.parameters
        is_plain = self.wait_for is None and (not given or is_atomic(given.values()))
        if not is_plain and not self.wait_for_inputs():
            return self._refuse_itself()
        outcome = self._resolve_inputs(is_plain)
        if self._is_limited and self.run.tags and type(outcome) is Ready:
            self._slots = concurrency.take_tag_slots(self.run.tags, self.run.key)
        return outcome

    def wait_for_inputs(self) -> bool:
        """Wait for the upstream runs; False if the run itself is among them, which would never end."""
        for future in find_unfinished((self.parameters, self.wait_for)):
            if self.run is not None and future.run_key == self.run.key:
                return False
            try:
                future.wait()
            except Exception:  # met again, and recorded, where the inputs are resolved
                break
        return True

    def release_slots(self) -> None:
        """Give back what the run has left of the limits on its tags, and of those that its function took."""
        self._slots = None
        concurrency.release_left_over(self.run.key)

    def run_hooks(self, hooks: Any, state: State) -> None:
        """Call hooks in their order; one that fails is logged and stops nothing (H-4)."""
        for hook in tuple(hooks):
            self._log_hook(hook, state)
            try:
                if points.observer is not None:
                    points.observer("hook.call", (hook, self.run, state))
                finish(hook(self.subject, self.run, state))
                if points.observer is not None:
                    points.observer("hook.returned", (hook, self.run, state))
            except Exception as error:  # by rule: the run is what it is, whatever its hooks do
                if comes_from_outside(error, self._limit):
                    raise  # a limit further out has expired, and that is not the hook's failure
                self._log_hook_end(hook, error)
            else:
                self._log_hook_end(hook, None)

    def ask(self, condition: Any, failure: State) -> bool:
        """Call the retry condition; one that fails is logged and means no (E-84)."""
        try:
            return bool(finish(condition(self.subject, self.run, failure)))
        except Exception as error:  # by rule: the run fails with its own error, not with the condition's
            if comes_from_outside(error, self._limit):
                raise  # a limit further out has expired, and that is not the condition's failure
            self._log_condition_error(condition, error)
            return False

    def sleep_until(self, when: int) -> None:
        """Wait for a wall time, and let others have the slots meanwhile."""
        waiting, self._slots = self._slots, None
        if waiting is not None:
            waiting.release()
        assert self._cancel_scope is not None
        with turns.paused():
            stopping.sleep(self._cancel_scope, (when - self._now()) / clock.MICROSECONDS)
        self.raise_if_stopped()
        if waiting is not None:
            self._slots = concurrency.take_tag_slots(self.run.tags, self.run.key)

    def end_inside(self) -> None:
        """Wait until nothing goes on inside of the run, which was told to stop; not again if that is interrupted."""
        scope = self._cancel_scope
        if scope is not None and not self._has_ended_inside:
            self._has_ended_inside = True
            overdue.end_suspended(scope)
            stopping.wait_inside(scope)

    def end_closing(self) -> None:
        """The consumer of a generator has closed it; if it was told to stop meanwhile, it was cancelled.

        Raises:
            GeneratorExit: The run is over, and nothing else comes of it.
        """
        stop = self._stop()
        if stop is not None:
            self.handle_crash(RunCancelled(stop.reason))
        if stop is not None or self.settler is not None:
            raise GeneratorExit

    # The methods by which an engine is used

    def begin_run(self) -> None:
        """Wait for inputs, resolve parameters and enter Running; or NotReady, or Failed (E-38 to E-51)."""
        self.drive(lifecycle.begin(self.subject.policy, self.run, clock.current().now))

    def wait_until_ready(self) -> None:
        """If the run is scheduled, sleep until then and enter Retrying or Running (E-93)."""
        self.drive(lifecycle.resume(self.subject.policy, self.run, self._now))

    def can_retry(self, exc: Exception) -> bool:
        """What the retry condition says about an exception; True without a condition (E-82 to E-86).

        Raises:
            ValueError: There is no run yet.
        """
        self._require_run()
        policy = self.subject.policy
        if policy.retry_condition is None:
            return True
        message = f"{policy.noun} encountered unexpected exception: {shown(exc)}"
        return self.ask(policy.retry_condition, constructors.Failed(data=exc, message=message))

    def _succeed(self, result: Any, cached: bool = False) -> bool:
        """Enter the state that a returned value means; a failed one may be retried.

        Returns True if the run is to be attempted again.
        """
        outcome, self._return_value = Returned(result, cached), result
        try:
            granted = self.drive(self._decide(outcome))
            if granted:
                self._note_decision(outcome, granted)
        except BaseException:  # what the run came to is not this value
            self._return_value = NotSet
            raise
        goes_on = self.is_running()
        if goes_on:  # there will be another attempt, and its outcome counts
            self._return_value = NotSet
        return goes_on

    def handle_retry(self, exc: Exception) -> bool:
        """Grant a retry if one is left and the condition agrees, and enter the state for it (E-75 to E-80).

        Returns True if the run is to be attempted again.
        """
        return bool(self.drive(self._retry(exc)))

    def handle_exception(self, exc: Exception) -> None:
        """Settle an attempt that raised: a retry, or Failed (E-68)."""
        self.drive(self._settle(Raised(exc)))

    def handle_timeout(self, exc: TimeoutError) -> None:
        """Settle an attempt that timed out: a retry, or TimedOut (E-70, E-71)."""
        self.drive(self._settle(self._timed_out(exc)))

    def handle_crash(self, exc: BaseException) -> None:
        """Record that the run was ended from outside; a final state is left as it is (E-73)."""
        self.drive(self._crash(exc))

    def handle_loss(self, exc: BaseException) -> bool:
        """Settle an attempt whose process has died: a retry, if one is left, or Crashed.

        Returns True if the run is to be attempted again, by whoever takes it up.
        """
        return bool(self.drive(self._lose(exc)))

    def call_hooks(self, state: State | None = None) -> None:
        """Call the hooks that follow ``state``, by default the state in which the run was left.

        Raises:
            ValueError: There is no run yet.
        """
        run = self.run or self._require_run()
        last = lifecycle.finish(self.subject.policy, run.state if state is None else state)
        if last is not None:
            with shielded():
                self.run_hooks(last.hooks, last.state)


class AsyncDriver(RecordedRun):
    """The driver for async functions: whatever waits suspends the calling asyncio task."""

    asyncio_task = staticmethod(current_task)

    @property
    def client(self) -> clients.AsyncClient:
        """A client of the run store.

        Raises:
            RuntimeError: The engine has not started, or is done.
        """
        if not self._is_started:
            raise RuntimeError("Engine has not started.")
        return self.client_maker()()

    def client_maker(self) -> Callable[[], clients.AsyncClient]:
        """What makes clients of the run store that the run is recorded in, whether or not the engine is done."""
        store = self._recorder.store
        return lambda: clients.AsyncClient(store)

    async def set_state(self, state: State, force: bool = False) -> State:
        """Make ``state`` the run's state and record it; a final one is on disk on return (E-54 to E-59).

        Args:
            state: The state to enter; returned unchanged.
            force: Accepted for compatibility; a state is never refused here.

        Raises:
            ValueError: There is no run yet.
            SupersededRun: Somebody else has settled the run.
            StoreError: The state cannot be written.
        """
        return self._enter(state)

    async def result(self, raise_on_failure: bool = True) -> Any:
        """What the run came to: the value returned, else the exception, else None.

        Args:
            raise_on_failure: With False the exception is returned.
        """
        outcome = self._outcome(raise_on_failure)
        return await outcome.aget() if is_stored(outcome) else outcome

    def run_context(self) -> AsyncAttemptScope:
        """The scope around an attempt: an exception leaving it becomes a retry or the final state."""
        return AsyncAttemptScope(self)

    async def drive(self, phase: lifecycle.Phase) -> Any:
        """Perform the effects of a phase one after the other; returns what the phase returns."""
        reply: Any = None
        while True:
            try:
                effect = phase.send(reply)
            except StopIteration as end:
                return end.value
            except IllegalTransition:
                self.raise_if_stopped()  # it was shown as Cancelling a moment ago, and nothing but that counts
                raise
            reply = None
            if type(effect) is Enter:
                if self._keeps_result and self._is_to_be_kept(effect.state):
                    await self.keep(effect.state)
                reply = self._enter(effect.state)
            elif type(effect) is Prepare:
                reply = await self.prepare()
            elif type(effect) is RunHooks:
                await self.run_hooks(effect.hooks, effect.state)
            elif type(effect) is Ask:
                reply = await self.ask(effect.condition, effect.state)
            elif type(effect) is SleepUntil:
                await self.sleep_until(effect.when)
            elif type(effect) is EndInside:
                await self.end_inside()

    # Effects

    async def keep(self, state: State) -> None:
        """Put what the run came to into a record, and write it, or have it written with the state."""
        record = self._put_into_record(state)
        if record is None:
            return
        keeping = self._keeping(state)
        if keeping is _LATER:
            return
        try:
            if keeping is _FILE:
                await self._result_store.apersist_result_record(record, self._holder())
            else:
                row = await self._result_store.apack(record, self.run.key, self._holder())
                self._attach(row, record, keeping)
        except Exception as error:  # by rule: the run is what it is, whether or not it can be kept
            self._log_unkept(error, state)

    async def prepare(self) -> Outcome:
        """Wait for the upstream runs, then resolve the parameters and name the run."""
        if self._around_scope is not None:
            self.raise_if_stopped()
        given = self.parameters
        is_plain = self.wait_for is None and (not given or is_atomic(given.values()))
        if not is_plain and not await self.wait_for_inputs():
            return self._refuse_itself()
        outcome = self._resolve_inputs(is_plain)
        if self._is_limited and self.run.tags and type(outcome) is Ready:
            self._slots = await concurrency.atake_tag_slots(self.run.tags, self.run.key)
        return outcome

    async def wait_for_inputs(self) -> bool:
        """Wait for the upstream runs; False if the run itself is among them, which would never end."""
        for future in find_unfinished((self.parameters, self.wait_for)):
            if self.run is not None and future.run_key == self.run.key:
                return False
            try:
                await future.wait_async()
            except Exception:  # met again, and recorded, where the inputs are resolved
                break
        return True

    async def release_slots(self) -> None:
        """Give back what the run has left of the limits on its tags, and of those that its function took."""
        self._slots = None
        await concurrency.arelease_left_over(self.run.key)

    async def run_hooks(self, hooks: Any, state: State) -> None:
        """Call hooks in their order; one that fails is logged and stops nothing (H-4)."""
        for hook in tuple(hooks):
            self._log_hook(hook, state)
            try:
                if points.observer is not None:
                    points.observer("hook.call", (hook, self.run, state))
                await afinish(hook(self.subject, self.run, state))
                if points.observer is not None:
                    points.observer("hook.returned", (hook, self.run, state))
            except Exception as error:  # by rule: the run is what it is, whatever its hooks do
                if comes_from_outside(error, self._limit):
                    raise  # a limit further out has expired, and that is not the hook's failure
                self._log_hook_end(hook, error)
            else:
                self._log_hook_end(hook, None)

    async def ask(self, condition: Any, failure: State) -> bool:
        """Call the retry condition; one that fails is logged and means no (E-84)."""
        try:
            return bool(await afinish(condition(self.subject, self.run, failure)))
        except Exception as error:  # by rule: the run fails with its own error, not with the condition's
            if comes_from_outside(error, self._limit):
                raise  # a limit further out has expired, and that is not the condition's failure
            self._log_condition_error(condition, error)
            return False

    async def sleep_until(self, when: int) -> None:
        """Wait for a wall time, and let others have the slots meanwhile."""
        waiting, self._slots = self._slots, None
        if waiting is not None:
            await waiting.arelease()
        assert self._cancel_scope is not None
        with turns.paused():
            await stopping.asleep(self._cancel_scope, (when - self._now()) / clock.MICROSECONDS)
        self.raise_if_stopped()
        if waiting is not None:
            self._slots = await concurrency.atake_tag_slots(self.run.tags, self.run.key)

    async def end_inside(self) -> None:
        """Wait until nothing goes on inside of the run, which was told to stop; not again if that is interrupted."""
        scope = self._cancel_scope
        if scope is not None and not self._has_ended_inside:
            self._has_ended_inside = True
            overdue.end_suspended(scope)
            await stopping.await_inside(scope)

    async def end_closing(self) -> None:
        """The consumer of a generator has closed it; if it was told to stop meanwhile, it was cancelled.

        Raises:
            GeneratorExit: The run is over, and nothing else comes of it.
        """
        stop = self._stop()
        if stop is not None:
            await self.handle_crash(RunCancelled(stop.reason))
        if stop is not None or self.settler is not None:
            raise GeneratorExit

    # The methods by which an engine is used

    async def begin_run(self) -> None:
        """Wait for inputs, resolve parameters and enter Running; or NotReady, or Failed (E-38 to E-51)."""
        await self.drive(lifecycle.begin(self.subject.policy, self.run, clock.current().now))

    async def wait_until_ready(self) -> None:
        """If the run is scheduled, sleep until then and enter Retrying or Running (E-93)."""
        await self.drive(lifecycle.resume(self.subject.policy, self.run, self._now))

    async def can_retry(self, exc: Exception) -> bool:
        """What the retry condition says about an exception; True without a condition (E-82 to E-86).

        Raises:
            ValueError: There is no run yet.
        """
        self._require_run()
        policy = self.subject.policy
        if policy.retry_condition is None:
            return True
        message = f"{policy.noun} encountered unexpected exception: {shown(exc)}"
        return await self.ask(policy.retry_condition, constructors.Failed(data=exc, message=message))

    async def _succeed(self, result: Any, cached: bool = False) -> bool:
        """Enter the state that a returned value means; a failed one may be retried.

        Returns True if the run is to be attempted again.
        """
        outcome, self._return_value = Returned(result, cached), result
        try:
            granted = await self.drive(self._decide(outcome))
            if granted:
                self._note_decision(outcome, granted)
        except BaseException:  # what the run came to is not this value
            self._return_value = NotSet
            raise
        goes_on = self.is_running()
        if goes_on:  # there will be another attempt, and its outcome counts
            self._return_value = NotSet
        return goes_on

    async def handle_retry(self, exc: Exception) -> bool:
        """Grant a retry if one is left and the condition agrees, and enter the state for it (E-75 to E-80).

        Returns True if the run is to be attempted again.
        """
        return bool(await self.drive(self._retry(exc)))

    async def handle_exception(self, exc: Exception) -> None:
        """Settle an attempt that raised: a retry, or Failed (E-68)."""
        await self.drive(self._settle(Raised(exc)))

    async def handle_timeout(self, exc: TimeoutError) -> None:
        """Settle an attempt that timed out: a retry, or TimedOut (E-70, E-71)."""
        await self.drive(self._settle(self._timed_out(exc)))

    async def handle_crash(self, exc: BaseException) -> None:
        """Record that the run was ended from outside; a final state is left as it is (E-73)."""
        await self.drive(self._crash(exc))

    async def handle_loss(self, exc: BaseException) -> bool:
        """Settle an attempt whose process has died: a retry, if one is left, or Crashed.

        Returns True if the run is to be attempted again, by whoever takes it up.
        """
        return bool(await self.drive(self._lose(exc)))

    async def call_hooks(self, state: State | None = None) -> None:
        """Call the hooks that follow ``state``, by default the state in which the run was left.

        Raises:
            ValueError: There is no run yet.
        """
        run = self.run or self._require_run()
        last = lifecycle.finish(self.subject.policy, run.state if state is None else state)
        if last is not None:
            with shielded():
                await self.run_hooks(last.hooks, last.state)
