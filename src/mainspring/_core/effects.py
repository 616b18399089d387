"""What the core asks of its driver. Six effects; each is performed at once and answered with a value.

=============  ==============================================================  =====================
effect         the driver                                                      and replies with
=============  ==============================================================  =====================
`Enter`        makes the state the run's state and records it                  the state entered
`Prepare`      waits for the upstream runs and resolves the parameters         an `Outcome`
`RunHooks`     calls the hooks; one that fails is logged, not raised           nothing
`Ask`          calls the retry condition; one that fails is logged, means no   True or False
`SleepUntil`   waits until a wall time                                         nothing
`EndInside`    waits until nothing goes on inside of the run                   nothing
=============  ==============================================================  =====================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mainspring.states import State

__all__ = ["Ask", "Effect", "EndInside", "Enter", "Prepare", "RunHooks", "SleepUntil"]


class Enter:
    """Enter a state."""

    __slots__ = ("state",)

    def __init__(self, state: State) -> None:
        self.state = state


class Prepare:
    """Get everything ready that the function needs."""

    __slots__ = ()


class RunHooks:
    """Call some hooks in their order because ``state`` was entered."""

    __slots__ = ("hooks", "state")

    def __init__(self, hooks: Sequence[Callable[..., Any]], state: State) -> None:
        self.hooks = hooks
        self.state = state


class Ask:
    """Ask the retry condition whether the failure that ``state`` describes may be retried."""

    __slots__ = ("condition", "state")

    def __init__(self, condition: Callable[..., Any], state: State) -> None:
        self.condition = condition
        self.state = state


class SleepUntil:
    """Wait until ``when``, a wall time in microseconds."""

    __slots__ = ("when",)

    def __init__(self, when: int) -> None:
        self.when = when


class EndInside:
    """Wait for the end of what goes on inside of a run that was told to stop; all of it was told, too."""

    __slots__ = ()


Effect = Enter | Prepare | RunHooks | Ask | SleepUntil | EndInside
"""Something the core wants done."""
