"""The history beside what a tracing user function saw: calls, ends, hooks and log lines."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from mainspring.identifiers import shorten
from mainspring.store.histories import HistoryRun, HistoryState
from mainspring.store.protocol import LogEntry
from mainspring.testing.rules.facts import CUT_SHORT, Facts
from mainspring.testing.traces import Note

__all__ = ["problems"]

_GOES_ON = ("PAUSED", "CANCELLING")

Numbered = tuple[int, Note]


def problems(facts: Facts, notes: Sequence[Note], lines: Iterable[LogEntry]) -> Iterator[str]:
    """Where a history tells another story than a trace.

    Notes of other processes may be of runs that the store has nothing of, as those may have been killed before their
    commit: a note is made before what it is about. The other way round nothing is missing.
    """
    calls: dict[bytes, dict[str, list[Numbered]]] = defaultdict(lambda: defaultdict(list))
    hooks: dict[bytes, list[Numbered]] = defaultdict(list)
    of_transactions: dict[tuple[str, str | None], list[Note]] = defaultdict(list)
    logged: Counter[tuple[bytes, str, bool]] = Counter()
    here = os.getpid()
    for number, note in enumerate(notes):
        key = None if note.run is None else bytes.fromhex(note.run)
        if note.transaction is not None:
            of_transactions[note.transaction, note.phase].append(note)
        elif key is None:
            continue
        elif note.what == "hook":
            hooks[key].append((number, note))
        elif note.what == "logged":
            logged[key, note.name, note.process == here] += 1
        else:
            calls[key][note.name].append((number, note))
    for key, by_name in calls.items():
        for name, numbered in by_name.items():
            for problem in _of_calls(facts, key, numbered):
                yield f"{facts.who(key)}: {name} {problem}"
    yield from _never_called(facts, calls.keys())
    for key, numbered in hooks.items():
        for problem in _of_hooks(facts, key, numbered, calls.get(key, {})):
            yield f"{facts.who(key)}: {problem}"
    for (transaction, phase), told in of_transactions.items():
        for problem in _of_transaction(phase, told):
            yield f"transaction {_called(transaction)}: {problem}"
    yield from _of_lines(facts, logged, lines)


# Functions


def _outcomes(path: Sequence[HistoryState]) -> dict[int, HistoryState | None]:
    """For each attempt the state that it came to; None while it goes on."""
    found: dict[int, HistoryState | None] = {}
    for state in path:
        if state.type == "RUNNING":
            found[state.attempt] = None
        elif state.attempt in found and found[state.attempt] is None and state.type not in _GOES_ON:
            found[state.attempt] = state
    for attempt, outcome in found.items():
        if outcome is None and attempt + 1 in found:  # a retry at once
            found[attempt] = next(state for state in path if state.attempt == attempt + 1)
    return found


def _of_calls(facts: Facts, key: bytes, numbered: Sequence[Numbered]) -> Iterator[str]:
    by_attempt: dict[int, list[Note]] = defaultdict(list)
    last = 0
    for _, note in numbered:
        by_attempt[note.attempt].append(note)
        if note.what == "called":
            if note.attempt < last:
                yield f"was called in attempt {note.attempt} after attempt {last}"
            last = note.attempt
    path = facts.paths.get(key)
    outcomes = {} if path is None else _outcomes(path)
    here = os.getpid()
    for attempt, notes in by_attempt.items():
        called = sum(note.what == "called" for note in notes)
        if called > 1:
            yield f"was called {called} times in attempt {attempt}"
        if attempt not in outcomes:
            if notes[0].process == here:
                yield f"was called in attempt {attempt}, which the history does not have"
            continue
        outcome = outcomes[attempt]
        if outcome is None or outcome.type != "COMPLETED":
            continue
        if outcome.name == "Cached":
            yield f"was called in attempt {attempt}, which says that a kept result was used"
        elif notes[-1].what in ("raised", "called"):
            yield f"{_told(notes[-1])} in attempt {attempt}, which is {outcome.name}"
    for attempt, outcome in outcomes.items():
        if outcome is not None and outcome.name == "Completed" and attempt not in by_attempt:
            yield f"was not called in attempt {attempt}, which is Completed"


def _told(note: Note) -> str:
    return "has raised" if note.what == "raised" else "has not ended"


def _never_called(facts: Facts, called: Iterable[bytes]) -> Iterator[str]:
    """Runs of the same tasks that have completed without a call."""
    known = frozenset(called)
    tasks = {run.what for run in map(facts.runs.get, known) if run is not None and run.kind == "task"}
    for run in facts.history.runs:
        if run.kind == "task" and run.what in tasks and run.key not in known and _has_completed(facts, run):
            yield f"{facts.who(run.key)} is Completed, and its function was not called"


def _has_completed(facts: Facts, run: HistoryRun) -> bool:
    return any(state.name == "Completed" for state in facts.path(run.key))


# Hooks


def _of_hooks(
    facts: Facts, key: bytes, numbered: Sequence[Numbered], calls: dict[str, list[Numbered]]
) -> Iterator[str]:
    states = {state.key.hex(): state for state in facts.path(key)}
    seen: Counter[tuple[str, str | None, int | None]] = Counter()
    here = os.getpid()
    before: tuple[int, int | None, str] | None = None
    for number, note in numbered:
        seen[note.name, note.state, note.place] += 1
        state = states.get(note.state or "")
        if state is None:
            if note.process == here:
                yield f"hook {note.name} was called for a state that the history does not have"
            continue
        if before is not None:
            position, place, name = before
            if state.position < position:
                yield f"hook {note.name} for {state.name} was called after {name}, which is for a later state"
            elif state.position == position and _is_less(note.place, place):
                yield f"hook {note.name} for {state.name} was called after {name}, which comes after it"
        before = state.position, note.place, note.name
        for name, told in calls.items():
            for problem in _wrong_turn(state, number, told):
                yield f"hook {note.name} for {state.name} was called {problem} of {name}"
    for (name, state_id, _), times in seen.items():
        if times > 1:
            state = states.get(state_id or "")
            yield f"hook {name} was called {times} times for {'a state' if state is None else state.name}"


def _is_less(place: int | None, other: int | None) -> bool:
    return place is not None and other is not None and place < other


def _wrong_turn(state: HistoryState, number: int, told: Sequence[Numbered]) -> Iterator[str]:
    """Hooks of a state that begins an attempt come before the call, all others after its end."""
    for other, note in told:
        if note.attempt != state.attempt:
            continue
        if state.type == "RUNNING":
            if note.what == "called" and other < number and state.name != "Resuming":
                yield f"after the call in attempt {note.attempt}"
        elif state.name not in CUT_SHORT and other > number and state.type not in _GOES_ON:
            yield f"before the {'call' if note.what == 'called' else 'end'} in attempt {note.attempt}"


def _of_transaction(phase: str | None, told: Sequence[Note]) -> Iterator[str]:
    """Hooks of a commit in order, those of a rollback the other way round, each at most once."""
    seen = Counter((note.name, note.place) for note in told if note.place is not None)
    for (name, _), times in seen.items():
        if times > 1:
            yield f"{phase} hook {name} was called {times} times"
    elsewhere = Counter(
        note.name for note in told if note.place is None
    )  # by a process that has gone on with it
    for name in {note.name for note in told if note.alone and elsewhere[note.name]}:
        yield f"{phase} hook {name} was called again by another process"
    last: Note | None = None
    for note in told:
        if note.place is None:
            continue
        if last is not None and last.place is not None:
            is_wrong = note.place > last.place if phase == "rollback" else note.place < last.place
            if is_wrong:
                yield f"{phase} hook {note.name} was called after {last.name}"
        last = note


def _called(transaction: str) -> str:
    try:
        return shorten(bytes.fromhex(transaction))
    except ValueError:
        return transaction


# Lines


def _of_lines(
    facts: Facts, logged: Counter[tuple[bytes, str, bool]], lines: Iterable[LogEntry]
) -> Iterator[str]:
    kept: Counter[tuple[bytes, str]] = Counter()
    for entry in lines:
        key = entry.task_run_key or entry.flow_run_key
        if key is not None:
            kept[key, entry.message] += 1
    wanted: dict[tuple[bytes, str], list[int]] = defaultdict(lambda: [0, 0])
    for (key, line, is_ours), times in logged.items():
        wanted[key, line][is_ours] += times
    for (key, line), (theirs, ours) in wanted.items():
        found = kept[key, line]
        if not ours <= found <= ours + theirs:
            yield f"{facts.who(key)} has logged {line!r} {ours + theirs} times, and it is kept {found} times"
