"""A history that was read, with what the checks ask of it again and again."""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.identifiers import shorten
from mainspring.states import TERMINAL_STATES
from mainspring.store.histories import History, HistoryRun, HistoryState

__all__ = ["CUT_SHORT", "FINAL", "Facts"]

FINAL = frozenset(kind.value for kind in TERMINAL_STATES)
"""The types of final states, as the tables have them."""

CUT_SHORT = ("TimedOut", "Crashed", "Cancelled")
"""The names of states that a run may enter while its function is still at work."""


class Facts:
    """What a run store holds.

    Args:
        history: The rows.

    Attributes:
        runs: The runs by their ids.
        paths: The states of each run, oldest first.
        stand_ins: The task runs that stand for subflows.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.runs: dict[bytes, HistoryRun] = {run.key: run for run in history.runs}
        paths: dict[bytes, list[HistoryState]] = {}
        for state in history.states:
            path = paths.get(state.run_key)
            if path is None:
                path = paths[state.run_key] = []
            path.append(state)
        self.paths = paths
        self.stand_ins = frozenset(
            run.around for run in history.runs if run.kind == "flow" and run.around is not None
        )

    def path(self, key: bytes) -> Sequence[HistoryState]:
        """The states of a run, oldest first; none if there is no such run."""
        return self.paths.get(key, ())

    def who(self, key: bytes | None) -> str:
        """What people call a run."""
        if key is None:
            return "no run"
        run = self.runs.get(key)
        if run is None:
            return f"run {shorten(key)}, which is not there"
        return f"{run.kind} run {run.name!r} ({shorten(key)})"
