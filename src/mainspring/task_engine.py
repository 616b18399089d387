"""The task engine: one run of one task, from creation to its final state.

`run_task` runs a task. It dispatches to one of four forms, each of which is the loop that may also be written by hand::

    engine = SyncTaskRunEngine(task=my_task, parameters={"x": 1})
    with engine.start():
        while engine.is_running():
            with engine.run_context(), engine.transaction_context() as txn:
                engine.call_task_fn(txn)
    value = engine.result()

What happens in which order is decided in `mainspring._core.lifecycle`; the engines carry it out. One engine serves
one run, in one thread or asyncio task.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, ParamSpec, TypeVar
from uuid import UUID

from mainspring._core.transitions import Move, next_state
from mainspring._engine.drivers import AsyncDriver, SyncDriver
from mainspring._engine.recorded import RecordedRun
from mainspring._engine.scopes import AsyncRunScope, SyncRunScope
from mainspring._engine.suspension import Suspension
from mainspring.annotations import NotSet
from mainspring.context import TaskRunContext
from mainspring.exceptions import RunCancelled
from mainspring.logging import (
    engine_logs,
    enter_context,
    get_logger,
    should_log_prints,
    task_run_logger,
)
from mainspring.recording import current_recorder
from mainspring.runs import RunInput, TaskRun
from mainspring.states import State
from mainspring.transactions import AsyncTransaction, BaseTransaction, Transaction

__all__ = [
    "AsyncTaskRunEngine",
    "BaseTaskRunEngine",
    "SyncTaskRunEngine",
    "TaskRunTimeoutError",
    "run_generator_task_async",
    "run_generator_task_sync",
    "run_task",
    "run_task_async",
    "run_task_sync",
]

P = ParamSpec("P")
R = TypeVar("R")
Dependencies = dict[str, list[RunInput]]
ReturnType = Literal["state", "result"]

_engine_logger = get_logger("engine")
_STAY = nullcontext()


class TaskRunTimeoutError(TimeoutError):
    """An attempt of a task run took longer than the task's ``timeout_seconds``."""


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
        context: What a task runner hands over; ``cancel_event`` is a ``threading.Event`` that cancels.
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

    def __post_init__(self) -> None:
        if self.parameters is None:
            self.parameters = {}

    @property
    def subject(self) -> Any:
        """The task."""
        return self.task

    @property
    def run(self) -> TaskRun | None:
        """The task run."""
        return self.task_run

    def is_cancelled(self) -> bool:
        """True if whoever runs the task has set the cancel event it handed over (E-11)."""
        event = self.context.get("cancel_event") if self.context else None
        return event is not None and hasattr(event, "is_set") and bool(event.is_set())

    def compute_transaction_key(self) -> str | None:
        """The key under which the result of this run is kept; None, for results are not kept yet."""
        return None

    def record_terminal_state_timing(self, state: State) -> None:
        """Note when the run ended and how long it ran, unless that is known; `set_state` does so by itself."""
        run = self._require_run()
        if run.started_at is not None and run.ended_at is None:
            run.ended_at = state.at
            if run.state.is_running():
                run.run_time += state.at - run.state.at

    def handle_rollback(self, txn: BaseTransaction) -> None:
        """Record that the transaction around the completed run was rolled back (E-74, E-105)."""
        run = self._require_run()
        before = run.state
        if before.is_completed():  # a run that failed by returning a state did not become anything else
            message = "The task's transaction was rolled back."
            data = before.data if before.has_data else NotSet
            self.set_state(next_state(run, Move.ROLL_BACK, self._now(), message, data))

    handle_rollback.log_on_run = False  # type: ignore[attr-defined]

    def setup_run_context(self, client: object = None) -> TaskRunContext:
        """A fresh context of the run, to be entered; prints are logged inside if the task wants that.

        Raises:
            ValueError: There is no run yet.
        """
        run = self._require_run()
        assert isinstance(run, TaskRun)
        log_prints = should_log_prints(self.task.log_prints)
        return TaskRunContext(self.task, run, self.parameters, log_prints)

    # What the scopes call

    def _create(self, run_id: UUID | None, dependencies: Dependencies | None) -> None:
        self._recorder = current_recorder()
        run = self.task_run
        if run is None:
            run = self.task_run = self.task.create_local_run(
                id=run_id,
                parameters=self.parameters,
                wait_for=self.wait_for,
                extra_task_inputs=dependencies,
            )
        if not self._recorder.has(run):  # its history begins here, whoever made it
            run.claim(run.state)
            self._recorder.enter(run, run.state, wait=False)
        self.logger = task_run_logger(run, self.task)
        if engine_logs(logging.DEBUG):
            self.logger.debug("Created task run %r for task %r", run.name, self.task.name)

    def _enter_run(self) -> None:
        self._context = self.setup_run_context()
        self._outer = enter_context(self._context)
        self._context_is_fresh = True

    def _enter_attempt(self) -> AbstractContextManager[Any]:
        if self._context_is_fresh:  # the first attempt goes on in the context that its run began in
            self._context_is_fresh = False
            self._context.parameters = self.parameters
            return _STAY
        return enter_context(self.setup_run_context())

    def check_cancelled(self) -> None:
        """Leave the run at once if whoever runs it has cancelled it.

        Raises:
            RunCancelled: It was cancelled.
        """
        if self.context and self.is_cancelled():
            raise RunCancelled(f"The task runner cancelled task run {self.task_run!r}.")

    def _stage(self, transaction: BaseTransaction, result: Any) -> None:
        task = self.task
        transaction.stage(result, (self.handle_rollback, *task.on_rollback_hooks), task.on_commit_hooks)

    def _stage_if_settled(self, transaction: BaseTransaction, result: Any) -> None:
        """Stage the result of the attempt that counts; one that is to be repeated leaves nothing behind."""
        if self.is_running():
            transaction.discard()
        else:
            self._stage(transaction, result)


