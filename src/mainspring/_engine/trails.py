"""What a task runner and the engine of a run that it carries tell each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mainspring.recording import Recorder
from mainspring.runs import TaskRun

__all__ = ["HandOver", "Trail"]

HandOver = Callable[[TaskRun, "dict[str, Any] | None", "BaseException | None"], object]


class Trail(msgspec.Struct, eq=False):
    """What a task runner and the engine of a run that it carries tell each other, apart from the outcome.

    Args:
        hand_over: Called by the thread that has settled an attempt, in the context that the run was submitted in, in
            place of the thread that carries the run and does not come back in time. Gets the run, what the engine that
            goes on with it is to be told if one is, and what has kept the attempt from being settled, if something has.

    ``run`` and ``recorder`` are set by the engine if the run is over and not durable yet. The runner is to tell nobody
    before it is.
    """

    hand_over: HandOver | None = None
    run: TaskRun | None = None
    recorder: Recorder | None = None
