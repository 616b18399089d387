"""The options by which tasks and flows say how their results are kept, as far as a result store reads them."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["FlowOptions", "TaskOptions"]


class FlowOptions(Protocol):
    """The options of a flow that say how its results are kept; None is "as around it"."""

    persist_result: bool | None
    result_storage: Any
    result_serializer: Any
    cache_result_in_memory: bool | None


class TaskOptions(FlowOptions, Protocol):
    """The options of a task that say how its results are kept; None is "as around it"."""

    result_storage_key: str | None
    cache_policy: Any
