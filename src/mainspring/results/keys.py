"""Storage keys: under which name a result is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainspring import identifiers
from mainspring._imports import modules_on_use
from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mainspring import runtime
else:
    runtime = modules_on_use("mainspring", "runtime")

__all__ = ["StorageKeyTemplate", "new_storage_key", "render_storage_key"]


def new_storage_key() -> str:
    """A key that nobody else has."""
    return identifiers.new_id().hex()


def render_storage_key(template: str) -> str:
    """The storage key that a template gives in the active run.

    Args:
        template: A text for ``str.format`` with the names ``parameters``, the arguments of the active run, and
            those of `mainspring.runtime`: ``"{flow_run.flow_name}/{parameters[x]}"``.

    Raises:
        ConfigurationError: The template uses a name or parameter that there is not, or what comes out is no path
            inside of a storage: it is empty, absolute, or contains ``..``.
    """
    context = TaskRunContext.get() or FlowRunContext.get()
    names: dict[str, Any] = {name: getattr(runtime, name) for name in runtime.__all__}
    names["parameters"] = {} if context is None else context.parameters or {}
    try:
        key = template.format(**names)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"The result storage key {template!r} cannot be rendered: {type(error).__name__}: {error}. There are the"
            f" names {', '.join(sorted(names))}, and the parameters"
            f" {', '.join(map(repr, names['parameters'])) or 'none'}."
        ) from error
    if not key.strip("/") or key.startswith("/") or "\0" in key or ".." in key.split("/"):
        raise ConfigurationError(
            f"The result storage key {template!r} was rendered to {key!r}, which is outside of the base path of the"
            " result storage. A key is a relative path without '..'."
        )
    return key


class StorageKeyTemplate:
    """A function for storage keys that renders a template in the run that calls it."""

    __slots__ = ("template",)

    def __init__(self, template: str) -> None:
        self.template = template

    def __call__(self) -> str:
        return render_storage_key(self.template)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorageKeyTemplate) and other.template == self.template

    def __hash__(self) -> int:
        return hash(self.template)

    def __repr__(self) -> str:
        return f"StorageKeyTemplate({self.template!r})"
