"""The steps of flow runs as engines see them: a call of a task or flow, and where it is made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mainspring._core.steps import Steps, digest_of
from mainspring._engine.inputs import resolve_parameters
from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import HashError

if TYPE_CHECKING:
    from mainspring import hashing
else:
    hashing = modules_on_use("mainspring", "hashing")

__all__ = [
    "active_steps",
    "root_of",
    "scope_of",
    "step_of_flow",
    "step_of_task",
    "steps_for",
    "submitted_step",
    "with_step",
]


def active_steps(flow_run_key: bytes | None) -> Steps | None:
    """The steps of the active flow run, if it is the given one and keeps results."""
    context = FlowRunContext.get()
    if context is None or context.steps is None or context.flow_run is None:
        return None
    return context.steps if context.flow_run.key == flow_run_key else None


def root_of(steps: Steps) -> bytes | None:
    """The flow run that is resumed if this process dies; None if none is, as for a forked child of its process."""
    return steps.root_key if steps.process == os.getpid() else None


def step_of_task(
    steps: Steps, task: Any, parameters: Mapping[str, Any] | None, around: TaskRunContext | None
) -> str | None:
    """The key of a call of a task; None if its inputs have no content to tell it by, and it has no name.

    Args:
        steps: Those of the flow run.
        task: The task.
        parameters: Its arguments, resolved.
        around: The context of the task run that makes the call, if it is one.
    """
    what = _call_of(task, parameters)
    return None if what is None else steps.take(scope_of(around), what)


def submitted_step(task: Any, parameters: Mapping[str, Any]) -> tuple[str, bool] | None:
    """The key of a call that is submitted here, and whether it may have been finished before.

    Equal calls are told apart by their order, which is that of the program here, and that of threads where they run.

    Args:
        task: The task.
        parameters: Its arguments; no future among them is unfinished.

    Returns:
        None if the run is to find out by itself, or has a key of another kind.
    """
    steps = steps_for(task)
    if steps is None:
        return None
    try:
        resolved = resolve_parameters(parameters)
    except Exception:  # the run itself meets it again, and records it
        return None
    key = step_of_task(steps, task, resolved, TaskRunContext.get())
    return None if key is None else (key, steps.goes_on)


def steps_for(task: Any) -> Steps | None:
    """The steps of which a call of a task that is submitted here is one, told by its arguments; None if it is none."""
    context = FlowRunContext.get()
    if context is None or context.steps is None or task.isgenerator:
        return None
    options = task.result_options
    if options.has_policy or options.result_storage_key is not None:
        return None
    return context.steps if options.persists_in(TaskRunContext.get() or context) else None


def with_step(context: dict[str, Any], task: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a task runner tells the engine of a call that is submitted here, with the call's step if it has one.

    Args:
        context: What it tells besides.
        task: The task.
        parameters: Its arguments; no future among them is unfinished.
    """
    step = submitted_step(task, parameters)
    return context if step is None else {**context, "step": step}


def step_of_flow(
    steps: Steps, flow: Any, parameters: Mapping[str, Any] | None, around: TaskRunContext | None
) -> str | None:
    """The key of a call of a subflow, the same in each attempt of the flow run; arguments as for tasks."""
    try:
        inputs = hashing.items_hash(parameters or {}, "parameters")
    except HashError:
        return None
    return steps.take(scope_of(around), f"flow {flow.name} {inputs}", of_attempt=False)


def scope_of(context: TaskRunContext | None) -> str:
    """What tells the steps inside of a task run from those inside of others; empty outside of task runs."""
    if context is None:
        return ""
    if context.place is None:
        task: Any = context.task
        outer = context.outer
        while outer is not None and outer.task_run is context.task_run:  # an earlier attempt's
            outer = outer.outer
        call = _call_of(task, context.parameters) or f"task {task.task_key}"
        context.place = digest_of(scope_of(outer), call)
    return context.place


def _call_of(task: Any, parameters: Mapping[str, Any] | None) -> str | None:
    if task.step_key is not None:
        return f"name {task.step_key}"
    try:
        return f"task {task.task_key} {hashing.items_hash(parameters or {}, 'inputs')}"
    except HashError:  # what has no content is not told by it
        return None
