"""What a worker is told about a run."""

from __future__ import annotations

from typing import NamedTuple

from mainspring._processes.relays import Audience
from mainspring.runs import TaskRun

__all__ = ["Order"]


class Order(NamedTuple):
    """What a worker is told about a run. Task and parameters are packed beside it.

    Args:
        run: The record of the run.
        context: The context that it was submitted in, packed; None if it is the one that was sent last.
        step: The step of its flow run, see `Call`.
        retries: How many retries of the run were granted elsewhere.
        losses: How many lost attempts of it were made good elsewhere.
        audience: Who listens.
    """

    run: TaskRun
    context: bytes | None
    step: tuple[str, bool] | None
    retries: int
    losses: int
    audience: Audience
