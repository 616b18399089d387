"""Tasks in processes of their own: on all processors, and apart from each other and from the program."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from mainspring import _portal
from mainspring._engine.inputs import resolve_parameters, resolve_wait_for
from mainspring._engine.steps import submitted_step
from mainspring._processes.channel import Frame, Kind, Packed, pack
from mainspring._processes.children import Child
from mainspring._processes.contexts import PackedContexts
from mainspring._processes.crews import Crew, kill_at_exit, processors
from mainspring._processes.flow_files import FlowFiles
from mainspring._processes.leashes import SLACK, Leash, WaitOver
from mainspring._processes.main_program import refuse_while_imported
from mainspring._processes.portability import (
    pack_arguments,
    require_shared_store,
    unpack_error,
)
from mainspring._processes.relays import Inbox, Processor, audience
from mainspring._processes.serving import Setup
from mainspring.context import (
    FlowRunContext,
    TagsContext,
    TaskRunContext,
    current_scope,
    get_settings_context,
    serialize_context,
)
from mainspring.exceptions import ConfigurationError, SerializationError, WorkerNotStarted
from mainspring.runs import TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State
from mainspring.states.conversion import describe_exception
from mainspring.task_engine import SyncTaskRunEngine
from mainspring.task_runners.base import TaskRunner
from mainspring.task_runners.calls import Call
from mainspring.task_runners.losses import Losses, refuse
from mainspring.task_runners.orders import Order
from mainspring.task_runners.pooled import PooledTaskRunner
from mainspring.task_runners.proceeds import unwrap
from mainspring.task_runners.threads import ThreadPoolTaskRunner
from mainspring.task_runners.working import run_order
from mainspring.transactions import get_transaction

__all__ = ["ProcessPoolTaskRunner"]


class ProcessPoolTaskRunner(PooledTaskRunner):
    """Runs tasks in worker processes.

    A worker is started when there is a task for it, and kept for the next one until the runner is left. It imports the
    main program, so that has to guard what it starts by ``if __name__ == "__main__":``. Tasks, arguments and results
    travel by cloudpickle. A worker writes the history of its runs itself, and what is logged and told as events there
    is passed on to this process. A worker that dies costs the attempt that it was making: the run is retried in
    another one if its task has a retry left, and is Crashed otherwise.

    Args:
        max_workers: The most workers at a time. When omitted, the setting ``tasks.runner.process_pool_max_workers``;
            when that is unset too, as many as there are processors for this process.
        initializer: Called once in each worker, before its first task.
        initargs: The arguments for it.
        message_processors: Functions that are given each ``logging.LogRecord`` and each `Event` that a worker passes
            on, one after the other, in this process. What they return is told instead; None for nothing.

    Raises:
        ValueError: ``max_workers`` is less than 1.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        message_processors: Iterable[Processor] = (),
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"`max_workers` must be at least 1; got {max_workers}.")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"`initializer` must be callable; got {initializer!r}.")
        super().__init__()
        self._given = max_workers
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._processors = tuple(message_processors)
        self._crew: Crew | None = None
        self._contexts = PackedContexts()
        self._has_told_transaction = False

    @property
    def max_workers(self) -> int:
        """The most workers at a time."""
        return self._given or get_current_settings().tasks.runner.process_pool_max_workers or processors()

    def duplicate(self) -> Self:
        """See `TaskRunner.duplicate`."""
        return type(self)(
            self._given,
            initializer=self._initializer,
            initargs=self._initargs,
            message_processors=self._processors,
        )

    def detached(self) -> TaskRunner[Any]:
        """See `TaskRunner.detached`: threads, because workers with workers of their own would be too many."""
        return ThreadPoolTaskRunner()

    def _facts(self) -> tuple[Any, ...]:
        return self._given, self._initializer, self._initargs, self._processors

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProcessPoolTaskRunner):
            return NotImplemented
        return self._facts() == other._facts()

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_crew": None, "_contexts": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._contexts = PackedContexts()

    def __repr__(self) -> str:
        options = {"max_workers": self._given, "initializer": self._initializer}
        told = ", ".join(f"{name}={value!r}" for name, value in options.items() if value is not None)
        return f"ProcessPoolTaskRunner({told})"

    # Starting and leaving

    def __enter__(self) -> Self:
        refuse_while_imported("A task runner with processes")
        super().__enter__()
        kill_at_exit()
        self._crew = Crew(self.max_workers, self._set_up, Inbox(self._processors))
        self._has_told_transaction = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        crew, pool = self._crew, self._pool
        try:
            super().__exit__(kind, error, trace)
        except BaseException:  # an interrupt while it waits for tasks: nobody waits for them any more
            if crew is not None:
                crew.kill()
            if pool is not None:
                pool.join()  # until it is recorded what became of them, unless that is interrupted, too
            raise
        finally:
            self._crew, self._contexts = None, PackedContexts()
        if crew is not None:
            crew.end()

    def cancel_all(self) -> None:
        """See `TaskRunner.cancel_all`; a task whose function has begun is not interrupted, but can ask."""
        super().cancel_all()
        if self._crew is not None:
            self._crew.cancel()

    def _leave_thread(self) -> None:
        _portal.close()

    def _set_up(self) -> tuple[Setup, Packed]:
        """What the workers are set up with: the environment and settings as they are at the first submission."""
        try:
            packed = pack((self._initializer, self._initargs))
        except Exception as error:  # whatever an argument raises that cannot be pickled
            raise WorkerNotStarted(
                f"The initializer {self._initializer!r} or its arguments cannot be taken to a worker process:"
                f" {describe_exception(error)}"
            ) from error
        return Setup(
            dict(os.environ), get_settings_context().serialize(), audience().levels, FlowFiles.here()
        ), packed

    # Runs

    def _carry(self, call: Call) -> State:
        if call.context["cancel_event"].is_set():
            return call.run()  # which does not begin
        try:
            if call.wait_for is not None:
                resolve_wait_for(call.wait_for)
            parameters = resolve_parameters(call.parameters)
        except Exception:  # the run itself meets it again, here, and records it
            return call.run()
        run = call.task.create_local_run(call.run_key, call.parameters, call.wait_for, call.dependencies)
        step = call.context.get("step") or submitted_step(call.task, parameters)
        call = call._replace(record=run, context={**call.context, "step": step})
        self._tell_transaction(call)
        try:
            require_shared_store("ProcessPoolTaskRunner")
            packed = pack_arguments(call.task, parameters)
        except (ConfigurationError, SerializationError) as error:
            return refuse(call, run, error)
        return self._run_elsewhere(call, run, packed)

    def _run_elsewhere(self, call: Call, run: TaskRun, packed: Packed) -> State:
        """Have a run made in a worker, and in another one if that dies and the run is to be attempted again."""
        crew = self._crew
        assert crew is not None
        lost = Losses(call, run)
        while True:
            scope = current_scope()
            leash = Leash.of(scope, SLACK)
            child: Child | None = None
            frame: Frame | None = None
            try:
                with leash.pulled_by(scope):
                    child = crew.take(leash)
                    order = self._order(child, lost)
                    frame = child.call(Kind.CALL, (run_order, order), packed, crew.inbox, leash)
            except (WorkerNotStarted, SerializationError) as error:
                if child is not None:
                    crew.give_back(child)
                return refuse(call, lost.run, error)
            except (EOFError, WaitOver) as end:
                is_over, death = isinstance(end, WaitOver), None
                if child is not None:
                    crew.drop(child)
                    if is_over:
                        child.kill()
                    else:
                        death = crew.death(child)
                if not lost.settle(death, leash, is_over, is_last=death is not None and crew.is_left):
                    return lost.run.state
                continue
            except BaseException:  # nobody knows what it will answer, and to which call
                if child is not None:
                    crew.drop(child)
                    child.kill()
                raise
            if frame.kind is Kind.REFUSED:
                child.context_number = 0  # perhaps it was the context that could not be read
            crew.give_back(child)
            return _open(frame, call, lost.run)

    def _order(self, child: Child, lost: Losses) -> Order:
        """What a worker has to know besides the task and its parameters.

        Raises:
            SerializationError: The context of the submitter cannot be pickled.
        """
        active = FlowRunContext.get(), TaskRunContext.get(), TagsContext.get(), get_settings_context()
        context = self._contexts.news_for(child, active, serialize_context)
        return Order(lost.run, context, lost.call.context["step"], lost.retries, lost.count, audience())

    def _tell_transaction(self, call: Call) -> None:
        """Say, once, that a transaction does not reach into other processes."""
        if self._has_told_transaction or get_transaction() is None:
            return
        self._has_told_transaction = True
        self.logger.warning(
            "A run of %r was submitted to processes inside of a transaction. Runs in other processes commit by"
            " themselves, so they are not rolled back with it. Call the task directly to have it take part.",
            call.task.name,
        )


def _open(frame: Frame, call: Call, run: TaskRun) -> State:
    """The state that an answer tells, with what the run came to.

    Raises:
        BaseException: What has ended more than the run.
    """
    if frame.kind is Kind.RAISED:
        raise unpack_error(frame.head, frame.packed)
    if frame.kind is Kind.REFUSED:
        cause = unpack_error(frame.head, frame.packed)
        error = SerializationError(
            f"Task {call.task.name!r} or its arguments cannot be made again in a worker process:"
            f" {describe_exception(cause)}. Workers need the same packages and modules as this process."
        )
        error.__cause__ = cause
        return refuse(call, run, error)
    state = unwrap(frame.head, frame.packed, f"{run.name!r} ({run.id})")
    if state.is_completed():
        SyncTaskRunEngine(task=call.task, task_run=run).trace(state.data)
    return state
