"""Results and transactions: one result for a step, nothing undecided, nothing kept of what did not complete."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mainspring.testing.rules.facts import Facts

__all__ = ["leftovers", "problems", "unfinished"]

_GOING_ON = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
_KEEPING = ("COMPLETED", "FAILED", "CANCELLED")  # what is no success may be kept, too: its exception
_BLOCKED = "NotReady"  # a run whose upstream did not complete is over, though it is PENDING


class _Place(msgspec.Struct):
    """Where a result is."""

    storage_key: str | None = None


_decode_place = msgspec.json.Decoder(_Place).decode


def problems(facts: Facts) -> Iterator[str]:
    """Steps that were completed twice, and results of runs that have not completed.

    A step that was rolled back may be completed again; one that was answered from a kept result is Cached. Where a
    task has a key of its own, several runs may compute the same result side by side, and the newest one stands.
    """
    first: dict[tuple[bytes | None, str], bytes] = {}
    for run in facts.history.runs:
        path = facts.paths.get(run.key)
        if run.kind != "task" or not path or run.state_name != "Completed" or run.key in facts.history.cached:
            continue
        if path[-1].data is None or run.key in facts.stand_ins:
            continue
        place = _decode_place(path[-1].data).storage_key
        if place is None:
            continue
        before = first.setdefault((run.around, place), run.key)
        if before != run.key:
            yield f"{facts.who(run.key)} and {facts.who(before)} have both completed the step kept at {place}"
    for kept in facts.history.kept:
        holder = facts.runs.get(kept.run_key)
        if holder is not None and (holder.state_type not in _KEEPING or holder.state_name == "RolledBack"):
            yield f"{facts.who(kept.run_key)} is {holder.state_name}, and its result is kept at {kept.key}"


def unfinished(facts: Facts) -> Iterator[str]:
    """Runs that are not over, when all is said to be."""
    for run in facts.history.runs:
        if run.state_type in _GOING_ON and run.state_name != _BLOCKED:
            yield f"{facts.who(run.key)} is {run.state_name} though all is over"


def leftovers(facts: Facts) -> Iterator[str]:
    """What is still to be decided or done about flow runs that have completed."""
    for key, root in facts.history.staged:
        if _has_completed(facts, root):
            yield f"nothing was decided about {facts.who(key)}, though {facts.who(root)} has completed"
    for root in facts.history.settlements:
        if _has_completed(facts, root):
            yield f"a transaction is not settled, though {facts.who(root)} has completed"
    for key in facts.history.crash_hooks:
        if _has_completed(facts, key):
            yield f"{facts.who(key)} has completed, and its on_crashed hooks are still to be called"


def _has_completed(facts: Facts, key: bytes) -> bool:
    run = facts.runs.get(key)
    return run is not None and run.state_type == "COMPLETED"
