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

They are structs because those are made without an ``__init__`` in Python, and each run makes some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mainspring.states import State

__all__ = ["Ask", "Effect", "EndInside", "Enter", "Prepare", "RunHooks", "SleepUntil"]


class Enter(msgspec.Struct, eq=False):
    """Enter a state."""

    state: State


class Prepare(msgspec.Struct, eq=False):
    """Get everything ready that the function needs."""


class RunHooks(msgspec.Struct, eq=False):
    """Call some hooks in their order because ``state`` was entered."""

    hooks: Sequence[Callable[..., Any]]
    state: State


class Ask(msgspec.Struct, eq=False):
    """Ask the retry condition whether the failure that ``state`` describes may be retried."""

    condition: Callable[..., Any]
    state: State


class SleepUntil(msgspec.Struct, eq=False):
    """Wait until ``when``, a wall time in microseconds."""

    when: int


class EndInside(msgspec.Struct, eq=False):
    """Wait for the end of what goes on inside of a run that was told to stop; all of it was told, too."""


Effect = Enter | Prepare | RunHooks | Ask | SleepUntil | EndInside
"""Something the core wants done."""
