"""How tasks and flows travel to other processes, and how they are copied."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any, Self, SupportsIndex

from mainspring._core.arguments import Arguments

__all__ = ["Portable"]


class Portable:
    """Something made of a function, which another process can find by the function's name or is sent by value."""

    fn: Callable[..., Any]
    name: str
    arguments: Arguments

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle by name what can be imported by its name, as functions are, so that it stays one object.

        Anything else goes by value, which cloudpickle can do and pickle cannot: functions of the main
        program, of other functions, copies with other options, and what has a stand-in for its function.
        """
        if self._own_name() is self and not self.arguments.has_stand_in:
            name: str = vars(self)["__qualname__"]
            return name  # to be looked up in `self.__module__`, by rule of pickle
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop("__wrapped__", None)
        state["arguments"] = self.arguments.signature
        state["stand_in"] = self.arguments.body.function if self.arguments.has_stand_in else None
        if getattr(self._own_name(), "fn", None) is self.fn:  # a copy of something that can be imported
            state["fn"] = _FunctionOf(state["__module__"], state["__qualname__"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        stand_in = state.pop("stand_in")
        vars(self).update(state)
        fn = self.fn
        if isinstance(fn, _FunctionOf):
            self.fn = fn = fn.look_up()
        if inspect.isroutine(fn):
            self.__wrapped__ = fn
        self.arguments = Arguments(fn, self.name, state["arguments"])
        if stand_in is not None:
            self.arguments.body.function = stand_in

    def _own_name(self) -> object:
        """What can be imported under the name of the function, None if nothing can be in another process."""
        module: str = vars(self).get("__module__", "__main__")  # a callable object has no name of its own
        if module in ("__main__", "__mp_main__") or _goes_by_value(module):
            return None
        try:
            return attrgetter(vars(self)["__qualname__"])(sys.modules.get(module))
        except AttributeError:
            return None


class _FunctionOf:
    """The function of the task or flow that can be imported under a name."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def look_up(self) -> Callable[..., Any]:
        fn: Callable[..., Any] = attrgetter(self.name)(import_module(self.module)).fn
        return fn


def _goes_by_value(module: str) -> bool:
    """Whether the user has told cloudpickle that other processes do not have the module."""
    listing: Any = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    if listing is None:  # not imported, or another thread is at it
        return False
    chosen: set[str] = listing()
    return any(module == name or module.startswith(f"{name}.") for name in chosen)
