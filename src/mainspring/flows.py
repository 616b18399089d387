"""Flows: functions that call tasks, tracked as a whole."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import update_wrapper
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from mainspring._core.arguments import Arguments
from mainspring._core.policy import RunPolicy, check_hooks
from mainspring._engine.recorded import Subject
from mainspring.annotations import NotSet
from mainspring.exceptions import InvalidNameError
from mainspring.flow_engine import run_flow
from mainspring.settings import get_current_settings
from mainspring.states import State, StateType
from mainspring.task_runners import TaskRunner, ThreadPoolTaskRunner

__all__ = ["Flow", "flow"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])
Hooks = Sequence[Callable[..., Any]]
Runner = TaskRunner[Any] | type[TaskRunner[Any]]

_FORBIDDEN_IN_NAMES = "/%&<>"


class Flow(Subject, Generic[P, R]):
    """A function whose calls are flow runs. Immutable but for its hooks; safe to call from any thread.

    Args:
        fn: The function, plain or async.
        name: What people call it; the function's name with dashes by default.
        version: Recorded with each run; a hash of the source file by default.
        flow_run_name: What runs are called: a template over the parameters, or a function without
            arguments.
        retries: How many times a failed run is attempted again; default from the settings.
        retry_delay_seconds: Seconds before each retry, a number or a list; default from the settings.
        task_runner: Where submitted tasks run: a runner or a class of one; threads by default.
        description: What it does; the docstring by default.
        timeout_seconds: How long an attempt may take.
        log_prints: Whether ``print`` goes to the run logger; inherited when None.
        on_running: Hooks called with flow, run and state when an attempt begins.
        on_completion: Hooks called when a run has completed.
        on_failure: Hooks called when a run has failed for good.
        on_crashed: Hooks called when a run was ended from outside.
        on_cancellation: Hooks called when a run was cancelled.

    Raises:
        TypeError: ``fn`` is not callable or a generator, or an option is of a wrong type.
        ValueError: An option's value cannot work.
        InvalidNameError: The name holds one of ``/ % & < >``.
        ReservedArgumentError: A parameter is named like an argument of calls.
    """

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
        log_prints: bool | None = None,
        on_running: Hooks | None = None,
        on_completion: Hooks | None = None,
        on_failure: Hooks | None = None,
        on_crashed: Hooks | None = None,
        on_cancellation: Hooks | None = None,
    ) -> None:
        if isinstance(fn, classmethod | staticmethod):
            kind = type(fn).__name__
            raise TypeError(f"@{kind} should be applied on top of @flow, not below it.")
        if not callable(fn):
            raise TypeError(f"'fn' must be callable; got {type(fn).__name__}. Put @flow on a function.")
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(
                f"Flow {fn.__name__!r} is a generator function, which flows cannot be. Make the part that yields"
                f" a generator task and call it from a plain flow."
            )
        if name is not None and not isinstance(name, str):
            hint = " Did you mean to write @flow on the function alone?" if callable(name) else ""
            raise TypeError(
                f"Expected string for flow parameter 'name'; got {type(name).__name__} instead.{hint}"
            )
        if flow_run_name is not None and not isinstance(flow_run_name, str) and not callable(flow_run_name):
            raise TypeError(
                f"Expected string or callable for 'flow_run_name'; got {type(flow_run_name).__name__} instead."
            )
        self.fn: Callable[..., Any] = fn
        if inspect.isroutine(fn):
            update_wrapper(self, fn)
        own_name = getattr(fn, "__name__", None) or type(fn).__name__
        self.name = name or own_name.replace("_", "-")
        if bad := [character for character in _FORBIDDEN_IN_NAMES if character in self.name]:
            raise InvalidNameError(
                f"Flow name {self.name!r} contains {' '.join(bad)}, which a name cannot hold."
            )
        self.description = description or inspect.getdoc(fn)
        self.version = version or _source_version(fn)
        self.run_name = flow_run_name
        self.log_prints = log_prints
        self.arguments = Arguments(fn, self.name)
        self.isasync = inspect.iscoroutinefunction(fn)
        runner = ThreadPoolTaskRunner if task_runner is None else task_runner
        self.task_runner: TaskRunner[Any] = runner() if isinstance(runner, type) else runner
        if not isinstance(self.task_runner, TaskRunner):
            raise TypeError(f"Expected a task runner for 'task_runner'; got {task_runner!r} instead.")
        self.on_running_hooks = check_hooks("on_running", on_running, "flow")
        self.on_completion_hooks = check_hooks("on_completion", on_completion, "flow")
        self.on_failure_hooks = check_hooks("on_failure", on_failure, "flow")
        self.on_crashed_hooks = check_hooks("on_crashed", on_crashed, "flow")
        self.on_cancellation_hooks = check_hooks("on_cancellation", on_cancellation, "flow")
        defaults = get_current_settings().flows
        self.policy = RunPolicy.resolve(
            "Flow run",
            defaults.default_retries if retries is None else retries,
            defaults.default_retry_delay_seconds if retry_delay_seconds is None else retry_delay_seconds,
            None,
            None,
            timeout_seconds,
            {
                StateType.RUNNING: self.on_running_hooks,
                StateType.COMPLETED: self.on_completion_hooks,
                StateType.FAILED: self.on_failure_hooks,
                StateType.CRASHED: self.on_crashed_hooks,
                StateType.CANCELLED: self.on_cancellation_hooks,
            },
        )
        self._bound: tuple[Any, ...] = ()

    @property
    def retries(self) -> int:
        """How many times a failed run is attempted again."""
        return self.policy.retries

    @property
    def retry_delay_seconds(self) -> tuple[float, ...]:
        """Seconds before each retry; the last one repeats; empty means at once."""
        return self.policy.retry_delays

    @property
    def timeout_seconds(self) -> float | None:
        """How long an attempt may take."""
        return self.policy.timeout

    @property
    def flow_run_name(self) -> Any:
        """What runs are called."""
        return self.run_name

    @property
    def ismethod(self) -> bool:
        """True if an instance is bound as the first argument."""
        return bool(self._bound)

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(
        self: Flow[..., Coroutine[Any, Any, T]],
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State]: ...

    @overload
    def __call__(
        self,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State: ...

    @overload
    def __call__(self, *args: Any, wait_for: Iterable[Any], **kwargs: Any) -> R: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow here and now; inside another flow it is a subflow of it.

        Args:
            args: Arguments of the function; futures and states among them are replaced by their results.
            kwargs: Likewise; besides, ``return_state=True`` gives the final state instead of the value, and
                ``wait_for`` names futures and states that must be there first.

        Returns:
            What the function returns, futures in it replaced by states; a coroutine for an async flow.

        Raises:
            ParameterBindError: The arguments do not fit the function; no run is created.
            UpstreamTaskError: An input's run did not complete.
        """
        return_state = kwargs.pop("return_state", False)
        wait_for = kwargs.pop("wait_for", None)
        return run_flow(
            self,
            parameters=self.arguments.bind((*self._bound, *args), kwargs),
            wait_for=wait_for,
            return_type="state" if return_state else "result",
        )

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
        log_prints: bool | type[NotSet] | None = NotSet,
        on_running: Hooks | None = None,
        on_completion: Hooks | None = None,
        on_failure: Hooks | None = None,
        on_crashed: Hooks | None = None,
        on_cancellation: Hooks | None = None,
    ) -> Flow[P, R]:
        """A copy of this flow with some options changed; None keeps an option, 0 unsets a number.

        See `Flow` for what the options mean; ``log_prints=None`` is a value of its own.
        """

        def keep(given: Any, own: Any) -> Any:
            return own if given is None else given

        changed: Flow[P, R] = Flow(
            self.fn,
            name=name or self.name,
            version=version or self.version,
            flow_run_name=flow_run_name or self.run_name,
            retries=keep(retries, self.retries),
            retry_delay_seconds=keep(retry_delay_seconds, self.retry_delay_seconds),
            task_runner=task_runner or self.task_runner,
            description=description or self.description,
            timeout_seconds=keep(timeout_seconds, self.timeout_seconds),
            log_prints=self.log_prints if log_prints is NotSet else log_prints,  # type: ignore[arg-type]
            on_running=on_running or self.on_running_hooks,
            on_completion=on_completion or self.on_completion_hooks,
            on_failure=on_failure or self.on_failure_hooks,
            on_crashed=on_crashed or self.on_crashed_hooks,
            on_cancellation=on_cancellation or self.on_cancellation_hooks,
        )
        changed._bound = self._bound
        return changed

    def on_running(self, hook: H) -> H:
        """Register a hook that is called when an attempt begins; usable as a decorator."""
        self.on_running_hooks.append(hook)
        return hook

    def on_completion(self, hook: H) -> H:
        """Register a hook that is called when a run has completed; usable as a decorator."""
        self.on_completion_hooks.append(hook)
        return hook

    def on_failure(self, hook: H) -> H:
        """Register a hook that is called when a run has failed for good; usable as a decorator."""
        self.on_failure_hooks.append(hook)
        return hook

    def on_crashed(self, hook: H) -> H:
        """Register a hook that is called when a run was ended from outside; usable as a decorator."""
        self.on_crashed_hooks.append(hook)
        return hook

    def on_cancellation(self, hook: H) -> H:
        """Register a hook that is called when a run was cancelled; usable as a decorator."""
        self.on_cancellation_hooks.append(hook)
        return hook

    def __get__(self, instance: object | None, owner: type | None = None) -> Flow[..., R]:
        if instance is None:
            return self
        bound = copy.copy(self)
        bound._bound = (instance,)
        return bound

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
    log_prints: bool | None = None,
    on_running: Hooks | None = None,
    on_completion: Hooks | None = None,
    on_failure: Hooks | None = None,
    on_crashed: Hooks | None = None,
    on_cancellation: Hooks | None = None,
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
    if __fn is not None:
        return Flow(__fn, **options)
    return lambda fn: Flow(fn, **options)


def _source_version(fn: Callable[..., Any]) -> str | None:
    """A hash of the file that defines ``fn``, None if there is no such file."""
    try:
        source = Path(inspect.getsourcefile(fn) or "").read_bytes()
    except (OSError, TypeError):
        return None  # defined in a console or by a C extension: there is no file to have a version
    return hashlib.blake2b(source, digest_size=16).hexdigest()
