"""What is told of a task's states: hooks, and subscribers to events."""

from __future__ import annotations

from typing import Any

from benchmarks.cases import Case, Family, Turn, tracked, within
from benchmarks.measuring import nothing
from mainspring import task
from mainspring.events import subscribe


def hook(*_: Any) -> None:
    """A hook that does nothing."""


hooked = task(on_completion=[hook])(nothing)
hooked_often = task(on_running=[hook], on_completion=[hook, hook, hook])(nothing)


def subscribed(turn: Turn) -> float:
    """Seconds per call while somebody takes the events of task runs."""
    with subscribe(lambda _: None, prefix="mainspring.task-run."):
        return within(lambda: turn.per_call(tracked))


FAMILY = Family(
    (
        Case("inline task with a hook", lambda turn: within(lambda: turn.per_call(hooked))),
        Case("inline task with four hooks", lambda turn: within(lambda: turn.per_call(hooked_often))),
        Case("inline task with an event subscriber", subscribed, None, share=2),
    )
)
