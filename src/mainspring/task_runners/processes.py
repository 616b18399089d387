"""Tasks in processes of their own: on all processors, and apart from each other and from the program."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from operator import is_ as _is
from types import TracebackType
from typing import Any, Self

from mainspring import _portal
from mainspring._engine.inputs import resolve_parameters, resolve_wait_for
from mainspring._engine.main_program import refuse_while_imported
from mainspring._engine.steps import submitted_step
from mainspring.context import (
    FlowRunContext,
    TagsContext,
    TaskRunContext,
    get_settings_context,
    serialize_context,
)
from mainspring.exceptions import (
    ConfigurationError,
    SerializationError,
    SupersededRun,
    WorkerDied,
    WorkerNotStarted,
)
from mainspring.recording import current_recorder
from mainspring.runs import TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State
from mainspring.states.conversion import describe_exception
from mainspring.task_engine import SyncTaskRunEngine
from mainspring.task_runners.base import TaskRunner
from mainspring.task_runners.calls import Call
from mainspring.task_runners.channel import Frame, Kind, Packed, pack, pack_flat, unpack
from mainspring.task_runners.children import Child, Crew, kill_at_exit
from mainspring.task_runners.pooled import PooledTaskRunner
from mainspring.task_runners.portability import RemoteTraceback, pack_arguments, unpack_error
from mainspring.task_runners.relays import Inbox, Processor, audience
from mainspring.task_runners.serving import Order, Setup
from mainspring.task_runners.threads import ThreadPoolTaskRunner
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
        self._latest_context: tuple[tuple[Any, ...], int, bytes] | None = None
        self._context_numbers = itertools.count(1)
        self._has_told_transaction = False

    @property
    def max_workers(self) -> int:
        """The most workers at a time."""
        return self._given or get_current_settings().tasks.runner.process_pool_max_workers or _processors()

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
        return {**super().__getstate__(), "_crew": None, "_latest_context": None, "_context_numbers": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._context_numbers = itertools.count(1)

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
        crew = self._crew
        try:
            super().__exit__(kind, error, trace)
        except BaseException:  # an interrupt while it waits for tasks: nobody waits for them any more
            if crew is not None:
                crew.kill()
            raise
        finally:
            self._crew = self._latest_context = None
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
        return Setup(dict(os.environ), get_settings_context().serialize(), audience().levels), packed

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
            _require_shared_store()
            packed = pack_arguments(call.task, parameters)
        except (ConfigurationError, SerializationError) as error:
            return _refuse(call, run, error)
        return self._run_elsewhere(call, run, packed)

    def _run_elsewhere(self, call: Call, run: TaskRun, packed: Packed) -> State:
        """Have a run made in a worker, and in another one if that dies and there is a retry left."""
        crew = self._crew
        assert crew is not None
        retries = 0
        while True:
            try:
                child = crew.take()
            except WorkerNotStarted as error:
                return _refuse(call, run, error)
            try:
                order = self._order(child, run, call, retries)
                frame = child.call(Kind.CALL, order, packed, crew.inbox)
            except SerializationError as error:
                crew.give_back(child)
                return _refuse(call, run, error)
            except EOFError:
                crew.drop(child)
                run, is_granted = _settle_loss(call, run, child.death())
                if not is_granted:
                    return run.state
                retries = run.run_count
                continue
            except BaseException:  # nobody knows what it will answer, and to which call
                crew.drop(child)
                child.kill()
                raise
            if frame.kind is Kind.REFUSED:
                child.context_number = 0  # perhaps it was the context that could not be read
            crew.give_back(child)
            return _open(frame, call, run)

    def _order(self, child: Child, run: TaskRun, call: Call, retries: int) -> Order:
        """What a worker has to know besides the task and its parameters."""
        number, context = self._packed_context()
        is_known, child.context_number = child.context_number == number, number
        packed = None if is_known else context
        return Order(run, packed, call.context["step"], retries, audience())

    def _packed_context(self) -> tuple[int, bytes]:
        """The context of the submitter as bytes, and a number that tells it from others.

        It is the same for most runs of a flow run, so each worker gets it once.

        Raises:
            SerializationError: It cannot be pickled.
        """
        key = FlowRunContext.get(), TaskRunContext.get(), TagsContext.get(), get_settings_context()
        latest = self._latest_context
        if latest is None or not all(map(_is, latest[0], key)):
            packed = _pack_context(serialize_context())
            self._latest_context = latest = key, next(self._context_numbers), packed
        return latest[1:]

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


def _processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _require_shared_store() -> None:
    """Refuse a run store that workers cannot open.

    Raises:
        ConfigurationError: It is in the memory of this process.
    """
    url = current_recorder().store.url
    if url == "sqlite://":
        raise ConfigurationError(
            "ProcessPoolTaskRunner needs a run store that other processes can open, and this one is in memory. Set"
            " MAINSPRING_DATABASE_URL to the path of a file, or use threads."
        )


def _pack_context(context: dict[str, Any]) -> bytes:
    """A context as bytes; arguments of the runs around that cannot be pickled are left out.

    Raises:
        SerializationError: Something else cannot be pickled.
    """
    try:
        return pack_flat(context)
    except Exception as error:  # whatever a value raises that cannot be pickled
        try:
            return pack_flat(_without_unportable(context))
        except Exception:  # as above
            raise SerializationError(
                f"The flow run around the task cannot be taken to another process: {describe_exception(error)}"
            ) from error


def _without_unportable(context: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(context)
    for name in ("flow_run_context", "task_run_context"):
        known = dict(fields[name])
        given: dict[str, Any] = known.get("parameters") or {}
        parameters = {key: each for key, each in given.items() if _travels(each)}
        if "parameters" in known:
            known["parameters"] = parameters
        if "flow_run" in known:
            known["flow_run"] = copied = copy(known["flow_run"])
            copied.parameters = parameters
        fields[name] = known
    return fields


def _travels(value: Any) -> bool:
    try:
        pack(value)
    except Exception:  # as above
        return False
    return True


def _refuse(call: Call, run: TaskRun, error: Exception) -> State:
    """Record here that a run cannot begin."""
    return call._replace(record=run, context={**call.context, "refusal": error}).run()


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
        return _refuse(call, run, error)
    state: State
    state, form, words = frame.head
    if form == "error":
        state.keep(unpack_error(words, frame.packed))
    elif form != "none":
        try:
            data = unpack(frame.packed)
        except Exception as problem:  # whatever the class of a value does when it is made again
            raise SerializationError(
                f"The result of task run {run.name!r} ({run.id}) cannot be made again in this process, although the run"
                f" is {state.name}: {describe_exception(problem)}"
            ) from problem
        if words is not None and data.has_cached_object():
            data.get().__cause__ = RemoteTraceback(words[2])
        state.keep(data)
    if state.is_completed():
        SyncTaskRunEngine(task=call.task, task_run=run).trace(state.data)
    return state


def _settle_loss(call: Call, run: TaskRun, death: WorkerDied) -> tuple[TaskRun, bool]:
    """Record that a worker died with a run, and whether the run is to be attempted again.

    Returns:
        The run as it is now, which is as the worker has left it if that had ended it, and whether there is a retry.
    """
    recorder = current_recorder()
    while True:
        found = recorder.store.read_run(run.key)
        current = found if isinstance(found, TaskRun) else run
        engine = SyncTaskRunEngine[Any, Any](task=call.task, parameters=call.parameters, task_run=current)
        try:
            with engine.initialize_run():
                is_granted = engine.handle_loss(death)
                if not is_granted and current.state.is_crashed():
                    engine.call_hooks()
        except (
            SupersededRun
        ):  # somebody has found the worker dead at the same time: see what that has come to
            continue
        break
    recorder.store.settle_dead_owners()  # what ran inside of the run
    return current, is_granted
