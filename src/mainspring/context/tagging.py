"""Tags for the runs that are created inside a block."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mainspring._holder import ContextModel

__all__ = ["TagsContext", "tags"]


class TagsContext(ContextModel):
    """The tags given to every run created inside."""

    __slots__ = ("current_tags",)
    _variable = ContextVar("mainspring_tags", default=None)

    def __init__(self, current_tags: Iterable[str] = ()) -> None:
        self.current_tags = frozenset(current_tags)

    @classmethod
    def get(cls) -> TagsContext:
        """The active tags; never None, but perhaps empty."""
        return cls._variable.get() or _NO_TAGS

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        """See `ContextModel.serialize`."""
        return {"current_tags": self.current_tags} if self.current_tags else {}


_NO_TAGS = TagsContext()


@contextmanager
def tags(*names: str) -> Generator[frozenset[str]]:
    """Add tags to all task and flow runs created inside the block, on top of those active already.

    Args:
        names: The tags.

    Returns:
        All tags that are active inside.
    """
    with TagsContext(TagsContext.get().current_tags.union(names)) as active:
        yield active.current_tags
