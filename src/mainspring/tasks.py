"""Tasks: plain functions that are tracked, named, retried and timed out when they are called."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, TypeVar, overload
from uuid import UUID

from mainspring import clock, identifiers
from mainspring._core.policy import MAX_RETRY_DELAYS, Hooks, RunPolicy
from mainspring._engine.inputs import collect_inputs
from mainspring._engine.keeping import ResultOptions
from mainspring._engine.subject import GivenHooks, GivenSerializer, Storage, Subject, see_to_crash_hooks
from mainspring._imports import modules_on_use
from mainspring._processes.main_program import refuse_while_imported
from mainspring._representation import name_of
from mainspring.annotations import NotSet
from mainspring.context import FlowRunContext, TagsContext, TaskRunContext
from mainspring.context.tagging import check_tags
from mainspring.runs import RunInput, TaskRun
from mainspring.settings import get_current_settings
from mainspring.states import State, StateType
from mainspring.states.state import new_state
from mainspring.supervision import on_deaths
from mainspring.suspensions import leave_if_suspended
from mainspring.task_engine import runner_of

if TYPE_CHECKING:
    from mainspring import hashing
    from mainspring._core import steps
    from mainspring.cache_policies import CachePolicy
    from mainspring.futures import Future, FutureList
else:
    hashing = modules_on_use("mainspring", "hashing")
    steps = modules_on_use("mainspring._core", "steps")

__all__ = ["Task", "exponential_backoff", "task"]

on_deaths(see_to_crash_hooks)  # in a process that has tasks or flows, wherever it finds others dead

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])
KeyFunction = Callable[[TaskRunContext, dict[str, Any]], str | None]
_PENDING = StateType.PENDING
_MAX_IN_FLIGHT = "max_in_flight"
Isolation = Literal["process"]
Delays = float | Sequence[float] | Callable[[int], Sequence[float]]


class Task(Subject[P, R]):
    """A function whose calls are task runs. Immutable but for its hooks; safe to call from any thread.

    Calling it runs it here and now; ``submit`` and ``map`` run it on the task runner of the active flow run.
    Defined in a class body it works as a method, bound to the instance through which it is called.

    Args:
        fn: The function: plain, async, generator or async generator.
        name: What people call it; the function's name by default.
        description: What it does; the docstring by default.
        tags: Given to each run.
        version: Recorded with each run.
        cache_policy: What the result depends on: runs that agree in it share one result. With None or
            ``NO_CACHE`` each run stands for itself. By default results are shared inside of one flow run.
        cache_key_fn: A function of task run context and arguments that gives the key instead.
        cache_expiration: How long a kept result counts.
        task_run_name: What runs are called: a template over the parameters, or a function without
            arguments.
        retries: How many times a failed run is attempted again; default from the settings.
        retry_delay_seconds: Seconds before a retry: a number, one per retry (the last one repeats), or a
            function of the number of retries that gives such a list.
        retry_jitter_factor: How far a delay may stray from what was given, as a fraction of it.
        retry_condition_fn: Called with task, run and failed state; a false answer means no retry.
        persist_result: Whether results are kept beyond the process. When None they are if another option
            about results asks for it, else if the enclosing run or the settings say so.
        result_storage: Where they are kept: a file system, a folder, or an address ("s3://bucket/results").
        result_serializer: As what: a serializer or its type, for example "json".
        result_storage_key: Under which key: a template over ``parameters``, ``task_run`` and ``flow_run``. A
            result under that key is used again.
        cache_result_in_memory: Whether states go on holding a result that is kept.
        timeout_seconds: How long an attempt may take.
        log_prints: Whether ``print`` goes to the run logger; inherited when None.
        refresh_cache: Whether to run and overwrite a kept result; with None the settings decide.
        on_running: Hooks called with task, run and state when an attempt begins.
        on_completion: Hooks called when a run has completed.
        on_failure: Hooks called when a run has failed for good.
        on_crashed: Hooks called when a run was ended from outside.
        on_cancellation: Hooks called when a run was cancelled.
        on_commit: Hooks called with the transaction when it commits.
        on_rollback: Hooks called with the transaction when it rolls back.
        step_key: What a run is called when its flow run is resumed, instead of by task and arguments: an equal name
            in an equal place finds the kept result. Without a cache policy given, nothing else is shared then.
        retry_timeout_seconds: How long all attempts together may take, with the waits between them. None begins that
            would begin later, and one that goes on is ended then.
        isolation: "process" calls the function in a process of its own, which is killed at the deadline of the attempt
            and when the run is cancelled. Arguments and result are pickled. Not for generators.
        retry_on_crash: How many times a run is attempted again because the process of its function or its worker has
            died, apart from ``retries``: a number, or True for 3.

    Raises:
        TypeError: ``fn`` is not callable, or an option is of a wrong type.
        ValueError: An option's value cannot work.
        ReservedArgumentError: A parameter is named like an argument of calls.
    """

    on_commit_hooks: Hooks
    on_rollback_hooks: Hooks
    kind: ClassVar[Literal["task", "flow"]] = "task"
    decorator_defaults: ClassVar[dict[str, Any]] = {"log_prints": None}
    _source_code: str | None = None

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        cache_policy: CachePolicy | type[NotSet] | None = NotSet,
        cache_key_fn: KeyFunction | None = None,
        cache_expiration: timedelta | None = None,
        task_run_name: str | Callable[[], str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: Delays | None = None,
        retry_jitter_factor: float | None = None,
        persist_result: bool | None = None,
        result_storage: Storage | None = None,
        result_serializer: GivenSerializer | None = None,
        result_storage_key: str | None = None,
        cache_result_in_memory: bool = True,
        timeout_seconds: float | None = None,
        log_prints: bool | None = False,
        refresh_cache: bool | None = None,
        on_completion: GivenHooks | None = None,
        on_failure: GivenHooks | None = None,
        on_rollback: GivenHooks | None = None,
        on_commit: GivenHooks | None = None,
        retry_condition_fn: Callable[..., Any] | None = None,
        on_running: GivenHooks | None = None,
        on_crashed: GivenHooks | None = None,
        on_cancellation: GivenHooks | None = None,
        step_key: str | None = None,
        retry_timeout_seconds: float | None = None,
        isolation: Isolation | None = None,
        retry_on_crash: bool | int = False,
    ) -> None:
        self.require_function(fn, "task")
        own_name = name_of(fn, "__name__") or type(fn).__name__
        hooks = {"on_running": on_running, "on_completion": on_completion, "on_failure": on_failure}
        hooks |= {"on_crashed": on_crashed, "on_cancellation": on_cancellation, "on_commit": on_commit}
        hooks["on_rollback"] = on_rollback
        keeping = persist_result, result_storage, result_serializer, cache_result_in_memory
        caching = cache_policy, cache_key_fn, cache_expiration, refresh_cache
        self.step_key = _checked_step_key(step_key)
        results = ResultOptions(*keeping, result_storage_key, *caching, is_named=step_key is not None)
        super().__init__(fn, "task", name or own_name, description, task_run_name, log_prints, hooks, results)
        self.tags = check_tags(tags or ())
        self.version, self.task_key = version, steps.task_key(self.fn)
        defaults = get_current_settings().tasks
        self.policy = RunPolicy.resolve(
            "Task run",
            defaults.default_retries if retries is None else retries,
            defaults.default_retry_delay_seconds if retry_delay_seconds is None else retry_delay_seconds,
            retry_jitter_factor,
            retry_condition_fn,
            timeout_seconds,
            self._hooks_by_state(),
            retry_timeout_seconds,
            retry_on_crash,
        )
        self._isolate(_checked_isolation(isolation, self))

    def _isolate(self, isolation: Isolation | None) -> None:
        self.isolation = isolation
        self.call = self._compiled_call()
        self._runner_of_calls = runner_of(self)

    def _compiled_call(self) -> Callable[[dict[str, Any]], Any]:
        """What calls the function with parameters by name, wherever that is."""
        if self.isolation is None:
            return self.arguments.call
        # Worker processes are loaded on use, for most programs need none.
        isolation: Any = import_module("mainspring._engine.isolation")
        return isolation.AsyncIsolatedCall(self) if self.isasync else isolation.IsolatedCall(self)  # type: ignore[no-any-return]

    @property
    def source_code(self) -> str:
        """The text of the function, or of its class if it is an object; what it is compiled to if there is no text.

        It travels with the task, so keys made of it are the same in processes that have no source files (V-14).
        """
        if self._source_code is None:
            self._source_code = hashing.source_of(self.fn)
        return self._source_code

    def __getstate__(self) -> dict[str, Any]:
        self._source_code = self.source_code
        state = super().__getstate__()
        del state["call"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.call = self._compiled_call()

    @property
    def has_final_hooks(self) -> bool:
        """True if there are hooks that are called when a run is over, or about its transaction."""
        return bool(
            self.on_completion_hooks
            or self.on_failure_hooks
            or self.on_crashed_hooks
            or self.on_cancellation_hooks
            or self.on_commit_hooks
            or self.on_rollback_hooks
        )

    # Options as they were resolved

    @property
    def retry_jitter_factor(self) -> float | None:
        """How far a delay may stray, as a fraction of it."""
        return self.policy.retry_jitter_factor

    @property
    def retry_condition_fn(self) -> Callable[..., Any] | None:
        """Decides whether a failure is retried."""
        return self.policy.retry_condition

    @property
    def retry_on_crash(self) -> int:
        """How many times a run is attempted again because a process has died."""
        return self.policy.crash_retries

    @property
    def task_run_name(self) -> Any:
        """What runs are called."""
        return self.run_name

    @property
    def cache_policy(self) -> CachePolicy | None:
        """What a result depends on, None or ``NO_CACHE`` if results are not shared."""
        return self.result_options.cache_policy

    @property
    def cache_key_fn(self) -> KeyFunction | None:
        """The function that gives the key instead of a policy."""
        return self.result_options.cache_key_fn

    @property
    def cache_expiration(self) -> timedelta | None:
        """How long a kept result counts."""
        return self.result_options.cache_expiration

    @property
    def result_storage_key(self) -> str | None:
        """The template of the key under which results are kept."""
        return self.result_options.result_storage_key

    @property
    def refresh_cache(self) -> bool | None:
        """Whether runs overwrite a kept result; None if the settings decide."""
        return self.result_options.refresh_cache

    # Calling

    def _run(self, parameters: dict[str, Any], wait_for: Any, return_type: Literal["state", "result"]) -> Any:
        if self.isolation is not None:
            refuse_while_imported(f'Task {self.name!r} with isolation="process"')
        return self._runner_of_calls(self, None, None, parameters, wait_for, return_type)

    @overload
    def submit(
        self: Task[..., Coroutine[Any, Any, T]],
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Future[T]: ...

    @overload
    def submit(self, *args: Any, return_state: Literal[True], **kwargs: Any) -> State: ...

    @overload
    def submit(self, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any) -> Future[R]: ...

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Start a run on the task runner of the active flow run and return a future at once.

        Args:
            args: Arguments of the function; futures among them are waited for by the run, not here.
            kwargs: Likewise; ``return_state=True`` waits and gives the final state; ``wait_for`` as in a call.

        Raises:
            RuntimeError: There is no active flow run.
            ParameterBindError: The arguments do not fit the function.
        """
        return_state, wait_for = self.take_options(kwargs)
        parameters = self.bind(args, kwargs)
        future: Future[Any] = self._runner("submit").submit(self, parameters, wait_for)
        if return_state:
            future.wait()
            return future.state
        return future

    @overload
    def map(self, *args: Any, return_state: Literal[True], **kwargs: Any) -> list[State]: ...

    @overload
    def map(
        self: Task[..., Coroutine[Any, Any, T]],
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        max_in_flight: int | None = None,
        **kwargs: Any,
    ) -> FutureList[T]: ...

    @overload
    def map(
        self,
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        max_in_flight: int | None = None,
        **kwargs: Any,
    ) -> FutureList[R]: ...

    def map(self, *args: Any, **kwargs: Any) -> Any:
        """Start one run per element of the iterables among the arguments.

        Args:
            args: Iterables are split, everything else is repeated; `unmapped` repeats an iterable.
            kwargs: Likewise; ``return_state=True`` waits and gives a list of final states; ``max_in_flight`` says
                how many runs are under way at a time, unless the function has a parameter of that name.

        Returns:
            A `FutureList` in the order of the elements. Over an iterator it is filled as it is used.

        Raises:
            RuntimeError: There is no active flow run.
            MappingMissingIterable: There is nothing to split.
            MappingLengthMismatch: The iterables have different lengths.
            ParameterBindError: The arguments do not fit the function.
            ValueError: ``max_in_flight`` is less than 1.
        """
        return_state, wait_for = self.take_options(kwargs)
        is_ours = _MAX_IN_FLIGHT not in self.arguments.signature.parameters
        at_once = kwargs.pop(_MAX_IN_FLIGHT, None) if is_ours else None
        given = self.arguments.given((*self._bound, *args), kwargs)
        futures: FutureList[Any] = self._runner("map").map(self, given, wait_for, at_once)
        if return_state:
            futures.wait()
            return [future.state for future in futures]
        return futures

    def _runner(self, verb: str) -> Any:
        leave_if_suspended()
        context = FlowRunContext.get()
        if context is None or context.task_runner is None:
            raise RuntimeError(
                f"{self.name!r}.{verb}() needs the task runner of a flow run: call it inside of a flow, or call"
                f" the task directly."
            )
        return context.task_runner

    def create_local_run(
        self,
        id: UUID | bytes | None = None,  # noqa: A002 - the parameter's name in the contract
        parameters: dict[str, Any] | None = None,
        wait_for: Iterable[Any] | None = None,
        extra_task_inputs: dict[str, list[RunInput]] | None = None,
    ) -> TaskRun:
        """A new run record in state Pending, in the flow run and below the task run that are active here.

        Args:
            id: The id of the run, as such or as its 16 bytes; a fresh one when omitted.
            parameters: The arguments by parameter name, for tracking.
            wait_for: What the run waits for, for tracking.
            extra_task_inputs: Further inputs by parameter name.
        """
        key = identifiers.current().new() if id is None else id if isinstance(id, bytes) else id.bytes
        flow_run = flow_run_key = lineage = None
        flow_context, task_context = FlowRunContext.get(), TaskRunContext.get()
        if flow_context is not None:
            lineage, flow_run = flow_context.run_results, flow_context.flow_run
            flow_run_key = None if flow_run is None else flow_run.key
        parents: tuple[TaskRun, ...] = ()
        if task_context is not None and flow_run_key in (None, task_context.task_run.flow_run_key):
            parents = (task_context.task_run,)
        inputs: dict[str, list[RunInput]] = {}
        if parameters or parents or wait_for is not None:
            inputs = collect_inputs(parameters or {}, wait_for, parents, lineage)
        if extra_task_inputs:
            for name, more in extra_task_inputs.items():
                inputs[name] = [*inputs.get(name, []), *more]
        active = TagsContext.get().current_tags
        run = TaskRun(
            key,
            self.name if flow_run is None else f"{self.name}-{key[:-3:-1].hex()[:3]}",
            new_state(_PENDING, "Pending", clock.current().now()),
            self.task_key,
            flow_run_key,
            self.tags | active if active else self.tags,
            self.version,
            inputs,
            self.policy.recorded,
        )
        if flow_run is not None:
            run.flow_run_run_count = flow_run.run_count
        return run

    # Copies and hooks

    def with_options(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        cache_policy: CachePolicy | type[NotSet] | None = NotSet,
        cache_key_fn: KeyFunction | None = None,
        cache_expiration: timedelta | None = None,
        task_run_name: str | Callable[[], str] | type[NotSet] | None = NotSet,
        retries: int | type[NotSet] | None = NotSet,
        retry_delay_seconds: Delays | type[NotSet] | None = NotSet,
        retry_jitter_factor: float | type[NotSet] | None = NotSet,
        persist_result: bool | type[NotSet] | None = NotSet,
        result_storage: Storage | type[NotSet] | None = NotSet,
        result_serializer: GivenSerializer | type[NotSet] | None = NotSet,
        result_storage_key: str | type[NotSet] | None = NotSet,
        cache_result_in_memory: bool | None = None,
        timeout_seconds: float | None = None,
        log_prints: bool | type[NotSet] | None = NotSet,
        refresh_cache: bool | type[NotSet] | None = NotSet,
        on_completion: GivenHooks | None = None,
        on_failure: GivenHooks | None = None,
        on_rollback: GivenHooks | None = None,
        on_commit: GivenHooks | None = None,
        retry_condition_fn: Callable[..., Any] | None = None,
        on_running: GivenHooks | None = None,
        on_crashed: GivenHooks | None = None,
        on_cancellation: GivenHooks | None = None,
        step_key: str | type[NotSet] | None = NotSet,
        retry_timeout_seconds: float | None = None,
        isolation: Isolation | type[NotSet] | None = NotSet,
        retry_on_crash: bool | int | type[NotSet] = NotSet,
    ) -> Task[P, R]:
        """A copy of this task with some options changed; the others are kept, hook lists copied.

        Options whose default here is None cannot be unset by a copy; see `Task` for what they mean.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        limits = {"timeout_seconds": timeout_seconds, "retry_timeout_seconds": retry_timeout_seconds}
        return self._with({**given, **{name: seconds or None for name, seconds in limits.items()}})

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "cache_policy": self.result_options.given_cache_policy}

    def on_commit(self, hook: H) -> H:
        """Register a hook that is called when the run's transaction commits; usable as a decorator."""
        self.on_commit_hooks.append(hook)
        return hook

    def on_rollback(self, hook: H) -> H:
        """Register a hook that is called when the run's transaction rolls back; usable as a decorator."""
        self.on_rollback_hooks.append(hook)
        return hook

    def __get__(self, instance: object | None, owner: type | None = None) -> Task[..., R]:
        return self.bound_to(instance, owner)

    def __repr__(self) -> str:
        return f"<Task {self.name!r} of {self.task_key}>"


