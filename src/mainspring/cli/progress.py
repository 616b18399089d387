"""What the runs of this process are up to, counted from the states they enter.

The recorder calls `Progress.note` in the thread that enters a state, so that does next to nothing: it appends
to a queue, which needs no lock. Counting is done by whoever reports, some times a second.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from typing import Literal

from mainspring.cli.failures import innermost_place
from mainspring.cli.rendering import brief, format_duration
from mainspring.runs import FlowRun, Run, TaskRun
from mainspring.states import State, StateType
from mainspring.states.conversion import describe_exception

__all__ = ["FlowProgress", "Notice", "Progress"]

_KINDS = {
    StateType.SCHEDULED: "waiting",
    StateType.PENDING: "waiting",
    StateType.PAUSED: "waiting",
    StateType.RUNNING: "running",
    StateType.CANCELLING: "running",
    StateType.COMPLETED: "completed",
    StateType.FAILED: "failed",
    StateType.CRASHED: "crashed",
    StateType.CANCELLED: "cancelled",
}


class FlowProgress:
    """One flow run and the number of its task runs by what they are doing; see ``_COUNTED`` in rendering."""

    __slots__ = ("counts", "depth", "retries", "run", "state")

    def __init__(self, run: FlowRun, state: State, depth: int) -> None:
        self.run = run
        self.state = state
        self.depth = depth
        self.counts: Counter[str] = Counter()
        self.retries = 0

    def count(self, before: str, now: str) -> None:
        """A task run is no longer doing ``before`` (nothing, if it is new) but ``now``."""
        if before:
            self.counts[before] -= 1
        self.counts[now] += 1


class Notice:
    """Something to tell about a run: ``kind`` says what, ``at`` when."""

    __slots__ = ("at", "depth", "kind", "name", "text")

    def __init__(self, kind: Kind, at: int, name: str, text: str, depth: int) -> None:
        self.kind = kind
        self.at = at
        self.name = name
        self.text = text
        self.depth = depth


Kind = Literal["started", "retried", "failed", "finished"]


class Progress:
    """The flow runs of this process, in the order in which they began.

    `note` may be called from any thread; everything else is done with `lock` held.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flows: dict[bytes, FlowProgress] = {}
        self._entered: deque[tuple[Run, State]] = deque()
        self._unfinished: dict[bytes, tuple[FlowProgress | None, str]] = {}

    @property
    def first(self) -> FlowProgress | None:
        """The flow run that was started first, if any was started by now."""
        return next(iter(self.flows.values()), None)

    def note(self, run: Run, state: State) -> None:
        """A listener for the recorder: ``run`` entered ``state``."""
        self._entered.append((run, state))

    def take_in(self) -> Iterator[Notice]:
        """Count what was noted since the last time, and tell what deserves a line."""
        for _ in range(len(self._entered)):
            run, state = self._entered.popleft()
            if isinstance(run, FlowRun):
                yield from self._take_in_flow_run(run, state)
            elif isinstance(run, TaskRun):
                yield from self._take_in_task_run(run, state)

    def totals(self) -> tuple[Counter[str], int]:
        """The numbers of all task runs by what they are, and how often something was retried."""
        counts: Counter[str] = Counter()
        for flow in self.flows.values():
            counts += flow.counts
        return counts, sum(flow.retries for flow in self.flows.values())

    def _take_in_flow_run(self, run: FlowRun, state: State) -> Iterator[Notice]:
        known = self.flows.get(run.key)
        if known is None:
            around, _ = self._unfinished.get(run.parent_task_run_key or b"", (None, ""))
            known = self.flows[run.key] = FlowProgress(run, state, 0 if around is None else around.depth + 1)
        before, known.state = known.state, state
        if state.is_running() and before.is_pending():
            yield Notice("started", state.at, run.name, "started", known.depth)
        elif _is_retry(state, _KINDS[before.type]):
            known.retries += 1
            yield _retry(run, state, known.depth)
        elif not known.depth:
            return  # how the whole command ends is told at length by somebody else
        elif state.is_failed() or state.is_crashed():
            yield _failure(run, state, known.depth)
        elif state.is_final():
            yield Notice("finished", state.at, run.name, state.name.lower(), known.depth)

    def _take_in_task_run(self, run: TaskRun, state: State) -> Iterator[Notice]:
        flow, before = self._unfinished.pop(run.key, (None, ""))
        if not before:
            if state.is_final():
                return  # rolled back after its end
            flow = self.flows.get(run.flow_run_key or b"")
        now = "not ready" if state.name == "NotReady" else _KINDS[state.type]
        if not state.is_final():
            self._unfinished[run.key] = (flow, now)
        if flow is not None:
            flow.count(before, now)
        if state.has_details and state.state_details.child_flow_run_id is not None:
            return  # it stands for a subflow, which is told about itself
        depth = 0 if flow is None else flow.depth + 1
        if _is_retry(state, before):
            if flow is not None:
                flow.retries += 1
            yield _retry(run, state, depth)
        elif state.is_failed() or state.is_crashed():
            yield _failure(run, state, depth)


def _is_retry(state: State, before: str) -> bool:
    """True for one state of each retry: the wait before it, or its beginning if there is no wait."""
    return state.name == "AwaitingRetry" or (state.name == "Retrying" and before != "waiting")


def _retry(run: Run, state: State, depth: int) -> Notice:
    due = state.scheduled_at
    again = "trying again" if due is None else f"trying again in {format_duration(due - state.at)}"
    reason = f": {brief(state.message)}" if state.message else ""
    return Notice("retried", state.at, run.name, f"attempt failed, {again}{reason}", depth)


def _failure(run: Run, state: State, depth: int) -> Notice:
    error = state.data
    place = ""
    reason = state.message or ""
    if isinstance(error, BaseException):
        place = innermost_place(error)
        if state.name == "Failed":  # its message says the same with more words
            reason = describe_exception(error)
    told = f"{state.name.lower()}{f': {brief(reason)}' if reason else ''}{f' ({place})' if place else ''}"
    return Notice("failed", state.at, run.name, told, depth)
