"""Contexts on their way to other processes: as a dict that cloudpickle can carry, and active again over there."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from mainspring._cancel_scopes import CancelScope
from mainspring.clock import MICROSECONDS, SystemClock
from mainspring.context.runs import FlowRunContext, TaskRunContext, current_scope
from mainspring.context.tagging import TagsContext
from mainspring.settings.current import SettingsContext, get_settings_context

__all__ = ["hydrated_context", "is_elsewhere", "serialize_context", "with_context"]

P = ParamSpec("P")
R = TypeVar("R")

_elsewhere: ContextVar[bool] = ContextVar("elsewhere", default=False)


def is_elsewhere() -> bool:
    """Whether the code here runs in a flow run that goes on in another process, which has submitted it."""
    return _elsewhere.get()


def serialize_context(include_secrets: bool = True) -> dict[str, Any]:
    """What is active here, for `hydrated_context` in another process.

    Args:
        include_secrets: With False, passwords in settings are masked, for display; whoever is to work with
            the settings needs them.

    Returns:
        A new dict with the keys ``flow_run_context``, ``task_run_context``, ``tags_context`` and
        ``settings_context``. Each value is a dict, empty where no such context is active; settings always are. If what
        is active has to end by some time, that is there under ``deadline``, in microseconds since the epoch.

    Raises:
        MissingContextError: The environment gives no valid settings.
    """
    flow_run, task_run = FlowRunContext.get(), TaskRunContext.get()
    shipped: dict[str, Any] = {
        "flow_run_context": {} if flow_run is None else flow_run.serialize(include_secrets),
        "task_run_context": {} if task_run is None else task_run.serialize(include_secrets),
        "tags_context": TagsContext.get().serialize(include_secrets),
        "settings_context": get_settings_context().serialize(include_secrets),
    }
    scope = current_scope()
    remaining = None if scope is None else scope.remaining()
    if remaining is not None:
        shipped["deadline"] = SystemClock.now() + round(
            remaining * MICROSECONDS
        )  # as clocks agree, not processes
    return shipped


def with_context(fn: Callable[P, R]) -> Callable[P, R]:
    """A function that runs in any process with what is active here, now: runs, tags and settings (V-33).

    It can be pickled where ``fn`` and the arguments of the runs around can be by cloudpickle, so executors of other
    libraries take it: ``executor.submit(with_context(fn), argument)``.

    Args:
        fn: The function; a coroutine function gives a coroutine function.

    Raises:
        MissingContextError: The environment gives no valid settings.
    """
    contextual: Any = _AsyncInContext if iscoroutinefunction(fn) else _InContext
    return contextual(fn, serialize_context())  # type: ignore[no-any-return]


class _InContext:
    """A function with the context that it is called in."""

    def __init__(self, fn: Callable[..., Any], context: Mapping[str, Any]) -> None:
        self._fn = fn
        self._context = context
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with hydrated_context(self._context):
            return self._fn(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # By cloudpickle, whoever pickles: what is active may be of the main program.
        packed = cast(Any, import_module("cloudpickle")).dumps((self._fn, self._context))
        return _open_packed, (type(self), packed)


class _AsyncInContext(_InContext):
    """The same for a coroutine function."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with hydrated_context(self._context):
            return await self._fn(*args, **kwargs)


def _open_packed(kind: type[_InContext], packed: bytes) -> _InContext:
    return kind(*pickle.loads(packed))


@contextmanager
def hydrated_context(
    serialized_context: Mapping[str, Any] | None = None, client: Any = None
) -> Generator[None]:
    """Make active inside the block what `serialize_context` described; anything else stays as it is.

    The settings come first, so that all else happens under them, then the flow run, the task run and the
    tags. The flow run's context is marked as ``detached`` and gets a started copy of the flow's task runner (threads
    for one that has processes), so ``submit`` and ``map`` work; leaving the block waits for what was submitted to it.

    Args:
        serialized_context: What `serialize_context` gave; other keys are ignored.
        client: What the contexts of runs hold as their client.

    Raises:
        ConfigurationError: The settings were made by a version that has others.
    """
    given = serialized_context or {}
    with ExitStack() as stack:
        if settings := given.get("settings_context"):
            stack.enter_context(SettingsContext.hydrate(settings))
        scope = _scope_until(given.get("deadline"))
        if flow_run := given.get("flow_run_context"):
            stack.enter_context(_detached(flow_run, client, stack)).scope = scope
        if task_run := given.get("task_run_context"):
            stack.enter_context(TaskRunContext(**_own_store(task_run), client=client)).scope = scope
        if tags := given.get("tags_context"):
            stack.enter_context(TagsContext(**tags))
        yield


def _scope_until(deadline: int | None) -> CancelScope:
    """The scope that stands for all that is around the runs here, in the process where they were submitted."""
    scope = CancelScope(None)
    if deadline is not None:
        scope.bound(time.monotonic() + (deadline - SystemClock.now()) / MICROSECONDS)
    return scope


def _detached(fields: Mapping[str, Any], client: Any, stack: ExitStack) -> FlowRunContext:
    stack.callback(_elsewhere.set, _elsewhere.get())  # by value: a generator may be left in another context
    _elsewhere.set(True)
    flow: Any = fields.get("flow")
    runner = None if flow is None else stack.enter_context(flow.task_runner.detached())
    return FlowRunContext(**_own_store(fields), client=client, task_runner=runner, detached=True)


def _own_store(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with a result store of their own, as if they had travelled: no state is shared by accident."""
    store = fields.get("result_store")
    return dict(fields) if store is None else {**fields, "result_store": copy.copy(store)}
