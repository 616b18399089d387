"""One submitted run, to its end in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from uuid import UUID

from mainspring import _portal
from mainspring._engine.trails import Trail
from mainspring.exceptions import SerializationError
from mainspring.futures.turns import as_main
from mainspring.runs import TaskRun
from mainspring.states import State
from mainspring.task_engine import run_task
from mainspring.task_runners.base import Dependencies

__all__ = ["Call", "describe_run"]


class Call(NamedTuple):
    """What was submitted.

    Args:
        task: The task.
        run_key: The id of the run as 16 bytes, chosen when it was submitted.
        parameters: Its arguments by name, complete with defaults.
        wait_for: Futures and states that must be there first.
        dependencies: Further inputs of the run, for tracking.
        context: What the engine is told by the runner.
        record: The record of the run, if it was made before.
    """

    task: Any
    run_key: bytes
    parameters: dict[str, Any]
    wait_for: Iterable[Any] | None
    dependencies: Dependencies | None
    context: dict[str, Any]
    record: TaskRun | None = None

    def run(self, trail: Trail | None = None) -> State:
        """Run the task, whatever kind it is; generators are collected (G-16).

        Args:
            trail: How the caller learns that the final state is not durable yet. Without it, it is on return.
        """
        task, run_key, parameters, wait_for, dependencies, context, run = self
        context = context if trail is None else {**context, "trail": trail}
        if not task.isgenerator:
            state = run_task(task, run_key, run, parameters, wait_for, "state", dependencies, context)
            return _portal.run(as_main(state)) if task.isasync else state  # type: ignore[no-any-return]
        if run is None:
            run = task.create_local_run(run_key, parameters, wait_for, dependencies)
        steps = run_task(task, None, run, parameters, wait_for, context=context)
        check: Any = context.get("check")
        try:
            values = _portal.run(as_main(_acollect(steps, check))) if task.isasync else _collect(steps, check)
        except Exception:  # it is the run's outcome: recorded, and what the future gives
            return run.state
        run.state.keep(values)
        return run.state


def describe_run(task_name: str, key: bytes) -> str:
    """What people call a run before it has a name of its own."""
    return f"a run of task {task_name!r} ({UUID(bytes=key)})"


Check = Callable[[Any], None]


def _collect(steps: Any, check: Check | None) -> list[Any]:
    """What a generator gives; a value that cannot be handed on is an error where it was yielded."""
    values: list[Any] = []
    for value in steps:
        values.append(value)
        if check is not None:
            try:
                check(value)
            except SerializationError as error:
                steps.throw(error)
    return values


async def _acollect(steps: Any, check: Check | None) -> list[Any]:
    values: list[Any] = []
    async for value in steps:
        values.append(value)
        if check is not None:
            try:
                check(value)
            except SerializationError as error:
                await steps.athrow(error)
    return values
