"""What a task runner is, wherever it runs tasks."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mainspring import identifiers
from mainspring._imports import modules_on_use
from mainspring.logging import engine_logs, get_logger, get_run_logger_or
from mainspring.runs import RunInput
from mainspring.settings import get_current_settings

if TYPE_CHECKING:
    from mainspring._engine import mapping
    from mainspring._engine.mapping import Children
    from mainspring.futures import ConcurrentFuture, Future, FutureList, lists, local, promises, streams
    from mainspring.futures.promises import Promise
else:
    mapping = modules_on_use("mainspring._engine", "mapping")
    lists, local, promises, streams = modules_on_use(
        "mainspring.futures", "lists", "local", "promises", "streams"
    )

__all__ = ["Dependencies", "TaskRunner", "listed", "promised"]

F = TypeVar("F", bound="Future[Any]")
Dependencies = dict[str, list[RunInput]]


def listed(wait_for: Iterable[Any] | None) -> Iterable[Any] | None:
    """What a run waits for; as a list if it can be looked at only once, or is looked at best by the calling thread."""
    if wait_for is None:
        return None
    given: Any = wait_for
    is_open = isinstance(given, lists.FutureList) and given.is_open
    return list(wait_for) if isinstance(given, Iterator) or is_open else wait_for


def promised(children: Children) -> tuple[list[bytes], list[Promise], FutureList[Any]]:
    """For each of some children whose number is known: the id of its run, what it comes to, and a future of that."""
    children.fill_lists()
    new_id = identifiers.current().new
    keys = [new_id() for _ in range(children.length or 0)]
    ends = [promises.Promise() for _ in keys]
    futures: list[ConcurrentFuture[Any]] = list(map(local.ConcurrentFuture, keys, ends))
    return keys, ends, lists.FutureList(futures)


class TaskRunner(ABC, Generic[F]):
    """Runs submitted tasks; started by ``with``, and startable again after it was left."""

    def __init__(self) -> None:
        self._started = False

    @cached_property
    def logger(self) -> logging.Logger:
        """Where the runner reports."""
        return get_logger(f"task_runner.{self.name}")

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

    def nested(self) -> TaskRunner[F]:
        """An equal runner that is not started, for a subflow of the flow that has started this one.

        It is for subflows that declare no runner (see ``tasks.runner.default``). It is left before this one is, so it
        may use the same workers.
        """
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

    @property
    def max_in_flight(self) -> int:
        """How many runs of one map are under way at a time, unless the map says; the setting by default."""
        return get_current_settings().tasks.runner.max_in_flight

    def map(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        max_in_flight: int | None = None,
    ) -> FutureList[Any]:
        """Start one task run per element of the iterables among the parameters.

        Args:
            task: The task.
            parameters: Its arguments by name, without defaults.
            wait_for: Futures and states that must be there first.
            max_in_flight: How many runs are under way at a time.

        Returns:
            The futures in the order of the elements; of an iterator, an open list (see `FutureList`).

        Raises:
            RuntimeError: The runner is not started.
            MappingMissingIterable: There is nothing to map over.
            MappingLengthMismatch: The iterables have different lengths.
            ValueError: ``max_in_flight`` is less than 1.
        """
        self._require_started()
        at_once = self.max_in_flight if max_in_flight is None else max_in_flight
        if type(at_once) is not int or at_once < 1:
            raise ValueError(f"`max_in_flight` must be a number of at least 1; got {max_in_flight!r}.")
        wait_for = listed(wait_for)
        children = mapping.split_parameters(task.arguments, parameters)
        dependencies = mapping.common_upstreams(task.arguments, parameters)
        if children.length is not None:
            return self._submit_each(task, children, wait_for, dependencies, at_once)
        submit = partial(self.submit, task, wait_for=wait_for, dependencies=dependencies)
        return lists.FutureList(feed=streams.Feed(iter(children), submit, at_once))

    def _submit_each(
        self,
        task: Any,
        children: Children,
        wait_for: Iterable[Any] | None,
        dependencies: Dependencies,
        max_in_flight: int,
    ) -> FutureList[Any]:
        """Start one run for each of some children whose number is known; not for runners that only need `submit`."""
        return lists.FutureList(
            [
                self.submit(task, children[number], wait_for, dependencies)
                for number in range(children.length or 0)
            ]
        )

    def cancel_all(self) -> None:
        """Cancel what has not begun, as far as the runner can."""

    def leave_unused(self) -> bool:
        """Leave the runner if nothing was submitted to it and that takes no time; else False, and nothing is done."""
        return False

    def _refusal(self, task: Any) -> RuntimeError:
        """Why a runner that is started does not take a run."""
        return RuntimeError(
            f"The task runner {self!r} takes no more runs: it was cancelled, or its flow has ended. Task"
            f" {task.name!r} was not submitted."
        )

    def _tell(self, task: Any) -> None:
        """Say that a run of a task is submitted, for whoever debugs (TR-18)."""
        if engine_logs(logging.DEBUG):
            get_run_logger_or(self.logger.name).debug(
                "Submitting a run of task %r to the %s runner", task.name, self.name
            )

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
