"""Where values came from: which task run of a flow run returned or yielded the object at hand.

Objects are known by identity, and an identity means something only while its object lives. So a table either is told
when an object dies (a weak reference), or keeps it alive (lists, numbers, text and the like cannot be watched). What
is kept alive by nothing but the table is dropped again, a batch at a time: the memory of a flow run that throws its
results away stays flat, and no object ever inherits the past of one that was at its address before.
"""

from __future__ import annotations

import weakref
from sys import getrefcount
from typing import Any
from uuid import UUID

import msgspec

from mainspring._core.traverse import ATOMS, members_of
from mainspring.runs import RunInput, TaskRunResult
from mainspring.states.state import is_untrackable

__all__ = ["Lineage", "Origin"]

BATCH = 256
"""Objects kept alive before the first look at which of them still matter."""

MAX_MEMBERS = 1_000
"""Of a collection with more members than this only the collection itself is remembered."""


_COLLECTIONS = (list, tuple, set, dict)
_UNWATCHABLE = frozenset({list, tuple, dict, str, bytes, float})  # those met most, told without a try


class Origin(msgspec.Struct, eq=False, gc=False):
    """Where an object came from.

    Args:
        _source: The input that whoever gets the object has; for a task run its id as 16 bytes will do.
        running: True if the run was not over when it gave the object away: a generator's.
    """

    _source: RunInput | bytes
    running: bool = False

    @property
    def source(self) -> RunInput:
        """The input, made when it is asked for: most objects are never handed on."""
        source = self._source
        if isinstance(source, bytes):
            source = self._source = TaskRunResult(id=UUID(bytes=source))
        return source


class Lineage:
    """The origins of the objects of one flow run. Safe to use from any thread."""

    __slots__ = ("_kept", "_limit", "_watched")

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, Origin]] = {}
        self._watched: dict[int, tuple[weakref.ref[Any], Origin]] = {}
        self._limit = BATCH

    def __bool__(self) -> bool:
        return bool(self._kept or self._watched)

    def __len__(self) -> int:
        return len(self._kept) + len(self._watched)

    def note(self, value: Any, origin: Origin) -> None:
        """Remember where ``value`` and its direct members came from; what is shared by everybody is left out."""
        # Told by the type alone, as an instance of a user's may raise when it is asked.
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType] - of whatever value
        if kind in ATOMS or (issubclass(kind, _COLLECTIONS) and len(value) > MAX_MEMBERS):
            noted = [value]
        elif kind is dict:  # in short, as it is met most
            noted = [value, *value, *value.values()]
        else:
            noted = [value, *members_of(value)]
        kept = self._kept
        for each in noted:
            if type(each) not in _UNWATCHABLE and (
                is_untrackable(each) or (type(each) is not int and self._watch(each, origin))
            ):
                continue
            if len(kept) >= self._limit:
                self._sweep()
            kept[id(each)] = (each, origin)

    def origin_of(self, value: Any) -> Origin | None:
        """Where ``value`` came from, None if that is not known."""
        kept = self._kept.get(id(value))
        if kept is not None:
            return kept[1]
        watched = self._watched.get(id(value))
        return watched[1] if watched is not None and watched[0]() is value else None

    def _watch(self, value: Any, origin: Origin) -> bool:
        """Remember a value for as long as it lives; False if nobody would tell when it dies."""
        key, watched = id(value), self._watched
        try:
            watched[key] = (weakref.ref(value, lambda gone: _forget(watched, key, gone)), origin)
        except TypeError:
            return False
        return True

    def _sweep(self) -> None:
        """Let go of the objects that nobody else has any more."""
        kept = self._kept
        for key, entry in kept.copy().items():  # others may note something meanwhile
            if getrefcount(entry[0]) <= _ONLY_OURS and kept.get(key) is entry:
                kept.pop(key, None)
        self._limit = max(BATCH, 2 * len(kept))


def _forget(watched: dict[int, tuple[weakref.ref[Any], Origin]], key: int, gone: weakref.ref[Any]) -> None:
    entry = watched.get(key)
    if entry is not None and entry[0] is gone:
        del watched[key]


_entry = (object(),)
_ONLY_OURS = getrefcount(_entry[0])  # counted, because how many a call needs depends on the interpreter
