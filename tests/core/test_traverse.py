"""Walking nested values: what is entered, what is left alone, what is rebuilt."""

import io
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock, Mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring._core.traverse import is_atomic, members_of, transform, walk
from mainspring.annotations import allow_failure, opaque, quote, unmapped


class Leaf:
    """Something to be found and replaced."""

    def __init__(self, value: Any = "replaced") -> None:
        self.value = value


def replace(leaf: Any, _: object) -> Any:
    return leaf.value if isinstance(leaf, Leaf) else leaf


def keep(leaf: Any, _: object) -> Any:
    return leaf


def met(value: Any) -> list[Any]:
    """The leaves that a walk over ``value`` meets, in order."""
    found = []

    def note(leaf: Any, _: object) -> Any:
        found.append(leaf)
        return leaf

    transform(value, note)
    return found


Point = namedtuple("Point", "x y")  # noqa: PYI024 - both kinds of named tuples are walked


class TypedPoint(NamedTuple):
    x: Any
    y: Any = 2


@dataclass
class Record:
    x: Any
    y: Any = field(default=2, compare=False)


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    x: Any
    y: Any = 2


class Struct(msgspec.Struct):
    x: Any
    y: Any = 2


class FrozenStruct(msgspec.Struct, frozen=True):
    x: Any
    y: Any = 2


class MyList(list):
    note = None


class MyTuple(tuple):
    __slots__ = ()


class MySet(set):
    pass


LEAF = Leaf()
CONTAINERS: dict[str, tuple[Any, Any]] = {
    "list": ([1, LEAF], [1, "replaced"]),
    "tuple": ((1, LEAF), (1, "replaced")),
    "set": ({1, LEAF}, {1, "replaced"}),
    "dict": ({"k": LEAF}, {"k": "replaced"}),
    "dict keys": ({LEAF: 1}, {"replaced": 1}),
    "ordered dict": (OrderedDict(a=1, b=LEAF), OrderedDict(a=1, b="replaced")),
    "named tuple": (Point(LEAF, 2), Point("replaced", 2)),
    "typed named tuple": (TypedPoint(LEAF), TypedPoint("replaced")),
    "list subclass": (MyList([LEAF]), MyList(["replaced"])),
    "tuple subclass": (MyTuple([LEAF]), MyTuple(["replaced"])),
    "set subclass": (MySet([LEAF]), MySet(["replaced"])),
    "dataclass": (Record(LEAF), Record("replaced")),
    "frozen dataclass": (FrozenRecord(LEAF), FrozenRecord("replaced")),
    "struct": (Struct(LEAF), Struct("replaced")),
    "frozen struct": (FrozenStruct(LEAF), FrozenStruct("replaced")),
    "nested": ([{"a": (Record([LEAF]),)}], [{"a": (Record(["replaced"]),)}]),
}


@pytest.mark.contract("T-91", "U-2", "FU-24")
@pytest.mark.parametrize(("value", "expected"), CONTAINERS.values(), ids=CONTAINERS)
def test_containers_are_rebuilt_around_what_changed(value: Any, expected: Any) -> None:
    """Each kind of container is entered, comes back as the same kind, and the original stays as it was."""
    result = transform(value, replace)
    assert result == expected
    assert type(result) is type(value)
    assert result is not value
    assert any(isinstance(leaf, Leaf) for leaf in met(value)), "the original still holds the leaf"


@pytest.mark.contract("T-94", "U-3", "FU-20")
@pytest.mark.parametrize("value", [value for value, _ in CONTAINERS.values()], ids=CONTAINERS)
def test_what_did_not_change_is_the_same_object(value: Any) -> None:
    """A container in which nothing was replaced comes back itself."""
    assert transform(value, keep) is value


@pytest.mark.contract("T-94", "U-3")
def test_unchanged_parts_of_a_changed_value_keep_their_identity() -> None:
    """Only the containers on the way to a change are new."""
    untouched = {"a": [1, 2]}
    result = transform([untouched, [LEAF]], replace)
    assert result == [untouched, ["replaced"]]
    assert result[0] is untouched


def test_attributes_of_a_list_subclass_survive() -> None:
    """A rebuilt list keeps what its class added."""
    value = MyList([LEAF])
    value.note = "mine"
    assert transform(value, replace).note == "mine"


