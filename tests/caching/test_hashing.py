"""Hashes by content: what is equal, what differs, what is refused, and what it costs."""

import copyreg
import gc
import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.exceptions import HashError
from mainspring.hashing import (
    STABLE_TRANSFORMS,
    content_hash,
    content_hashes,
    file_hash,
    hash_objects,
    items_hash,
    stable_hash,
)
from tests.caching import values
from tests.caching.values import Plain, Point

# Texts and files


@pytest.mark.contract("K-22")
def test_stable_hash_is_the_hash_of_texts_in_a_row() -> None:
    """Texts count as UTF-8, bytes as they are, one after the other; MD5 unless another function is given."""
    assert stable_hash("é", b"\0", "") == hashlib.md5("é".encode() + b"\0").hexdigest()
    assert stable_hash("é", hash_algo=hashlib.sha256) == hashlib.sha256("é".encode()).hexdigest()
    assert stable_hash() == hashlib.md5().hexdigest()


@pytest.mark.contract("K-23")
def test_file_hash_is_the_hash_of_what_the_file_holds(tmp_path: Path) -> None:
    """By path or its text, in any hash function; a missing file is an error."""
    path = tmp_path / "file"
    path.write_bytes(b"content" * 100_000)
    assert file_hash(path) == file_hash(str(path)) == hashlib.md5(path.read_bytes()).hexdigest()
    assert file_hash(path, hashlib.sha256) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(FileNotFoundError):
        file_hash(tmp_path / "missing")


@pytest.mark.contract("K-28")
def test_md5_is_declared_as_no_matter_of_security(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where MD5 is restricted, it is there for those who say that nothing depends on it."""
    md5 = hashlib.md5

    def restricted(data: Any = b"", *, usedforsecurity: bool = True) -> Any:
        if usedforsecurity:
            raise ValueError("disabled for FIPS")
        return md5(data, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "md5", restricted)
    (tmp_path / "file").touch()
    assert stable_hash("a")
    assert hash_objects(["a" * 1000])
    assert file_hash(tmp_path / "file")


# Equal and different values


def test_different_values_have_different_hashes() -> None:
    """One, its text, its float and everything else that looks like it are told apart."""
    hashes = {name: content_hash(value) for name, value in values.different().items()}
    assert len(set(hashes.values())) == len(hashes)


@given(values.VALUES, values.VALUES)
@pytest.mark.slow
@settings(max_examples=300)
def test_hashes_are_equal_just_if_values_are(one: Any, two: Any) -> None:
    """The type counts, and so does what is inside; where it came from does not."""
    same = values.content(one) == values.content(two)
    assert (content_hash(one) == content_hash(two)) is same
    assert (hash_objects(one) == hash_objects(two)) is same


@pytest.mark.contract("K-41")
@given(values.VALUES)
@pytest.mark.slow
@settings(max_examples=200)
def test_order_and_sharing_do_not_count(value: Any) -> None:
    """A value that was put together in another order has the same hash, and so has a list of it twice."""
    again = values.shuffled(value)
    assert content_hash(value) == content_hash(again)
    assert content_hash([value, value]) == content_hash([value, again])


@pytest.mark.slow
@pytest.mark.contract("K-25", "K-41")
def test_hashes_are_the_same_in_every_process() -> None:
    """A fresh interpreter with another seed for its hashes agrees on values of all kinds."""
    here = {name: content_hash(value) for name, value in values.different().items()}
    for seed in (1, 2):
        with values.other_process(seed) as other:
            assert other.hashes() == here


class OddError(Exception):
    """Of this module alone."""


@pytest.mark.contract("K-25")
def test_where_an_exception_was_raised_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if a library has taught pickle to take tracebacks along, as Dask's is."""
    tblib = pytest.importorskip("tblib.pickling_support")
    monkeypatch.setattr("copyreg.dispatch_table", copyreg.dispatch_table.copy())
    before = content_hash(OddError("one"))
    tblib.install(OddError)
    with pytest.raises(OddError) as caught:
        raise OddError("one")
    assert content_hash(caught.value) == before


@pytest.fixture(scope="module")
def other() -> Iterator[values.OtherProcess]:
    with values.other_process(seed=3) as process:
        yield process


@pytest.mark.slow
@pytest.mark.contract("K-25")
@given(value=values.VALUES)
@settings(max_examples=150)
def test_any_value_has_the_same_hash_in_another_process(other: values.OtherProcess, value: Any) -> None:
    """Whatever Hypothesis thinks of."""
    assert other.hash(value) == content_hash(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"x": 1, "y": "abc"}, "4975594fac922443f8063f56946cecb2"),
        ([1.5, None, True, {"a", "b"}, ("é", b"\0")], "f356e8a62c918d85cb9735e2e1a9dfc2"),
        ({"text": "long " * 100, "many": list(range(100))}, "4ba06646773fe563e26bac3dd502a659"),
    ],
)
def test_hashes_stay_what_they_were(value: Any, expected: str) -> None:
    """Keys outlive versions of this package: a change of these is a change of the format, and forgets every cache."""
    assert content_hash(value) == expected


