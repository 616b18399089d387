"""The contexts of flow and task runs: which run is active, and what the runs inside of it need from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mainspring import clock
from mainspring._core.lineage import Lineage
from mainspring._holder import ContextModel
from mainspring.exceptions import MissingContextError

if TYPE_CHECKING:
    from mainspring._cancel_scopes import CancelScope
    from mainspring._core.steps import Steps
    from mainspring.runs import FlowRun, TaskRun

__all__ = [
    "EngineContext",
    "FlowRunContext",
    "RunContext",
    "TaskRunContext",
    "current_scope",
    "get_run_context",
]

_SHIPPED = {
    "parameters": None,
    "log_prints": False,
    "result_store": None,
    "persist_result": None,
    "start_time": None,
}


if TYPE_CHECKING:

    class Named(Protocol):
        """A task or flow, as far as contexts care."""

        name: str


class RunContext(ContextModel):
    """What the contexts of task and flow runs share: when this attempt started, and how results are kept in it.

    ``scope`` is what bounds the attempt; None in contexts that are made by hand.
    """

    __slots__ = (
        "client",
        "log_prints",
        "parameters",
        "persist_result",
        "reported",
        "result_store",
        "scope",
        "started_at",
    )

    def __init__(
        self,
        parameters: Mapping[str, Any] | None,
        log_prints: bool,
        result_store: Any,
        persist_result: bool | None,
        client: Any,
        start_time: datetime | None,
    ) -> None:
        self.parameters = parameters
        self.log_prints = log_prints
        self.result_store = result_store
        self.persist_result = persist_result
        self.reported: BaseException | None = None  # the latest failure that a run inside has told of
        self.client = client
        self.scope: CancelScope | None = None
        self._active = False  # at once, as it takes long to find that there is nothing in a slot
        self.started_at = clock.current().now() if start_time is None else clock.from_datetime(start_time)

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
        client: A client of the run store, for whoever reads the context.
        start_time: When the attempt started; now by default.
        detached: The flow itself runs elsewhere: this is its context in another process.
        make_client: Makes the client when somebody asks for it, which hardly anybody does.

    ``run_results`` tells which objects of the flow run came out of which task run. ``steps`` tells the steps of an
    attempt from one another; None outside of attempts, in other processes, and where results are not kept.
    ``background`` is where flows run that the attempt starts with ``flow.submit``; None outside of attempts.
    ``observed_flow_pauses`` counts the pauses that the attempt has come to. ``engine`` is a reference to the engine of
    the attempt, for pauses, and ``suspension`` notices that the flow run is to be suspended; None elsewhere, and where
    that cannot be.
    """

    __slots__ = (
        "_client",
        "background",
        "detached",
        "engine",
        "flow",
        "flow_run",
        "make_client",
        "observed_flow_pauses",
        "run_results",
        "steps",
        "suspension",
        "task_runner",
    )
    _variable = ContextVar("mainspring_flow_run", default=None)
    _client: Any
    _shipped: ClassVar = {"flow": None, "flow_run": None, **_SHIPPED}

    def __init__(
        self,
        flow: Named | None = None,
        flow_run: FlowRun | None = None,
        task_runner: Any = None,
        parameters: Mapping[str, Any] | None = None,
        log_prints: bool = False,
        result_store: Any = None,
        persist_result: bool | None = None,
        client: Any = None,
        start_time: datetime | None = None,
        detached: bool = False,
        make_client: Callable[[], Any] | None = None,
    ) -> None:
        RunContext.__init__(self, parameters, log_prints, result_store, persist_result, client, start_time)
        self.make_client = make_client
        self.detached = detached
        self.run_results = Lineage()
        self.steps: Steps | None = None
        self.background: Any = None
        self.engine: Any = None
        self.observed_flow_pauses: dict[str, int] = {}
        self.suspension: Any = None
        self.flow = flow
        self.flow_run = flow_run
        self.task_runner = task_runner

    # A property, as a `__getattr__` would make all other attributes slower, and tasks ask for a dozen of them.
    @property
    def client(self) -> Any:
        """A client of the run store, made when somebody asks: a program that does not need not load what it takes."""
        if self._client is None and self.make_client is not None:
            self._client = self.make_client()
        return self._client

    @client.setter
    def client(self, client: Any) -> None:
        self._client = client


class TaskRunContext(RunContext):
    """The active task run.

    Args:
        task: The task.
        task_run: Its run.
        parameters: The resolved arguments of the task.
        log_prints: Whether prints go to the run logger.
        result_store: Where results are kept in this run and in those inside of it that do not say otherwise.
        persist_result: Whether they are kept; None leaves it to the settings.
        client: A client of the run store, for whoever reads the context.
        start_time: When the attempt started; now by default.
        cancel_event: Set by whoever runs the task to cancel it.

    ``place`` tells the run from others of its flow run, for the steps inside of it; None until one asks.
    """

    __slots__ = ("cancel_event", "place", "task", "task_run")
    _variable = ContextVar("mainspring_task_run", default=None)
    _shipped: ClassVar = {"task": None, "task_run": None, **_SHIPPED}

    def __init__(
        self,
        task: Named,
        task_run: TaskRun,
        parameters: Mapping[str, Any] | None = None,
        log_prints: bool = False,
        result_store: Any = None,
        persist_result: bool | None = None,
        client: Any = None,
        start_time: datetime | None = None,
        cancel_event: Any = None,
    ) -> None:
        RunContext.__init__(self, parameters, log_prints, result_store, persist_result, client, start_time)
        self.cancel_event = cancel_event
        self.place: str | None = None
        self.task = task
        self.task_run = task_run


EngineContext = FlowRunContext


def get_run_context() -> TaskRunContext | FlowRunContext:
    """The context of the innermost active run: the task run's, else the flow run's.

    Raises:
        MissingContextError: Called outside of any run.
    """
    context = TaskRunContext.get() or FlowRunContext.get()
    if context is None:
        raise MissingContextError("There is no active task or flow run: call this inside of one.")
    return context


def current_scope() -> CancelScope | None:
    """What bounds the calling code: the scope of the innermost active run, None outside of runs."""
    context = TaskRunContext.get() or FlowRunContext.get()
    return None if context is None else context.scope
