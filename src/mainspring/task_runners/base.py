"""What a task runner is, wherever it runs tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar

from mainspring._engine.mapping import common_upstreams, split_parameters
from mainspring.futures import Future, FutureList
from mainspring.logging import get_logger
from mainspring.runs import RunInput

__all__ = ["Dependencies", "TaskRunner"]

F = TypeVar("F", bound=Future[Any])
Dependencies = dict[str, list[RunInput]]


class TaskRunner(ABC, Generic[F]):
    """Runs submitted tasks; started by ``with``, and startable again after it was left."""

    def __init__(self) -> None:
        self._started = False
        self.logger = get_logger(f"task_runner.{self.name}")

    @property
    def name(self) -> str:
        """The class name in lower case without "taskrunner"."""
        return type(self).__name__.lower().replace("taskrunner", "")

    @abstractmethod
    def duplicate(self) -> TaskRunner[F]:
        """An equal runner that is not started."""

    def detached(self) -> TaskRunner[Any]:
        """A runner that is not started, for what is submitted in another process in the flow run of this one."""
        return self.duplicate()

    @abstractmethod
    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        dependencies: Dependencies | None = None,
    ) -> F:
        """Start one task run without waiting for anything.

        Args:
            task: The task.
            parameters: Its arguments by name, complete with defaults.
            wait_for: Futures and states that must be there first.
            dependencies: Further inputs of the run, for tracking.

        Raises:
            RuntimeError: The runner is not started.
        """

    def map(
        self, task: Any, parameters: dict[str, Any], wait_for: Iterable[Any] | None = None
    ) -> FutureList[Any]:
        """Start one task run per element of the iterables among the parameters.

        Args:
            task: The task.
            parameters: Its arguments by name, without defaults.
            wait_for: Futures and states that must be there first.

        Raises:
            RuntimeError: The runner is not started.
            MappingMissingIterable: There is nothing to map over.
            MappingLengthMismatch: The iterables have different lengths.
        """
        self._require_started()
        children = split_parameters(task.arguments, parameters)
        dependencies = common_upstreams(task.arguments, parameters)
        return FutureList([self.submit(task, child, wait_for, dependencies) for child in children])

    def cancel_all(self) -> None:
        """Cancel what has not begun, as far as the runner can."""

    def _require_started(self) -> None:
        if not self._started:
            raise RuntimeError(f"The task runner {self!r} is not started. Use it as a `with` block.")

    def __enter__(self) -> TaskRunner[F]:
        if self._started:
            raise RuntimeError(f"The task runner {self!r} is already started.")
        self._started = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started = False
