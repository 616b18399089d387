"""What tasks and flows have in common: a function of the user's with a name, a signature and a policy."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Self, cast

from mainspring._core.arguments import Arguments
from mainspring._core.policy import RunPolicy

__all__ = ["Subject"]


class Subject:
    """A function whose calls are runs; the base of tasks and flows, and all that engines know of them.

    Args:
        fn: The user's function.
        decorator: "task" or "flow", for messages.
        name: What people call it.
        description: What it does; the docstring by default.
        run_name: A template or function for the names of runs.
        log_prints: Whether prints go to the run logger, None to inherit.

    Raises:
        TypeError: ``fn`` is not callable, or ``run_name`` is neither text nor a function.
        ReservedArgumentError: A parameter is named like an argument of calls.
    """

    policy: RunPolicy

    def __init__(
        self,
        fn: Callable[..., Any],
        decorator: str,
        name: str,
        description: str | None,
        run_name: str | Callable[..., str] | None,
        log_prints: bool | None,
    ) -> None:
        if run_name is not None and not isinstance(run_name, str) and not callable(run_name):
            raise TypeError(
                f"Expected string or callable for '{decorator}_run_name'; got {type(run_name).__name__} instead."
            )
        self.fn = fn
        if inspect.isroutine(fn):
            update_wrapper(cast(Any, self), fn)
        self.name = name
        own_doc = inspect.getdoc(fn) if inspect.isroutine(fn) else inspect.getdoc(type(fn))
        self.description = description or own_doc
        self.run_name = run_name
        self.log_prints = log_prints
        self.arguments = Arguments(fn, name)
        call = fn if inspect.isroutine(fn) else getattr(fn, "func", type(fn).__call__)
        self.isgenerator = inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)
        self.isasync = inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
        self._bound: tuple[Any, ...] = ()

    @staticmethod
    def require_function(fn: object, decorator: str) -> None:
        """Refuse what cannot be a task or flow, with a hint at what was meant.

        Raises:
            TypeError: ``fn`` is a classmethod or staticmethod object, or not callable at all.
        """
        if isinstance(fn, classmethod | staticmethod):
            kind = type(fn).__name__
            raise TypeError(f"@{kind} should be applied on top of @{decorator}, not below it.")
        if not callable(fn):
            raise TypeError(
                f"'fn' must be callable; got {type(fn).__name__}. Put @{decorator} on a function, and pass"
                f" options by name: @{decorator}(name={fn!r})."
            )

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

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a call by name, the bound instance first, defaults applied.

        Raises:
            ParameterBindError: The arguments do not fit the function.
        """
        return self.arguments.bind((*self._bound, *args), kwargs)

    def bound_to(self, instance: object | None) -> Self:
        """This task or flow as a method of ``instance``; the original is not touched."""
        if instance is None:
            return self
        bound = copy.copy(self)
        bound._bound = (instance,)
        return bound
