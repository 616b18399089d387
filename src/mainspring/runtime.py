"""Facts about the run that is active here, for names, logs and user code: ``runtime.task_run.parameters``.

Outside of a run every fact is None, or empty where it is a collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from mainspring.context import FlowRunContext, TaskRunContext

__all__ = ["flow_run", "task_run"]


class _TaskRunFacts:
    """The active task run."""

    @property
    def id(self) -> UUID | None:
        """The id of the run."""
        context = TaskRunContext.get()
        return None if context is None else context.task_run.id

    @property
    def name(self) -> str | None:
        """The name of the run."""
        context = TaskRunContext.get()
        return None if context is None else context.task_run.name

    @property
    def task_name(self) -> str | None:
        """The name of the task."""
        context = TaskRunContext.get()
        return None if context is None else context.task.name

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arguments by parameter name."""
        context = TaskRunContext.get()
        return {} if context is None else context.parameters or {}

    @property
    def tags(self) -> list[str]:
        """The tags, sorted."""
        context = TaskRunContext.get()
        return [] if context is None else sorted(context.task_run.tags)

    @property
    def run_count(self) -> int | None:
        """Which attempt this is, counted from 1."""
        context = TaskRunContext.get()
        return None if context is None else context.task_run.run_count


class _FlowRunFacts:
    """The active flow run."""

    @property
    def id(self) -> UUID | None:
        """The id of the run."""
        context = FlowRunContext.get()
        return None if context is None or context.flow_run is None else context.flow_run.id

    @property
    def name(self) -> str | None:
        """The name of the run."""
        context = FlowRunContext.get()
        return None if context is None or context.flow_run is None else context.flow_run.name

    @property
    def flow_name(self) -> str | None:
        """The name of the flow."""
        context = FlowRunContext.get()
        return None if context is None or context.flow is None else context.flow.name

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arguments by parameter name."""
        context = FlowRunContext.get()
        return {} if context is None else context.parameters or {}

    @property
    def tags(self) -> list[str]:
        """The tags, sorted."""
        context = FlowRunContext.get()
        return [] if context is None or context.flow_run is None else sorted(context.flow_run.tags)

    @property
    def run_count(self) -> int | None:
        """Which attempt this is, counted from 1."""
        context = FlowRunContext.get()
        return None if context is None or context.flow_run is None else context.flow_run.run_count


task_run = _TaskRunFacts()
flow_run = _FlowRunFacts()
