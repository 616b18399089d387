"""What is active where: the current flow run, task run and tags, as context variables.

Holders only hold: they are built by the engines and read by everybody. Types from higher layers are held
by protocol. Context variables follow asyncio tasks by themselves, and threads when a task runner copies them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar

from mainspring import clock
from mainspring.exceptions import MissingContextError
from mainspring.runs import FlowRun, TaskRun

__all__ = [
    "FlowRunContext",
    "RunContext",
    "TagsContext",
    "TaskRunContext",
    "get_run_context",
    "tags",
]

C = TypeVar("C", bound="ContextModel")


class Named(Protocol):
    """A task or flow, as far as contexts care."""

    name: str


class ContextModel:
    """A holder that is active inside its ``with`` block. One instance is entered once at a time."""

    __slots__ = ("_active", "outer")
    _variable: ClassVar[ContextVar[Any]]

    @classmethod
    def get(cls: type[C]) -> C | None:
        """The active holder of this kind, or None."""
        active: C | None = cls._variable.get()
        return active

    @classmethod
    def activate(cls: type[C], holder: C | None) -> C | None:
        """Make ``holder`` the active one until somebody else is, and return the one that was."""
        before: C | None = cls._variable.get()
        cls._variable.set(holder)
        return before

    def __enter__(self: C) -> C:
        if getattr(self, "_active", False):
            raise RuntimeError("Context already entered. Enter a copy of it instead.")
        self._active = True
        self.outer = self._variable.get()
        self._variable.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if not getattr(self, "_active", False):
            raise RuntimeError("Asymmetric use of context. Context exited without being entered.")
        self._active = False
        # By value: an abandoned generator is closed in another context, where a token would be refused.
        self._variable.set(self.outer)


class RunContext(ContextModel):
    """What the contexts of task and flow runs share: when this attempt started, and how results are kept in it."""

    __slots__ = ("log_prints", "parameters", "persist_result", "reported", "result_store", "started_at")

    def __init__(
        self,
        parameters: Mapping[str, Any] | None,
        log_prints: bool,
        result_store: Any,
        persist_result: bool | None,
    ) -> None:
        self.parameters = parameters
        self.log_prints = log_prints
        self.result_store = result_store
        self.persist_result = persist_result
        self.reported: BaseException | None = None  # the latest failure that a run inside has told of
        self.started_at = clock.current().now()

    @property
    def start_time(self) -> datetime:
        """When the context was made: the start of the attempt."""
        return clock.to_datetime(self.started_at)


class FlowRunContext(RunContext):
    """The active flow run, and what its tasks need from it.

    Args:
        flow: The flow.
        flow_run: Its run.
        task_runner: The started runner that ``submit`` and ``map`` use.
        parameters: The arguments of the flow.
        log_prints: Whether prints go to the run logger.
        result_store: Where results are kept in this run and in those inside of it that do not say otherwise.
        persist_result: Whether they are kept; None leaves it to the settings.
    """

    __slots__ = ("flow", "flow_run", "task_runner")
    _variable = ContextVar("mainspring_flow_run", default=None)

    def __init__(
        self,
        flow: Named | None = None,
        flow_run: FlowRun | None = None,
        task_runner: Any = None,
        parameters: Mapping[str, Any] | None = None,
        log_prints: bool = False,
        result_store: Any = None,
        persist_result: bool | None = None,
    ) -> None:
        RunContext.__init__(self, parameters, log_prints, result_store, persist_result)
        self.flow = flow
        self.flow_run = flow_run
        self.task_runner = task_runner


class TaskRunContext(RunContext):
    """The active task run.

    Args:
        task: The task.
        task_run: Its run.
        parameters: The resolved arguments of the task.
        log_prints: Whether prints go to the run logger.
        result_store: Where results are kept in this run and in those inside of it that do not say otherwise.
        persist_result: Whether they are kept; None leaves it to the settings.
    """

    __slots__ = ("task", "task_run")
    _variable = ContextVar("mainspring_task_run", default=None)

    def __init__(
        self,
        task: Named,
        task_run: TaskRun,
        parameters: Mapping[str, Any] | None = None,
        log_prints: bool = False,
        result_store: Any = None,
        persist_result: bool | None = None,
    ) -> None:
        RunContext.__init__(self, parameters, log_prints, result_store, persist_result)
        self.task = task
        self.task_run = task_run


class TagsContext(ContextModel):
    """The tags given to every run created inside."""

    __slots__ = ("current_tags",)
    _variable = ContextVar("mainspring_tags", default=None)

    def __init__(self, current_tags: Iterable[str] = ()) -> None:
        self.current_tags = frozenset(current_tags)

    @classmethod
    def get(cls) -> TagsContext:
        """The active tags; never None, but perhaps empty."""
        return cls._variable.get() or _NO_TAGS


_NO_TAGS = TagsContext()


@contextmanager
def tags(*names: str) -> Generator[frozenset[str]]:
    """Add tags to all task and flow runs created inside the block, on top of those active already.

    Args:
        names: The tags.

    Returns:
        All tags that are active inside.
    """
    with TagsContext(TagsContext.get().current_tags.union(names)) as active:
        yield active.current_tags


def get_run_context() -> TaskRunContext | FlowRunContext:
    """The context of the innermost active run: the task run's, else the flow run's.

    Raises:
        MissingContextError: Called outside of any run.
    """
    context = TaskRunContext.get() or FlowRunContext.get()
    if context is None:
        raise MissingContextError("There is no active task or flow run: call this inside of one.")
    return context
