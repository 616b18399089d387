"""What holds for every run store, whatever has happened: one function over it.

``facts``     the history that was read, for all checks
``paths``     the states of each run, its attempts, and its row
``families``  runs inside of runs
``steps``     results and transactions
``slots``     concurrency limits
``accounts``  what user code saw, see `mainspring.testing.traces`
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from mainspring.exceptions import MainspringError
from mainspring.recording import current_recorder
from mainspring.store.addresses import open_store
from mainspring.store.protocol import RunStore
from mainspring.testing.invariants import families, paths, slots, steps
from mainspring.testing.invariants.facts import Facts

__all__ = ["InvariantError", "invariants", "problems"]


class InvariantError(MainspringError, AssertionError):
    """A history cannot have happened. The message has all that is wrong, ``problems`` too, as texts."""

    def __init__(self, problems: list[str], where: str) -> None:
        super().__init__(problems, where)
        self.problems = problems
        self.where = where

    def __str__(self) -> str:
        lines = "".join(f"\n- {problem}" for problem in self.problems)
        return f"The run store {self.where} holds what cannot have happened:{lines}"


def invariants(store: RunStore | str | os.PathLike[str] | None = None, *, is_over: bool = True) -> None:
    found = problems(store, is_over=is_over)
    if found:
        raise InvariantError(found, "?")


def problems(store: RunStore | str | os.PathLike[str] | None = None, *, is_over: bool = True) -> list[str]:
    if store is None:
        recorder = current_recorder()
        recorder.flush()
        store = recorder.store
    if isinstance(store, (str, os.PathLike)):
        opened = open_store(store, create=False, settles=False)
        try:
            return problems(opened, is_over=is_over)
        finally:
            opened.close()
    return list(_all(Facts(store.read_history()), is_over))


def _all(facts: Facts, is_over: bool) -> Iterator[str]:
    yield from paths.problems(facts)
    yield from families.problems(facts)
    yield from steps.problems(facts)
    yield from steps.leftovers(facts)
    yield from slots.problems(facts)
    if is_over:
        yield from steps.unfinished(facts)
        yield from slots.leftovers(facts)
