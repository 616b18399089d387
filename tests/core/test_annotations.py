"""Wrappers around arguments."""

import copy
import pickle
from typing import Any

import pytest

from mainspring.annotations import Annotation, NotSet, allow_failure, opaque, quote, unmapped

KINDS = [unmapped, allow_failure, quote, opaque]


@pytest.mark.contract("T-89", "U-10")
@pytest.mark.parametrize("kind", KINDS)
def test_an_annotation_is_a_value_around_a_value(kind: Any) -> None:
    """It gives its content back, rewraps another, unpacks, compares and shows itself by type and content."""
    content = [1]
    annotation = kind(content)
    assert annotation.unwrap() is annotation.value is content
    assert annotation.rewrap(2) == kind(2)
    (unpacked,) = annotation
    assert unpacked is content
    assert annotation == kind([1]) != kind([2])
    assert repr(annotation) == f"{kind.__name__}([1])"
    assert isinstance(annotation, Annotation)


@pytest.mark.contract("T-89", "U-10")
def test_annotations_of_different_kinds_differ() -> None:
    """Equality needs the same kind, and a bare value is no annotation."""
    assert unmapped(1) != allow_failure(1)
    assert unmapped(1) != 1
    assert len({unmapped(1), unmapped(1), quote(1)}) == 2


@pytest.mark.contract("T-89")
@pytest.mark.parametrize("kind", KINDS)
def test_annotations_are_immutable(kind: Any) -> None:
    """Neither the value nor anything else can be set."""
    annotation = kind(1)
    for name in ("value", "other"):
        with pytest.raises(AttributeError, match=f"{kind.__name__} is immutable"):
            setattr(annotation, name, 2)
    assert annotation.value == 1


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_can_be_copied_and_pickled(kind: Any) -> None:
    """They travel to other processes and through `copy`."""
    for same in (pickle.loads(pickle.dumps(kind([1]))), copy.copy(kind([1])), copy.deepcopy(kind([1]))):
        assert same == kind([1])


@pytest.mark.contract("T-54", "U-11")
@pytest.mark.parametrize("index", [0, -1, "key", slice(3), None])
def test_indexing_unmapped_gives_the_value(index: object) -> None:
    """Whatever the index, the whole value comes back."""
    assert unmapped("value")[index] == "value"


@pytest.mark.contract("T-89", "U-13")
def test_unquote() -> None:
    """A quote gives its content back under this name, too."""
    assert quote(1).unquote() == 1


@pytest.mark.contract("T-90")
def test_notset_has_no_instances() -> None:
    """The class itself is the sentinel."""
    with pytest.raises(TypeError, match="sentinel"):
        NotSet()
