"""The scopes in which a run goes on: one around the whole run, one around each attempt, and two more for flow runs.

They are classes instead of generator functions because they are entered for every task, and some are structs because
those are made without an ``__init__`` in Python. Those around runs, attempts and task runners have async twins with the
same text.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from mainspring._engine.background import BackgroundRuns
from mainspring._engine.timeouts import AsyncTimeout, SyncTimeout, comes_from_outside
from mainspring._imports import modules_on_use
from mainspring._stacks import give_back_room, make_room
from mainspring.annotations import NotSet
from mainspring.concurrency import noted
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import Pause
from mainspring.logging import enter_context
from mainspring.states import StateType
from mainspring.transactions import BaseTransaction

if TYPE_CHECKING:
    from mainspring.futures import turns
else:
    turns = modules_on_use("mainspring.futures", "turns")

__all__ = [
    "AsyncAttemptScope",
    "AsyncRunScope",
    "AsyncRunnerScope",
    "FlowScope",
    "SyncAttemptScope",
    "SyncRunScope",
    "SyncRunnerScope",
]

_CANCELLING, _SCHEDULED = StateType.CANCELLING, StateType.SCHEDULED  # as globals they are quicker to get at


class SyncRunScope(msgspec.Struct, eq=False):
    """Around a whole run: it is created before the block, and whatever ends the block is recorded."""

    engine: Any
    run_id: Any
    dependencies: Any
    begins: bool
    is_left: bool = False

    def __enter__(self) -> Any:
        engine = self.engine
        engine._is_started = True
        try:
            engine._create(self.run_id, self.dependencies)
            engine._enter_run()
            if self.begins:
                engine.begin_run()
        except BaseException as error:
            self.is_left = self.__exit__(type(error), error, error.__traceback__)
            if not self.is_left:
                raise
        return engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.is_left:
            return False
        engine = self.engine
        failure = engine._raised if error is None else error
        is_absorbed, is_full = False, failure is not NotSet and make_room(failure)
        try:
            try:
                run = engine.run
                if error is None and run is not None and run.state.type is _CANCELLING:
                    error = engine.told_to_stop()  # just when it would have made its next attempt
                is_ours = run is not None and engine.claim_end()
                if error is not None and is_ours and engine._must_crash(error):
                    engine.handle_crash(error)
                if is_ours:
                    if noted:
                        engine.release_slots()
                    if self.begins and not engine._unrecorded:
                        engine.call_hooks()
            except BaseException as late:
                error = late
                if engine._must_crash(late):
                    engine.handle_crash(late)
                raise
            if error is not None:
                is_absorbed = bool(engine.absorbs(error))
                if kind is None and not is_absorbed:
                    raise error
            return is_absorbed
        finally:
            engine._leave_run(None if is_absorbed else error)
            if is_full:
                give_back_room()


class SyncAttemptScope(msgspec.Struct, eq=False):
    """Around one attempt: inside the run's context and time limit; an exception becomes an outcome."""

    engine: Any
    context: Any = None
    is_bounded: bool = False
    limit: SyncTimeout | None = None
    transaction: BaseTransaction | None = None

    def __enter__(self) -> Any:
        engine = self.engine
        if engine.run.state.type is _SCHEDULED:
            engine.wait_until_ready()
        self.context = engine._enter_attempt()
        if engine.subject.policy.is_limited or engine._cancel_scope.deadline is not None:
            self.is_bounded, self.transaction = True, BaseTransaction.current()
            engine._limit = self.limit = engine.new_limit(SyncTimeout)
        if self.limit is not None:
            try:
                self.limit.__enter__()
            except BaseException as error:
                self.context.__exit__(type(error), error, error.__traceback__)
                raise
        return engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        engine, is_full = self.engine, False
        try:
            if self.limit is not None:
                try:
                    self.limit.__exit__(kind, error, trace)
                except TimeoutError as expiry:
                    error = expiry
                engine.end_limit()
                if self.limit.is_settled and isinstance(error, Exception | None):
                    engine.accept_settlement()
                    if error is not None and comes_from_outside(error, self.limit):
                        raise error
                    return True
            engine._cancel_scope.close()
            if error is None or not isinstance(error, Exception):
                if isinstance(error, Pause):
                    engine.note_pause(error)
                return False
            if engine.run.state.is_final() or comes_from_outside(error, self.limit):
                return self.limit is not None and error is self.limit.error
            is_full = make_room(error)
            if error is engine._loss:
                engine.handle_loss(error)
            elif isinstance(error, TimeoutError):
                engine.handle_timeout(error)
            else:
                engine.handle_exception(error)
            return True
        finally:
            if is_full:
                give_back_room()
            if self.is_bounded and not engine.subject.isgenerator:
                # What a limit strikes while it is entered is not left.
                BaseTransaction.activate(self.transaction)
            self.context.__exit__(kind, error, trace)