@pytest.mark.contract("T-94", "U-9")
def test_pydantic_models() -> None:
    """Fields and extras are walked; private attributes, set fields and frozenness survive, nothing validates."""
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True, extra="allow", arbitrary_types_allowed=True)
        x: Any
        number: int = 3
        other: Any = pydantic.Field(default=None, alias="o")
        _secret: list[int] = pydantic.PrivateAttr(default_factory=list)

    value = Model(x=[LEAF], extra=LEAF)
    value._secret.append(1)
    result = transform(value, replace)
    assert isinstance(result, Model)
    assert (result.x, result.extra, result.number, result._secret) == (["replaced"], "replaced", 3, [1])
    assert result.model_fields_set == {"x", "extra"}
    assert value.x == [LEAF]
    assert value.extra is LEAF
    wrong = Model.model_construct(x=LEAF, number="no number")
    assert transform(wrong, replace).number == "no number"
    assert transform(value, keep) is value


def test_attrs_classes() -> None:
    """Classes made by attrs are walked like dataclasses."""
    attrs = pytest.importorskip("attrs")
    kind = attrs.make_class("Kind", ["x"], frozen=True)
    assert transform(kind([LEAF]), replace).x == ["replaced"]


def test_fields_that_are_not_set_are_passed_over() -> None:
    """A record may lack the value of a field."""
    value = Record.__new__(Record)
    value.x = LEAF
    result = transform(value, replace)
    assert result.x == "replaced"
    assert "y" not in vars(result)


@pytest.mark.contract("T-92", "U-2")
def test_generators_and_files_are_never_consumed() -> None:
    """Iterators, generators and open files are leaves and stay where they are."""

    def steps() -> Iterator[int]:
        yield 1

    values = [steps(), iter([1]), io.StringIO("text"), map(str, [1])]
    assert met(values) == values
    assert [next(values[0]), next(values[1]), values[2].read(), next(values[3])] == [1, 1, "text", "1"]


@pytest.mark.contract("T-92")
def test_what_is_not_entered() -> None:
    """Mocks, other mappings, plain objects, frozen sets and classes are leaves."""
    values: list[Any] = [
        Mock(),
        MagicMock(),
        UserDict(a=LEAF),
        defaultdict(list, a=[LEAF]),
        SimpleNamespace(a=LEAF),
        frozenset([LEAF]),
        Record,
    ]
    assert [leaf for leaf in met(values) if leaf is not Record] == values[:-1]


def test_atoms_are_passed_over() -> None:
    """Numbers, text and the like cannot hold anything, so nobody is asked about them."""
    assert met([1, 2.0, "text", b"bytes", None, True, range(3)]) == []


def test_is_atomic() -> None:
    """Values that cannot hold anything are told without a walk; a subclass of an atom may hold something."""

    class Number(int):
        pass

    assert is_atomic([1, "a", None, 2.5, b""])
    assert not is_atomic([1, []])
    assert not is_atomic([Number(1)])


@pytest.mark.contract("T-93", "U-8")
def test_cycles_end() -> None:
    """Containers that hold themselves are walked once, whatever their kind."""
    items: list[Any] = [LEAF]
    items.append(items)
    mapping: dict[str, Any] = {"leaf": LEAF}
    mapping["self"] = mapping
    record = Record(LEAF)
    record.y = record
    assert met(items) == met(mapping) == met(record) == [LEAF]
    assert transform(items, replace)[0] == "replaced"
    assert transform(items, keep) is items


@pytest.mark.contract("U-8")
def test_shared_containers_are_replaced_everywhere() -> None:
    """A container met at two places is walked once and its replacement stands at both."""
    shared = [LEAF]
    first, second = transform([shared, shared], replace)
    assert first == ["replaced"]
    assert first is second


@pytest.mark.contract("U-29")
def test_replacements_that_die_do_not_confuse_the_walk() -> None:
    """Ids are not reused within a walk: each of many short-lived replacements is walked itself."""
    value = [Leaf([Leaf(number)]) for number in range(1000)]
    assert transform(value, replace) == [[number] for number in range(1000)]


def test_a_replacement_is_walked_in_turn() -> None:
    """What a leaf is replaced by may hold leaves itself."""
    assert transform(Leaf([Leaf({"k": Leaf(1)})]), replace) == [{"k": 1}]


@pytest.mark.contract("T-89", "U-7")
@pytest.mark.parametrize("annotation", [allow_failure, unmapped, quote, opaque])
def test_annotations_are_removed(annotation: Any) -> None:
    """By default an annotation gives way to its content."""
    content = [1]
    assert transform([annotation(content)], keep)[0] is content


@pytest.mark.parametrize("annotation", [allow_failure, unmapped])
def test_annotations_are_kept_on_request(annotation: Any) -> None:
    """With ``unwrap=False`` they stay around what they annotate, the same object if nothing changed."""
    value = annotation([LEAF])
    assert transform(value, replace, unwrap=False) == annotation(["replaced"])
    assert transform(value, keep, unwrap=False) is value


