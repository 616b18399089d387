"""Signals that strike where the interpreter would lose the exception of their handler."""

import sys
import weakref
from types import FrameType

import pytest

from mainspring._interruption import loses_exceptions

here: list[FrameType] = []


def note(*_: object) -> None:
    here.append(sys._getframe())


class Mortal:
    """Something whose end runs code."""

    def __del__(self) -> None:
        note()


@pytest.fixture(autouse=True)
def frames() -> None:
    here.clear()


def test_ordinary_code_gets_exceptions() -> None:
    """What is raised in a function reaches its callers."""
    note()
    assert not loses_exceptions(here[0])


def test_finalizers_lose_exceptions() -> None:
    """What is raised in a finalizer, or in what it calls, is printed and forgotten."""
    Mortal()
    assert loses_exceptions(here[0])


def test_callbacks_of_weak_sets_lose_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is what is raised while a weak set forgets a member."""

    class Member: ...

    class Data(set[object]):
        def discard(self, item: object) -> None:
            note()

    kept: weakref.WeakSet[Member] = weakref.WeakSet()
    kept.data = Data()  # type: ignore[attr-defined]
    member = Member()
    kept.add(member)
    del member
    assert [loses_exceptions(frame) for frame in here] == [True]
