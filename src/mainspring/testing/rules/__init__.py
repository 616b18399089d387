"""What holds for every run store, whatever has happened: one function over it.

``facts``     the history that was read, for all checks
``paths``     the states of each run, its attempts, and its row
``families``  runs inside of runs
``steps``     steps, results and transactions
``slots``     concurrency limits
``results``   whether kept results can be had
``accounts``  what user code saw, see `mainspring.testing.traces`
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from mainspring.exceptions import MainspringError
from mainspring.filters import LogSort
from mainspring.recording import current_recorder
from mainspring.store.addresses import open_store
from mainspring.store.protocol import RunStore
from mainspring.testing.rules import accounts, families, paths, results, slots, steps
from mainspring.testing.rules.facts import Facts
from mainspring.testing.traces import Trace

__all__ = ["InvariantError", "invariants", "problems"]

Place = RunStore | str | os.PathLike[str]


class InvariantError(MainspringError, AssertionError):
    """A history cannot have happened.

    Attributes:
        where: The run store.
        problems: All that is wrong with it, each as a sentence.
    """

    def __init__(self, where: str, problems: list[str]) -> None:
        super().__init__(where, problems)
        self.where = where
        self.problems = problems

    def __str__(self) -> str:
        lines = "".join(f"\n- {problem}" for problem in self.problems)
        return (
            f"The history in {self.where} cannot have happened:{lines}\n"
            "Look at a run with `mainspring runs show ID`; the ids are in brackets."
        )


def invariants(
    store: Place | None = None,
    *,
    is_over: bool = True,
    by_hand: bool = False,
    results: bool = False,
    trace: Trace | None = None,
) -> None:
    """Check that a history can have happened: nothing is missing, done twice, out of order or left over.

    Any process may check a store at any time; nothing in it is changed. It takes a millisecond or so per hundred runs.

    Args:
        store: An open run store, or the address of one, as for ``MAINSPRING_DATABASE_URL``; that of the current
            settings when omitted, after what this process has still to write.
        is_over: Whether all runs have come to their end, or wait for somebody. With False some may go on, or their
            process may have died a moment ago.
        by_hand: Functions have returned states that ask for another attempt, states were set from outside, or the same
            run was executed again: any state may follow any other one then, and attempts are not counted.
        results: Load the kept results of all completed runs of completed flow runs, too. This takes longer.
        trace: What user code saw, to be compared with the history. All of its notes are of this store.

    Raises:
        InvariantError: Something is wrong. The message has all of it.
        StoreError: The store cannot be read.
    """
    opened, is_ours = _open(store)
    try:
        found = _found(opened, is_over, by_hand, results, trace)
        where = opened.address
    finally:
        if is_ours:
            opened.close()
    if found:
        raise InvariantError(where, found)


def problems(
    store: Place | None = None,
    *,
    is_over: bool = True,
    by_hand: bool = False,
    results: bool = False,
    trace: Trace | None = None,
) -> list[str]:
    """What `invariants` would raise, as sentences; none if all is well.

    The arguments are those of `invariants`.

    Raises:
        StoreError: The store cannot be read.
    """
    opened, is_ours = _open(store)
    try:
        return _found(opened, is_over, by_hand, results, trace)
    finally:
        if is_ours:
            opened.close()


def _open(store: Place | None) -> tuple[RunStore, bool]:
    """The store, and whether it was opened here."""
    if store is None:
        recorder = current_recorder()
        recorder.flush()
        return recorder.store, False
    if isinstance(store, str | os.PathLike):
        return open_store(store, create=False, settles=False), True
    return store, False


def _found(store: RunStore, is_over: bool, by_hand: bool, loads: bool, trace: Trace | None) -> list[str]:
    notes = None if trace is None else trace.notes  # first: a note is made before what it is about
    facts = Facts(store.read_history())

    def all_of_them() -> Iterator[str]:
        yield from paths.problems(facts, by_hand)
        if not by_hand:
            yield from families.problems(facts)
        yield from steps.problems(facts)
        yield from steps.leftovers(facts)
        yield from slots.problems(facts)
        if is_over:
            yield from steps.unfinished(facts)
            yield from slots.leftovers(facts)
        if loads:
            yield from results.problems(facts, store)
        if notes:
            has_lines = any(note.what == "logged" for note in notes)
            lines = store.search_logs(None, LogSort.TIMESTAMP_ASC, None, 0) if has_lines else ()
            yield from accounts.problems(facts, notes, lines)
            yield from slots.problems_by_notes(facts, notes)

    return list(all_of_them())