@pytest.mark.contract("E-40", "T-81", "U-13", "FU-20")
def test_quote_is_not_entered() -> None:
    """The content of a quote is neither walked nor replaced, at any depth."""
    value = {"a": quote([LEAF])}
    assert met(value) == []
    assert transform(value, replace) == {"a": [LEAF]}
    assert transform(value, replace, unwrap=False) is value


@pytest.mark.contract("V-23", "U-14")
def test_opaque_is_resolved_but_not_walked() -> None:
    """A leaf marked opaque is replaced, its replacement is left alone."""
    inner = [LEAF]
    assert transform(opaque(Leaf(inner)), replace) is inner
    assert transform(opaque(inner), replace) is inner
    assert inner == [LEAF]
    value = opaque(inner)
    assert transform(value, replace, unwrap=False) is value


@pytest.mark.contract("W-18", "U-28")
def test_the_whole_chain_of_annotations_is_known() -> None:
    """A leaf is met with every annotation around it, outermost first, containers in between or not."""
    chains = []

    def note(leaf: Any, around: tuple[Any, ...]) -> Any:
        chains.append([type(annotation) for annotation in around])
        return leaf

    transform([allow_failure([unmapped(LEAF), Leaf()]), Leaf()], note)
    assert chains == [[allow_failure, unmapped], [allow_failure], []]


NESTED = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.just(LEAF)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        inner.map(Record),
        inner.map(FrozenStruct),
    ),
    max_leaves=12,
)


def contains_leaf(value: Any) -> bool:
    match value:
        case Leaf():
            return True
        case list() | tuple():
            return any(map(contains_leaf, value))
        case dict():
            return any(map(contains_leaf, value.values()))
        case Record() | FrozenStruct():
            return contains_leaf(value.x)
    return False


@pytest.mark.contract("T-94")
@given(NESTED)
def test_a_walk_replaces_every_leaf_and_nothing_else(value: Any) -> None:
    """Afterwards no leaf is left; the result is the same object exactly if there was none."""
    had_leaf = contains_leaf(value)
    result = transform(value, replace)
    assert not contains_leaf(result)
    assert (result is value) == (not had_leaf)
    assert contains_leaf(value) == had_leaf


@pytest.mark.contract("T-91")
def test_every_node_is_walked_once_containers_first() -> None:
    """A walk meets each container before what is in it, keys of dicts too, and each object once."""
    shared = [1]
    value = {"a": shared, (2, 3): [shared, "b"]}
    assert list(walk(value)) == [value, "a", [1], 1, (2, 3), 2, 3, [[1], "b"], "b"]


@pytest.mark.contract("T-93")
def test_a_walk_around_a_cycle_ends() -> None:
    """A container that holds itself is met once."""
    value: list[Any] = [1]
    value.append(value)
    assert [node is value or node for node in walk(value)] == [True, 1]


@pytest.mark.contract("T-81", "V-23")
def test_what_a_walk_leaves_out() -> None:
    """The content of a quote is not met, that of an opaque is met and not entered; leaves are not opened."""
    inner = [LEAF]
    assert list(walk(quote(inner))) == [quote(inner)]
    assert list(walk(opaque(inner))) == [opaque(inner), inner]
    generator = (number for number in range(3))
    assert list(walk([generator])) == [[generator], generator]
    assert list(generator) == [0, 1, 2]


@pytest.mark.contract("T-95")
@pytest.mark.parametrize(
    ("depth", "levels"), [(0, ""), (1, "a"), (2, "ab"), (3, "abc"), (9, "abcd"), (-1, "abcd"), (-7, "abcd")]
)
def test_a_walk_goes_so_deep(depth: int, levels: str) -> None:
    """With 0 it visits the root alone, with N it descends N levels, and a negative depth has no limit."""
    value = ["a", ["b", ["c", ["d"]]]]
    assert "".join(node for node in walk(value, max_depth=depth) if isinstance(node, str)) == levels
    assert next(iter(walk(value, max_depth=depth))) is value


@pytest.mark.parametrize(
    "value",
    [1, "text", [1, [2]], {"a": (1, 2)}, quote([1]), opaque([1, 2]), allow_failure("x"), object(), {3}],
    ids=lambda value: type(value).__name__,
)
def test_members_are_one_level_below(value: Any) -> None:
    """The members of a value are what a walk finds that goes one level deep."""
    assert [value, *members_of(value)] == list(walk(value, max_depth=1))
