"""Large arguments, without a cluster: what is brought there, and how often."""

import pickle
from typing import Any

import pytest

from mainspring._clusters.deposits import LARGE, Deposit, Deposits
from mainspring._clusters.inputs import Inputs, place_inputs
from mainspring._processes.channel import unpack
from mainspring.annotations import quote

LONG = bytes(2 * LARGE)


class Shelf:
    """Stands for a cluster that keeps values."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.values: list[Deposit] = []
        self._is_full = is_full

    def put(self, value: Deposit) -> Deposit | None:
        if self._is_full:
            return None
        again: Deposit = pickle.loads(pickle.dumps(value, 5))
        self.values.append(again)
        return again


def sent(deposits: Deposits, shelf: Shelf, given: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The arguments as a worker has them, and the size of the parcel."""
    inputs = Inputs()
    placed = deposits.place(given, inputs.number)
    packed, leans = deposits.pack(given, placed, (), shelf.put, inputs.number)
    size = sum(map(len, packed))
    arguments = unpack(packed)
    if leans:
        arguments, _ = place_inputs(arguments, None, inputs.natives)
    return {
        name: each.unwrap() if isinstance(each, quote) else each for name, each in arguments.items()
    }, size


def test_small_arguments() -> None:
    """They go in the parcel."""
    shelf = Shelf()
    given = {"x": 1, "y": [b"small"]}
    assert sent(Deposits(), shelf, given)[0] == given
    assert shelf.values == []


def test_each_large_argument() -> None:
    """It goes by itself, whatever is beside it, and comes out as it was."""
    shelf = Shelf()
    given = {"x": LONG, "y": {"a": [LONG]}, "z": 3}
    arguments, size = sent(Deposits(), shelf, given)
    assert arguments == given
    assert size < LARGE
    assert len(shelf.values) == 2


def test_the_same_argument_again() -> None:
    """What runs have in common goes once, and each of them has a copy of its own."""
    shelf, deposits, common = Shelf(), Deposits(), [LONG]
    found = [sent(deposits, shelf, {"x": number, "y": common})[0]["y"] for number in range(3)]
    assert len(shelf.values) == 1
    found[0].append(1)
    assert found[1] == found[2] == common == [LONG]


def test_where_nothing_can_be_kept() -> None:
    """A cluster without workers has no place for values, so they go in the parcel."""
    shelf = Shelf(is_full=True)
    arguments, size = sent(Deposits(), shelf, {"x": LONG})
    assert arguments == {"x": LONG}
    assert size > len(LONG)


def test_losses() -> None:
    """What was lost goes again, once for all runs of a map that had the same one, and not for ever."""
    shelf, deposits, given = Shelf(), Deposits(), {"x": LONG}
    assert not deposits.forget(deposits.current())
    for time in range(1, 10):
        sent(deposits, shelf, given)
        which = deposits.current()
        assert deposits.forget(which)
        sent(deposits, shelf, given)
        assert deposits.forget(which)
        sent(deposits, shelf, given)
        assert len(shelf.values) == time + 1
    assert not deposits.forget(deposits.current())


@pytest.mark.parametrize("protocol", [4, 5])
def test_pickles(protocol: int) -> None:
    """A value of the cluster is a value again, however the cluster pickles it."""
    deposit = Deposit([pickle.dumps([1, 2])])
    assert pickle.loads(pickle.dumps(deposit, protocol)).open() == [1, 2]