def test_every_item_of_a_long_list_counts() -> None:
    """Lists of one plain type take a quicker way, on which nothing is lost."""
    for items in ([0.5] * 50, list(range(50)), ["ab", "c"] * 25, [10**30] * 50, [True] * 50):
        changed = [*items[:-1], type(items[0])(0)]
        assert content_hash(items) != content_hash(changed)
        assert content_hash(items) != content_hash(tuple(items))
    assert content_hash(["ab", "c"] * 25) != content_hash(["a", "bc"] * 25)
    assert content_hash([1] * 50) != content_hash([1.0] * 50)


@pytest.mark.contract("K-24")
def test_hash_objects_takes_values_and_named_values() -> None:
    """Positions, names and values count; the order of names does not."""
    assert hash_objects(1, x=2, y=3) == hash_objects(1, y=3, x=2)
    hashes = [
        hash_objects(1, x=2),
        hash_objects(1, 2),
        hash_objects(1, {"x": 2}),
        hash_objects(x=2),
        hash_objects(),
    ]
    assert len(set(hashes)) == len(hashes)
    assert len(hash_objects(1, hash_algo=hashlib.sha512) or "") == 128


def test_fields_are_found_by_name() -> None:
    """Records whose fields are declared in another order are the same; other names are not."""

    def make(*names: str) -> Any:
        return dataclass(
            type("Made", (), {"__annotations__": dict.fromkeys(names, int), "__module__": __name__})
        )

    assert content_hash(make("x", "y")(x=1, y=2)) == content_hash(make("y", "x")(x=1, y=2))
    assert content_hash(make("x", "y")(x=1, y=2)) != content_hash(make("x", "z")(x=1, z=2))


def test_what_a_subclass_adds_counts() -> None:
    """A subclass of a record that is none itself may keep more than the fields."""

    class More(Point):
        def __init__(self, x: int, more: int) -> None:
            super().__init__(x)
            self.more = more

    assert content_hash(More(1, 2)) != content_hash(More(1, 3))


def test_functions_count_by_what_they_do() -> None:
    """Name, code, defaults and closures count, the place in a file does not."""
    compiled: list[FunctionType] = []
    for source in ("def f(x, y=1): return x", "\n\ndef f(x, y=1): return x", "def f(x, y=2): return x"):
        namespace: dict[str, Any] = {"__name__": "made"}
        exec(source, namespace)
        compiled.append(namespace["f"])
    first, moved, other = map(content_hash, compiled)
    assert first == moved
    assert first != other
    assert content_hash(values.adder([1])) != content_hash(values.adder([2]))


def test_classes_that_nobody_can_import_count_by_their_members() -> None:
    """Two local classes of one name are told apart."""

    def make(amount: int) -> type:
        class Local:
            size = amount

            def double(self) -> int:
                return self.size * 2

        return Local

    assert content_hash(make(1)) == content_hash(make(1))
    assert content_hash(make(1)) != content_hash(make(2))


# Cycles and depth


def test_values_may_contain_themselves() -> None:
    """Equal cycles are equal, different ones differ, and a function may call itself."""

    def ring(*names: str) -> dict[str, Any]:
        first: dict[str, Any] = {"name": names[0]}
        last = first
        for name in names[1:]:
            last["next"] = last = {
                "name": name
            }  # the right side is evaluated once, so the old one gets the new
        last["next"] = first
        return first

    def loop(items: list[Any]) -> list[Any]:
        items.append(items)
        return items

    def countdown(n: int) -> int:
        return n and countdown(n - 1)

    assert content_hash(loop([1])) == content_hash(loop([1]))
    assert content_hash(loop([1])) != content_hash(loop([2]))
    assert content_hash(ring("a", "b")) == content_hash(ring("a", "b"))
    assert content_hash(ring("a", "b")) != content_hash(ring("a", "c"))
    assert content_hash(countdown) == content_hash(countdown)


def test_sharing_is_no_repetition_of_work() -> None:
    """A list of 2 to the power of 60 items which are all the same is walked in no time; so is a dense graph."""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    assert content_hash(value)
    nodes = [Plain(name=name) for name in range(100)]
    for node in nodes:
        node.others = nodes
    assert content_hash(nodes[0])


def test_what_is_too_deep_or_too_entangled_is_refused() -> None:
    """Neither the stack nor the day ends."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(HashError, match="nested too deeply"):
        content_hash(deep)
    nodes = [Plain(name=name) for name in range(30)]
    for node in nodes:
        node.others = set(nodes)
    with pytest.raises(HashError, match="refer to each other through sets"):
        content_hash(nodes[0])
    while deep:  # let go of it level by level
        deep = deep[0]
    gc.collect()


# Refusals


class Connection:
    """Holds something that has no content."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@pytest.mark.contract("K-24")
