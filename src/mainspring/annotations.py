"""Wrappers that say how an argument is to be treated, and ``NotSet``.

``unmapped(x)``       pass ``x`` whole to every child of a ``map``
``allow_failure(x)``  accept a failed upstream and pass its exception on as the value
``quote(x)``          do not look inside ``x``: no futures are resolved, nothing is tracked
``opaque(x)``         resolve ``x`` itself if it is a future or state, but do not look inside the value
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Self, TypeVar

__all__ = ["Annotation", "NotSet", "allow_failure", "opaque", "quote", "unmapped"]

T = TypeVar("T")


class NotSet:
    """The sentinel for "no value was given". The class itself is the value; it has no instances."""

    def __new__(cls) -> Self:
        """Refuse instances: compare with ``is NotSet``."""
        raise TypeError("NotSet is a sentinel and has no instances; use the class itself.")


class Annotation(Generic[T]):
    """An immutable wrapper around one value; equal to a wrapper of the same kind and an equal value."""

    __slots__ = ("value",)
    value: T

    def __init__(self, value: T) -> None:
        object.__setattr__(self, "value", value)

    def unwrap(self) -> T:
        """The wrapped value."""
        return self.value

    def rewrap(self, value: Any) -> Annotation[Any]:
        """The same kind of wrapper around another value."""
        return type(self)(value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; use rewrap() for another value.")

    def __iter__(self) -> Iterator[T]:
        yield self.value

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"

    def __reduce__(self) -> tuple[type[Annotation[T]], tuple[T]]:
        return type(self), (self.value,)


class unmapped(Annotation[T]):  # noqa: N801 - reads as a verb at the call
    """Pass the value whole to every child of a ``map``, whatever its type."""

    __slots__ = ()

    def __getitem__(self, _: object) -> T:
        return self.value


class allow_failure(Annotation[T]):  # noqa: N801
    """Let a FAILED upstream through: the task receives its exception as the value."""

    __slots__ = ()


class quote(Annotation[T]):  # noqa: N801
    """Hand the value over untouched: it is neither walked nor resolved nor tracked."""

    __slots__ = ()

    def unquote(self) -> T:
        """The wrapped value."""
        return self.value


class opaque(Annotation[T]):  # noqa: N801
    """Resolve a future or state, but do not walk the value it gives."""

    __slots__ = ()
