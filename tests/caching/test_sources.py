"""The text of functions, and what their code refers to."""

import functools
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mainspring import task
from mainspring.exceptions import HashError
from mainspring.hashing import references_of, source_of
from tests.caching import values


def made(source: str, name: str = "f") -> Any:
    """A function that was never in a file."""
    namespace: dict[str, Any] = {"__name__": "made"}
    exec(textwrap.dedent(source), namespace)
    return namespace[name]


def plus_one(x: int) -> int:
    # a remark
    return x + 1


class Adder:
    """A callable object."""

    def __call__(self, x: int) -> int:
        return x + 1

    def method(self) -> int:
        return 1


@pytest.mark.contract("K-4")
def test_source_is_the_text_of_the_function() -> None:
    """Without indentation and trailing blanks, wherever the function stands; a wrapper has that of what it wraps."""

    def inner() -> int:
        return 1

    assert source_of(plus_one) == "def plus_one(x: int) -> int:\n    # a remark\n    return x + 1"
    assert source_of(inner) == "def inner() -> int:\n    return 1"
    assert source_of(Adder().method) == "def method(self) -> int:\n    return 1"
    assert source_of(functools.lru_cache(plus_one)) == source_of(plus_one)


@pytest.mark.contract("K-4")
def test_source_of_a_callable_object_is_that_of_its_class() -> None:
    """The whole class counts."""
    assert source_of(Adder()) == source_of(Adder)
    assert source_of(Adder()).startswith('class Adder:\n    """A callable object."""')


@pytest.mark.contract("K-4", "K-34")
def test_without_source_the_compiled_code_counts() -> None:
    """Functions that were never in a file are told apart by what they do; so are lambdas on one line."""
    one, same, other, constant = (
        made(source)
        for source in (
            "def f(x): return x + 1",
            "\n\ndef f(x):  # a remark\n    return x + 1",
            "def f(x): return x - 1",
            "def f(x): return x + 2",
        )
    )
    assert source_of(one) == source_of(same)
    assert len({source_of(function) for function in (one, other, constant)}) == 3
    lambdas = [lambda x: x + 1, lambda x: x + 2]
    assert source_of(lambdas[0]) != source_of(lambdas[1])
    classes = [made(f"class f:\n    def __call__(self): return {n}") for n in (1, 2)]
    assert source_of(classes[0]()) != source_of(classes[1]())
    assert source_of(len) != source_of(sum)


def test_arguments_of_a_partial_count() -> None:
    """They are as good as constants in the code."""
    one, same, two = (functools.partial(plus_one, x=[n]) for n in (1, 1, 2))
    assert source_of(one) == source_of(same) != source_of(two)
    assert source_of(functools.partial(plus_one, x=iter(()).__next__))
    assert source_of(functools.partial(plus_one, x=(n for n in ()))).startswith(source_of(plus_one))


# References

HELPERS = """
    import helper_module
    import math

    RATE = {rate}
    UNUSED = {unused}

    class Tax:
        def of(self, x):
            return x * {tax}

    def deep(x):
        return x + {deep}

    def shallow(x):
        return deep(x)

    def f(x):
        return [Tax().of(shallow(y)) * RATE + helper_module.helper(math.pi) for y in [x]]
"""


@pytest.fixture
def helper_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes a module with a helper function that uses a number."""

    def make(number: int) -> None:
        module = ModuleType("helper_module")
        exec(f"other = 1\ndef helper(x): return x + {number}", vars(module))
        monkeypatch.setitem(sys.modules, "helper_module", module)

    make(1)
    return make


def program(rate: int = 1, unused: int = 1, tax: int = 1, deep: int = 1) -> Any:
    return made(HELPERS.format(rate=rate, unused=unused, tax=tax, deep=deep))


@pytest.mark.contract("K-42")
def test_references_are_followed(helper_module: Callable[[int], None]) -> None:
    """Global values, helpers of helpers, classes and functions in own modules count; what is not used does not."""
    base = references_of(program())
    assert references_of(program()) == base
    assert references_of(program(unused=2)) == base
    assert {name for name, digest in references_of(program(rate=2)).items() if base[name] != digest} == {
        "made.f.RATE"
    }
    assert references_of(program(deep=2))["made.deep"] != base["made.deep"]
    assert references_of(program(tax=2)) != base
    helper_module(2)
    changed = references_of(program())
    assert {name for name in base if base[name] != changed[name]} == {"helper_module.helper"}


@pytest.mark.contract("K-42")
def test_closures_count() -> None:
    """So does what a function has from the one around it, and functions in it are followed."""
    assert references_of(values.adder(1)) != references_of(values.adder(2))
    helper = made("def f(x): return x + 1"), made("def f(x): return x + 2")
    assert references_of(values.adder(helper[0])) != references_of(values.adder(helper[1]))


def test_of_libraries_name_and_version_count() -> None:
    """Nobody walks through numpy."""

    def uses() -> Any:
        return np.sum([math.pi])

    assert references_of(uses).keys() == {
        f"{__name__}.{uses.__qualname__}",
        f"{__name__}.{uses.__qualname__}.math",
        f"{__name__}.{uses.__qualname__}.np",
    }


@task
def helper_task(x: int) -> int:
    return x


def recursive(n: int) -> Any:
    return recursive(n - 1) if n else helper_task(n)


def test_tasks_and_recursion_are_followed() -> None:
    """A task counts by its function, and a function that calls itself counts once."""
    found = references_of(recursive)
    assert f"{__name__}.helper_task" in found
    assert len(found) == 2


GENERATOR = (n for n in ())


def uses_generator() -> Any:
    return GENERATOR


def test_what_has_no_hash_can_be_excluded() -> None:
    """The error names the global value."""
    with pytest.raises(HashError, match=r"uses_generator\.GENERATOR"):
        references_of(uses_generator)
    assert references_of(uses_generator, exclude=["GENERATOR"])
