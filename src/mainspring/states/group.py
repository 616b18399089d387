"""Many states folded into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from mainspring.states.constructors import Cancelled, Completed, Failed, Paused
from mainspring.states.details import TERMINAL_STATES, StateType
from mainspring.states.state import State

__all__ = ["StateGroup"]


class StateGroup:
    """Counts over some states, and the one state that stands for them all."""

    def __init__(self, states: Iterable[State]) -> None:
        self.states = list(states)
        self.type_counts = Counter(state.type for state in self.states)
        self.total_count = len(self.states)
        self.cancelled_count = self.type_counts[StateType.CANCELLED]
        self.paused_count = self.type_counts[StateType.PAUSED]
        self.fail_count = self.type_counts[StateType.FAILED] + self.type_counts[StateType.CRASHED]
        self.final_count = sum(self.type_counts[kind] for kind in TERMINAL_STATES)
        self.not_final_count = self.total_count - self.final_count

    def all_completed(self) -> bool:
        """True if every state is COMPLETED."""
        return self.type_counts[StateType.COMPLETED] == self.total_count

    def any_cancelled(self) -> bool:
        """True if some state is CANCELLED."""
        return self.cancelled_count > 0

    def any_failed(self) -> bool:
        """True if some state is FAILED or CRASHED."""
        return self.fail_count > 0

    def any_paused(self) -> bool:
        """True if some state is PAUSED."""
        return self.paused_count > 0

    def all_final(self) -> bool:
        """True if every state is final."""
        return self.not_final_count == 0

    def counts_message(self) -> str:
        """The counts as text, for example ``total=3, not_final=1, 'RUNNING'=1``."""
        parts = [f"total={self.total_count}"]
        if self.not_final_count:
            parts.append(f"not_final={self.not_final_count}")
        parts += [f"{kind.value!r}={count}" for kind, count in self.type_counts.items() if count]
        return ", ".join(parts)

    def to_state(self, data: Any) -> State:
        """The one state that stands for the group, holding ``data`` as its result."""
        total = self.total_count
        if self.all_completed():
            return Completed(message="All states completed.", data=data)
        if self.any_cancelled():
            return Cancelled(message=f"{self.cancelled_count}/{total} states cancelled.", data=data)
        if self.any_paused():
            return Paused(message=f"{self.paused_count}/{total} states paused.", data=data)
        if self.any_failed():
            return Failed(message=f"{self.fail_count}/{total} states failed.", data=data)
        if not self.all_final():
            message = f"{self.not_final_count}/{total} states are not final."
            return Failed(message=message, data=data)
        return Failed(message=f"Given states: {self.counts_message()}", data=data)

    def __repr__(self) -> str:
        return f"StateGroup<{self.counts_message()}>"
