"""The states of each run: the way that it went, its attempts, and what its row says of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from mainspring._core.transitions import MOVES, Move
from mainspring.store.histories import HistoryRun, HistoryState
from mainspring.testing.rules.facts import FINAL, Facts

__all__ = ["problems"]

_BEGINNINGS = ("PENDING", "SCHEDULED")
_MOVES = {
    (before.value, kind.value, name): move
    for before, moves in MOVES.items()
    for move, (kind, name) in moves.items()
}
_NAMES = frozenset((kind, name) for _, kind, name in _MOVES) | {
    ("PENDING", "Pending"),
    ("SCHEDULED", "Scheduled"),
}
_AFTER_DEATH = (Move.AWAIT_RETRY, Move.TIME_OUT, Move.CANCEL)
_FROM_CODE = ("RUNNING", "CANCELLING")  # where a function may return a state that it has made


class _Policy(msgspec.Struct):
    """How many attempts a task run may have."""

    retries: int = 0
    retry_on_crash: int = 0


_decode_policy = msgspec.json.Decoder(_Policy, strict=False).decode


def problems(facts: Facts, by_hand: bool) -> Iterator[str]:
    """What is wrong with the states of runs, whether all is over or not.

    Args:
        facts: What the store holds.
        by_hand: Functions have returned states, or somebody has set them: any state may follow any other one.
    """
    for run in facts.history.runs:
        path = facts.paths.get(run.key)
        if path is None:
            yield f"{facts.who(run.key)} has no states"
            continue
        is_of_flow = run.kind == "flow" or run.key in facts.stand_ins
        found = list(_wrong_path(run, path))
        if not by_hand:
            found += _wrong_moves(run, path, is_of_flow)
        for problem in found:
            yield f"{facts.who(run.key)} {problem}; its states are {' '.join(state.name for state in path)}"
    for key in facts.paths.keys() - facts.runs.keys():
        yield f"states are left of {facts.who(key)}"


def _wrong_moves(run: HistoryRun, path: Sequence[HistoryState], is_of_flow: bool) -> Iterator[str]:
    """Steps that no run makes by itself, and attempts that it may not have."""
    if path[0].type not in _BEGINNINGS:
        yield f"begins as {path[0].name}"
    for before, after in pairwise(path):
        if not _may_follow(before, after, is_of_flow):
            yield f"goes from {before.name} to {after.name}, which is no way to go"
    if run.run_count > 1 and not is_of_flow:
        policy = _Policy() if run.policy is None else _decode_policy(run.policy)
        budget = 1 + policy.retries + policy.retry_on_crash
        if run.run_count > budget:
            yield f"was attempted {run.run_count} times, and may be {budget} times"


def _wrong_path(run: HistoryRun, path: Sequence[HistoryState]) -> Iterator[str]:
    """Gaps between states and between attempts, times that do not go on, and what the row of the run says of them."""
    newest = path[-1]
    if newest.position != len(path) or path[0].position != 1:
        yield f"has states at the positions {[state.position for state in path]}"
    attempts, run_time = 0, 0
    started: int | None = None
    ended: int | None = None
    before: HistoryState | None = None
    for state in path:
        if before is not None:
            if state.timestamp <= before.timestamp:
                yield f"enters {state.name} no later than {before.name} before it"
            if before.type == "RUNNING":
                run_time += state.timestamp - before.timestamp
        if state.type == "RUNNING":
            if before is None or before.type != "PAUSED" or state.name != "Resuming":
                attempts += 1
            ended = None
            started = state.timestamp if started is None else started
        elif ended is None and started is not None and state.type in FINAL:
            ended = state.timestamp
        if state.attempt != attempts:
            yield f"is {state.name} at {state.position} in attempt {state.attempt}, which is number {attempts}"
        before = state
    if len({state.key for state in path}) < len(path):
        yield "has a state twice"
    said = (
        run.state_id,
        run.state_type,
        run.state_name,
        run.run_count,
        run.updated,
        run.start_time,
        run.end_time,
        run.total_run_time,
    )
    expected = (
        newest.key,
        newest.type,
        newest.name,
        attempts,
        newest.timestamp,
        started,
        ended,
        run_time,
    )
    if said != expected:
        yield from _wrong_row(said, expected)


def _wrong_row(said: Sequence[object], expected: Sequence[object]) -> Iterator[str]:
    names = (
        "state_id",
        "state_type",
        "state_name",
        "run_count",
        "updated",
        "start_time",
        "end_time",
        "total_run_time",
    )
    for name, value, due in zip(names, said, expected, strict=True):
        if value != due:
            yield f"has the {name} {value!r}, and its states come to {due!r}"


def _may_follow(before: HistoryState, after: HistoryState, may_begin_again: bool) -> bool:
    """Whether a state may come after another one.

    There has to be a move. What a function returns may have any name of its own. Only flow runs, and task runs that
    stand for them, begin again when they are over, unless they have completed; what is left of a task run whose
    process has died goes on as another attempt, or ends as that was to end for which the process was killed.
    """
    move = _MOVES.get((before.type, after.type, after.name))
    if before.type not in FINAL:
        return move is not None or (before.type in _FROM_CODE and (after.type, after.name) not in _NAMES)
    if move is Move.ROLL_BACK:
        return before.name != "RolledBack"
    if move is Move.BEGIN:
        never_began = (
            before.type == "CRASHED" and not before.attempt
        )  # what is known of it by whoever found it dead
        return never_began or (may_begin_again and before.type != "COMPLETED")
    return move in _AFTER_DEATH