@dataclass
class SyncTaskRunEngine(BaseTaskRunEngine[P, R], SyncDriver):
    """Runs a sync task in the calling thread."""

    def initialize_run(
        self, task_run_id: UUID | None = None, dependencies: Dependencies | None = None
    ) -> SyncRunScope:
        """The scope around a run in which it is created but not begun, and its crash recorded."""
        return SyncRunScope(self, task_run_id, dependencies, begins=False)

    def start(
        self, task_run_id: UUID | None = None, dependencies: Dependencies | None = None
    ) -> SyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            task_run_id: The id for a new run; random when omitted.
            dependencies: Further inputs of a new run by parameter name.
        """
        return SyncRunScope(self, task_run_id, dependencies, begins=True)

    def transaction_context(self) -> Transaction:
        """The transaction of an attempt; it commits or rolls back with the one around it, if any."""
        return Transaction(key=self.compute_transaction_key(), logger=self.logger)

    def call_task_fn(self, transaction: BaseTransaction) -> Any:
        """Call the task's function once and settle what it returns (E-65).

        Raises:
            RunCancelled: The task runner has cancelled the run.
        """
        self.check_cancelled()
        result = self.task.arguments.call(self.parameters)
        return self.handle_success(result, transaction)

    def handle_success(self, result: Any, transaction: BaseTransaction) -> Any:
        """Enter the state that the result means and stage it; a failed one may be retried (E-60 to E-64)."""
        if self._limit is not None:
            self._limit.end()
        try:
            self._succeed(result)
        except BaseException:
            self._stage(transaction, result)  # to be rolled back on the way out
            raise
        self._stage_if_settled(transaction, result)
        return result


@dataclass
class AsyncTaskRunEngine(BaseTaskRunEngine[P, R], AsyncDriver):
    """Runs an async task in the calling asyncio task."""

    def initialize_run(
        self, task_run_id: UUID | None = None, dependencies: Dependencies | None = None
    ) -> AsyncRunScope:
        """The scope around a run in which it is created but not begun, and its crash recorded."""
        return AsyncRunScope(self, task_run_id, dependencies, begins=False)

    def start(
        self, task_run_id: UUID | None = None, dependencies: Dependencies | None = None
    ) -> AsyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            task_run_id: The id for a new run; random when omitted.
            dependencies: Further inputs of a new run by parameter name.
        """
        return AsyncRunScope(self, task_run_id, dependencies, begins=True)

    def transaction_context(self) -> AsyncTransaction:
        """The transaction of an attempt; it commits or rolls back with the one around it, if any."""
        return AsyncTransaction(key=self.compute_transaction_key(), logger=self.logger)

    async def call_task_fn(self, transaction: BaseTransaction) -> Any:
        """Call the task's function once and settle what it returns (E-65).

        Raises:
            RunCancelled: The task runner has cancelled the run.
        """
        self.check_cancelled()
        result = await self.task.arguments.call(self.parameters)
        return await self.handle_success(result, transaction)

    async def handle_success(self, result: Any, transaction: BaseTransaction) -> Any:
        """Enter the state that the result means and stage it; a failed one may be retried (E-60 to E-64)."""
        if self._limit is not None:
            self._limit.end()
        try:
            await self._succeed(result)
        except BaseException:
            self._stage(transaction, result)  # to be rolled back on the way out
            raise
        self._stage_if_settled(transaction, result)
        return result