class AsyncRunScope(msgspec.Struct, eq=False):
    """Around a whole run: it is created before the block, and whatever ends the block is recorded."""

    engine: Any
    run_id: Any
    dependencies: Any
    begins: bool
    is_left: bool = False

    async def __aenter__(self) -> Any:
        engine = self.engine
        engine._is_started = True
        try:
            engine._create(self.run_id, self.dependencies)
            engine._enter_run()
            if self.begins:
                await engine.begin_run()
        except BaseException as error:
            self.is_left = await self.__aexit__(type(error), error, error.__traceback__)
            if not self.is_left:
                raise
        return engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.is_left:
            return False
        engine = self.engine
        failure = engine._raised if error is None else error
        is_absorbed, is_full = False, failure is not NotSet and make_room(failure)
        try:
            try:
                run = engine.run
                if error is None and run is not None and run.state.type is _CANCELLING:
                    error = engine.told_to_stop()  # just when it would have made its next attempt
                is_ours = run is not None and engine.claim_end()
                if error is not None and is_ours and engine._must_crash(error):
                    await engine.handle_crash(error)
                if is_ours:
                    if noted:
                        await engine.release_slots()
                    if self.begins and not engine._unrecorded:
                        await engine.call_hooks()
            except BaseException as late:
                error = late
                if engine._must_crash(late):
                    await engine.handle_crash(late)
                raise
            if error is not None:
                is_absorbed = bool(engine.absorbs(error))
                if kind is None and not is_absorbed:
                    raise error
            return is_absorbed
        finally:
            engine._leave_run(None if is_absorbed else error)
            if is_full:
                give_back_room()


class AsyncAttemptScope(msgspec.Struct, eq=False):
    """Around one attempt: inside the run's context and time limit; an exception becomes an outcome."""

    engine: Any
    context: Any = None
    is_bounded: bool = False
    limit: AsyncTimeout | None = None
    transaction: BaseTransaction | None = None

    async def __aenter__(self) -> Any:
        engine = self.engine
        if engine.run.state.type is _SCHEDULED:
            await engine.wait_until_ready()
        self.context = engine._enter_attempt()
        if engine.subject.policy.is_limited or engine._cancel_scope.deadline is not None:
            self.is_bounded, self.transaction = True, BaseTransaction.current()
            engine._limit = self.limit = engine.new_limit(AsyncTimeout)
        if self.limit is not None:
            try:
                await self.limit.__aenter__()
            except BaseException as error:
                self.context.__exit__(type(error), error, error.__traceback__)
                raise
        return engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        engine, is_full = self.engine, False
        try:
            if self.limit is not None:
                try:
                    await self.limit.__aexit__(kind, error, trace)
                except TimeoutError as expiry:
                    error = expiry
                engine.end_limit()
                if self.limit.is_settled and isinstance(error, Exception | None):
                    engine.accept_settlement()
                    if error is not None and comes_from_outside(error, self.limit):
                        raise error
                    return True
            engine._cancel_scope.close()
            if error is None or not isinstance(error, Exception):
                if isinstance(error, Pause):
                    engine.note_pause(error)
                return False
            if engine.run.state.is_final() or comes_from_outside(error, self.limit):
                return self.limit is not None and error is self.limit.error
            is_full = make_room(error)
            if error is engine._loss:
                await engine.handle_loss(error)
            elif isinstance(error, TimeoutError):
                await engine.handle_timeout(error)
            else:
                await engine.handle_exception(error)
            return True
        finally:
            if is_full:
                give_back_room()
            if self.is_bounded and not engine.subject.isgenerator:
                # What a limit strikes while it is entered is not left.
                BaseTransaction.activate(self.transaction)
            self.context.__exit__(kind, error, trace)


class SyncRunnerScope:
    """Around the function of a flow: what it submits runs on a task runner and threads that are left with it (F-55)."""

    __slots__ = ("background", "engine", "runner")

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __enter__(self) -> None:
        self.runner, self.background = self.engine._start_runner()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.engine._cancel_scope.close()  # what is waited for is told to stop by itself
        leave(self.runner, self.background)
        if kind is None:
            self.engine.raise_if_stopped()


class AsyncRunnerScope:
    """Around the function of a flow: what it submits runs on a task runner and threads that are left with it (F-55)."""

    __slots__ = ("background", "engine", "runner")

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    async def __aenter__(self) -> None:
        self.runner, self.background = self.engine._start_runner()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.engine._cancel_scope.close()  # what is waited for is told to stop by itself
        await aleave(self.runner, self.background)
        if kind is None:
            self.engine.raise_if_stopped()


def leave(runner: Any, background: BackgroundRuns) -> None:
    """Leave a task runner and what runs in the background; both wait for what has begun."""
    try:
        runner.__exit__(None, None, None)
    finally:
        background.leave()


async def aleave(runner: Any, background: BackgroundRuns) -> None:
    """`leave` without blocking the event loop."""
    if not runner.leave_unused():
        await turns.by_thread(partial(leave, runner, background))
    elif not background.leave_unused():
        await turns.by_thread(background.leave)


class FlowScope:
    """The context of a flow run.

    Inside, no task run is active even if the flow was called by one: the flow run is what tasks, loggers
    and ``get_run_context`` find.
    """

    __slots__ = ("_entered", "context", "task_run")

    def __init__(self, context: FlowRunContext) -> None:
        self.context = context

    def __enter__(self) -> Self:
        self.task_run = TaskRunContext.activate(None)
        self._entered = enter_context(self.context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, trace)
        TaskRunContext.activate(self.task_run)
