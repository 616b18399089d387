"""Values to hash, and a process of its own that hashes them."""

import enum
import functools
import os
import pickle
import struct
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pydantic
from hypothesis import strategies as st

from mainspring.hashing import content_hash


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Weekday(enum.IntEnum):
    MONDAY = 1


@dataclass
class Point:
    x: int
    y: Any = 0


@attrs.define
class Circle:
    center: Any
    radius: float = 1.0


class Box(msgspec.Struct):
    width: int
    tags: set[str] = set()


class Model(pydantic.BaseModel):
    name: str
    options: set[str] = set()


class Plain:
    """An object with attributes, some of them in slots."""

    __slots__ = ("__dict__", "slot")

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


class Pair(NamedTuple):
    first: Any
    second: Any


class Words(set):
    """A set with a name of its own."""


def double(x: int) -> int:
    """Twice as much."""
    return x * 2


def adder(amount: Any) -> Any:
    def add(x: int) -> Any:
        return x + amount

    return add


LETTERS = [f"letter {letter}" for letter in "abcdefghijklmnop"]


def different() -> dict[str, Any]:
    """Values of all kinds; no two may have the same hash. Some hold sets of texts, whose order depends on the seed."""
    names = ["one", "two", "three"]
    return {
        "none": None,
        "true": True,
        "int": 1,
        "big": 10**5000,
        "float": 1.0,
        "zero": 0.0,
        "minus zero": -0.0,
        "complex": 1 + 0j,
        "text": "1",
        "bytes": b"1",
        "bytearray": bytearray(b"1"),
        "buffer": memoryview(b"1"),
        "decimal": Decimal(1),
        "fraction": Fraction(1),
        "list": [1],
        "tuple": (1,),
        "set": {1},
        "frozenset": frozenset({1}),
        "nested": [[1]],
        "letters": set(LETTERS),
        "words": Words(LETTERS),
        "frozen letters": frozenset(LETTERS),
        "sets in sets": {frozenset(LETTERS), frozenset(names)},
        "dict": {1: 2},
        "text dict": {"1": 2},
        "dict of tuples": {(letter, 1): letter for letter in LETTERS},
        "ordered": OrderedDict(one=1, two=2),
        "ordered differently": OrderedDict(two=2, one=1),
        "counter": Counter(one=1, two=2),
        "default": defaultdict(list, one=1, two=2),
        "other default": defaultdict(set, one=1, two=2),
        "deque": deque([1]),
        "range": range(1),
        "slice": slice(1),
        "ellipsis": ...,
        "date": date(2020, 1, 1),
        "naive": datetime(2020, 1, 1),  # noqa: DTZ001
        "utc": datetime(2020, 1, 1, tzinfo=UTC),
        "zone": datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Paris")),
        "time": time(1),
        "span": timedelta(1),
        "uuid": UUID(int=1),
        "path": PurePosixPath("1"),
        "real path": Path("2"),
        "enum": Color.RED,
        "other enum": Color.BLUE,
        "int enum": Weekday.MONDAY,
        "enum class": Color,
        "dataclass": Point(1),
        "attrs": Circle(1),
        "struct": Box(1, set(LETTERS)),
        "model": Model(name="one", options=set(LETTERS)),
        "named tuple": Pair(1, 2),
        "namespace": SimpleNamespace(x=1),
        "object": Plain(x=1, slot=set(LETTERS)),
        "error": ValueError("one"),
        "function": double,
        "builtin": len,
        "closure": adder(1),
        "other closure": adder(2),
        "lambda": lambda x: x,
        "partial": functools.partial(double, 1),
        "method": "text".join,
        "array": np.array([1]),
        "float array": np.array([1.0]),
        "matrix": np.array([[1]]),
        "number": np.int64(1),
        "objects": np.array([1, "a", None], dtype=object),
        "frame": pd.DataFrame({"x": [1, 2], "y": ["a", None]}),
        "series": pd.Series(["a", None], name="y"),
        "categories": pd.Series(["a", "b"], dtype="category"),
        "polars frame": pl.DataFrame({"x": [1, 2], "y": ["a", None]}),
        "polars series": pl.Series("y", [["a"], None, []]),
    }


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, float("inf")]),
    st.sampled_from(["", "0", "1", "a", "aa", "\udc80", "é" * 60]),
    st.sampled_from([b"", b"0", b"a"]),
    st.integers(),
    st.text(max_size=3),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
)
HASHABLE = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=6,
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(HASHABLE, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Circle, inner),
        st.builds(SimpleNamespace, a=inner, b=inner),
        st.lists(st.integers(0, 1) | st.booleans(), min_size=15, max_size=18),
        st.lists(st.sampled_from(["", "a", "aa"]), min_size=15, max_size=18),
    ),
    max_leaves=12,
)


def content(value: Any) -> Any:
    """What makes a value what it is, as something that Python can compare."""
    kind = type(value).__name__
    if isinstance(value, float):
        return kind, struct.pack("d", value)
    if isinstance(value, Decimal):
        return kind, str(value)
    if isinstance(value, list | tuple):
        return kind, tuple(map(content, value))
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(content, value))
    if isinstance(value, dict):
        return kind, frozenset((content(key), content(item)) for key, item in value.items())
    if isinstance(value, Point):
        return kind, content(value.x), content(value.y)
    if isinstance(value, Circle):
        return kind, content(value.center)
    if isinstance(value, SimpleNamespace):
        return kind, content(vars(value))
    return kind, value


def shuffled(value: Any) -> Any:
    """An equal value whose sets and dicts were filled in another order, and which shares no part with the first."""
    if isinstance(value, list | tuple):
        return type(value)(map(shuffled, value))
    if isinstance(value, set | frozenset):
        return type(value)(reversed([shuffled(member) for member in value]))
    if isinstance(value, dict):
        return {shuffled(key): shuffled(value[key]) for key in reversed(list(value))}
    if isinstance(value, Point):
        return Point(y=shuffled(value.y), x=shuffled(value.x))
    if isinstance(value, Circle):
        return Circle(shuffled(value.center))
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(b=shuffled(value.b), a=shuffled(value.a))
    return value


class OtherProcess:
    """A fresh interpreter with a hash seed of its own, which hashes what it is sent."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        self.input = process.stdin
        self.output = process.stdout

    def hash(self, value: Any) -> str:
        """The hash of a value that was made here."""
        pickle.dump(value, self.input)
        self.input.flush()
        return self.output.readline().decode().strip()

    def hashes(self) -> dict[str, str]:
        """The hashes of `different()`, made over there."""
        pickle.dump(OtherProcess, self.input)
        self.input.flush()
        return dict(line.split("=") for line in self.output.readline().decode().strip().split(";"))


@contextmanager
def other_process(seed: int) -> Iterator[OtherProcess]:
    """Start it, and end it with the block."""
    program = "from tests.caching import values; values.serve()"
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield OtherProcess(process)
    finally:
        process.communicate()


def serve() -> None:
    """Answer until nothing more is sent."""
    while True:
        try:
            value = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if value is OtherProcess:
            print(
                *(f"{name}={content_hash(value)}" for name, value in different().items()), sep=";", flush=True
            )
        else:
            print(content_hash(value), flush=True)
