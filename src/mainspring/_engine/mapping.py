"""Splitting the arguments of ``map`` into those of its children."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import count
from typing import Any, TypeGuard, cast

from mainspring._core.arguments import Arguments
from mainspring._core.traverse import is_atomic
from mainspring._engine.inputs import find_unfinished, resolve_value, upstreams_of
from mainspring.annotations import Annotation, allow_failure, quote, unmapped
from mainspring.exceptions import MappingLengthMismatch, MappingMissingIterable
from mainspring.futures import FutureList, RunFuture
from mainspring.runs import RunInput
from mainspring.states import State

__all__ = ["Children", "common_upstreams", "split_parameters"]


class Children:
    """The parameters of each child of a map, made when they are asked for.

    Args:
        arguments: The signature of the task.
        constant: The arguments that every child gets.
        split: For each of the others its elements.
        extra: The names of those that a ``**`` parameter takes.
    """

    def __init__(
        self,
        arguments: Arguments,
        constant: dict[str, Any],
        split: dict[str, Sequence[Any] | Iterator[Any]],
        extra: Iterable[str],
    ) -> None:
        self._arguments = arguments
        self._constant = constant
        self._split = split
        self._extra = tuple(extra)
        lengths = {name: len(values) for name, values in split.items() if isinstance(values, Sequence)}
        if len(set(lengths.values())) > 1:
            raise MappingLengthMismatch(self._told(lengths))
        self.length = next(iter(lengths.values())) if len(lengths) == len(split) else None
        """How many there are; None if that is seen at the end of an iterator only."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._complete({name: cast(Any, values)[index] for name, values in self._split.items()})

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All of them in order, where there is an iterator.

        Raises:
            MappingLengthMismatch: The iterables have different lengths.
        """
        streams = {name: iter(values) for name, values in self._split.items()}
        for number in count():
            child: dict[str, Any] = {}
            ended = {name: number for name, stream in streams.items() if not _take(stream, name, child)}
            if len(ended) == len(streams):
                return
            if ended:
                more = dict.fromkeys(child, f"more than {number}")
                raise MappingLengthMismatch(self._told({**ended, **more}))
            yield self._complete(child)

    def fill_lists(self) -> None:
        """Have open lists among the arguments filled here, so that no thread that makes a child has to wait for it."""
        if not is_atomic(self._constant.values()):
            find_unfinished(self._constant)
        for _, values in self._sequences():
            for value in values if isinstance(values, tuple) else ():
                if _is_list(value):
                    value.fill_up()

    def _sequences(self) -> Iterable[tuple[str, Sequence[Any]]]:
        return cast("dict[str, Sequence[Any]]", self._split).items()

    def _complete(self, elements: dict[str, Any]) -> dict[str, Any]:
        child = {**self._constant, **elements}
        variadic = self._arguments.variadic_keyword
        if variadic is not None:
            child[variadic] = {name: child.pop(name) for name in self._extra}
        return self._arguments.complete(child)

    def _told(self, lengths: Mapping[str, object]) -> str:
        return (
            f"Expected iterable parameters of {self._arguments.name!r}.map() to have the same length; got lengths:"
            f" {dict(lengths)}. Use `unmapped` for those that every child is to receive whole."
        )


def split_parameters(arguments: Arguments, given: Mapping[str, Any]) -> Children:
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
    split: dict[str, Sequence[Any] | Iterator[Any]] = {}
    constant: dict[str, Any] = {}
    for name, value in (*flat.items(), *extra.items()):
        elements = _elements(value)
        if elements is None:
            constant[name] = value.unwrap() if isinstance(value, unmapped) else value
        else:
            split[name] = elements
    if not split:
        raise MappingMissingIterable(
            f"No iterable parameters were received. {arguments.name!r}.map() needs at least one argument to map over;"
            f" use a plain call or .submit() for a single run."
        )
    return Children(arguments, constant, split, extra)


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


def _is_list(value: object) -> TypeGuard[FutureList[Any]]:
    return isinstance(value, FutureList)


def _content(value: object) -> object:
    while isinstance(value, quote | allow_failure):
        value = cast("Annotation[object]", value).unwrap()
    return value


def _elements(value: Any) -> Sequence[Any] | Iterator[Any] | None:
    """The elements to split ``value`` into, an iterator if nobody knows how many; None if it is to be repeated."""
    if isinstance(value, unmapped):
        return None
    if isinstance(value, quote | allow_failure):
        around = cast("Annotation[Any]", value)
        inner = _elements(around.unwrap())
        if inner is None:
            return None
        wrapped = map(around.rewrap, inner)
        return tuple(wrapped) if isinstance(inner, Sequence) else wrapped
    if isinstance(value, RunFuture | State):
        value = resolve_value(value)
    if isinstance(value, tuple | range):
        return cast("Sequence[Any]", value)
    if isinstance(value, str | bytes | bytearray | io.IOBase | Mapping) or not hasattr(value, "__iter__"):
        return None
    if _is_list(value) and value.is_open:
        return iter(value)
    return tuple(cast(Any, value)) if isinstance(value, Sized) else iter(value)


def _take(stream: Iterator[Any], name: str, child: dict[str, Any]) -> bool:
    """Put the next element of an iterator into the arguments of a child; False if there is none."""
    for element in stream:
        child[name] = element
        return True
    return False
