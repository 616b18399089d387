"""What a process keeps for itself, put aside while a test plays a new process, and put back after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from mainspring import _forks

__all__ = ["put_aside"]

_CONTAINERS = (dict, list, set, WeakKeyDictionary)


def put_aside() -> Callable[[], None]:
    """Note what the modules keep that begin anew in a forked child.

    Returns:
        What puts all of it back: globals, attributes, and what containers among them hold.
    """
    undo: list[Callable[[], object]] = []
    for call in _forks.calls():
        owner = getattr(call, "__self__", None)
        if isinstance(owner, _CONTAINERS):
            _note_content(owner, undo)
        elif owner is not None:
            _note_attributes(owner, undo)
        else:
            _note_globals(getattr(call, "__globals__", {}), getattr(call, "__code__", None), undo)

    def put_back() -> None:
        for step in undo:
            step()

    return put_back


def _note_content(container: Any, undo: list[Callable[[], object]]) -> None:
    content = container.copy()
    refill: Callable[[Any], object] = getattr(container, "extend", None) or container.update

    def put_back() -> None:
        container.clear()
        refill(content)

    undo.append(put_back)


def _note_attributes(owner: Any, undo: list[Callable[[], object]]) -> None:
    attributes = {name: getattr(owner, name) for name in _names(owner)}

    def put_back() -> None:
        for name, value in attributes.items():
            setattr(owner, name, value)

    undo.append(put_back)


def _names(owner: Any) -> list[str]:
    return list(getattr(owner, "__dict__", ()))


def _note_globals(namespace: dict[str, Any], code: Any, undo: list[Callable[[], object]]) -> None:
    """Those that the function names: it is what makes them anew."""
    if code is None:
        return
    values = {name: namespace[name] for name in code.co_names if name in namespace}
    undo.append(lambda: namespace.update(values))
    for value in values.values():
        if isinstance(value, _CONTAINERS):
            _note_content(value, undo)
