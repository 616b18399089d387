"""Waiting for somebody in a flow: in its process, or after having left it."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

from mainspring import clock
from mainspring._engine.flow_runs import read_flow_run
from mainspring._imports import loaded
from mainspring.annotations import NotSet
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import (
    ConfigurationError,
    FlowPauseTimeout,
    MissingContextError,
    NotSuspendable,
    ParameterTypeError,
    Pause,
    SerializationError,
)
from mainspring.futures.turns import paused
from mainspring.logging import flow_run_logger
from mainspring.pauses.answering import is_over_for, root_key_of
from mainspring.pauses.inputs import ExpectedInput, unpack
from mainspring.pauses.waiters import Waiter, hear
from mainspring.recording import current_recorder
from mainspring.states import Paused, State, StateDetails, Suspended
from mainspring.store.bells import ANSWERS
from mainspring.store.pauses import PauseRecord, SuspensionRequest
from mainspring.transactions import BaseTransaction

__all__ = ["apause_flow_run", "asuspend_flow_run", "pause_flow_run", "suspend_flow_run"]

LONGEST_SECONDS = 1_000_000_000
"""The longest time that anybody may wait."""

LONGEST_BLOCK = 0.25
"""The most seconds for which a thread blocks at a time."""

_OWN_KEY = "#"  # what keys begin with that nobody has given


def pause_flow_run(
    wait_for_input: Any = None, timeout: float = 3600, poll_interval: float = 0.25, key: str | None = None
) -> Any:
    """Stand still in a flow until somebody resumes its run, and return the input that they give.

    The run is ``Paused`` meanwhile; then its attempt goes on. It stays in its process and in its thread, which lends
    its turn in a pool. Tasks that were submitted go on, and so does the time limit of the flow. If the process dies,
    another one can go on with a flow that keeps its results. Whoever comes to the same pause again, in a retry or when
    the run is resumed, gets the same input at once. To be called by the function of a flow, not by a task.

    Args:
        wait_for_input: The type of the input: a class, or what a parameter may be annotated with. None for no input.
        timeout: Wait so many seconds.
        poll_interval: The most seconds until the answer of another process is noticed, which usually is at once.
        key: What tells this pause from others of the run; by default their order does.

    Returns:
        The input, converted to its type; None if none is wanted.

    Raises:
        FlowPauseTimeout: Nobody has resumed the run in time.
        MissingContextError: Not called by the function of a flow.
        RuntimeError: The run is paused already, or an event loop would stand still: await `apause_flow_run`.
        TypeError: An argument is of a wrong type, or no input can be checked by the type.
        ValueError: A number of seconds cannot work, or the key is empty.
    """
    seconds = _checked_seconds("poll_interval", poll_interval)
    call = _Call("pause_flow_run", wait_for_input, timeout, key, seconds)
    asyncio = loaded("asyncio")  # nobody has a loop who does not have it
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise RuntimeError(
            "`pause_flow_run` would stop the event loop of this thread: use `await apause_flow_run(...)`."
        )
    return wait_for_answer_sync(call)


async def apause_flow_run(
    wait_for_input: Any = None, timeout: float = 3600, poll_interval: float = 0.25, key: str | None = None
) -> Any:
    """`pause_flow_run` for async flows: the event loop goes on."""
    seconds = _checked_seconds("poll_interval", poll_interval)
    return await wait_for_answer_async(_Call("apause_flow_run", wait_for_input, timeout, key, seconds))


def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float = 3600,
    key: str | None = None,
) -> Any:
    """Leave a flow run, which any process can go on with; or ask a run of any process to be left.

    In a flow, the run is left by the signal `Pause` as soon as the tasks under way are done, and is ``Suspended``; so
    are the flow runs around it. Whoever calls the outermost flow gets the signal, or the state with
    ``return_state=True``. When the run is resumed its flow is called again, what had finished is answered from the
    history, and this call returns the input. The flow has to keep its results.

    With ``flow_run_id``, the run leaves at the next place where nothing is half done: when its flow calls or submits
    something, asks a future, or has yielded a value; not inside of a transaction. Returns at once.

    Args:
        wait_for_input: As for `pause_flow_run`; only in a flow.
        flow_run_id: The run that is asked; none for the one that makes the call.
        timeout: How many seconds there are to resume the run.
        key: As for `pause_flow_run`; only in a flow.

    Returns:
        The input, when the run goes on; None for another run.

    Raises:
        Pause: The way out of the run.
        NotSuspendable: Nobody could go on with the run, it is not running, or is inside of a transaction.
        ObjectNotFound: There is no such flow run.
        MissingContextError: Neither called by the function of a flow nor given an id.
        TypeError: An argument is of a wrong type, or no input can be checked by the type.
        ValueError: The number of seconds cannot work, or the key is empty.
    """
    if flow_run_id is not None:
        if wait_for_input is not None or key is not None:
            raise TypeError(
                "`wait_for_input` and `key` are for the flow that makes the call, not for another run."
            )
        _request_suspension(flow_run_id, _checked_seconds("timeout", timeout))
        return None
    call = _Call("suspend_flow_run", wait_for_input, timeout, key)
    call.require_suspendable()
    if call.has_answer():
        return call.result()
    raise Pause(f"Flow run {call.run.name!r} is suspended.", state=call.state())


async def asuspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float = 3600,
    key: str | None = None,
) -> Any:
    """`suspend_flow_run` for async code."""
    return suspend_flow_run(wait_for_input, flow_run_id, timeout, key)


def wait_for_answer_sync(call: _Call) -> Any:
    """Pause a run in its process until there is an answer, or it is too late for one."""
    if call.has_answer():
        return call.result()
    waiter = call.waiter()
    try:
        call.engine.pause(call.state())
        with paused():
            is_woken = True
            while not call.is_over(is_woken):
                is_woken = waiter.wait(call.rest())
    except BaseException:  # whatever comes in between: a limit, a cancellation, an interrupt
        call.engine.go_on(confirm=False)
        raise
    finally:
        waiter.close()
    call.engine.go_on()
    return call.result()


async def wait_for_answer_async(call: _Call) -> Any:
    """Pause a run in its process until there is an answer, or it is too late for one."""
    if call.has_answer():
        return call.result()
    waiter = call.waiter()
    try:
        call.engine.pause(call.state())
        with paused():
            is_woken = True
            while not call.is_over(is_woken):
                is_woken = await waiter.wait_async(call.rest())
    except BaseException:  # whatever comes in between: a limit, a cancellation, an interrupt
        call.engine.go_on(confirm=False)
        raise
    finally:
        waiter.close()
    call.engine.go_on()
    return call.result()


class _Call:
    """One call of a flow that waits for somebody. Nothing is changed by making one.

    Args:
        name: Of the function that was called.
        wait_for_input: The type of the input, None if none is wanted.
        timeout: The most seconds to wait.
        key: What tells the pause from others, if the flow says so.
        interval: The most seconds between two looks; None if the run leaves its process.
    """

    def __init__(
        self, name: str, wait_for_input: Any, timeout: Any, key: Any, interval: float | None = None
    ) -> None:
        self.seconds = _checked_seconds("timeout", timeout)
        if key is not None and not isinstance(key, str):
            raise TypeError(f"Invalid `key`: expected a text; got {key!r}.")
        if key is not None and (not key or key.startswith(_OWN_KEY)):
            raise ConfigurationError(f"Invalid `key`: {key!r} must not be empty or begin with {_OWN_KEY!r}.")
        self.expected = None if wait_for_input is None else ExpectedInput(wait_for_input)
        task_run, context = TaskRunContext.get(), FlowRunContext.get()
        engine = None if context is None or context.engine is None else context.engine()
        if task_run is not None or context is None or engine is None:
            where = "outside of any" if task_run is None else f"in the task run {task_run.task_run.name!r}"
            raise MissingContextError(
                f"`{name}` is for the function of a flow, and was called {where}. Call it in the flow itself."
            )
        self.engine: Any = engine
        self.run = engine.run
        if self.run.state.is_paused():
            raise RuntimeError(
                f"Flow run {self.run.name!r} is paused already, in another asyncio task or thread: one pause at a time."
            )
        self.interval = interval
        self._store = current_recorder().store
        self._counts = context.observed_flow_pauses
        self._given_key = key
        self._pause: PauseRecord | None = None
        self._value: Any = NotSet
        self._due = 0.0  # the next look

    def require_suspendable(self) -> None:
        """See `PausableFlowRun.require_resumable`."""
        self.engine.require_resumable()
        if BaseTransaction.current() is not None:
            raise NotSuspendable(
                f"Flow run {self.run.name!r} ({self.run.id}) cannot be suspended inside of a transaction, which would"
                f" be rolled back. Leave the block first."
            )

    def has_answer(self) -> bool:
        """Begin to wait; True if the answer is there from an earlier attempt or process."""
        key = self._given_key
        if key is None:
            number = self._counts["counter"] = self._counts.get("counter", 0) + 1
            key = f"{_OWN_KEY}{number}"
        expected, now = self.expected, clock.current().now()
        pause = PauseRecord(
            flow_run_key=self.run.key,
            key=key,
            root_key=root_key_of(self.run),
            requested=now,
            expires=now + round(self.seconds * clock.MICROSECONDS),
            suspends=self.interval is None,
            schema=None if expected is None else expected.schema,
            type=None if expected is None else expected.pickled,
        )
        self._pause = self._store.open_pause(pause)
        if self._pause.answered is None:
            return False
        if self._take(self._pause):
            return True
        self._pause = self._store.open_pause(pause)
        return False

    def waiter(self) -> Waiter:
        """Who waits for the answer, and hears of it from this process and others."""
        self._store.bell.listen(ANSWERS, hear)
        return Waiter(self.run.key)

    def state(self) -> State:
        """The state to be entered."""
        pause = self._pause
        assert pause is not None
        expires = clock.to_datetime(pause.expires)
        details = StateDetails()
        if self.expected is not None:
            details.run_input_keyset = {"response": pause.key, "schema": pause.key}
        make = Suspended if pause.suspends else Paused
        what = "to be resumed" if self.expected is None else "for an input"
        message = f"Waits {what} until {expires:%Y-%m-%d %H:%M:%S} UTC."
        return make(
            pause_expiration_time=expires, pause_key=pause.key, state_details=details, message=message
        )

    def is_over(self, is_woken: bool) -> bool:
        """Whether there is an answer, or it is too late for one.

        Args:
            is_woken: Look now, whatever the interval.
        """
        pause = self._pause
        assert pause is not None
        assert self.interval is not None
        moment = clock.current().monotonic()
        if not is_woken and moment < self._due and not is_over_for(pause, clock.current().now()):
            return False
        self._due = moment + self.interval
        found = self._store.read_pause(pause.flow_run_key, pause.key)
        if found is not None and found.answered is not None and self._take(found):
            return True
        now = clock.current().now()
        return is_over_for(pause, now) and self._store.close_pause(pause.flow_run_key, pause.key, now)

    def rest(self) -> float:
        """Seconds for which to wait; short ones, as nothing can interrupt a thread that blocks."""
        assert self._pause is not None
        assert self.interval is not None
        left = (self._pause.expires - clock.current().now()) / clock.MICROSECONDS
        return max(min(self.interval, left, LONGEST_BLOCK), 0.001)

    def result(self) -> Any:
        """The input.

        Raises:
            FlowPauseTimeout: There is none.
        """
        if self._value is NotSet:
            raise FlowPauseTimeout(
                f"Flow run {self.run.name!r} ({self.run.id}) was paused and not resumed within {self.seconds:g}"
                f" second(s)."
            )
        return self._value

    def _take(self, pause: PauseRecord) -> bool:
        """Take an answer, or give it back if it is not what is waited for."""
        try:
            value = unpack(pause.input)
            self._value = None if self.expected is None else self.expected.convert(value)
        except (ParameterTypeError, SerializationError) as error:
            self._store.refuse_answer(pause.flow_run_key, pause.key, str(error))
            logger = flow_run_logger(self.run, self.engine.flow)
            logger.warning("Flow run %r is still paused: %s", self.run.name, error)
            return False
        return True


def _request_suspension(flow_run_id: UUID | str, seconds: float) -> None:
    """Have a run of any process leave it at the next place where it can."""
    recorder = current_recorder()
    recorder.flush()
    store = recorder.store
    store.settle_dead_owners()
    run = read_flow_run(store, flow_run_id)
    if run.parent_task_run_key is not None:
        root = UUID(bytes=root_key_of(run))
        problem = f"it is the run of a subflow. Suspend the run that has called it: {root}"
    elif not run.state.is_running() and not run.state.is_scheduled():
        problem = f"it is not running: it is {run.state.name}"
    elif (known := store.read_resumptions([run.key]).get(run.key)) is None or known.parameters is None:
        problem = "it keeps no results, so nobody could go on with it. Use `@flow(persist_result=True)`"
    else:
        now = clock.current().now()
        store.request_suspension(SuspensionRequest(run.key, now, now + round(seconds * clock.MICROSECONDS)))
        return
    raise NotSuspendable(f"Flow run {run.name!r} ({run.id}) cannot be suspended: {problem}.")


def _checked_seconds(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Invalid `{option}`: expected a number of seconds; got {value!r}.")
    if not math.isfinite(value) or not 0 < value <= LONGEST_SECONDS:
        raise ConfigurationError(
            f"Invalid `{option}`: {value!r} must be > 0 and at most {LONGEST_SECONDS:,}."
        )
    return float(value)
