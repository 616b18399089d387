"""JSON of what users pass: kept where there is a form for it, named where there is not, never an error."""

import json
from collections import UserString
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from mainspring.store.encoding import MAX_LENGTH, MAX_MEMBERS, MAX_TEXT, to_json


class Frame:
    pass


class Text(str):
    __slots__ = ()


class Broken(Mapping[str, Any]):
    """A mapping that fails whatever is asked of it."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        raise RuntimeError("broken")

    def __bool__(self) -> bool:
        return True


@dataclass
class Point:
    x: int
    y: object


class Colour(Enum):
    RED = object()


def decoded(value: Mapping[Any, Any]) -> Any:
    text = to_json(value)
    assert text is not None
    return json.loads(text)


@pytest.mark.parametrize("empty", [{}, [], ()])
def test_empty_is_nothing(empty) -> None:
    """What is empty takes no room."""
    assert to_json(empty) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        ([None, True, {"a": "ä"}], [None, True, {"a": "ä"}]),
        (2**70, 2**70),
        (Path("/data/in.csv"), "/data/in.csv"),
        (Text("x"), "x"),
        (Point(1, 2), {"x": 1, "y": 2}),
        (frozenset([3]), [3]),
        (Frame(), "<Frame>"),
        ([Frame()], ["<Frame>"]),
        (Point(1, Frame()), {"x": 1, "y": "<Frame>"}),
        (Frame, "<type>"),
        (len, "<builtin_function_or_method>"),
        (1j, "<complex>"),
        (UserString("x"), "<UserString>"),
        (Colour.RED, "<object>"),
        pytest.param(10**5000, "<int>", id="too long for text"),
        (Broken(), "<Broken>"),
        ("\udcff", "?"),
        ({Frame(): 1, 2: 3}, {"<Frame>": 1, "2": 3}),
        ({(1, 2): "x"}, {"<tuple>": "x"}),
    ],
)
def test_any_value(value: object, expected: object) -> None:
    """What JSON has a form for is kept; anything else becomes the name of its type."""
    assert decoded({"p": value}) == {"p": expected}


def test_one_odd_value_does_not_spoil_the_others() -> None:
    """Beside a value that cannot be encoded the others keep their form."""
    odd = {("a",): 1}
    assert decoded({"odd": odd, "path": Path("/x"), "point": Point(1, Frame())}) == {
        "odd": {"<tuple>": 1},
        "path": "/x",
        "point": {"x": 1, "y": "<Frame>"},
    }


def test_value_that_contains_itself() -> None:
    """A list inside of itself ends after some levels."""
    loop: list[Any] = []
    loop.append(loop)
    assert "<list>" in str(decoded({"p": loop}))


def test_mapping_that_fails() -> None:
    """Of a mapping that fails whatever is asked of it nothing is kept: what is, can be read back as a mapping."""
    assert to_json(Broken()) is None


def test_a_stack_that_is_full() -> None:
    """However little is left of it, a mapping becomes one again, or that is left for later."""
    found: list[Any] = []

    def encode_deep_down() -> None:
        try:
            encode_deep_down()
        finally:
            if len(found) < 30:
                try:
                    found.append(decoded({"p": Point(1, Frame())}))
                except RecursionError:
                    found.append(None)

    with pytest.raises(RecursionError):
        encode_deep_down()
    assert found[0] is None
    assert found[-1] == {"p": {"x": 1, "y": "<Frame>"}}
    assert all(each is None or set(each) == {"p"} for each in found)


def test_long_values_are_shortened() -> None:
    """Long texts and collections keep their beginning and say how much was left out."""
    value = {"text": "x" * MAX_LENGTH * 2, "list": list(range(MAX_LENGTH * 2)), "short": "y"}
    found = decoded(value)
    assert found["text"] == "x" * MAX_TEXT + f"... <{2 * MAX_LENGTH - MAX_TEXT} more>"
    assert found["list"] == [*range(MAX_MEMBERS), f"<{2 * MAX_LENGTH - MAX_MEMBERS} more>"]
    assert found["short"] == "y"


def test_many_members_are_shortened() -> None:
    """A mapping with too many members keeps the first ones."""
    found = decoded({"p": {str(number): "x" * 20 for number in range(10_000)}})
    assert len(found["p"]) == MAX_MEMBERS + 1
    assert found["p"]["..."] == f"<{10_000 - MAX_MEMBERS} more>"


def test_what_fits_is_kept_whole() -> None:
    """A value whose JSON is not long is not shortened, whatever the size of its parts."""
    value = {"text": "x" * (MAX_TEXT * 3), "list": list(range(MAX_MEMBERS * 3))}
    assert decoded(value) == value