def run_task(
    task: Any,
    task_run_id: UUID | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> Any:
    """Run a task, whatever kind it is (E-21).

    Args:
        task: The task.
        task_run_id: The id for the new run; random when omitted.
        task_run: A run record to execute instead of a new one.
        parameters: The arguments by parameter name, complete with defaults.
        wait_for: Futures and states that must be there first.
        return_type: "result" returns the value or raises; "state" returns the final state.
        dependencies: Further inputs of the run, for tracking.
        context: What a task runner hands over.

    Returns:
        The result or state of a sync task, a coroutine for an async one, an iterator for a generator.
    """
    if task.isgenerator:
        runner: Any = run_generator_task_async if task.isasync else run_generator_task_sync
    else:
        runner = run_task_async if task.isasync else run_task_sync
    return runner(task, task_run_id, task_run, parameters, wait_for, return_type, dependencies, context)


def run_task_sync(
    task: Any,
    task_run_id: UUID | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> Any:
    """`run_task` for a sync task."""
    engine: SyncTaskRunEngine[Any, Any] = SyncTaskRunEngine(
        task=task, parameters=parameters, task_run=task_run, wait_for=wait_for, context=context
    )
    with engine.start(task_run_id, dependencies):
        while engine.is_running():
            with engine.run_context(), engine.transaction_context() as txn:
                engine.call_task_fn(txn)
    return engine.state if return_type == "state" else engine.result()


async def run_task_async(
    task: Any,
    task_run_id: UUID | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> Any:
    """`run_task` for an async task."""
    engine: AsyncTaskRunEngine[Any, Any] = AsyncTaskRunEngine(
        task=task, parameters=parameters, task_run=task_run, wait_for=wait_for, context=context
    )
    async with engine.start(task_run_id, dependencies):
        while engine.is_running():
            async with engine.run_context(), engine.transaction_context() as txn:
                await engine.call_task_fn(txn)
    return engine.state if return_type == "state" else engine.result()


def run_generator_task_sync(
    task: Any,
    task_run_id: UUID | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> Generator[Any, Any, Any]:
    """`run_task` for a sync generator task; nothing happens before the first step.

    Raises:
        ValueError: ``return_type`` is not "result".
    """
    _require_result(return_type)
    engine: SyncTaskRunEngine[Any, Any] = SyncTaskRunEngine(
        task=task, parameters=parameters, task_run=task_run, wait_for=wait_for, context=context
    )
    with engine.start(task_run_id, dependencies):
        while engine.is_running():
            with engine.run_context(), engine.transaction_context() as txn:
                engine.check_cancelled()
                generator = task.arguments.call(engine.parameters)
                step, argument, result = generator.send, None, None
                while True:
                    try:
                        value = step(argument)
                    except StopIteration as end:
                        result = end.value
                        break
                    with Suspension(engine, txn):
                        try:
                            step, argument = generator.send, (yield value)
                        except GeneratorExit:
                            step = None
                        except BaseException as error:  # for the user's generator to handle
                            step, argument = generator.throw, error
                    if step is None:
                        engine.closing = True
                        generator.close()
                        break
                engine.handle_success(result, txn)
    return engine.result()


async def run_generator_task_async(
    task: Any,
    task_run_id: UUID | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> AsyncGenerator[Any, Any]:
    """`run_task` for an async generator task; nothing happens before the first step.

    Raises:
        ValueError: ``return_type`` is not "result".
    """
    _require_result(return_type)
    engine: AsyncTaskRunEngine[Any, Any] = AsyncTaskRunEngine(
        task=task, parameters=parameters, task_run=task_run, wait_for=wait_for, context=context
    )
    async with engine.start(task_run_id, dependencies):
        while engine.is_running():
            async with engine.run_context(), engine.transaction_context() as txn:
                engine.check_cancelled()
                generator = task.arguments.call(engine.parameters)
                step, argument, result = generator.asend, None, None
                while True:
                    try:
                        value = await step(argument)
                    except StopAsyncIteration:
                        break
                    with Suspension(engine, txn):
                        try:
                            step, argument = generator.asend, (yield value)
                        except GeneratorExit:
                            step = None
                        except BaseException as error:  # for the user's generator to handle
                            step, argument = generator.athrow, error
                    if step is None:
                        engine.closing = True
                        await generator.aclose()
                        break
                await engine.handle_success(result, txn)
    engine.result()


def _require_result(return_type: str) -> None:
    if return_type != "result":
        raise ValueError("The return_type for a generator task must be 'result'.")
