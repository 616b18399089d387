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

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload
from uuid import UUID

from mainspring import points
from mainspring._engine.drivers import AsyncDriver, SyncDriver
from mainspring._engine.scopes import AsyncRunScope, SyncRunScope
from mainspring._engine.task_runs import BaseTaskRunEngine, Dependencies, TaskRunTimeoutError
from mainspring._imports import modules_on_use
from mainspring.transactions import AsyncTransaction, Transaction

if TYPE_CHECKING:
    from mainspring._engine import suspension
    from mainspring._engine.subject import Subject
    from mainspring.runs import TaskRun
    from mainspring.states import State
else:
    suspension = modules_on_use("mainspring._engine", "suspension")

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
T = TypeVar("T")
ReturnType = Literal["state", "result"]


class SyncTaskRunEngine(BaseTaskRunEngine[P, R], SyncDriver):
    """Runs a sync task in the calling thread."""

    def initialize_run(
        self, task_run_id: UUID | bytes | None = None, dependencies: Dependencies | None = None
    ) -> SyncRunScope:
        """The scope around a run in which it is created but not begun, and its crash recorded."""
        return SyncRunScope(self, task_run_id, dependencies, begins=False)

    def start(
        self, task_run_id: UUID | bytes | None = None, dependencies: Dependencies | None = None
    ) -> SyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            task_run_id: The id for a new run; random when omitted.
            dependencies: Further inputs of a new run by parameter name.
        """
        return SyncRunScope(self, task_run_id, dependencies, begins=True)

    def transaction_context(self) -> Transaction:
        """The transaction of an attempt; it commits or rolls back with the one around it, if any (E-124)."""
        return self._new_transaction(Transaction)

    def call_task_fn(self, transaction: Transaction) -> Any:
        """Call the task's function once and settle what it returns (E-65).

        Raises:
            RunCancelled: The task runner has cancelled the run.
        """
        if transaction.is_committed():  # somebody has kept the result already
            return self.handle_success(transaction.read(), transaction)
        if self._leftover is not None:  # this step has completed before, in a transaction that had no end
            return self.handle_success(self._take_over(transaction), transaction)
        self.check_cancelled()
        if points.observer is not None:
            points.observer("task.call", (self.task, self.run))
        result = (self._caller or self.task.call)(self.parameters)
        if points.observer is not None:
            points.observer("task.returned", (self.task, self.run))
        self.check_portable(result)
        return self.handle_success(result, transaction)

    def handle_success(self, result: Any, transaction: Transaction) -> Any:
        """Enter the state that the result means and stage it; a failed one may be retried (E-60 to E-64)."""
        self._require_store()
        self.end_call()
        try:
            goes_on = self._succeed(result, self._is_cached(transaction))
            if goes_on:  # another attempt was granted: this one leaves nothing behind
                transaction.discard()
            else:
                self._stage(transaction, result)
        except BaseException:
            self._stage(transaction, result)  # to be rolled back on the way out
            raise
        return result


class AsyncTaskRunEngine(BaseTaskRunEngine[P, R], AsyncDriver):
    """Runs an async task in the calling asyncio task."""

    def initialize_run(
        self, task_run_id: UUID | bytes | None = None, dependencies: Dependencies | None = None
    ) -> AsyncRunScope:
        """The scope around a run in which it is created but not begun, and its crash recorded."""
        return AsyncRunScope(self, task_run_id, dependencies, begins=False)

    def start(
        self, task_run_id: UUID | bytes | None = None, dependencies: Dependencies | None = None
    ) -> AsyncRunScope:
        """The scope around a run: it is created and begun on entering, its hooks run on leaving.

        Args:
            task_run_id: The id for a new run; random when omitted.
            dependencies: Further inputs of a new run by parameter name.
        """
        return AsyncRunScope(self, task_run_id, dependencies, begins=True)

    def transaction_context(self) -> AsyncTransaction:
        """The transaction of an attempt; it commits or rolls back with the one around it, if any (E-124)."""
        return self._new_transaction(AsyncTransaction)

    async def call_task_fn(self, transaction: AsyncTransaction) -> Any:
        """Call the task's function once and settle what it returns (E-65).

        Raises:
            RunCancelled: The task runner has cancelled the run.
        """
        if transaction.is_committed():  # somebody has kept the result already
            return await self.handle_success(await transaction.read(), transaction)
        if self._leftover is not None:  # this step has completed before, in a transaction that had no end
            return await self.handle_success(self._take_over(transaction), transaction)
        self.check_cancelled()
        if points.observer is not None:
            points.observer("task.call", (self.task, self.run))
        result = await (self._caller or self.task.call)(self.parameters)
        if points.observer is not None:
            points.observer("task.returned", (self.task, self.run))
        self.check_portable(result)
        return await self.handle_success(result, transaction)

    async def handle_success(self, result: Any, transaction: AsyncTransaction) -> Any:
        """Enter the state that the result means and stage it; a failed one may be retried (E-60 to E-64)."""
        self._require_store()
        self.end_call()
        try:
            goes_on = await self._succeed(result, self._is_cached(transaction))
            if goes_on:  # another attempt was granted: this one leaves nothing behind
                transaction.discard()
            else:
                self._stage(transaction, result)
        except BaseException:
            self._stage(transaction, result)  # to be rolled back on the way out
            raise
        return result


@overload
def run_task(  # pyright: ignore[reportOverlappingOverload] - of an async task it is the first that counts
    task: Subject[..., Coroutine[Any, Any, T]],
    task_run_id: UUID | bytes | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    *,
    return_type: Literal["state"],
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> Coroutine[Any, Any, State]: ...


@overload
def run_task(
    task: Subject[..., Any],
    task_run_id: UUID | bytes | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    *,
    return_type: Literal["state"],
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> State: ...


@overload
def run_task(
    task: Subject[..., R],
    task_run_id: UUID | bytes | None = None,
    task_run: TaskRun | None = None,
    parameters: dict[str, Any] | None = None,
    wait_for: Iterable[Any] | None = None,
    return_type: ReturnType = "result",
    dependencies: Dependencies | None = None,
    context: dict[str, Any] | None = None,
) -> R: ...


def run_task(
    task: Any,
    task_run_id: UUID | bytes | None = None,
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
        task_run_id: The id for the new run, as such or as its 16 bytes; random when omitted.
        task_run: A run record to execute instead of a new one.
        parameters: The arguments by parameter name, complete with defaults.
        wait_for: Futures and states that must be there first.
        return_type: "result" returns the value or raises; "state" returns the final state.
        dependencies: Further inputs of the run, for tracking.
        context: What a task runner hands over.

    Returns:
        The result or state of a sync task, a coroutine for an async one, an iterator for a generator.
    """
    run = runner_of(task)
    return run(task, task_run_id, task_run, parameters, wait_for, return_type, dependencies, context)


