"""Concurrency limits: how many slots were taken at each instant that can be reconstructed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from mainspring.store.histories import HistoryLimit, HistoryRun, SlotEvent
from mainspring.testing.rules.facts import CUT_SHORT, FINAL, Facts
from mainspring.testing.traces import Note

__all__ = ["Stay", "crowds", "leftovers", "problems", "problems_by_notes"]

_TAG = "tag:"


class _Event(msgspec.Struct):
    """What counts of the event of a limit."""

    event: str
    resource: dict[str, str]
    follows: str | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_tags = msgspec.json.Decoder(list[str]).decode


class Stay(NamedTuple):
    """Slots, from when until when they are known to have been taken."""

    begin: int
    end: int
    slots: int
    limit: int
    key: bytes | None


def problems(facts: Facts) -> Iterator[str]:
    """Instants at which more slots were taken than there were.

    Three things tell: the rows of slots that are held now, the events of those taken and given back, and for limits
    on tags the time for which task runs were Running. Limits with decay are left out, as their slots belong to nobody,
    and so is what happened under an earlier number of slots.
    """
    history = facts.history
    if not history.limits:
        return
    limits = {limit.key: limit for limit in history.limits if limit.active and not limit.decay}
    yield from _held_now(facts, limits)
    for name, stays in _stays_by_events(facts, history.slot_events).items():
        yield from crowds(facts, name, stays)
    for limit in limits.values():
        if limit.name.startswith(_TAG):
            yield from crowds(facts, limit.name, _stays_by_states(facts, limit))


def leftovers(facts: Facts) -> Iterator[str]:
    """Slots that are held or waited for by runs that are over."""
    names = {limit.key: limit.name for limit in facts.history.limits}
    for held in facts.history.slots:
        run = None if held.holder_key is None else facts.runs.get(held.holder_key)
        if run is not None and run.state_type in FINAL:
            doing = "waits for" if held.acquired is None else "holds"
            limit = names.get(held.limit_key, "a limit that is not there")
            yield f"{facts.who(run.key)} is over, and {doing} slots of {limit}"


def _held_now(facts: Facts, limits: dict[bytes, HistoryLimit]) -> Iterator[str]:
    held: dict[bytes, int] = defaultdict(int)
    for row in facts.history.slots:
        limit = limits.get(row.limit_key)
        if limit is not None and row.acquired is not None and row.acquired >= limit.updated:
            held[row.limit_key] += row.slots
    for key, slots in held.items():
        if slots > limits[key].limit:
            yield f"{slots} slots of {limits[key].name} are held, and there are {limits[key].limit}"


def _stays_by_events(facts: Facts, events: Sequence[SlotEvent]) -> dict[str, list[Stay]]:
    """From the events of limits, who had slots from when to when.

    What was never given back is held by a run until that is over, or nobody can say for how long.
    """
    open_stays: dict[str, tuple[int, str, int, int, bytes | None]] = {}
    stays: dict[str, list[Stay]] = defaultdict(list)
    for row in events:
        event = _decode_event(row.content)
        resource = event.resource
        if event.event.endswith(".acquired"):
            open_stays[row.key.hex()] = (
                row.occurred,
                resource["mainspring.resource.name"],
                int(resource["slots-acquired"]),
                int(resource["limit"]),
                row.run_key,
            )
        elif event.follows is not None:
            found = open_stays.pop(event.follows.replace("-", ""), None)
            if found is not None:
                begin, name, slots, limit, key = found
                stays[name].append(Stay(begin, row.occurred, slots, limit, key))
    for begin, name, slots, limit, key in open_stays.values():
        run = None if key is None else facts.runs.get(key)
        if run is not None and run.end_time is not None:
            stays[name].append(Stay(begin, max(begin, run.end_time), slots, limit, key))
    decaying = {limit.name for limit in facts.history.limits if limit.decay}
    return {name: found for name, found in stays.items() if name not in decaying}


def _stays_by_states(facts: Facts, limit: HistoryLimit) -> list[Stay]:
    """For how long task runs with a tag were Running, since the limit on it is as it is.

    States of a run that come at the same moment are a microsecond apart all the same, each later than it was.
    """
    stays: list[Stay] = []
    for run in _tagged(facts, limit):
        begin: int | None = None
        before, late = 0, 0
        for state in facts.path(run.key):
            late = late + 1 if state.timestamp == before + 1 else 0
            before = state.timestamp
            if state.type == "RUNNING":
                begin = state.timestamp if begin is None else begin
            elif begin is not None:
                if begin < state.timestamp - late:
                    stays.append(Stay(begin, state.timestamp - late, 1, limit.limit, run.key))
                begin = None
    return stays


def problems_by_notes(facts: Facts, notes: Sequence[Note]) -> Iterator[str]:
    """Functions of task runs with a tag that were at work side by side, more than its limit lets.

    The order of the notes is the time here. Left out is what has no end, as its process may have died, and what was
    given up because of its time or from outside: it holds no slot any more, and may still be at work.
    """
    for limit in facts.history.limits:
        if not limit.name.startswith(_TAG) or not limit.active or limit.decay:
            continue
        tagged = {run.key.hex() for run in _tagged(facts, limit)}
        begun: dict[
            tuple[str, str], tuple[int, int]
        ] = {}  # an attempt that was given up ends after the next begins
        stays: list[Stay] = []
        for number, note in enumerate(notes):
            if note.run not in tagged or facts.runs[bytes.fromhex(note.run)].state_name in CUT_SHORT:
                continue
            if note.what == "called":
                begun[note.run, note.name] = note.attempt, number
            elif note.what in ("returned", "raised"):
                attempt, begin = begun.get((note.run, note.name), (0, 0))
                if attempt == note.attempt:
                    stays.append(Stay(begin, number, 1, limit.limit, bytes.fromhex(note.run)))
        yield from crowds(facts, limit.name, stays, "note ")


def _tagged(facts: Facts, limit: HistoryLimit) -> Iterator[HistoryRun]:
    """The task runs with the tag of a limit that were created since it is as it is."""
    tag = limit.name.removeprefix(_TAG)
    for run in facts.history.runs:
        if run.kind != "task" or run.tags is None or tag not in run.tags or run.key in facts.stand_ins:
            continue
        if run.created >= limit.updated and tag in _decode_tags(run.tags):
            yield run


def crowds(facts: Facts, name: str, stays: Sequence[Stay], moment: str = "") -> Iterator[str]:
    """Moments at which slots were taken that were not there."""
    inside: list[Stay] = []
    for stay in sorted(stays, key=_begin_and_end):
        inside = [other for other in inside if other.end > stay.begin]
        inside.append(stay)
        taken = sum(other.slots for other in inside)
        if taken > stay.limit:
            others = ", ".join(facts.who(other.key) for other in inside)
            when = f"{moment}{stay.begin}"
            yield f"{taken} slots of {name} were taken at {when}, and there were {stay.limit}: by {others}"


def _begin_and_end(stay: Stay) -> tuple[int, int]:
    return stay.begin, stay.end
