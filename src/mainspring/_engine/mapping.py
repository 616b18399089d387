"""Splitting the arguments of ``map`` into those of its children."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, cast

from mainspring._core.arguments import Arguments
from mainspring._engine.inputs import resolve_value, upstreams_of
from mainspring.annotations import Annotation, allow_failure, quote, unmapped
from mainspring.exceptions import MappingLengthMismatch, MappingMissingIterable
from mainspring.futures import RunFuture
from mainspring.runs import RunInput
from mainspring.states import State

__all__ = ["common_upstreams", "split_parameters"]


def split_parameters(arguments: Arguments, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters of each child of a map, in order.

    Lists, tuples, iterators and futures of such are split; text, `unmapped` and everything else is
    repeated. `quote` and `allow_failure` around an iterable go around each element. Defaults of the
    function are repeated, never split.

    Args:
        arguments: The signature of the task.
        given: The arguments of the call by parameter name, without defaults.

    Raises:
        MappingMissingIterable: There is nothing to split.
        MappingLengthMismatch: The iterables have different lengths.
    """
    variadic = arguments.variadic_keyword
    flat = {name: value for name, value in given.items() if name != variadic}
    extra: dict[str, Any] = {} if variadic is None else given.get(variadic, {})
    split: dict[str, list[Any]] = {}
    constant: dict[str, Any] = {}
    for name, value in (*flat.items(), *extra.items()):
        elements = _elements(value)
        if elements is None:
            constant[name] = value.unwrap() if isinstance(value, unmapped) else value
        else:
            split[name] = elements
    length = _common_length(arguments.name, split)
    for index in range(length):
        child = {**constant, **{name: elements[index] for name, elements in split.items()}}
        collapsed = {name: child.pop(name) for name in extra}
        if variadic is not None:
            child[variadic] = collapsed
        yield arguments.complete(child)


def common_upstreams(arguments: Arguments, given: Mapping[str, Any]) -> dict[str, list[RunInput]]:
    """The inputs of every child of a map by parameter name: what is resolved as a whole before it is split.

    The arguments are those of `split_parameters`.
    """
    common: dict[str, list[RunInput]] = {}
    for name, value in given.items():
        values = value.values() if name == arguments.variadic_keyword else (value,)
        whole = list(filter(_is_resolved, map(_content, values)))
        if whole:
            common[name] = upstreams_of(whole)
    return common


def _is_resolved(value: object) -> bool:
    return isinstance(value, RunFuture | State)


def _content(value: object) -> object:
    while isinstance(value, quote | allow_failure):
        value = cast("Annotation[object]", value).unwrap()
    return value


def _elements(value: Any) -> list[Any] | None:
    """The elements to split ``value`` into, None if it is to be repeated."""
    if isinstance(value, unmapped):
        return None
    if isinstance(value, quote | allow_failure):
        around = cast("Annotation[Any]", value)
        inner = _elements(around.unwrap())
        return None if inner is None else [around.rewrap(element) for element in inner]
    if isinstance(value, RunFuture | State):
        value = resolve_value(value)
    if isinstance(value, str | bytes | bytearray | io.IOBase | Mapping) or not hasattr(value, "__iter__"):
        return None
    return list(value)


def _common_length(name: str, split: Mapping[str, list[Any]]) -> int:
    if not split:
        raise MappingMissingIterable(
            f"No iterable parameters were received. {name!r}.map() needs at least one argument to map over;"
            f" use a plain call or .submit() for a single run."
        )
    lengths = {parameter: len(elements) for parameter, elements in split.items()}
    if len(set(lengths.values())) > 1:
        raise MappingLengthMismatch(
            f"Expected iterable parameters of {name!r}.map() to have the same length; got lengths:"
            f" {lengths}. Use `unmapped` for those that every child is to receive whole."
        )
    return next(iter(lengths.values()))
