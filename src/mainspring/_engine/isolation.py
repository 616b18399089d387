"""Calling the function of a task in a process of its own, which is killed when its time is over or it has to stop.

The engine stays where it is, with all that it does about a run: only the call is made over there, in the context of
the run. The processes are kept for the next call, and belong to this process, not to a run.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mainspring import _forks, _portal
from mainspring._cancel_scopes import CancelScope
from mainspring._engine.timeouts import come_from_elsewhere
from mainspring._processes.channel import Frame, Kind, Packed, pack, unpack
from mainspring._processes.children import Child
from mainspring._processes.contexts import PackedContexts
from mainspring._processes.crews import Crew, kill_at_exit, processors
from mainspring._processes.flow_files import FlowFiles
from mainspring._processes.leashes import Leash, WaitOver
from mainspring._processes.main_program import refuse_while_imported
from mainspring._processes.portability import (
    open_result,
    pack_error,
    pack_together,
    require_portable,
    require_shared_store,
    unpack_error,
)
from mainspring._processes.relays import Audience, Inbox, audience
from mainspring._processes.serving import Setup, Station
from mainspring.context import (
    FlowRunContext,
    TagsContext,
    TaskRunContext,
    current_scope,
    get_settings_context,
    hydrated_context,
    serialize_context,
)
from mainspring.exceptions import (
    RunCancelled,
    SerializationError,
    StoreError,
    WorkerDied,
    WorkerNotStarted,
)
from mainspring.logging import enter_context
from mainspring.recording import current_recorder, keep_run_lines
from mainspring.settings import get_current_settings
from mainspring.states.conversion import describe_exception

__all__ = ["AsyncIsolatedCall", "IsolatedCall", "close_workers", "leash_of", "timeout_of"]

_SLACK = 0.005
"""Seconds after a deadline in which the time limit of the attempt may interrupt the wait by itself."""


class IsolatedCall:
    """Calls the function of a task elsewhere; safe to be called from any thread.

    Args:
        task: The task.
    """

    def __init__(self, task: Any) -> None:
        self._task = task

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """Call the function with these parameters, and return what it returns.

        Raises:
            BaseException: What it raises.
            WorkerDied: Its process died.
            TimeoutError: The process was killed because the attempt has no more time.
            RunCancelled: The run was told to stop.
            WorkerNotStarted: No process can be started.
            SerializationError: Arguments or result cannot be taken to the other process.
            ConfigurationError: The run store is in memory.
        """
        scope = current_scope()
        leash = leash_of(scope)
        with leash.pulled_by(scope):
            return self._call(parameters, scope, leash)

    def _call(self, parameters: Mapping[str, Any], scope: CancelScope | None, leash: Leash) -> Any:
        try:
            frame = self._converse(parameters, leash)
        except WaitOver:
            if leash.stop is not None:
                raise RunCancelled(leash.stop.reason) from None
            raise timeout_of(scope) from None
        except WorkerDied as death:
            if leash.stop is not None:  # it was to end
                raise RunCancelled(leash.stop.reason) from None
            engine = None if scope is None else scope.engine
            if engine is not None:
                engine._loss = death
            raise
        if leash.stop is not None:
            raise RunCancelled(leash.stop.reason)
        return self._open(frame)

    def _converse(self, parameters: Mapping[str, Any], leash: Leash) -> Frame:
        """Send the call and wait for the answer; whatever else ends the wait kills the process."""
        require_shared_store(f'Task {self._task.name!r} with isolation="process"')
        packed = _pack(self._task, parameters)
        crew = _shared.crew()
        try:
            child = crew.take(leash)
        except WorkerNotStarted as error:
            if error.exit_code is not None and error.exit_code < 0:  # somebody has killed it
                raise WorkerDied(str(error), exit_code=error.exit_code) from error
            raise
        frame: Frame | None = None
        death: WorkerDied | None = None
        try:
            try:
                frame = child.call(
                    Kind.CALL, (call_function, _order(child, leash)), packed, crew.inbox, leash
                )
            except EOFError:
                death = child.death()
            finally:
                if frame is None:
                    child.strike()
        finally:  # an interrupt may have come at any point: nothing goes on over there, and nobody waits for it
            if frame is None:
                _bury(crew, child)
            else:
                crew.give_back(child)
        if death is not None:
            raise death
        assert frame is not None
        if frame.kind is Kind.REFUSED:
            child.context_number = 0  # perhaps it was the context that could not be read
        return frame

    def _open(self, frame: Frame) -> Any:
        """The value in an answer.

        Raises:
            BaseException: What the function raised.
        """
        if frame.kind is Kind.RAISED:
            raise come_from_elsewhere(unpack_error(frame.head, frame.packed))
        if frame.kind is Kind.REFUSED:
            cause = unpack_error(frame.head, frame.packed)
            raise SerializationError(
                f"Task {self._task.name!r} or its arguments cannot be made again in a worker process:"
                f" {describe_exception(cause)}. Workers need the same packages and modules as this process."
            ) from cause
        return open_result(frame.packed, self._task.name)


class AsyncIsolatedCall(IsolatedCall):
    """The same for a coroutine function, which is awaited over there; the event loop here goes on meanwhile."""

    async def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """See `IsolatedCall.__call__`."""
        import asyncio  # whoever awaits has it already

        scope = current_scope()
        leash = leash_of(scope)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        work = partial(self._call, parameters, scope, leash)
        with leash.pulled_by(scope):
            threading.Thread(
                target=context.run, args=(_answer, work, loop, answer), name="mainspring-isolation"
            ).start()
            try:
                return await answer
            except BaseException:
                leash.cut()  # nobody waits any more, if this does not come from there
                raise


def _answer(work: Callable[[], Any], loop: Any, answer: Any) -> None:
    """Wait in a thread for what a coroutine waits for."""
    value = error = None
    try:
        value = work()
    except BaseException as problem:  # belongs to whoever awaits
        error = problem

    def settle() -> None:
        if answer.done():  # it was cancelled
            return
        if error is None:
            answer.set_result(value)
        elif isinstance(error, StopIteration):  # which no future takes
            answer.set_exception(RuntimeError(f"The function raised {error!r}."))
        else:
            answer.set_exception(error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed, and nobody waits
        pass


def leash_of(scope: CancelScope | None) -> Leash:
    """What ends the wait: not an interruption by whoever stops the run, as the function may end in order."""
    if scope is not None:
        scope.close()
    return Leash.of(scope, _SLACK)


def timeout_of(scope: CancelScope | None) -> TimeoutError:
    """What ends an attempt at its deadline: a limit that it has to keep to, or that of a run around it."""
    limit = None if scope is None or scope.engine is None else scope.engine._limit
    if limit is not None and limit.is_due:
        error: TimeoutError = limit.error or limit.expire()
        return error
    return TimeoutError("The run around it had no more time.")


def _bury(crew: Crew, child: Child) -> None:
    """See a process to its end, and settle what ran inside of the call."""
    crew.drop(child)
    child.kill()
    try:
        current_recorder().store.settle_dead_owners()
    except StoreError:  # whoever opens the run store next does it
        pass


def _pack(task: Any, parameters: Mapping[str, Any]) -> Packed:
    """The context of the run and the arguments, in one piece: what is the same object here is the same there.

    Raises:
        SerializationError: One of them cannot be pickled.
    """
    context = TaskRunContext.get()
    fields = {} if context is None else context.serialize(include_secrets=True)
    fields.pop("parameters", None)
    return pack_together((task, fields, dict(parameters)), task, parameters)


class Order(NamedTuple):
    """What a worker is told about a call. Task, context of its run and arguments are packed beside it.

    Args:
        context: The context around the run, packed; None if it is the one that was sent last.
        deadline: Until when the attempt may go on, by ``time.monotonic()``, which all processes of a host share.
        audience: Who listens.
        folder: The working directory of the caller; None if that is gone.
    """

    context: bytes | None
    deadline: float | None
    audience: Audience
    folder: str | None


def _order(child: Child, leash: Leash) -> Order:
    active = FlowRunContext.get(), TagsContext.get(), get_settings_context()
    news = _shared.contexts.news_for(child, active, _describe_context)
    deadline = None if leash.deadline is None else leash.deadline - _SLACK
    return Order(news, deadline, audience(), _folder())


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # somebody has removed it
        return None


def _describe_context() -> dict[str, Any]:
    context = serialize_context()
    context["task_run_context"] = {}
    context.pop("deadline", None)
    return context


# Over there


def call_function(station: Station, order: Order, packed: Packed) -> tuple[Kind, Any, Packed]:
    """Call the function of a task in the context of its run; gives what it returns.

    Raises:
        BaseException: What it raises; a SerializationError if the result cannot be pickled.
    """
    order = Order(*order)
    try:
        station.open_context(order.context)
        task, fields, parameters = unpack(packed)
    except BaseException as error:  # whatever importing a module of the user's does
        return Kind.REFUSED, *pack_error(error)
    keep_run_lines()
    if order.folder is not None:
        with suppress(OSError):  # it has been removed since
            os.chdir(order.folder)
    scope = CancelScope(None)
    if order.deadline is not None:
        scope.bound(order.deadline)
    with hydrated_context(station.context), station.at_work(order.audience, scope):
        if not fields:
            result = _portal.finish(task.arguments.call(parameters))
        else:
            context = TaskRunContext(**fields, parameters=parameters, cancel_event=station.cancelled)
            context.scope = scope
            entered = enter_context(context)
            try:
                result = _portal.finish(task.arguments.call(parameters))
            finally:
                entered.__exit__(None, None, None)
    return Kind.DONE, None, require_portable(result)


# The processes


class Shared:
    """The worker processes of this process for all isolated calls; in a fork it has none yet."""

    def __init__(self) -> None:
        self.contexts = PackedContexts()
        self._crew: Crew | None = None
        self._lock = threading.Lock()

    def crew(self) -> Crew:
        """All workers, made when they are needed for the first time."""
        with self._lock:
            if self._crew is None:
                refuse_while_imported('A task with isolation="process"')
                kill_at_exit()
                limit = get_current_settings().tasks.runner.isolation_max_workers or processors()
                self._crew = Crew(limit, _set_up, Inbox(logger_name="isolation"), is_isolated=True)
            return self._crew

    def close(self) -> None:
        """End the workers that there are; the next call starts others."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()


_shared = Shared()
_forks.in_child(_shared.__init__)  # type: ignore[misc]


def close_workers() -> None:
    """End the worker processes that are kept; the next call starts others."""
    _shared.close()


def _set_up() -> tuple[Setup, Packed]:
    """What the workers are set up with: the environment and settings as they are at the first call."""
    setup = Setup(dict(os.environ), get_settings_context().serialize(), audience().levels, FlowFiles.here())
    return setup, pack((None, ()))
