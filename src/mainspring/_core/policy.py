"""The options of a task or flow that decide about its runs, resolved and checked once, at definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mainspring._representation import name_of
from mainspring.states import State, StateType

__all__ = [
    "DEFAULT_CRASH_RETRIES",
    "MAX_RETRY_DELAYS",
    "Hooks",
    "RunPolicy",
    "check_hooks",
    "hook_name",
    "resolve_delays",
]

MAX_RETRY_DELAYS = 50

DEFAULT_CRASH_RETRIES = 3
"""How often a run is attempted again after a loss if an option only says that it is to be."""

LONGEST_SECONDS = 1_000_000_000
"""The longest time that an option may name: some thirty years, which any clock can add to now."""

Hooks = list[Callable[..., Any]]
_RUNNING = StateType.RUNNING  # a global is quicker to get at than a member


class RunPolicy:
    """What the lifecycle needs to know about a task or flow.

    The hook lists are the task's or flow's own, so hooks registered later count. ``recorded`` is what the
    store keeps of the policy.

    Args:
        noun: "Task run" or "Flow run", for messages.
        retries: How many times a failed run may be attempted again.
        retry_delays: Seconds before each retry; the last one repeats; empty means at once.
        retry_jitter_factor: How far a delay may stray, as a fraction of it.
        retry_condition: Asked before each retry, if given.
        timeout: Seconds an attempt may take, or None.
        retry_timeout: Seconds that all attempts together may take, waits between them included, or None.
        hooks: The hook lists by the type of the state they follow.
        crash_retries: How many times a run may be attempted again because the process of an attempt has died, apart
            from ``retries``.
    """

    __slots__ = (
        "__weakref__",
        "crash_retries",
        "hooks",
        "is_limited",
        "noun",
        "on_running",
        "recorded",
        "retries",
        "retry_condition",
        "retry_delays",
        "retry_jitter_factor",
        "retry_timeout",
        "timeout",
    )

    def __init__(
        self,
        noun: str,
        retries: int = 0,
        retry_delays: Sequence[float] = (),
        retry_jitter_factor: float | None = None,
        retry_condition: Callable[..., Any] | None = None,
        timeout: float | None = None,
        hooks: Mapping[StateType, Hooks] | None = None,
        retry_timeout: float | None = None,
        crash_retries: int = 0,
    ) -> None:
        self.noun = noun
        self.crash_retries = crash_retries
        self.retries = retries
        self.retry_delays = tuple(retry_delays)
        self.retry_jitter_factor = retry_jitter_factor
        self.retry_condition = retry_condition
        self.timeout = timeout
        self.retry_timeout = retry_timeout
        self.is_limited = timeout is not None or retry_timeout is not None
        self.hooks: Mapping[StateType, Hooks] = {} if hooks is None else hooks
        self.on_running: Hooks = self.hooks.get(StateType.RUNNING, [])
        self.recorded: dict[str, Any] = {}
        if retries:
            self.recorded["retries"] = retries
        if self.retry_delays:
            self.recorded["retry_delay"] = list(self.retry_delays)
        if retry_jitter_factor:
            self.recorded["retry_jitter_factor"] = retry_jitter_factor
        if retry_timeout is not None:
            self.recorded["retry_timeout"] = retry_timeout
        if crash_retries:
            self.recorded["retry_on_crash"] = crash_retries

    @classmethod
    def resolve(
        cls,
        noun: str,
        retries: Any,
        retry_delay_seconds: Any,
        retry_jitter_factor: Any,
        retry_condition: Any,
        timeout_seconds: Any,
        hooks: Mapping[StateType, Hooks],
        retry_timeout_seconds: Any = None,
        retry_on_crash: Any = False,
    ) -> RunPolicy:
        """A policy from options as users give them.

        Raises:
            TypeError: An option is of a wrong type.
            ValueError: An option's value cannot work.
        """
        if isinstance(retries, bool) or not isinstance(retries, int):
            raise TypeError(f"Invalid `retries`: expected a whole number; got {retries!r}.")
        if retries < 0:
            raise ValueError(f"Invalid `retries`: {retries} must be >= 0; 0 means none.")
        if retry_jitter_factor is not None and _seconds("retry_jitter_factor", retry_jitter_factor) < 0:
            raise ValueError(f"`retry_jitter_factor` must be >= 0; got {retry_jitter_factor!r}.")
        if retry_condition is not None and not callable(retry_condition):
            raise TypeError(
                f"Expected `retry_condition_fn` to be callable; got {type(retry_condition).__name__} instead."
            )
        timeout = _limit("timeout_seconds", timeout_seconds)
        total = _limit("retry_timeout_seconds", retry_timeout_seconds)
        delays = resolve_delays(retry_delay_seconds, retries)
        crashes = _crash_retries(retry_on_crash)
        return cls(
            noun, retries, delays, retry_jitter_factor, retry_condition, timeout, hooks, total, crashes
        )

    def hooks_for(self, state: State) -> Hooks:
        """The hooks that follow a run's end in ``state``; none for a state that is no end."""
        kind = state.type
        return [] if kind is _RUNNING else self.hooks.get(kind, [])


