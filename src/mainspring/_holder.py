"""What all contexts are made of: an object that is the active one of its kind inside its ``with`` block."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Self, TypeVar

__all__ = ["ContextModel"]

C = TypeVar("C", bound="ContextModel")

_NOT_COPIED = frozenset(
    {"_active", "_client", "outer"}
)  # a place in the stack, and what is a property besides


class ContextModel:
    """A holder that is active inside its ``with`` block. One instance is entered once at a time.

    Which one is active is kept in a context variable for each class: asyncio tasks inherit it, threads do if
    whoever starts them copies the context. What is held are the very objects that were given.
    """

    __slots__ = ("_active", "outer")
    _variable: ClassVar[ContextVar[Any]]
    _fields: ClassVar[frozenset[str]]  # what a copy has, too
    _shipped: ClassVar[Mapping[str, Any]] = {}  # what travels to other processes, with its defaults

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        slots = {name for each in cls.__mro__ for name in getattr(each, "__slots__", ())}
        cls._fields = frozenset(slots - _NOT_COPIED)
        if "_variable" in vars(cls) and "get" not in vars(cls):
            cls.get = cls._variable.get  # type: ignore[method-assign]  # each task asks often: no Python in between

    @classmethod
    def get(cls: type[C]) -> C | None:
        """The active holder of this kind, or None."""
        active: C | None = cls._variable.get()
        return active

    @classmethod
    def activate(cls: type[C], holder: C | None) -> C | None:
        """Make ``holder`` the active one until somebody else is, and return the one that was."""
        before: C | None = cls._variable.get()
        cls._variable.set(holder)
        return before

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """A copy that is not entered, so it can be entered inside this one.

        Args:
            update: Other values for some fields.

        Raises:
            TypeError: There is no such field.
        """
        kind = type(self)
        fields = kind._fields
        for name in update or ():
            if name not in fields:
                raise TypeError(
                    f"{kind.__name__} has no field {name!r}. It has: {', '.join(sorted(fields))}."
                )
        copy = kind.__new__(kind)
        for name in fields:
            setattr(copy, name, getattr(self, name))
        for name, value in (update or {}).items():
            setattr(copy, name, value)
        return copy

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        """The fields that another process needs, as arguments for the class; those with default values are left out.

        Args:
            include_secrets: With False, passwords in settings are masked; other contexts hold no secrets
                of their own.

        Returns:
            A new dict that cloudpickle can carry if it can carry the arguments of the run.
        """
        fields = {name: getattr(self, name) for name in self._shipped}
        return {name: value for name, value in fields.items() if value is not self._shipped[name]}

    def __enter__(self: C) -> C:
        if getattr(self, "_active", False):
            raise RuntimeError("Context already entered. Enter a copy of it instead.")
        self._active = True
        self.outer = self._variable.get()
        self._variable.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if not getattr(self, "_active", False):
            raise RuntimeError("Asymmetric use of context. Context exited without being entered.")
        self._active = False
        # By value: an abandoned generator is closed in another context, where a token would be refused.
        self._variable.set(self.outer)
