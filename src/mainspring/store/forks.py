"""What happens to open stores when the process forks.

A fork copies connections and locks that must not be used twice, in whatever condition other threads have
left them. So every open store comes to rest before the fork; afterwards the parent goes on, and the child's
copy forgets all it holds and starts afresh when it is used.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from mainspring import _forks

__all__ = ["watch"]


if TYPE_CHECKING:

    class Forkable(Protocol):
        """Something that has to know about forks."""

        def before_fork(self) -> None:
            """Come to rest: nothing of it may be in use by any thread until one of the others is called."""

        def after_fork_in_parent(self) -> None:
            """Go on."""

        def after_fork_in_child(self) -> None:
            """Forget what belongs to the parent."""


_watched: WeakSet[Forkable] = WeakSet()
_resting: list[Forkable] = []
_fork_lock = threading.Lock()  # two threads may fork at once


def watch(thing: Forkable) -> None:
    """Tell ``thing`` about every fork for as long as it lives."""
    _watched.add(thing)


def _before() -> None:
    _fork_lock.acquire()
    _resting[:] = _watched
    for thing in _resting:
        thing.before_fork()


def _in_parent() -> None:
    while _resting:
        _resting.pop().after_fork_in_parent()
    _fork_lock.release()


def _in_child() -> None:
    while _resting:
        _resting.pop().after_fork_in_child()
    if _fork_lock.locked():  # else this process plays a new one
        _fork_lock.release()


os.register_at_fork(before=_before, after_in_parent=_in_parent)
_forks.in_child(_in_child)
