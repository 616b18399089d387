"""Knowing objects again: by identity, for as long as they live, and no longer."""

import gc
from typing import Any
from uuid import uuid4

import pytest

from mainspring._core.lineage import BATCH, MAX_MEMBERS, Lineage, Origin
from mainspring.runs import TaskRunResult


class Thing:
    """An object that can be watched."""


def origin() -> Origin:
    return Origin(TaskRunResult(id=uuid4()))


@pytest.mark.contract("T-83")
@pytest.mark.parametrize(
    "value", [Thing(), [1], {"a": 1}, (1000, 2000), {1000}, "some text", 1000, 1.5, b"bytes"]
)
def test_an_object_is_known_again(value: Any) -> None:
    """Whatever can be told from others is known again, an equal object is not."""
    lineage, here = Lineage(), origin()
    lineage.note(value, here)
    assert lineage.origin_of(value) is here
    assert lineage.origin_of([1]) is None


@pytest.mark.contract("T-83", "T-85", "R-52")
def test_direct_members_are_known_again() -> None:
    """So are the members of a collection, those of its members are not."""
    inner, text, thing = [1000], "some text", Thing()
    lineage, here = Lineage(), origin()
    lineage.note(([inner], text, {"k": thing}, thing), here)
    assert lineage.origin_of(text) is here
    assert lineage.origin_of(thing) is here
    assert lineage.origin_of(inner) is None
    lineage.note({"key": inner}, here)
    assert lineage.origin_of(inner) is here


@pytest.mark.contract("T-84", "R-53")
@pytest.mark.parametrize("value", [None, True, False, ..., NotImplemented, -5, 0, 256])
def test_values_that_everybody_shares_are_never_known(value: Any) -> None:
    """Of these there is one object in the whole process, so they tell nothing."""
    lineage = Lineage()
    lineage.note(value, origin())
    lineage.note([value], origin())
    assert lineage.origin_of(value) is None


@pytest.mark.contract("T-84", "R-53")
@pytest.mark.parametrize("number", [-6, 257])
def test_other_numbers_are_known(number: int) -> None:
    """The integers just outside of the shared ones are objects of their own."""
    value = int(str(number))
    lineage, here = Lineage(), origin()
    lineage.note(value, here)
    assert lineage.origin_of(value) is here


def test_the_latest_origin_counts() -> None:
    """An object that several runs returned came from the last of them."""
    value: list[int] = []
    lineage, last = Lineage(), origin()
    lineage.note(value, origin())
    lineage.note(value, last)
    assert lineage.origin_of(value) is last


@pytest.mark.contract("W-17", "V-22")
def test_an_object_dies_as_if_it_were_not_known() -> None:
    """What can be watched is not kept alive, and its entry goes with it."""
    lineage, thing = Lineage(), Thing()
    lineage.note(thing, origin())
    assert len(lineage) == 1
    del thing
    gc.collect()
    assert len(lineage) == 0


@pytest.mark.contract("W-17", "V-22")
def test_memory_stays_flat() -> None:
    """Lists that nobody else has any more are let go of, so a long flow run does not grow."""
    lineage, here = Lineage(), origin()
    for number in range(20 * BATCH):
        lineage.note([number], here)
    assert len(lineage) <= 2 * BATCH


@pytest.mark.contract("W-17")
def test_what_is_in_use_stays_known() -> None:
    """However many objects come after them."""
    lineage, here = Lineage(), origin()
    used: list[Any] = [[number] for number in range(3 * BATCH)]
    for value in used:
        lineage.note(value, here)
    for number in range(10 * BATCH):
        lineage.note([number], origin())
    assert all(lineage.origin_of(value) is here for value in used)


@pytest.mark.contract("W-17", "V-22", "R-81")
def test_no_object_inherits_the_past_of_another() -> None:
    """An object at the address of one that died has no origin, whatever kind of object it was."""
    lineage = Lineage()
    for kind in (Thing, list, dict):
        for _ in range(2_000):
            fresh = kind()
            assert lineage.origin_of(fresh) is None
            lineage.note(fresh, origin())
            del fresh


def test_large_collections_are_known_as_a_whole() -> None:
    """The members of a collection with very many of them are not remembered one by one."""
    values = [object() for _ in range(MAX_MEMBERS + 1)]
    lineage, here = Lineage(), origin()
    lineage.note(values, here)
    assert lineage.origin_of(values) is here
    assert len(lineage) == 1


def test_objects_that_are_noted_while_others_are_let_go() -> None:
    """The collector may come at any allocation, and with it other threads: what they note breaks nothing."""
    lineage, here = Lineage(), origin()
    meanwhile: list[Any] = []

    def note_another(phase: str, _: object) -> None:
        if phase == "start" and len(meanwhile) < 10_000:
            meanwhile.append([0])
            lineage._kept[id(meanwhile[-1])] = (meanwhile[-1], here)

    thresholds = gc.get_threshold()
    gc.callbacks.append(note_another)
    gc.set_threshold(1)
    try:
        for number in range(3 * BATCH):
            lineage.note([number], here)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(note_another)
    assert meanwhile
