"""Flows: functions that call tasks, tracked as a whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, TypeVar, overload

from mainspring._core.policy import RunPolicy
from mainspring._core.steps import blake2b
from mainspring._engine.keeping import ResultOptions
from mainspring._engine.subject import GivenHooks, GivenSerializer, Storage, Subject, see_to_crash_hooks
from mainspring._imports import library_on_use, modules_on_use
from mainspring._parameters import ParameterValidator
from mainspring._representation import name_of
from mainspring.annotations import NotSet
from mainspring.exceptions import InvalidNameError
from mainspring.flow_engine import run_flow, submit_flow
from mainspring.settings import get_current_settings
from mainspring.store.encoding import to_plain
from mainspring.supervision import on_deaths
from mainspring.task_runners import TaskRunner
from mainspring.task_runners.named import default_runner, runner_named

if TYPE_CHECKING:
    import copy

    from mainspring._parameters import schema
    from mainspring.futures import FlowRunFuture
    from mainspring.states import State
else:
    schema = modules_on_use("mainspring._parameters", "schema")
    copy = library_on_use("copy")

__all__ = ["Flow", "flow"]

on_deaths(see_to_crash_hooks)  # in a process that has tasks or flows, wherever it finds others dead

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])
Runner = TaskRunner[Any] | type[TaskRunner[Any]] | str

_FORBIDDEN_IN_NAMES = "/%&<>"


class Flow(Subject[P, R]):
    """A function whose calls are flow runs. Immutable but for its hooks; safe to call from any thread.

    Args:
        fn: The function: plain, async, generator or async generator.
        name: What people call it; the function's name with dashes by default.
        version: Recorded with each run; a hash of the source file by default.
        flow_run_name: What runs are called: a template over the parameters, or a function without
            arguments.
        retries: How many times a failed run is attempted again; default from the settings.
        retry_delay_seconds: Seconds before each retry, a number or a list; default from the settings.
        task_runner: Where submitted tasks run: a runner, a class of one, or the name of one ("processes=2"). When
            None, as the setting ``tasks.runner.default`` says, which is read when a run begins; else on threads.
        description: What it does; the docstring by default.
        timeout_seconds: How long an attempt may take.
        validate_parameters: Whether parameters are checked and converted by their annotations when a run begins.
        persist_result: Whether results are kept beyond the process, also those of its tasks that do not say.
            When None they are if a storage or serializer is given, else if the settings say so.
        result_storage: Where they are kept: a file system, a folder, or an address ("s3://bucket/results").
        result_serializer: As what: a serializer or its type, for example "json".
        result_storage_key: Under which key: a template over ``parameters`` and ``flow_run``. The next run whose key is
            the same replaces the result.
        cache_result_in_memory: Whether states go on holding a result that is kept.
        log_prints: Whether ``print`` goes to the run logger; inherited when None.
        on_running: Hooks called with flow, run and state when an attempt begins.
        on_completion: Hooks called when a run has completed.
        on_failure: Hooks called when a run has failed for good.
        on_crashed: Hooks called when a run was ended from outside.
        on_cancellation: Hooks called when a run was cancelled.
        retry_timeout_seconds: How long all attempts together may take, with the waits between them. None begins that
            would begin later, and one that goes on is ended then.

    Raises:
        TypeError: ``fn`` is not callable, or an option is of a wrong type.
        ValueError: An option's value cannot work, or an annotation is no type and parameters are validated.
        InvalidNameError: The name holds one of ``/ % & < >``.
        ReservedArgumentError: A parameter is named like an argument of calls.
    """

    kind: ClassVar[Literal["task", "flow"]] = "flow"
    option_attributes: ClassVar[Mapping[str, str]] = {
        "task_runner": "_own_runner",
        "validate_parameters": "should_validate_parameters",
    }

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        version: str | None = None,
        flow_run_name: str | Callable[[], str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: float | Sequence[float] | None = None,
        task_runner: Runner | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool = True,
        persist_result: bool | None = None,
        result_storage: Storage | None = None,
        result_serializer: GivenSerializer | None = None,
        result_storage_key: str | None = None,
        cache_result_in_memory: bool = True,
        log_prints: bool | None = None,
        on_completion: GivenHooks | None = None,
        on_failure: GivenHooks | None = None,
        on_cancellation: GivenHooks | None = None,
        on_crashed: GivenHooks | None = None,
        on_running: GivenHooks | None = None,
        retry_timeout_seconds: float | None = None,
    ) -> None:
        self.require_function(fn, "flow")
        own_name = name_of(fn, "__name__") or type(fn).__name__
        hooks = {
            "on_running": on_running,
            "on_completion": on_completion,
            "on_failure": on_failure,
            "on_crashed": on_crashed,
            "on_cancellation": on_cancellation,
        }
        results = ResultOptions(
            persist_result,
            result_storage,
            result_serializer,
            cache_result_in_memory,
            result_storage_key,
            cache_policy=None,
            of_task=False,
        )
        super().__init__(
            fn, "flow", _flow_name(name, own_name), description, flow_run_name, log_prints, hooks, results
        )
        self.should_validate_parameters = bool(validate_parameters)
        self._validator = ParameterValidator(self.arguments)
        if self.should_validate_parameters:
            self._validator.refuse_bad_annotations()
        self.version = version or _source_version(self.fn)
        self._own_runner = None if task_runner is None else _task_runner(task_runner)
        self.policy = self._resolve_policy(
            retries, retry_delay_seconds, timeout_seconds, retry_timeout_seconds
        )

    def _resolve_policy(
        self,
        retries: int | None,
        delay: float | Sequence[float] | None,
        timeout: float | None,
        retry_timeout: float | None,
    ) -> RunPolicy:
        defaults = get_current_settings().flows
        return RunPolicy.resolve(
            "Flow run",
            defaults.default_retries if retries is None else retries,
            defaults.default_retry_delay_seconds if delay is None else delay,
            None,
            None,
            timeout,
            self._hooks_by_state(),
            retry_timeout,
        )

    @property
    def flow_run_name(self) -> Any:
        """What runs are called."""
        return self.run_name

    @property
    def task_runner(self) -> TaskRunner[Any]:
        """Where submitted tasks run: the runner that was given, else a new one as the settings say, not started.

        Raises:
            ConfigurationError: The setting ``tasks.runner.default`` does not work.
        """
        return default_runner() if self._own_runner is None else self._own_runner

    def new_task_runner(self) -> TaskRunner[Any]:
        """Such a runner that is nobody else's, for one attempt of a run; raises as `task_runner` does."""
        return default_runner() if self._own_runner is None else self._own_runner.duplicate()

    # Parameters

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the parameters: an object with ``properties``, ``required`` and ``definitions``.

        Each property has ``title``, ``position``, what is known of its type, and ``default`` if it has one. It is made
        anew each time.
        """
        return schema.schema_of(self.arguments.signature, self._validator.checks, len(self._bound))

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as what their annotations say. A run does this before it begins.

        Args:
            parameters: The parameters by name, without futures and states. Defaults are not added.

        Raises:
            ParameterTypeError: Some do not fit, are unknown or missing; the message lists all of them.
        """
        return self._validator.convert(parameters, self.name)

    def convert_parameter(self, name: str, value: Any) -> Any:
        """One parameter as what its annotation says, or as it is if the flow does not validate.

        Raises:
            ParameterTypeError: It does not fit, or there is no such parameter.
        """
        if not self.should_validate_parameters:
            return value
        return self._validator.convert({name: value}, self.name, partly=True)[name]

    def serialize_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as the history has them: values that JSON can hold, and ``"<TypeName>"`` for others.

        What is very long is shortened. The instance that a method is bound to is left out. Never raises an
        ``Exception``.
        """
        return to_plain(self.own_parameters(parameters))

    def own_parameters(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters without the instance or class that the flow is bound to."""
        if not self._bound:
            return parameters
        bound = list(self.arguments.signature.parameters)[: len(self._bound)]
        return {name: value for name, value in parameters.items() if name not in bound}

    @property
    def result_storage_key(self) -> str | None:
        """The template of the key under which results are kept."""
        return self.result_options.result_storage_key

    def _run(self, parameters: dict[str, Any], wait_for: Any, return_type: Literal["state", "result"]) -> Any:
        return run_flow(self, parameters=parameters, wait_for=wait_for, return_type=return_type)

    @overload
    def submit(
        self: Flow[..., Coroutine[Any, Any, T]],
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> FlowRunFuture[T]: ...

    @overload
    def submit(self, *args: Any, return_state: Literal[True], **kwargs: Any) -> State: ...

    @overload
    def submit(
        self, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> FlowRunFuture[R]: ...

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Start a run on a thread of its own and return a future at once, from sync and async code.

        Inside of a flow it is the run of a subflow, and ends with the attempt that has started it: what has not begun
        when the function of that flow returns is cancelled, what has is waited for. Outside of flows the process waits
        for it before it ends. An async flow runs on an event loop of that thread; what a generator flow yields is
        collected, and the list is the result.

        Args:
            args: Arguments of the function; futures among them are waited for by the run, not here.
            kwargs: Likewise; ``return_state=True`` waits and gives the final state; ``wait_for`` as in a call.

        Raises:
            RuntimeError: The flow run around has ended.
            ParameterBindError: The arguments do not fit the function.
        """
        return_state, wait_for = self.take_options(kwargs)
        future = submit_flow(self, self.bind(args, kwargs), wait_for)
        if return_state:
            future.wait()
            return future.state
        return future

    def with_options(
        self,
        *,
        name: str | None = None,
        version: str | None = None,
        flow_run_name: str | Callable[[], str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: float | Sequence[float] | None = None,
        task_runner: Runner | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool | None = None,
        persist_result: bool | type[NotSet] | None = NotSet,
        result_storage: Storage | type[NotSet] | None = NotSet,
        result_serializer: GivenSerializer | type[NotSet] | None = NotSet,
        result_storage_key: str | type[NotSet] | None = NotSet,
        cache_result_in_memory: bool | None = None,
        log_prints: bool | type[NotSet] | None = NotSet,
        on_completion: GivenHooks | None = None,
        on_failure: GivenHooks | None = None,
        on_cancellation: GivenHooks | None = None,
        on_crashed: GivenHooks | None = None,
        on_running: GivenHooks | None = None,
        retry_timeout_seconds: float | None = None,
    ) -> Flow[P, R]:
        """A copy of this flow with some options changed; None keeps an option, 0 unsets a number.

        See `Flow` for what the options mean; for ``log_prints`` and where and whether results are kept, None is
        a value of its own.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        copied = self._with(given)
        copied._validator = self._validator  # of the same function, and maybe in use already
        return copied

    def running_on(self, task_runner: Runner) -> Flow[P, R]:
        """This flow with another task runner, and nothing else of its own: hooks and all other options are shared.

        In the history it is the same flow, so its runs can be resumed by their id, on any runner. That is not so for
        other copies (`with_options`).

        Args:
            task_runner: As for `Flow`.

        Raises:
            TypeError: It is no task runner.
            ConfigurationError: There is none of that name.
        """
        runner = _task_runner(task_runner)
        copied = copy.copy(self)
        copied._own_runner = runner
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_validator": self._validator.local_names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._validator = ParameterValidator(self.arguments, state["_validator"])

    def __get__(self, instance: object | None, owner: type | None = None) -> Flow[..., R]:
        return self.bound_to(instance, owner)

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"


@overload
def flow(__fn: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(
    *,
    name: str | None = None,
    version: str | None = None,
    flow_run_name: str | Callable[[], str] | None = None,
    retries: int | None = None,
    retry_delay_seconds: float | Sequence[float] | None = None,
    task_runner: Runner | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    validate_parameters: bool = True,
    persist_result: bool | None = None,
    result_storage: Storage | None = None,
    result_serializer: GivenSerializer | None = None,
    result_storage_key: str | None = None,
    cache_result_in_memory: bool = True,
    log_prints: bool | None = None,
    on_completion: GivenHooks | None = None,
    on_failure: GivenHooks | None = None,
    on_cancellation: GivenHooks | None = None,
    on_crashed: GivenHooks | None = None,
    on_running: GivenHooks | None = None,
    retry_timeout_seconds: float | None = None,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(__fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a flow: ``@flow`` or ``@flow(retries=1)``.

    Args:
        __fn: The function.
        options: See `Flow`.

    Raises:
        TypeError: What is decorated is not callable, or an option is unknown or of a wrong type.
        ValueError: An option's value cannot work.
    """
    Flow.require_options(options, "flow")
    if __fn is not None:
        return Flow(__fn, **options)

    def decorate(fn: Callable[..., Any]) -> Flow[..., Any]:
        return Flow(fn, **options)

    return decorate


flow.__signature__ = Flow.decorator_signature()  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]


def _flow_name(name: object, function_name: str) -> str:
    if name is not None and not isinstance(name, str):
        hint = " Did you mean to write @flow on the function alone?" if callable(name) else ""
        raise TypeError(
            f"Expected string for flow parameter 'name'; got {type(name).__name__} instead.{hint}"
        )
    name = name or function_name.replace("_", "-")
    if bad := [character for character in _FORBIDDEN_IN_NAMES if character in name]:
        raise InvalidNameError(f"Flow name {name!r} contains {' '.join(bad)}, which a name cannot hold.")
    return name


def _task_runner(given: Runner) -> TaskRunner[Any]:
    if isinstance(given, str):
        return runner_named(given)
    runner = given() if isinstance(given, type) else given
    if not isinstance(runner, TaskRunner):
        raise TypeError(f"Expected a task runner for 'task_runner'; got {given!r} instead.")
    return runner


def _source_version(fn: Callable[..., Any]) -> str | None:
    """A hash of the file that defines ``fn``, None if there is no such file."""
    try:
        source = Path(inspect.getsourcefile(fn) or "").read_bytes()
    except (OSError, TypeError):
        return None  # defined in a console or by a C extension: there is no file to have a version
    return blake2b(source, digest_size=16).hexdigest()
