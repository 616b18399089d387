"""What a process keeps for itself, and how it begins anew: in forked children, and where tests play a new process.

Modules that keep locks, threads, connections or waiters in a global say here how these are made anew. Whatever must
come to rest before a fork is not for this module: see `mainspring.store.forks`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["calls", "in_child", "remake_in_child", "renew"]

_Call = TypeVar("_Call", bound=Callable[[], object])

_calls: list[Callable[[], object]] = []


def in_child(call: _Call) -> _Call:
    """Have ``call`` made in every forked child, after those that were given earlier. May be used as a decorator."""
    _calls.append(call)
    return call


def remake_in_child(namespace: dict[str, Any], **factories: Callable[[], object]) -> None:
    """Have globals of a module made anew in every forked child, such as a lock that a thread of the parent may hold.

    Args:
        namespace: The ``globals()`` of the module.
        **factories: By the name of a global, what makes it.
    """
    in_child(lambda: namespace.update({name: make() for name, make in factories.items()}))


def calls() -> tuple[Callable[[], object], ...]:
    """All that is called, in order."""
    return tuple(_calls)


def renew() -> None:
    """Make everything anew: what happens in a forked child, and where tests play one."""
    for call in _calls:
        call()


os.register_at_fork(after_in_child=renew)
