"""What tasks and flows have in common: a function of the user's with a name, a signature and a policy."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence, Sized
from functools import cache, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload

from mainspring._core.arguments import Arguments
from mainspring._core.policy import Hooks, RunPolicy, check_hooks
from mainspring._engine.keeping import ResultOptions
from mainspring._engine.portability import Portable
from mainspring._imports import library_on_use, modules_on_use
from mainspring.annotations import NotSet
from mainspring.filesystems import WritableFileSystem
from mainspring.serializers import Serializer
from mainspring.states import State, StateType

if TYPE_CHECKING:
    import copy

    from mainspring import crash_hooks
    from mainspring.recording import Recorder
else:
    crash_hooks = modules_on_use("mainspring", "crash_hooks")
    copy = library_on_use("copy")

__all__ = ["GivenHooks", "GivenSerializer", "Storage", "Subject", "see_to_crash_hooks", "shape_of"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])
GivenHooks = Sequence[Callable[..., Any]]
Storage = WritableFileSystem | Path | str
GivenSerializer = Serializer[Any] | str


class Subject(Portable, ABC, Generic[P, R]):
    """A function whose calls are runs; the base of tasks and flows, and all that engines know of them.

    Args:
        fn: The user's function.
        decorator: "task" or "flow", for messages.
        name: What people call it.
        description: What it does; the docstring by default.
        run_name: A template or function for the names of runs.
        log_prints: Whether prints go to the run logger, None to inherit.
        hooks: The hooks given for each option, for example for ``on_failure``.
        results: The options about results.

    Raises:
        TypeError: ``run_name`` is neither text nor a function, or hooks are no functions.
        ReservedArgumentError: A parameter is named like an argument of calls.
    """

    kind: ClassVar[Literal["task", "flow"]]
    decorator_defaults: ClassVar[dict[str, Any]] = {}  # where they differ from those of the constructor
    option_attributes: ClassVar[Mapping[str, str]] = {}  # where options are, if not under their names

    policy: RunPolicy
    arguments: Arguments
    on_running_hooks: Hooks
    on_completion_hooks: Hooks
    on_failure_hooks: Hooks
    on_crashed_hooks: Hooks
    on_cancellation_hooks: Hooks

    def __init__(
        self,
        fn: Callable[..., Any],
        decorator: str,
        name: str,
        description: str | None,
        run_name: str | Callable[..., str] | None,
        log_prints: bool | None,
        hooks: Mapping[str, GivenHooks | None],
        results: ResultOptions,
    ) -> None:
        if run_name is not None and not isinstance(run_name, str) and not callable(run_name):
            raise TypeError(
                f"Expected string or callable for '{decorator}_run_name'; got {type(run_name).__name__} instead."
            )
        self.isclassmethod = isinstance(fn, classmethod)
        self.isstaticmethod = isinstance(fn, staticmethod)
        if self.isclassmethod or self.isstaticmethod:
            fn = cast(Any, fn).__func__
        self.fn = fn
        if inspect.isroutine(fn):
            update_wrapper(cast(Any, self), fn)
        self.name = name
        own_doc = inspect.getdoc(fn) if inspect.isroutine(fn) else inspect.getdoc(type(fn))
        self.description = description or own_doc
        self.run_name = run_name
        self.log_prints = log_prints
        self.result_options = results
        self.arguments = Arguments(fn, name)
        self.isgenerator, self.isasync = shape_of(fn)
        self._bound: tuple[Any, ...] = ()
        self._hook_options = frozenset(hooks)
        for option, given in hooks.items():
            setattr(self, f"{option}_hooks", check_hooks(option, given, decorator))

    @staticmethod
    def require_function(fn: object, decorator: str) -> None:
        """Refuse what cannot be a task or flow, with a hint at what was meant.

        Raises:
            TypeError: ``fn`` is not callable.
        """
        if isinstance(fn, classmethod | staticmethod):
            return
        if not callable(fn):
            raise TypeError(
                f"'fn' must be callable; got {type(fn).__name__}. Put @{decorator} on a function, and pass"
                f" options by name: @{decorator}(name={fn!r})."
            )

    @classmethod
    def decorator_signature(cls) -> inspect.Signature:
        """The signature of the decorator: the function first, if any, and every option by name."""
        function, *options = _signature_of(cls).parameters.values()
        first = function.replace(name="__fn", kind=inspect.Parameter.POSITIONAL_ONLY, default=None)
        kind, defaults = inspect.Parameter.KEYWORD_ONLY, cls.decorator_defaults
        named = [each.replace(kind=kind, default=defaults.get(each.name, each.default)) for each in options]
        return inspect.Signature([first, *named])

    @classmethod
    def require_options(cls, options: Iterable[str], decorator: str) -> None:
        """Refuse options that do not exist, with the ones that do.

        Raises:
            TypeError: One of ``options`` is no option.
        """
        known = [name for name in _signature_of(cls).parameters if name != "fn"]
        for option in options:
            if option not in known:
                from difflib import get_close_matches  # takes a millisecond, and only misspelt names need it

                similar = get_close_matches(option, known, 1)
                hint = f" Did you mean {similar[0]!r}?" if similar else ""
                raise TypeError(f"@{decorator} has no option {option!r}.{hint} It has: {', '.join(known)}.")

    @property
    def decorated(self) -> Any:
        """What the decorator was put on: the function, or the class or static method around it."""
        if self.isclassmethod:
            return classmethod(self.fn)
        return staticmethod(self.fn) if self.isstaticmethod else self.fn

    @property
    def ismethod(self) -> bool:
        """True if an instance is bound as the first argument."""
        return bool(self._bound)

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
    def retry_timeout_seconds(self) -> float | None:
        """How long all attempts of a run together may take."""
        return self.policy.retry_timeout

    # How results are kept

    @property
    def persist_result(self) -> bool | None:
        """Whether results are kept; None if the enclosing run or the settings decide."""
        return self.result_options.persist_result

    @property
    def result_storage(self) -> Storage | None:
        """Where results are kept."""
        return self.result_options.result_storage  # type: ignore[no-any-return]

    @property
    def result_serializer(self) -> GivenSerializer | None:
        """What turns results into bytes."""
        return self.result_options.result_serializer  # type: ignore[no-any-return]

    @property
    def cache_result_in_memory(self) -> bool:
        """Whether states go on holding a result that is kept."""
        return bool(self.result_options.cache_result_in_memory)

    # Calling

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(
        self: Subject[..., Coroutine[Any, Any, T]],
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
        """Run it here and now.

        Args:
            args: Arguments of the function; futures and states among them are replaced by their results.
            kwargs: Likewise; besides, ``return_state=True`` gives the final state instead of the value, and
                ``wait_for`` names futures and states that must be there first.

        Returns:
            What the function returns; a coroutine for an async function, an iterator for a generator task.

        Raises:
            ParameterBindError: The arguments do not fit the function; no run is created.
            UpstreamTaskError: An input's run did not complete.
        """
        if not kwargs:
            bound = self._bound
            return self._run(self.arguments.bind((*bound, *args) if bound else args, kwargs), None, "result")
        return_state, wait_for = self.take_options(kwargs)
        return self._run(self.bind(args, kwargs), wait_for, "state" if return_state else "result")

    @abstractmethod
    def _run(self, parameters: dict[str, Any], wait_for: Any, return_type: Literal["state", "result"]) -> Any:
        """Run it with the given parameters."""

    @staticmethod
    def take_options(kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """Take ``return_state`` and ``wait_for`` out of the arguments of a call."""
        if not kwargs:
            return False, None
        return kwargs.pop("return_state", False), kwargs.pop("wait_for", None)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a call by name, the bound instance first, defaults applied.

        Raises:
            ParameterBindError: The arguments do not fit the function.
        """
        return self.arguments.bind((*self._bound, *args) if self._bound else args, kwargs)

    # Hooks

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

    def _hooks_by_state(self) -> dict[StateType, Hooks]:
        """The hook lists by the type of the state that they follow."""
        return {
            StateType.RUNNING: self.on_running_hooks,
            StateType.COMPLETED: self.on_completion_hooks,
            StateType.FAILED: self.on_failure_hooks,
            StateType.CRASHED: self.on_crashed_hooks,
            StateType.CANCELLED: self.on_cancellation_hooks,
        }

    # Methods

    def bound_to(self, instance: object | None, owner: type | None = None) -> Self:
        """This task or flow as a method; the original is not touched.

        Args:
            instance: What it was looked up on, None for the class.
            owner: The class, which is what a class method is bound to.
        """
        first = owner if self.isclassmethod else None if self.isstaticmethod else instance
        if first is None:
            return self
        return copy.copy(self)._bind((first,))

    def _bind(self, arguments: tuple[Any, ...]) -> Self:
        self._bound = arguments
        return self

    # Copies with other options

    def _with(self, given: Mapping[str, Any]) -> Self:
        """A copy with the given options; the others stay, and so does an option that is NotSet, None or empty.

        None is a value of its own for the options whose default in ``with_options`` is NotSet.
        """
        defaults = inspect.signature(cast(Any, type(self)).with_options).parameters
        options = self._options()
        for name, value in given.items():
            is_kept = value is NotSet or (value is None and defaults[name].default is None)
            if not is_kept and not (isinstance(value, Sized) and len(value) == 0):
                options[name] = value
        copied = type(self)(self.decorated, **options)._bind(self._bound)
        copied.arguments.body = self.arguments.body
        return copied

    def _options(self) -> dict[str, Any]:
        """The options as they were given, each by the name that it has in the constructor."""
        _, *names = _signature_of(type(self)).parameters
        places = {**self.option_attributes, **{name: f"{name}_hooks" for name in self._hook_options}}
        options = {name: getattr(self, places.get(name, name)) for name in names}
        return {**options, "persist_result": self.result_options.given_persist_result}


@cache
def _signature_of(kind: type[Subject[..., Any]]) -> inspect.Signature:
    """How tasks or flows are made, found out once."""
    return inspect.signature(kind)


def see_to_crash_hooks(recorder: Recorder) -> None:
    """Call the hooks of runs that were found dead: what modules of tasks and flows register, see `crash_hooks`."""
    crash_hooks.call_crash_hooks(recorder)


def shape_of(fn: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether a function is a generator, and whether it is async."""
    call = fn if inspect.isroutine(fn) else getattr(fn, "func", type(fn).__call__)
    is_async_generator = inspect.isasyncgenfunction(call)
    is_generator = inspect.isgeneratorfunction(call) or is_async_generator
    return is_generator, inspect.iscoroutinefunction(call) or is_async_generator
