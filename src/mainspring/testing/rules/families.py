"""Runs inside of others: each within the life of the run around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mainspring.store.histories import HistoryRun, HistoryState
from mainspring.testing.rules.facts import FINAL, Facts

__all__ = ["problems"]

_APART = 100
"""Microseconds: states of a run at the same moment are one apart, so those of one with many of them seem to be later.

That is noticed where no time passes while code runs: in virtual time.
"""

_LEAVES_SOME = FINAL - {"COMPLETED"}


def problems(facts: Facts) -> Iterator[str]:
    """Runs that were there before the one around them, or are not over when that has completed.

    A run that has completed has waited for all that was begun inside of it. What comes later is called by its hooks, or
    in a context that was carried out of it. A run that has failed, crashed or was cancelled, whether or not somebody
    has gone on with it, may have left some behind: those of a dead process are settled when somebody finds it dead, and
    what does not listen is left alone after a while.
    """
    for run in facts.history.runs:
        if run.around is None:
            continue
        around = facts.runs.get(run.around)
        if around is None:
            yield f"{facts.who(run.key)} is inside of {facts.who(run.around)}"
            continue
        for problem in _outside(run, around, facts.paths.get(around.key, ())):
            yield f"{facts.who(run.key)} {problem} {facts.who(around.key)}, inside of which it is"


def _lost(path: Sequence[HistoryState]) -> int:
    """The last attempt after which somebody else has gone on with a run; 0 if that was none."""
    return max((state.attempt for state in path[:-1] if state.type in _LEAVES_SOME), default=0)


def _outside(run: HistoryRun, around: HistoryRun, path: Sequence[HistoryState]) -> Iterator[str]:
    if run.kind == "task" and around.kind != "flow":
        yield "belongs to a run that is none of a flow:"
    if run.created < around.created:
        yield "was created before"
    if run.start_time is not None and (around.start_time is None or run.start_time < around.start_time):
        yield "has started before"
    if run.around_attempt > around.run_count:
        yield f"is of attempt {run.around_attempt}, which was not begun, of"
    if around.state_type != "COMPLETED" or around.end_time is None or run.created >= around.end_time:
        return
    if run.kind == "task" and run.around_attempt < around.run_count and run.around_attempt <= _lost(path):
        return
    if run.state_type not in FINAL:
        if run.state_name != "NotReady":
            yield f"is still {run.state_name} after the end of"
    elif run.end_time is not None and run.end_time > around.end_time + _APART:
        yield "has ended after"