@overload
def task(__fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    *,
    name: str | None = None,
    description: str | None = None,
    tags: Iterable[str] | None = None,
    version: str | None = None,
    cache_policy: CachePolicy | type[NotSet] | None = NotSet,
    cache_key_fn: KeyFunction | None = None,
    cache_expiration: timedelta | None = None,
    task_run_name: str | Callable[[], str] | None = None,
    retries: int | None = None,
    retry_delay_seconds: Delays | None = None,
    retry_jitter_factor: float | None = None,
    persist_result: bool | None = None,
    result_storage: Storage | None = None,
    result_serializer: GivenSerializer | None = None,
    result_storage_key: str | None = None,
    cache_result_in_memory: bool = True,
    timeout_seconds: float | None = None,
    log_prints: bool | None = None,
    refresh_cache: bool | None = None,
    on_completion: GivenHooks | None = None,
    on_failure: GivenHooks | None = None,
    on_rollback: GivenHooks | None = None,
    on_commit: GivenHooks | None = None,
    retry_condition_fn: Callable[..., Any] | None = None,
    on_running: GivenHooks | None = None,
    on_crashed: GivenHooks | None = None,
    on_cancellation: GivenHooks | None = None,
    step_key: str | None = None,
    retry_timeout_seconds: float | None = None,
    isolation: Isolation | None = None,
    retry_on_crash: bool | int = False,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(__fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task: ``@task`` or ``@task(retries=3)``.

    Args:
        __fn: The function.
        options: See `Task`.

    Raises:
        TypeError: What is decorated is not callable, or an option is unknown or of a wrong type.
        ValueError: An option's value cannot work.
    """
    Task.require_options(options, "task")
    options = {**Task.decorator_defaults, **options}
    if __fn is not None:
        return Task(__fn, **options)

    def decorate(fn: Callable[..., Any]) -> Task[..., Any]:
        return Task(fn, **options)

    return decorate


task.__signature__ = Task.decorator_signature()  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Delays that double: ``backoff_factor``, twice that, four times that, and so on.

    Args:
        backoff_factor: Seconds before the first retry.

    Returns:
        A function for ``retry_delay_seconds``.
    """

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**retry for retry in range(min(retries, MAX_RETRY_DELAYS))]

    return delays


def _checked_step_key(key: Any) -> str | None:
    """The key.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty.
    """
    if key is not None and not isinstance(key, str):
        raise TypeError(f"Invalid `step_key`: expected a text; got {key!r}.")
    if key == "":
        raise ValueError("Invalid `step_key`: an empty text names nothing.")
    return key


def _checked_isolation(isolation: Any, task: Task[..., Any]) -> Isolation | None:
    """The option.

    Raises:
        ValueError: There is no such isolation, or none for what the function is.
    """
    if isolation is None:
        return None
    if isolation != "process":
        raise ValueError(f'Invalid `isolation`: expected "process" or None; got {isolation!r}.')
    if task.isgenerator:
        raise ValueError(
            f"Invalid `isolation`: {task.name!r} is a generator, and its consumer is in this process. Let it return a"
            " list, or yield from what isolated tasks return."
        )
    return "process"
