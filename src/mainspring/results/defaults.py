"""What holds where a task or flow does not say it: the settings, and the runs around."""

from __future__ import annotations

from typing import Any

from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.serializers import Serializer
from mainspring.settings import get_current_settings

__all__ = [
    "get_default_persist_setting",
    "get_default_result_serializer",
    "resolve_serializer",
    "should_persist_result",
]


def resolve_serializer(serializer: Any) -> Serializer[Any]:
    """The serializer that an option means: itself, or the one of a type such as ``"json"``.

    Raises:
        ConfigurationError: There is no such type.
        TypeError: It is neither.
    """
    if isinstance(serializer, Serializer | str):
        return Serializer.convert(serializer)
    raise TypeError(
        "A serializer or the type of one, such as 'json', was expected for results, not"
        f" {serializer!r} of type {type(serializer).__name__}."
    )


def get_default_result_serializer() -> Serializer[Any]:
    """The serializer that the setting ``results.default_serializer`` names.

    Raises:
        ConfigurationError: There is no such serializer.
    """
    return resolve_serializer(get_current_settings().results.default_serializer)


def get_default_persist_setting() -> bool:
    """Whether results are kept by default: the setting ``results.persist_by_default``."""
    return get_current_settings().results.persist_by_default


def should_persist_result() -> bool:
    """Whether the result of the active run is to be kept.

    The active task run says it, else the flow run, else the settings: ``tasks.default_persist_result`` unless a flow
    runs and no task, else ``results.persist_by_default``.
    """
    task = TaskRunContext.get()
    if task is not None and task.persist_result is not None:
        return task.persist_result
    flow = FlowRunContext.get()
    if flow is not None and flow.persist_result is not None:
        return flow.persist_result
    for_tasks = get_current_settings().tasks.default_persist_result
    if for_tasks is not None and (task is not None or flow is None):
        return for_tasks
    return get_default_persist_setting()