def runner_of(task: Any) -> Callable[..., Any]:
    """The one of the four that runs a task, by what its function is; it takes what `run_task` takes."""
    if task.isgenerator:
        return run_generator_task_async if task.isasync else run_generator_task_sync
    return run_task_async if task.isasync else run_task_sync


def run_task_sync(
    task: Any,
    task_run_id: UUID | bytes | None = None,
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
    task_run_id: UUID | bytes | None = None,
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
    return engine.state if return_type == "state" else await engine.result()


def run_generator_task_sync(
    task: Any,
    task_run_id: UUID | bytes | None = None,
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
                if points.observer is not None:
                    points.observer("task.call", (engine.task, engine.run))
                generator = engine.open_generator()
                step, argument, result = generator.send, None, None
                suspended = suspension.Suspension(engine, txn)
                while True:
                    try:
                        value = step(argument)
                    except StopIteration as end:
                        result = getattr(end, "value", None)
                        break
                    engine.trace(value, running=True)
                    with suspended:
                        try:
                            step, argument = generator.send, (yield value)
                        except GeneratorExit:
                            step = None
                        except BaseException as error:  # for the user's generator to handle
                            step, argument = generator.throw, error
                    if step is None:
                        engine.closing = True
                        generator.close()
                        engine.end_closing()
                        break
                    signal = engine.told_to_stop()
                    if signal is not None:
                        step, argument = generator.throw, signal
                if points.observer is not None:
                    points.observer("task.returned", (engine.task, engine.run))
                engine.handle_success(result, txn)
    return engine.result()


async def run_generator_task_async(
    task: Any,
    task_run_id: UUID | bytes | None = None,
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
                if points.observer is not None:
                    points.observer("task.call", (engine.task, engine.run))
                generator = engine.open_generator()
                step, argument, result = generator.asend, None, None
                suspended = suspension.Suspension(engine, txn)
                while True:
                    try:
                        value = await step(argument)
                    except StopAsyncIteration as end:
                        result = getattr(end, "value", None)
                        break
                    engine.trace(value, running=True)
                    with suspended:
                        try:
                            step, argument = generator.asend, (yield value)
                        except GeneratorExit:
                            step = None
                        except BaseException as error:  # for the user's generator to handle
                            step, argument = generator.athrow, error
                    if step is None:
                        engine.closing = True
                        await generator.aclose()
                        await engine.end_closing()
                        break
                    signal = engine.told_to_stop()
                    if signal is not None:
                        step, argument = generator.athrow, signal
                if points.observer is not None:
                    points.observer("task.returned", (engine.task, engine.run))
                await engine.handle_success(result, txn)
    await engine.result()


def _require_result(return_type: str) -> None:
    if return_type != "result":
        raise ValueError("The return_type for a generator task must be 'result'.")
