"""What an event has to do with: the run, flow and tags in which something happened, as related resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mainspring._events.records import ID, NAME, ROLE, RelatedResource, Resource
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.runs import FlowRun, TaskRun
from mainspring.settings import get_current_settings

__all__ = [
    "flow_run_around",
    "related_to_context",
    "related_to_flow_run",
    "related_to_task_run",
    "with_context",
]


def related_to_context() -> list[RelatedResource]:
    """The runs that are active here, with the flow and the tags; empty outside of any run."""
    task_context, flow_context = TaskRunContext.get(), FlowRunContext.get()
    task_run = None if task_context is None else task_context.task_run
    flow_run = None if flow_context is None else flow_context.flow_run
    found: list[RelatedResource] = []
    if flow_run is not None:
        found.append(_named(f"mainspring.flow-run.{flow_run.id}", "flow-run", flow_run.name))
    if task_run is not None:
        found.append(_named(f"mainspring.task-run.{task_run.id}", "task-run", task_run.name))
    if flow_run is not None:
        found.append(_flow(flow_run))
    return found + _tags(flow_run, task_run)


def related_to_task_run(run: TaskRun, flow_run: FlowRun | None) -> list[RelatedResource]:
    """The flow run that a task run belongs to, its flow, and the tags of both.

    Args:
        run: The task run.
        flow_run: The flow run, if it is known; else only its id is told.
    """
    found: list[RelatedResource] = []
    if flow_run is not None:
        found.append(_named(f"mainspring.flow-run.{flow_run.id}", "flow-run", flow_run.name))
        found.append(_flow(flow_run))
    elif run.flow_run_key is not None:
        found.append(RelatedResource({ID: f"mainspring.flow-run.{run.flow_run_id}", ROLE: "flow-run"}))
    return found + _tags(flow_run, run)


def related_to_flow_run(run: FlowRun) -> list[RelatedResource]:
    """The flow of a flow run, the task run that stands for it in its parent if it is a subflow, and its tags."""
    found = [_flow(run)]
    if run.parent_task_run_key is not None:
        stand_in = f"mainspring.task-run.{run.parent_task_run_id}"
        found.append(RelatedResource({ID: stand_in, ROLE: "task-run"}))
    return found + _tags(run)


def flow_run_around(run: TaskRun) -> FlowRun | None:
    """The flow run that a task run belongs to, if it is active here, perhaps further out."""
    context = FlowRunContext.get() if run.flow_run_key is not None else None
    while context is not None:
        if context.flow_run is not None and context.flow_run.key == run.flow_run_key:
            return context.flow_run
        context = getattr(context, "outer", None)
    return None


def with_context(resource: Resource, related: Iterable[RelatedResource]) -> list[RelatedResource]:
    """Related resources and those of the context that are not named yet, as far as there is room for them."""
    given = list(related)
    named = {resource.id, *(each.id for each in given)}
    room = get_current_settings().events.maximum_related_resources - len(given)
    return given + [each for each in related_to_context() if each.id not in named][: max(room, 0)]


def _named(resource_id: str, role: str, name: str) -> RelatedResource:
    return RelatedResource({ID: resource_id, ROLE: role, NAME: name})


def _flow(run: FlowRun) -> RelatedResource:
    return _named(f"mainspring.flow.{run.flow_name}", "flow", run.flow_name)


def _tags(*runs: FlowRun | TaskRun | None) -> list[RelatedResource]:
    tags: Sequence[str] = sorted({tag for run in runs if run is not None for tag in run.tags})
    return [RelatedResource({ID: f"mainspring.tag.{tag}", ROLE: "tag"}) for tag in tags]