def _crash_retries(given: Any) -> int:
    if isinstance(given, bool):
        return DEFAULT_CRASH_RETRIES if given else 0
    if not isinstance(given, int):
        raise TypeError(f"Invalid `retry_on_crash`: expected True, False or a whole number; got {given!r}.")
    if given < 0:
        raise ValueError(f"Invalid `retry_on_crash`: {given} must be >= 0; 0 means not at all.")
    return given


def _limit(option: str, value: Any) -> float | None:
    """A limit on time in seconds; None and 0 are none."""
    seconds = _seconds(option, value) if value else None
    if seconds is not None and seconds < 0:
        raise ValueError(f"Invalid `{option}`: {value!r} must be >= 0; 0 means none.")
    return seconds


def _seconds(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Invalid `{option}`: expected a number; got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"Invalid `{option}`: {value!r} is no number that can be counted with.")
    if value > LONGEST_SECONDS:
        raise ValueError(f"Invalid `{option}`: {value!r} must be at most {LONGEST_SECONDS:,}.")
    return float(value)


def resolve_delays(
    delays: float | Sequence[float] | Callable[[int], Sequence[float]] | None, retries: int
) -> tuple[float, ...]:
    """The seconds before each retry, from any form in which a user may give them.

    Raises:
        TypeError: Not a number, a list of numbers, or a function that gives one of these.
        ValueError: More than `MAX_RETRY_DELAYS` delays, or a negative one.
    """
    if callable(delays):
        delays = delays(retries)
    if delays is None:
        return ()
    given: Sequence[Any] = (delays,) if isinstance(delays, int | float) else delays
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(
            f"Invalid `retry_delay_seconds`: expected a number, a list of numbers or a function of the"
            f" number of retries; got {delays!r}."
        )
    if len(given) > MAX_RETRY_DELAYS:
        raise ValueError(f"Can not configure more than {MAX_RETRY_DELAYS} retry delays; got {len(given)}.")
    for delay in given:
        if isinstance(delay, bool) or not isinstance(delay, int | float):
            raise TypeError(f"Invalid `retry_delay_seconds`: {delay!r} is not a number of seconds.")
        if not 0 <= delay <= LONGEST_SECONDS:
            raise ValueError(
                f"Invalid `retry_delay_seconds`: {delay!r} must be >= 0 and at most {LONGEST_SECONDS:,}."
            )
    return () if not any(given) else tuple(float(delay) for delay in given)


def check_hooks(option: str, hooks: Any, owner: str) -> Hooks:
    """A fresh list of the hooks given for ``option``.

    Raises:
        TypeError: Not an iterable of callables; the text shows how to pass two hooks.
    """
    usage = f" Pass a list of functions: @{owner}({option}=[hook1, hook2])."
    if hooks is None:
        return []
    try:
        given = list(hooks)
    except TypeError:
        raise TypeError(
            f"Expected iterable for '{option}'; got {type(hooks).__name__} instead.{usage}"
        ) from None
    for hook in given:
        if not callable(hook):
            raise TypeError(f"Expected callables in '{option}'; got {type(hook).__name__} instead.{usage}")
    return given


def hook_name(hook: Any) -> str:
    """What log lines call a hook: its name, that of the function in a partial, or that of its class."""
    name = name_of(hook, "__name__")
    if name is None and issubclass(type(hook), partial):
        name = name_of(hook.func, "__name__")
    return name or type(hook).__name__
