"""Walking nested values: find every leaf at any depth, and rebuild only what changed.

Entered are lists, tuples, sets and their subclasses, plain dicts (keys too), dataclasses, attrs classes, msgspec
structs, pydantic models and our own annotations. Never entered are text, generators, iterators, open files,
frames, arrays, mocks and anything else: these are leaves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from mainspring._imports import library_on_use
from mainspring.annotations import Annotation, opaque, quote

if TYPE_CHECKING:
    import copy
else:
    copy = library_on_use("copy")

__all__ = ["ATOMS", "is_atomic", "members_of", "transform", "walk"]

ATOMS = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        bytearray,
        date,
        datetime,
        time,
        timedelta,
        UUID,
        range,
        type(len),
        type(lambda: None),
        type,
    }
)
"""The types of values that hold nothing and mean nothing but themselves."""

_SEQUENCES = (list, tuple, set)  # as a tuple: a union is made anew, and asked slowly, at each use

Leaf = Callable[[Any, tuple[Annotation[Any], ...]], Any]


def is_atomic(values: Iterable[Any]) -> bool:
    """True if no value can hold anything: the common case, told without walking."""
    for value in values:  # noqa: SIM110 - a generator expression would cost more than the test
        if type(value) not in ATOMS:
            return False
    return True


def transform(value: Any, leaf: Leaf, *, unwrap: bool = True) -> Any:
    """``value`` with every leaf replaced by what ``leaf`` makes of it.

    An unchanged part comes back as the same object. The content of `quote` is left alone; a leaf's
    replacement is walked in turn, unless it is marked `opaque`, and so is no container that is. Cycles are safe.

    Args:
        value: Any object.
        leaf: Called with each leaf and the annotations around it, outermost first; plain numbers,
            text and the like are passed over.
        unwrap: Replace annotations by their content.
    """
    if type(value) in ATOMS:
        return value
    return _Walk(leaf, unwrap).visit(value, ())


def walk(value: Any, max_depth: int = -1) -> Iterator[Any]:
    """Every node of ``value``, containers before their members and each once, keys of dicts too.

    The content of `quote` is left out, and that of `opaque` is not entered.

    Args:
        value: Any object.
        max_depth: How many levels to descend: none with 0, which gives ``value`` alone; all if negative.
    """
    seen: dict[int, Any] = {}
    pending = [(value, max_depth)]
    while pending:
        node, depth = pending.pop()
        kind = _type(node)
        if kind in ATOMS:
            yield node
        elif id(node) not in seen:
            seen[id(node)] = node
            yield node
            if depth == 0 or issubclass(kind, quote):
                continue
            levels = depth - 1
            if issubclass(kind, opaque):
                levels = 0
            pending += [(member, levels) for member in reversed(_members(node, _type(node)))]


def members_of(value: Any) -> list[Any]:
    """What `walk` finds one level below ``value``, in any order, some of it perhaps twice."""
    kind = _type(value)
    return [] if kind in ATOMS or issubclass(kind, quote) else _members(value, kind)


def _members(node: Any, kind: type) -> list[Any]:
    """What is directly inside of a node, empty for leaves."""
    if issubclass(kind, _SEQUENCES):
        return list(node)
    if kind is dict or kind is OrderedDict:
        return [part for item in node.items() for part in item]
    if issubclass(kind, Annotation):
        return [node.unwrap()]
    return [getattr(node, name) for name in _field_names(kind) or () if hasattr(node, name)]


class _Walk:
    """One walk over one value. ``seen`` keeps what was visited alive, so that no id is ever reused."""

    __slots__ = ("leaf", "seen", "unwrap")

    def __init__(self, leaf: Leaf, unwrap: bool) -> None:
        self.leaf = leaf
        self.unwrap = unwrap
        self.seen: dict[int, tuple[Any, Any]] = {}

    def visit(self, value: Any, around: tuple[Annotation[Any], ...]) -> Any:
        kind = _type(value)
        if kind in ATOMS:
            return value
        if issubclass(kind, Annotation):
            return self.visit_annotation(value, around)
        rebuild = _rebuilder(kind)
        if rebuild is None:
            replacement = self.leaf(value, around)
            if replacement is value or any(type(annotation) is opaque for annotation in around):
                return replacement
            return self.visit(replacement, around)
        if id(value) in self.seen:
            return self.seen[id(value)][1]
        self.seen[id(value)] = (value, value)  # what a cycle finds while its container is being walked
        result = rebuild(value, lambda child: self.visit(child, around))
        self.seen[id(value)] = (value, result)
        return result

    def visit_annotation(self, value: Annotation[Any], around: tuple[Annotation[Any], ...]) -> Any:
        content = value.unwrap()
        if not isinstance(value, quote) and not (isinstance(value, opaque) and _is_container(content)):
            content = self.visit(content, (*around, value))
        if self.unwrap:
            return content
        return value if content is value.unwrap() else value.rewrap(content)


Visit = Callable[[Any], Any]


def _is_container(value: Any) -> bool:
    """True if there is anything inside of ``value`` to be walked."""
    return _rebuilder(_type(value)) is not None


def _rebuilder(kind: type) -> Callable[[Any, Visit], Any] | None:
    """How to walk instances of ``kind``, None if they are leaves."""
    if issubclass(kind, _SEQUENCES):
        return _rebuild_sequence
    if kind is dict or kind is OrderedDict:
        return _rebuild_dict
    if _field_names(kind) is not None:
        return _rebuild_fields
    return None


def _rebuild_sequence(value: Any, visit: Visit) -> Any:
    items = [item if type(item) in ATOMS else visit(item) for item in value]
    if all(new is old for new, old in zip(items, value, strict=False)):
        return value
    kind = _type(value)
    if kind is list or kind is tuple or kind is set:
        return _type(value)(items)
    if issubclass(kind, list):
        result = copy.copy(value)
        result[:] = items
        return result
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


def _rebuild_dict(value: Any, visit: Visit) -> Any:
    items = [(visit(key), visit(item)) for key, item in value.items()]
    if all(k is key and i is item for (k, i), (key, item) in zip(items, value.items(), strict=True)):
        return value
    return _type(value)(items)


def _rebuild_fields(value: Any, visit: Visit) -> Any:
    changed: dict[str, Any] = {}
    for name in _field_names(type(value)) or ():
        if hasattr(value, name):
            old = getattr(value, name)
            new = visit(old)
            if new is not old:
                changed[name] = new
    if not changed:
        return value
    # A shallow copy and forced attributes: no constructor and no validation runs, frozen or not.
    result = copy.copy(value)
    for name, new in changed.items():
        if isinstance(result, msgspec.Struct):
            msgspec.structs.force_setattr(result, name, new)
        else:
            object.__setattr__(result, name, new)
    return result


def _field_names(kind: Any) -> tuple[str, ...] | None:
    """The names of the fields of a record type, None for a type without declared fields."""
    if hasattr(kind, "__dataclass_fields__"):
        return tuple(kind.__dataclass_fields__)
    if hasattr(kind, "__struct_fields__"):
        return tuple(kind.__struct_fields__)
    if hasattr(kind, "__pydantic_fields__"):
        return (*kind.__pydantic_fields__, "__pydantic_extra__")
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(attribute.name for attribute in kind.__attrs_attrs__)
    return None


def _type(value: object) -> Any:
    """The type of ``value``, without the claim that nothing is known of its members."""
    return type(value)