def test_a_value_without_content_has_no_hash() -> None:
    """None by default; on demand an error with both reasons and the way to the culprit."""
    value = {"x": [1, 2, {"conn": Connection()}]}
    assert hash_objects(value) is None
    with pytest.raises(HashError) as caught:
        hash_objects(1, value, raise_on_failure=True)
    assert caught.value.path == "args[1]['x'][2]['conn'].lock"
    assert "args[1]['x'][2]['conn'].lock" in str(caught.value)
    assert str(caught.value).count("cannot pickle '_thread.lock' object") == 2


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([Connection()], "[0].lock"),
        ({("a", 1): threading.Lock()}, "[('a', 1)]"),
        (Point(1, threading.Lock()), ".y"),
        (values.adder(threading.Lock()), ".<closure amount>"),
        (values.Pair(1, threading.Lock()), ".second"),
    ],
    ids=["list", "dict", "record", "closure", "named tuple"],
)
def test_the_way_to_the_culprit(value: Any, path: str) -> None:
    """It reads like the expression that leads there."""
    with pytest.raises(HashError) as caught:
        content_hash(value, "value")
    assert caught.value.path == f"value{path}"


async def _coroutine() -> None: ...


def test_what_would_be_used_up_is_refused(tmp_path: Path) -> None:
    """Generators, coroutines and open files have no content to be told; they are left as they were."""
    generator = (number for number in [1, 2])
    coroutine = _coroutine()
    (tmp_path / "file").write_text("text")
    with (tmp_path / "file").open() as file:
        for value in (generator, coroutine, file):
            with pytest.raises(HashError, match="no content"):
                content_hash([value])
        assert file.read() == "text"
    coroutine.close()
    assert list(generator) == [1, 2]
    assert content_hash(io.BytesIO(b"a")) != content_hash(io.BytesIO(b"b"))


class Unpicklable:
    """Says so in its own words."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("stay away")


def test_errors_of_foreign_code_become_hash_errors() -> None:
    """Whatever an object raises when it is taken apart is told."""
    with pytest.raises(HashError, match="RuntimeError: stay away"):
        content_hash(Unpicklable())


# Transforms


class Odd:
    """Its state is different each time."""

    count = 0

    def __init__(self, name: str) -> None:
        self.name = name
        Odd.count += 1
        self.noise = Odd.count


class Odder(Odd):
    """Derived from it."""


@pytest.mark.contract("K-27")
@pytest.mark.parametrize("key", [Odd, "tests.Odd"])
def test_transforms_say_what_counts(monkeypatch: pytest.MonkeyPatch, key: Any) -> None:
    """A function for a class, or for its name, replaces what would be hashed; for subclasses, too."""
    assert content_hash(Odd("a")) != content_hash(Odd("a"))
    monkeypatch.setitem(STABLE_TRANSFORMS, key, lambda odd: odd.name)
    assert content_hash(Odd("a")) == content_hash(Odd("a"))
    assert content_hash(Odder("a")) == content_hash(Odder("a"))
    assert len({content_hash(value) for value in (Odd("a"), Odd("b"), Odder("a"), "a")}) == 4


def test_a_failing_transform_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is the reason, and the way to the value is there."""

    def fail(_: object) -> None:
        raise RuntimeError("no way")

    monkeypatch.setitem(STABLE_TRANSFORMS, Odd, fail)
    with pytest.raises(HashError, match=r"value\[0\]: its transform failed \(RuntimeError: no way\)"):
        content_hash([Odd("a")])


@given(st.lists(st.integers(), max_size=40))
def test_transforms_may_be_nested(items: list[int]) -> None:
    """What a transform returns is hashed by the same rules, in any position."""
    assert content_hash([Point(1, items)]) == content_hash([Point(1, list(items))])


@dataclass
class Holder:
    """A record that may be incomplete."""

    here: int
    later: int = field(init=False)


def test_unset_fields_are_left_out() -> None:
    """A field that was never set is no error, and is not the same as one that was."""
    one, two = Holder(1), Holder(1)
    assert content_hash(one) == content_hash(two)
    two.later = 1
    assert content_hash(one) != content_hash(two)


def test_arguments_have_the_hash_of_their_dict() -> None:
    """However they are hashed: with those of each of them, or for themselves, and with a cycle in one."""
    endless: list[object] = []
    endless.append(endless)
    for arguments in ({}, {"x": 1, "a": "\ud800"}, {"l": [1, {"z": None}], "f": -0.0}, {"e": endless}):
        whole, parts = content_hashes(arguments)
        assert items_hash(arguments) == whole == content_hash(arguments)
        assert parts == {name: content_hash(value) for name, value in arguments.items()}


def test_arguments_without_a_hash_are_told() -> None:
    """The message of an argument that cannot be hashed says which one it is."""
    with pytest.raises(HashError, match=r"Cannot hash inputs\['x'\]\[0\]"):
        items_hash({"x": [threading.Lock()]}, "inputs")
