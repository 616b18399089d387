"""What goes to a worker that does not reach the run store: calls of functions. Their runs are made where it is reached.

A bundle is one or several calls of one task. It is a parcel with another inside, and the reply has an answer for each
call. Beside the answers is what was recorded inside of the functions, to be brought home.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mainspring._clusters.inputs import Inputs
from mainspring._clusters.parcels import Given, Head
from mainspring._core.traverse import ATOMS, is_atomic, transform
from mainspring._processes.channel import Packed
from mainspring._processes.relays import Audience
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import State
from mainspring.store.events import StoredEvent
from mainspring.store.protocol import CacheKey, LogEntry
from mainspring.store.results import KeptResult

__all__ = ["Bundle", "Errand", "History", "place_given", "replace_given", "wrap_bundle"]


class Errand(NamedTuple):
    """One call.

    Args:
        content: The fields of the context of its run, and the arguments, packed.
        deadline: Until when it may go on, in microseconds since the epoch; None if there is no limit.
        first: The number of the first input of the bundle that is one of this call.
        has_given: Whether there are any.
    """

    content: Packed
    deadline: int | None
    first: int
    has_given: bool


class Bundle(NamedTuple):
    """Several calls of one task.

    Args:
        flow_files: See `FlowFiles`.
        context: What was active where the runs were submitted, packed.
        task: The task, packed.
        audience: Who listens there.
        limits: The names of the limits that there are.
        reason: Why the worker is taken not to reach the run store, for messages.
        errands: The calls.
    """

    flow_files: Any
    context: bytes
    task: bytes
    audience: Audience
    limits: frozenset[str]
    reason: str
    errands: Sequence[Errand]


class History(NamedTuple):
    """What was recorded inside of one call.

    Args:
        runs: The runs, each with all of its states.
        results: What was kept.
        logs: Log lines.
        cache_keys: How runs looked for kept results.
        events: Events.
    """

    runs: Sequence[tuple[TaskRun | FlowRun, Sequence[State]]]
    results: Sequence[KeptResult]
    logs: Sequence[LogEntry]
    cache_keys: Sequence[CacheKey]
    events: Sequence[StoredEvent]


def wrap_bundle(bundle: Bundle) -> bytes:
    """A bundle as bytes."""
    return pickle.dumps((tuple(Head.here()), pickle.dumps(bundle, 5)), 5)


def replace_given(parameters: Mapping[str, Any], is_native: Any) -> tuple[Mapping[str, Any], Sequence[Any]]:
    """Arguments with `Given` for values of the cluster itself, and these values."""
    if is_atomic(parameters.values()):
        return parameters, ()
    inputs = Inputs()

    def replace(leaf: Any, _: object) -> Any:
        return Given(inputs.number(leaf)) if is_native(leaf) else leaf

    replaced = {
        name: value if type(value) in ATOMS else transform(value, replace, unwrap=False)
        for name, value in parameters.items()
    }
    return (replaced, inputs.natives) if inputs.natives else (parameters, ())


def place_given(parameters: Mapping[str, Any], inputs: Sequence[Any], first: int) -> dict[str, Any]:
    """Arguments with the values that `Given` stands for."""

    def place(leaf: Any, _: object) -> Any:
        return inputs[first + leaf.number] if type(leaf) is Given else leaf

    return {
        name: value if type(value) in ATOMS else transform(value, place, unwrap=False)
        for name, value in parameters.items()
    }
