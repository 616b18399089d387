"""What runs on a cluster are made from. What other runs there come to goes from worker to worker, not through here.

A future of a run on the same cluster is replaced by a `Far`, so the cluster itself sees what depends on what, and
brings the reply with the value to the worker. All other futures are waited for first, as with other runners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mainspring._clusters.deposits import Deposit
from mainspring._clusters.parcels import Far, Given, Reply, Verdict, writable
from mainspring._core.traverse import ATOMS, is_atomic, transform
from mainspring._engine.inputs import resolve_leaf, resolve_parameters
from mainspring.annotations import quote
from mainspring.states import State
from mainspring.task_runners.proceeds import unwrap

__all__ = ["Inputs", "Unmet", "place_inputs", "replace_far"]

Locate = Callable[[Any], "Far | Given | None"]
"""What stands for a leaf of the arguments on the cluster; None if it goes there as it is."""


class Unmet(Exception):  # noqa: N818 - names a situation
    """It is not known what another run has come to that the arguments of a run come from."""


class Inputs:
    """The replies and values of the cluster that a parcel needs, each once."""

    def __init__(self) -> None:
        self.natives: list[Any] = []
        self._numbers: dict[int, int] = {}

    def number(self, native: Any) -> int:
        """The number of a reply or value, which is added if it is new."""
        known = self._numbers.get(id(native))
        if known is None:
            known = self._numbers[id(native)] = len(self.natives)
            self.natives.append(native)
        return known


def replace_far(parameters: Mapping[str, Any], locate: Locate) -> tuple[dict[str, Any], set[str]]:
    """Arguments with what stands for values on the cluster, and the names of those that have it in them.

    All else in them is resolved.

    Raises:
        UpstreamTaskError: Something in them is known not to have completed.
        ParameterResolutionError: Something else went wrong in one of them.
    """
    if is_atomic(parameters.values()):
        return dict(parameters), set()
    far: set[str] = set()
    name = ""

    def replace(leaf: Any, around: tuple[Any, ...]) -> Any:
        place = locate(leaf)
        if place is None:
            return resolve_leaf(leaf, around)
        far.add(name)
        return place

    replaced: dict[str, Any] = {}
    for name, value in parameters.items():
        replaced[name] = value if type(value) in ATOMS else transform(value, replace, unwrap=False)
    if not far:
        return resolve_parameters(parameters), far
    others = resolve_parameters({name: value for name, value in replaced.items() if name not in far})
    return {name: others.get(name, value) for name, value in replaced.items()}, far


# Over there


def place_inputs(
    parameters: Mapping[str, Any], wait_for: Sequence[Far] | None, inputs: Sequence[Any]
) -> tuple[dict[str, Any], Iterable[Any] | None]:
    """Arguments and ``wait_for`` with what `Far` and `Given` stand for.

    What did not complete stays a state, so whoever makes the run finds it there, and does not begin.

    Args:
        parameters: The arguments.
        wait_for: What the run waits for.
        inputs: The replies and values of the cluster.
    """

    def place(leaf: Any, _: object) -> Any:
        if type(leaf) is Far:
            return _state_of(leaf, inputs)
        if type(leaf) is Given:
            value = inputs[leaf.number]
            return value.open() if type(value) is Deposit else value
        return leaf

    placed = {
        name: value if type(value) in ATOMS else transform(value, place, unwrap=False)
        for name, value in parameters.items()
    }
    states = None if wait_for is None else [_state_of(far, inputs) for far in wait_for]
    try:
        resolved = resolve_parameters(placed)
    except Exception:  # the run itself meets it again, and records it
        return placed, states
    return {name: each if is_atomic((each,)) else quote(each) for name, each in resolved.items()}, states


def _state_of(far: Far, inputs: Sequence[Any]) -> State:
    """What another run of the cluster has come to.

    Raises:
        Unmet: That is not known.
    """
    reply: Reply = inputs[far.reply]
    answers = reply.answers
    answer = answers[far.number if len(answers) > 1 else 0]
    if answer.verdict is not Verdict.DONE:
        raise Unmet
    packed = reply.value(far.number) if answer.packed is None else writable(answer.packed)
    return unwrap(answer.head, packed, "that the arguments come from")
