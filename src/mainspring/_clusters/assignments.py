"""Submitted runs in the hands of a cluster."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any

from mainspring._cancel_scopes import CancelScope
from mainspring._clusters.deposits import Deposits
from mainspring._clusters.protocol import Ticket
from mainspring._clusters.sessions import Session
from mainspring._clusters.values import FarValue
from mainspring._core.circles import Needs
from mainspring._core.traverse import walk
from mainspring._processes.leashes import Leash
from mainspring.context import current_scope
from mainspring.exceptions import SerializationError
from mainspring.futures import RunFuture
from mainspring.futures.promises import Promise
from mainspring.recording import current_recorder
from mainspring.states import is_state
from mainspring.task_runners.calls import Call, describe_run
from mainspring.task_runners.losses import Losses

__all__ = ["Assignment", "Lot", "Place", "Series"]


class Place(Enum):
    """Where a run is on its way.

    HELD: with whoever has made it, or between two of the others. PARKED: it waits for inputs. QUEUED: it is sent next,
    after those before it. SENT: a parcel has it. OVER: it is settled.
    """

    HELD = "held"
    PARKED = "parked"
    QUEUED = "queued"
    SENT = "sent"
    OVER = "over"


MOST_UNTOUCHED = 3
"""How often a run that no worker has begun is sent again, at most."""


class Lot:
    """What runs have in common that may go to the cluster together.

    Args:
        task: The task.
        context: What was active where they were submitted, packed.
        session: Tells workers whose the runs are, and whether they are still wanted.
        options: What they want of the cluster.
        problem: Why what is active there cannot be taken along, if it cannot.
    """

    __slots__ = ("context", "options", "problem", "session", "task")

    def __init__(
        self,
        task: Any,
        context: bytes,
        session: Session,
        options: Mapping[str, Any],
        problem: SerializationError | None = None,
    ) -> None:
        self.task = task
        self.context = context
        self.session = session
        self.options = options
        self.problem = problem


class Assignment:
    """One run, from its submission until its promise is settled.

    Args:
        lot: What it has in common with others.
        call: What was submitted; with the record of the run.
        promise: Comes to its final state.
        owner: Whoever sends it; runs of the same one can be handed on to each other on the cluster.
        on_over: Called with it when it is settled.
        deposits: Its large arguments; those of a map share them.

    Attributes:
        context: The context that is active here, in which everything is done about the run.
        scope: The scope there.
        leash: Why it has to end, if it was told to.
        inputs: The futures among its arguments that were not done when it was submitted.
        missing: How many of them it still waits for.
        needs_values: Whether they have to be over, as the step that the run is of its flow run is told by their values.
        place: Where it is. Changed under the lock of its dispatcher.
        deposited: Which time it was that its large arguments were on the cluster when it was sent.
        ticket: The parcel in which it was sent; None if it was not.
        number: The number of its answer in the reply.
    """

    __slots__ = (
        "_untouched",
        "call",
        "context",
        "deposited",
        "deposits",
        "inputs",
        "leash",
        "lost",
        "lot",
        "missing",
        "needs_values",
        "number",
        "on_over",
        "owner",
        "place",
        "promise",
        "scope",
        "ticket",
    )

    def __init__(
        self,
        lot: Lot,
        call: Call,
        promise: Promise,
        owner: object,
        on_over: Callable[[Assignment], object],
        deposits: Deposits,
    ) -> None:
        assert call.record is not None
        self.lot = lot
        self.call = call
        self.promise = promise
        self.owner = owner
        self.on_over = on_over
        self.deposits = deposits
        self.deposited = 0
        self.context = contextvars.copy_context()
        self.scope: CancelScope | None = current_scope()
        self.leash = Leash(None)
        self.lost = Losses(call, call.record)
        self.inputs: list[RunFuture[Any]] = []
        self.missing = 0
        self.needs_values = False
        self.ticket: Ticket | None = None
        self.number = 0
        self.place = Place.HELD
        self._untouched = 0
        promise.work = self

    def needs(self) -> Needs:
        """See `futures.promises.Work.needs`."""
        return Needs([future for future in self.inputs if not future.is_done()])

    @property
    def label(self) -> Callable[[], str]:
        """What people call the run."""
        return partial(describe_run, self.call.task.name, self.call.run_key)

    def is_untouched(self) -> bool:
        """Whether no worker has begun the run; not if it was asked often, as the run may be why workers die."""
        self._untouched += 1
        return (
            self._untouched <= MOST_UNTOUCHED and current_recorder().store.read_run(self.call.run_key) is None
        )

    def fetch_inputs(self) -> None:
        """Have all that the run needs here, but for what is on its way.

        Raises:
            MissingResult: Something is gone.
            Exception: Whatever making it again raises.
        """
        for node in walk((self.call.parameters, self.call.wait_for)):
            state: Any = node
            if isinstance(node, RunFuture) and node.is_done():
                state = node.state
            if is_state(state) and state.has_data and type(state.data) is FarValue:
                state.data.get()

    def is_unwanted(self) -> bool:
        """Whether it must not begin, as what it would be part of ends, or its runner takes care of nothing more."""
        is_stopped = self.scope is not None and self.scope.stopped() is not None
        return is_stopped or self.call.context["cancel_event"].is_set()


class Series:
    """Many runs that are like each other; each is prepared when it is to be sent.

    Args:
        lot: What they have in common.
        promises: What comes to the final state of each.
        prepare: Gives the assignment with a number.
        at_once: How many may be under way at a time.
    """

    __slots__ = ("at_once", "context", "lot", "next", "prepare", "promises", "under_way")

    def __init__(
        self, lot: Lot, promises: list[Promise], prepare: Callable[[int], Assignment], at_once: int
    ) -> None:
        self.lot = lot
        self.promises = promises
        self.prepare = prepare
        self.at_once = at_once
        self.context = contextvars.copy_context()
        self.next = 0
        self.under_way = 0
        for promise in promises:
            promise.work = self

    @property
    def left(self) -> int:
        """How many are not prepared yet."""
        return len(self.promises) - self.next

    def take(self) -> int:
        """The number of the next one, which counts as under way from now on."""
        number = self.next
        self.next += 1
        self.under_way += 1
        return number

    def needs(self) -> Needs:
        """See `futures.promises.Work.needs`; nothing is known of those that are not prepared yet."""
        return Needs()
