"""Tags for the runs that are created inside a block."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mainspring._holder import ContextModel

__all__ = ["TagsContext", "check_tags", "tags"]


class TagsContext(ContextModel):
    """The tags given to every run created inside."""

    __slots__ = ("current_tags",)
    _variable = ContextVar("mainspring_tags", default=None)

    def __init__(self, current_tags: Iterable[str] = ()) -> None:
        self.current_tags = check_tags(current_tags)

    @classmethod
    def get(cls) -> TagsContext:
        """The active tags; never None, but perhaps empty."""
        return cls._variable.get() or _NO_TAGS

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        """See `ContextModel.serialize`."""
        return {"current_tags": self.current_tags} if self.current_tags else {}


def check_tags(tags: Any) -> frozenset[str]:
    """The tags as a set; a single text is one tag.

    Raises:
        TypeError: They are no texts: in the history they could not be read back.
    """
    try:
        given: frozenset[str] = frozenset((tags,) if isinstance(tags, str) else tags)
        if all(isinstance(tag, str) for tag in given):
            return given
    except TypeError:  # no collection, or one of things that cannot be told apart
        pass
    raise TypeError(f"Invalid `tags`: expected texts; got {tags!r}.")


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
