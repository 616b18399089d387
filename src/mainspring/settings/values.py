"""Names and values of settings, as texts and back: what there is, of which kind, and what comes nearest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec

from mainspring.exceptions import ConfigurationError

__all__ = [
    "PREFIX",
    "convert",
    "describe_kind",
    "flatten",
    "nearest",
    "nest",
    "parse",
    "setting_kinds",
    "setting_names",
    "suggestion",
    "to_plain",
    "to_text",
    "variable_of",
]

PREFIX = "MAINSPRING_"

_YES_AND_NO = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_LISTS = frozenset({list, tuple})
_LIKENESS = 0.7  # of a misspelt name to the one that was meant


class _Kinds(Mapping[str, Any]):
    """The types of settings. To evaluate annotations takes long, so it is done for the group that is asked for."""

    def __init__(self, model: type[msgspec.Struct]) -> None:
        self._places = dict(_places(model))

    def __getitem__(self, name: str) -> Any:
        group, field = self._places[name]
        return _types_in(group)[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


_types_in = cache(get_type_hints)


def _places(model: Any, prefix: str = "") -> Iterator[tuple[str, tuple[type[msgspec.Struct], str]]]:
    """The dotted name of every setting of a model, which group it is in, and its name there."""
    for name, default in zip(model.__struct_fields__, model.__struct_defaults__, strict=True):
        if isinstance(default, msgspec.Struct):
            yield from _places(type(default), f"{prefix}{name}.")
        else:
            yield prefix + name, (model, name)


@cache
def setting_kinds(model: type[msgspec.Struct]) -> Mapping[str, Any]:
    """The types of all settings of a model by dotted name, for example ``int`` for ``tasks.default_retries``."""
    return _Kinds(model)


def setting_names(model: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    """`setting_kinds` one by one, to look at all of them."""
    yield from setting_kinds(model).items()


def variable_of(name: str) -> str:
    """The environment variable for a dotted name."""
    return PREFIX + name.replace(".", "_").upper()


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The name that somebody who wrote ``text`` has most probably meant; None if it is like none."""
    from difflib import get_close_matches  # takes a millisecond, and only misspelt names need it

    forms = {variable_of(name).removeprefix(PREFIX): name for name in names}
    bare = text.removeprefix(PREFIX).removeprefix(PREFIX.lower())
    written = variable_of(bare.replace("-", "_")).removeprefix(PREFIX)
    found = get_close_matches(written, forms, n=1, cutoff=_LIKENESS)
    if found:
        return forms[found[0]]
    member = bare.rpartition(".")[2].lower()
    ends = [name for name in forms.values() if name.rpartition(".")[2] == member]
    return ends[0] if len(ends) == 1 else None


def suggestion(text: str, names: Iterable[str]) -> str:
    """The sentence that names what was probably meant, with a space before it; empty if nobody knows."""
    found = nearest(text, names)
    return "" if found is None else f" Did you mean {found!r}?"


# Kinds


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return (kind,) if get_origin(kind) in (Literal, list, tuple) else get_args(kind) or (kind,)


def describe_kind(kind: Any) -> str:
    """What values of a kind are, for people: ``a whole number``."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    described: list[str] = []
    for each in _alternatives(kind):
        if each is NoneType:
            continue
        if get_origin(each) is Literal:
            described.append(f"one of {', '.join(get_args(each))}")
        elif get_origin(each) in _LISTS:
            described.append("a list of texts" if str in get_args(each) else "a list of numbers")
        else:
            described.append(words.get(each, getattr(each, "__name__", str(each))))
    return " or ".join(described)


# Values


def convert(name: str, value: Any, kind: Any) -> Any:
    """``value`` as one of its setting.

    Raises:
        ConfigurationError: It does not fit.
    """
    try:
        if isinstance(value, str):
            value = _loosened(value, kind)
        return msgspec.convert(value, kind, strict=False, dec_hook=lambda to, given: to(given))
    except (msgspec.ValidationError, TypeError):
        raise ConfigurationError(
            f"The setting {name} cannot be {value!r}: it has to be {describe_kind(kind)}."
        ) from None


def parse(name: str, text: str, kind: Any) -> Any:
    """The value that a text gives, as in an environment variable: lists are JSON, those of texts have commas as well.

    Raises:
        ConfigurationError: It gives none.
    """
    lists = [each for each in _alternatives(kind) if get_origin(each) in _LISTS]
    if lists and text.lstrip().startswith("["):
        try:
            return convert(name, msgspec.json.decode(text), kind)
        except msgspec.DecodeError as error:
            raise ConfigurationError(
                f"The setting {name} cannot be {text!r}: it is no list: {error}."
            ) from None
    return convert(name, text, kind)


def _loosened(text: str, kind: Any) -> Any:
    """What people write, in the form that is converted."""
    alternatives = _alternatives(kind)
    if bool in alternatives:
        return _YES_AND_NO.get(text.strip().lower(), text.strip())
    if any(get_origin(each) is tuple for each in alternatives):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text if {str, Path} & {*alternatives} else text.strip()


def to_text(value: Any) -> str:
    """A value as `parse` reads it. There is no text for None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        names = cast("tuple[str, ...]", value)
        joined = ",".join(names)
        if joined and not joined.startswith("[") and parse("", joined, tuple[str, ...]) == names:
            return joined
    return msgspec.json.encode(value).decode() if isinstance(value, (list, tuple)) else str(value)


def to_plain(settings: msgspec.Struct) -> dict[str, Any]:
    """Settings as dicts, lists, texts and numbers, secrets included."""
    plain: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=str)
    return plain


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of dicts of values by dotted name."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *groups, member = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[member] = value
    return tree


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree of dicts, each with its dotted name."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(cast("dict[str, Any]", value), f"{prefix}{name}.")
        else:
            yield prefix + name, value
