"""The plain form of Python objects: JSON that says what it was made from, and back.

An object becomes ``{"__class__": <import path>, "data": ...}``, an exception ``{"__exc_type__": <import path>,
"message": ...}``. What an object holds keeps its exact type: a tuple in a dataclass is marked as one, although a tuple
in plain data becomes a list, as JSON has it.

Only classes that declare how they are built take part: dataclasses, models of pydantic, classes of attrs and msgspec,
named tuples, enumerations, exceptions, and types that are registered with `register_json_type`. So data can never
have an arbitrary callable called. A dict of the user's with exactly these keys cannot be told from an object.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from mainspring._imports import loaded
from mainspring.annotations import NotSet
from mainspring.exceptions import SerializationError
from mainspring.serializers.base import find_object

__all__ = [
    "JSON_SCALARS",
    "from_plain",
    "json_object_decoder",
    "json_object_encoder",
    "register_json_type",
    "to_plain",
]

T = TypeVar("T")

CLASS = "__class__"
EXCEPTION = "__exc_type__"
JSON_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
"""The types that JSON has itself."""

_DATA_PACKAGES = frozenset({"numpy", "pandas", "polars", "pyarrow"})
_ADVICE = "The serializers 'pickle' and 'zstd' take it, and 'arrow' takes data frames."
_USUAL_ADVICE = "Make it a dataclass or a model, or register its type with register_json_type."
_OBJECT_KEYS = frozenset({CLASS, "data"})
_EXCEPTION_KEYS = frozenset({EXCEPTION, "message", "args"})


class _Form(NamedTuple):
    """How a registered type is written and read."""

    path: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_by_type: dict[type, _Form] = {}
_by_path: dict[str, _Form] = {}


def register_json_type(
    kind: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T], path: str | None = None
) -> None:
    """Let instances of a class, but not of its subclasses, be written as JSON and read again.

    Args:
        kind: The class.
        encode: Gives what an instance is made of; it may contain anything that has a form itself.
        decode: Makes an instance from that.
        path: What is written as the class; its import path by default.
    """
    form = _Form(path or f"{kind.__module__}.{kind.__qualname__}", encode, decode)
    _by_type[kind] = _by_path[form.path] = form


def json_object_encoder(obj: Any) -> Any:
    """What JSON writes for an object that it has no form for: the default hook of `JSONSerializer`.

    An open file becomes a text that names it, and is not read.

    Raises:
        TypeError: The class does not say how it is built, or it cannot be imported again.
    """
    return _describe(obj, JSON_SCALARS)


def json_object_decoder(d: dict[str, Any], strict: bool = False) -> Any:
    """What a JSON object stands for; one that stands for nothing else is returned as it is.

    Args:
        d: The object, whose values are decoded already.
        strict: Import nothing, and refuse a class that is not there; by default its data is returned as a dict.

    Raises:
        SerializationError: It names an exception that cannot be had, or a class that does not say how it is built,
            or whose data does not fit the class.
    """
    if EXCEPTION in d and d.keys() <= _EXCEPTION_KEYS:
        return _make_exception(d, strict)
    if d.keys() != _OBJECT_KEYS or not isinstance(d[CLASS], str):
        return d
    path, data = d[CLASS], d["data"]
    form = _by_path.get(path)
    kind: Any = None
    if form is None:
        kind = find_object(path, may_import=not strict)
        if kind is NotSet:
            if strict:
                raise SerializationError(
                    f"The class {path!r} is not loaded, and strict decoding imports nothing."
                )
            return d
        if not _is_buildable(kind):
            raise SerializationError(
                f"Refused to make a {path!r}: it is no class that says how it is built. Make it a dataclass or a"
                " model, or register it with register_json_type."
            )
    try:
        return _build(kind, data) if form is None else form.decode(data)
    except Exception as error:  # whatever the class raises about data that does not fit it
        raise SerializationError(f"What was stored for a {path!r} does not fit it: {error}") from error


def to_plain(value: Any, scalars: frozenset[type]) -> Any:
    """A value made of nothing but lists, dicts with texts as keys, and the given scalar types.

    Raises:
        TypeError: Something in it has no plain form.
    """
    kind = value.__class__
    if kind in scalars:
        return value
    if kind is list:
        # one look in C instead of a call for each member
        return value if scalars.issuperset(map(type, value)) else [to_plain(each, scalars) for each in value]
    if kind is dict:
        if {str}.issuperset(map(type, value)) and CLASS not in value and EXCEPTION not in value:
            return {name: to_plain(each, scalars) for name, each in value.items()}
        pairs = [[to_plain(name, scalars), to_plain(each, scalars)] for name, each in value.items()]
        return {CLASS: "builtins.dict", "data": pairs}
    return _describe(value, scalars)


def from_plain(value: Any, scalars: frozenset[type]) -> Any:
    """The value that `to_plain` was given.

    Raises:
        SerializationError: See `json_object_decoder`.
    """
    kind = value.__class__
    if kind is list and not scalars.issuperset(map(type, value)):
        return [from_plain(each, scalars) for each in value]
    if kind is dict:
        return json_object_decoder({name: from_plain(each, scalars) for name, each in value.items()})
    return value


# Writing


def _describe(obj: Any, scalars: frozenset[type]) -> Any:
    """The plain form of one object that is neither a scalar nor a list nor a dict."""
    kind = obj.__class__
    if form := _by_type.get(kind):
        return {CLASS: form.path, "data": to_plain(form.encode(obj), scalars)}
    if isinstance(obj, BaseException):
        return _describe_exception(obj, scalars)
    if isinstance(obj, io.IOBase):
        return f"<open file {getattr(obj, 'name', '?')!r}>"
    if not _is_buildable(kind):
        raise TypeError(
            f"Object of type {kind.__name__} has no JSON form."
            f" {_ADVICE if kind.__module__.partition('.')[0] in _DATA_PACKAGES else _USUAL_ADVICE}"
        )
    generic = getattr(kind, "__pydantic_generic_metadata__", {}).get("origin") or kind
    path = f"{generic.__module__}.{generic.__qualname__}"
    if find_object(path) is not generic:
        raise TypeError(f"{path} cannot be imported under this name, so it could not be made again.")
    return {CLASS: path, "data": _take_apart(obj, scalars)}


def _describe_exception(error: BaseException, scalars: frozenset[type]) -> dict[str, Any]:
    kind = type(error)
    path, message = f"{kind.__module__}.{kind.__qualname__}", str(error)
    if find_object(path) is not kind:
        raise TypeError(f"The exception {path} cannot be imported under this name.")
    described = {EXCEPTION: path, "message": message}
    if error.args != (message,):
        described["args"] = to_plain(list(error.args), scalars)
    return described


def _is_buildable(kind: Any) -> bool:
    """True for a class whose instances can be taken apart and built again by their fields."""
    if not isinstance(kind, type):
        return False
    return (
        _is_model(kind)
        or hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "__attrs_attrs__")
        or issubclass(kind, msgspec.Struct | Enum)
        or _is_named_tuple(kind)
    )


def _is_named_tuple(kind: Any) -> bool:
    return hasattr(kind, "_fields") and issubclass(kind, tuple)


def _is_model(kind: Any) -> bool:
    pydantic = loaded("pydantic")  # a class of it exists only where it is loaded
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def _take_apart(obj: Any, scalars: frozenset[type]) -> Any:
    """What an instance of a buildable class is made of."""
    kind = obj.__class__
    if _is_model(kind):
        return _take_model_apart(obj, scalars)
    if issubclass(kind, Enum):
        return obj.name
    if issubclass(kind, tuple):
        return [to_plain(each, scalars) for each in obj]
    if is_dataclass(kind):
        names = [field.name for field in fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    else:
        attributes: tuple[Any, ...] = kind.__attrs_attrs__
        names = [attribute.name for attribute in attributes]
    return {name: to_plain(getattr(obj, name), scalars) for name in names}


def _take_model_apart(model: Any, scalars: frozenset[type]) -> Any:
    kind = model.__class__
    names: list[str] = list(kind.model_fields)
    try:
        data: dict[str, Any] = {name: to_plain(getattr(model, name), scalars) for name in names}
        extra: dict[str, Any] = model.model_extra or {}
        data |= {name: to_plain(each, scalars) for name, each in extra.items()}
    except TypeError:
        # Pydantic has forms of its own for some types; they are used only if they lose nothing.
        dumped = model.model_dump(mode="json", round_trip=True, warnings=False)
        if _make_model(kind, dumped) != model:
            raise
        return dumped
    return data["root"] if _is_root(kind) else data


# Reading


def _build(kind: Any, data: Any) -> Any:
    """An instance of a buildable class, from what it was made of."""
    if _is_model(kind):
        return _make_model(kind, data)
    if issubclass(kind, Enum):
        return kind[data]
    if hasattr(kind, "_fields"):  # a named tuple
        return kind(*data)
    if is_dataclass(kind):
        return _make(kind, data, {field.name: field.name if field.init else None for field in fields(kind)})
    if issubclass(kind, msgspec.Struct):
        return kind(**data)
    names = {
        attribute.name: attribute.alias if attribute.init else None for attribute in kind.__attrs_attrs__
    }
    return _make(kind, data, names)


def _make(kind: Any, data: Mapping[str, Any], arguments: Mapping[str, str | None]) -> Any:
    """Call the class, then set its fields to exactly what was stored.

    Args:
        kind: The class.
        data: The fields by name.
        arguments: The name of the argument for each field; None if it has none.
    """
    if unknown := data.keys() - arguments.keys():
        raise TypeError(f"it has no field {', '.join(sorted(unknown))}")
    given = {argument: data[name] for name, argument in arguments.items() if argument and name in data}
    made = kind(**given)
    for name, value in data.items():  # what its own code made of them must not be applied twice
        object.__setattr__(made, name, value)
    return made


def _make_model(kind: Any, data: Any) -> Any:
    if _is_root(kind):
        return kind.model_validate(data)
    major, minor = map(int, sys.modules["pydantic"].VERSION.split(".")[:2])
    if (major, minor) >= (2, 11):
        return kind.model_validate(data, by_alias=False, by_name=True)
    aliases: dict[str, Any] = {name: field.validation_alias for name, field in kind.model_fields.items()}
    return kind.model_validate({aliases.get(name) or name: value for name, value in data.items()})


def _is_root(kind: Any) -> bool:
    """True for a model that stands for one value instead of fields."""
    return "root" in kind.model_fields


def _make_exception(d: Mapping[str, Any], strict: bool) -> BaseException:
    path = d[EXCEPTION]
    kind = find_object(path, may_import=not strict) if isinstance(path, str) else NotSet
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise SerializationError(f"{path!r} is not the import path of an exception, so none was made of it.")
    args = tuple(d.get("args", (d.get("message", ""),)))
    try:
        made = kind(*args)
    except Exception:  # its arguments are not what it keeps in `args`
        made = None
    if made is None or made.args != args:
        made = kind.__new__(kind, *args)
        made.args = args
    return made


def _same(value: Any) -> Any:
    return value


def _list(value: Any) -> list[Any]:
    return list(value)


def _text_of_bytes(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _register_builtins() -> None:
    register_json_type(bytes, _text_of_bytes, base64.b64decode)
    register_json_type(bytearray, _text_of_bytes, lambda text: bytearray(base64.b64decode(text)))
    register_json_type(tuple, _list, tuple)
    register_json_type(set, _list, set)
    register_json_type(frozenset, _list, frozenset)
    register_json_type(complex, lambda value: [value.real, value.imag], lambda parts: complex(*parts))
    register_json_type(
        range, lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)
    )
    register_json_type(UUID, str, UUID)
    register_json_type(Decimal, str, Decimal)
    register_json_type(Fraction, str, Fraction)
    register_json_type(datetime, datetime.isoformat, datetime.fromisoformat)
    register_json_type(date, date.isoformat, date.fromisoformat)
    register_json_type(time, time.isoformat, time.fromisoformat)
    register_json_type(
        timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: timedelta(*parts),
    )
    # the class of a path depends on the machine, and where it is defined on the version of Python
    register_json_type(type(Path()), str, Path, "pathlib.Path")
    register_json_type(PurePosixPath, str, PurePosixPath, "pathlib.PurePosixPath")
    register_json_type(PureWindowsPath, str, PureWindowsPath, "pathlib.PureWindowsPath")
    _by_path["builtins.dict"] = _Form("builtins.dict", _same, dict)
    _by_path["builtins.int"] = _by_type[int] = _Form("builtins.int", str, int)  # too large for MessagePack


_register_builtins()
