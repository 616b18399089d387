"""What goes to a worker that does not reach the run store: calls of functions. Their runs are made where it is reached.

A bundle is one or several calls of one task. It is a parcel with another inside, and the reply has an answer for each
call. Beside the answers is what was recorded inside of the functions, to be brought home.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mainspring._clusters.deposits import Deposit, Deposits
from mainspring._clusters.inputs import Inputs
from mainspring._clusters.parcels import Given, Head
from mainspring._clusters.protocol import Cluster
from mainspring._core.traverse import ATOMS, transform
from mainspring._processes.channel import Packed
from mainspring._processes.relays import Audience
from mainspring.annotations import quote
from mainspring.runs import FlowRun, TaskRun
from mainspring.states import State
from mainspring.store.events import StoredEvent
from mainspring.store.protocol import CacheKey, LogEntry
from mainspring.store.results import KeptResult

__all__ = ["Bundle", "Errand", "History", "pack_given", "place_given", "wrap_bundle"]


class Errand(NamedTuple):
    """One call.

    Args:
        fields: Those of the context of its run, packed.
        content: The arguments, packed.
        seconds: How long it may take; None if there is no limit. Not until when: clocks of two hosts may differ.
        first: The number of the first input of the bundle that is one of this call.
        leans: Whether anything in the arguments stands for something else.
    """

    fields: bytes
    content: Packed
    seconds: float | None
    first: int
    leans: bool


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
        files: The content of large results, by the paths of their files.
        logs: Log lines.
        cache_keys: How runs looked for kept results.
        events: Events.
    """

    runs: Sequence[tuple[TaskRun | FlowRun, Sequence[State]]]
    results: Sequence[KeptResult]
    files: Mapping[str, bytes]
    logs: Sequence[LogEntry]
    cache_keys: Sequence[CacheKey]
    events: Sequence[StoredEvent]


def wrap_bundle(bundle: Bundle) -> bytes:
    """A bundle as bytes."""
    return pickle.dumps((tuple(Head.here()), pickle.dumps(bundle, 5)), 5)


def pack_given(
    parameters: Mapping[str, Any], deposits: Deposits, cluster: Cluster
) -> tuple[Packed, Sequence[Any], bool]:
    """Arguments as bytes, without what is on the cluster or goes there by itself.

    Args:
        parameters: The arguments, resolved.
        deposits: Knows what is on the cluster already.
        cluster: The cluster.

    Returns:
        The bytes, the values of the cluster that they need, and whether anything stands in them for something else.

    Raises:
        ClusterGone: There is no cluster.
        Exception: Whatever a part of them raises that cannot be pickled.
    """
    inputs = Inputs()
    far: set[str] = set()
    name = ""

    def replace(leaf: Any, _: object) -> Any:
        if not cluster.is_native(leaf):
            return leaf
        far.add(name)
        return Given(inputs.number(leaf))

    placed = deposits.place(parameters, inputs.number)
    for name, value in placed.items():
        if type(value) not in ATOMS and type(value) is not Given:
            placed[name] = transform(value, replace, unwrap=False)
    packed, leans = deposits.pack(parameters, placed, far, cluster.put, inputs.number)
    return packed, inputs.natives, leans


def place_given(parameters: Mapping[str, Any], inputs: Sequence[Any], first: int) -> dict[str, Any]:
    """Arguments as they were before `pack_given`."""

    def place(leaf: Any, _: object) -> Any:
        return inputs[first + leaf.number] if type(leaf) is Given else leaf

    placed: dict[str, Any] = {}
    for name, value in parameters.items():
        given = inputs[first + value.number] if type(value) is Given else value
        if type(given) is Deposit:
            given = given.open()
        if type(given) is quote:
            placed[name] = given.unquote()
        elif given is value and type(value) not in ATOMS:
            placed[name] = transform(value, place, unwrap=False)
        else:
            placed[name] = given
    return placed
