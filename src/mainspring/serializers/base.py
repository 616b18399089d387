"""What every serializer is: a registered type with options, which can be written down and built again."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar, dataclass_transform

import msgspec

from mainspring._imports import load, loaded
from mainspring.annotations import NotSet
from mainspring.exceptions import ConfigurationError

__all__ = ["Serializer", "UnknownSerializer", "find_object", "load_library"]

D = TypeVar("D")

_INSTALLED_AS = {
    "lz4": "'mainspring[lz4]'",
    "pandas": "pandas",
    "polars": "polars",
    "pyarrow": "'mainspring[arrow]'",
    "zstandard": "'mainspring[zstd]'",
}
"""What brings a package that we know."""

_HOMES = {
    "arrow": "arrow",
    "compressed": "compressed",
    "compressed/json": "compressed",
    "compressed/pickle": "compressed",
    "json": "json",
    "lz4": "compressed",
    "msgpack": "msgpack",
    "pickle": "pickled",
    "zstd": "compressed",
}
"""Our own types, by the modules that register them: imported when a type is asked for."""

_registry: dict[str, type[Serializer[Any]]] = {}
_described: dict[bytes, Serializer[Any]] = {}  # as each result that is read describes one, and there are few
_MOST_DESCRIBED = 256


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Serializer(Generic[D]):
    """Turns objects into bytes and back.

    ``Serializer(type="json")`` makes the serializer that is registered for a type. A subclass whose ``type`` has a
    value registers itself; its annotated attributes are its options, given by keyword and immutable afterwards::

        class TextSerializer(Serializer[str]):
            type: str = "text"
            encoding: str = "utf-8"

            def dumps(self, obj: str) -> bytes:
                return obj.encode(self.encoding)

            def loads(self, blob: bytes) -> str:
                return blob.decode(self.encoding)

    Options are written beside each result as JSON. Equal when of the same class with equal options. Subclasses should
    be safe to use from several threads, as results are written by many.

    Args:
        type: The registered type, for `Serializer` itself.
        **fields: The options of that type.

    Raises:
        ConfigurationError: No such type, an option that it does not have, or a value that cannot work.
    """

    type: str
    _options: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [
            name
            for name, annotation in inspect.get_annotations(cls).items()
            if not name.startswith("_") and "ClassVar" not in str(annotation)
        ]
        names = dict.fromkeys([*cls._options, "type", *own])
        cls._options = {name: getattr(cls, name, NotSet) for name in names}
        kind = cls._options["type"]
        if kind is NotSet:
            return
        taken_over = _registry.get(kind) if cls.__module__.startswith(f"{__package__}.") else _known(kind)
        if taken_over is not None:
            warnings.warn(
                f"The serializer type {kind!r} of {taken_over.__qualname__} is taken over by"
                f" {cls.__qualname__}: give one of them another type, or results written with it may not load.",
                stacklevel=2,
            )
        _registry[kind] = cls
        _described.clear()

    def __new__(cls, **fields: Any) -> Serializer[Any]:
        """Make an instance of ``cls`` or, for `Serializer` itself, of the class registered for ``type``."""
        base: Any = Serializer
        made: Any = _registered(fields) if cls is base else cls
        if made.dumps is base.dumps or made.loads is base.loads:
            raise TypeError(f"{made.__qualname__} cannot be used: it has to define both dumps and loads.")
        made_one: Serializer[Any] = object.__new__(made)
        return made_one

    def __init__(self: Serializer[Any], **fields: Any) -> None:
        kind = self.__class__.__qualname__
        if unknown := fields.keys() - self._options.keys():
            raise ConfigurationError(
                f"{kind} has no option {', '.join(sorted(map(repr, unknown)))}."
                f" It has: {', '.join(sorted(self._options))}."
            )
        for name, default in self._options.items():
            value = fields.get(name, default)
            if value is NotSet:
                raise ConfigurationError(f"{kind} needs a value for its option {name!r}.")
            object.__setattr__(self, name, value)
        if self._options["type"] not in (NotSet, self.type):
            raise ConfigurationError(
                f"The type of a {kind} is {self._options['type']!r}, not {self.type!r}. Leave it out."
            )
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the options; for subclasses to override."""

    def dumps(self, obj: D) -> bytes:
        """The object as bytes.

        Raises:
            Exception: Whatever says that this serializer cannot handle the object; a result store reports it as
                `SerializationError`.
        """
        raise NotImplementedError

    def loads(self, blob: bytes) -> D:
        """The object that ``blob`` was made from."""
        raise NotImplementedError

    def dumps_binary(self, obj: D) -> bytes:
        """The object as bytes that need not be text, where those are fewer; what a wrapper makes smaller still.

        `loads` takes them too. The same as `dumps`, unless a subclass knows better.
        """
        return self.dumps(obj)

    def configuration(self) -> dict[str, Any]:
        """Type and options as plain values, from which `from_configuration` makes an equal serializer."""
        return {name: _plain(getattr(self, name)) for name in self._options}

    def dump_configuration(self) -> bytes:
        """`configuration` as JSON, as it is written beside each result.

        Raises:
            TypeError: An option is nothing that JSON has a form for.
        """
        return msgspec.json.encode(self.configuration())

    @staticmethod
    def load_configuration(data: bytes) -> Serializer[Any]:
        """The serializer that was written by `dump_configuration`; see `from_configuration`. A type alone will do.

        Raises:
            DecodeError: Of msgspec: the data is no configuration.
        """
        known = _described.get(data)
        if known is None:
            written = msgspec.json.decode(data)
            if isinstance(written, str):
                written = {"type": written}
            known = Serializer.from_configuration(msgspec.convert(written, dict[str, Any]))
            if not isinstance(known, UnknownSerializer):  # which may be known later on
                if len(_described) >= _MOST_DESCRIBED:
                    _described.clear()
                _described[data] = known
        return known

    @staticmethod
    def from_configuration(configuration: Mapping[str, Any]) -> Serializer[Any]:
        """The serializer that a configuration describes.

        An `UnknownSerializer` if there is none here: its type is not registered, or it has options or needs a library
        that this process does not have.
        """
        try:
            return Serializer(**configuration)
        except (ConfigurationError, TypeError) as error:
            return UnknownSerializer(reason=str(error), **configuration)

    @classmethod
    def convert(cls, value: Any) -> Serializer[Any]:
        """A serializer from what may stand for one: itself, a type, or a mapping with type and options.

        Raises:
            ConfigurationError: It cannot be built.
            TypeError: It is nothing of these.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return Serializer(type=value)
        if isinstance(value, Mapping):
            return Serializer(**value)
        raise TypeError(
            f"A serializer, or the type of one such as 'json', was expected, not {value!r} of type"
            f" {type(value).__name__}."
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let fields of pydantic models be serializers: validate with `convert`, dump as `configuration`."""
        from pydantic_core import core_schema  # only pydantic calls this

        def dump(serializer: Serializer[Any]) -> dict[str, Any]:
            return serializer.configuration()

        return core_schema.no_info_plain_validator_function(
            cls.convert, serialization=core_schema.plain_serializer_function_ser_schema(dump)
        )

    def _facts(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._options)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self.__class__.__qualname__} is immutable; make another one.")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash((self.__class__, self.type))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._options)
        return f"{self.__class__.__qualname__}({options})"


class UnknownSerializer(Serializer[Any]):
    """Stands for a serializer that a record names and this process does not have.

    The record can still be looked at and passed on; only its value cannot be loaded.

    Args:
        type: The type that is not known.
        reason: Why it could not be built.
        **fields: Its options, whatever they are.
    """

    type: str
    _fields: Mapping[str, Any]

    def __init__(self, *, reason: str = "", **fields: Any) -> None:
        object.__setattr__(self, "type", fields.get("type"))
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_reason", reason)

    def dumps(self, obj: Any) -> bytes:
        """Refuse.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(self._refusal("write"))

    def loads(self, blob: bytes) -> Any:
        """Refuse.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(self._refusal("load"))

    def configuration(self) -> dict[str, Any]:
        return dict(self._fields)

    def _refusal(self, verb: str) -> str:
        reason: str = getattr(self, "_reason", "")
        return (
            f"Cannot {verb} a result with the serializer {self.type!r}: it is not known in this process."
            f" {reason or 'Import the module that defines it first.'}"
        )

    def _facts(self) -> tuple[Any, ...]:
        return tuple(sorted(self._fields.items(), key=str))

    def __repr__(self) -> str:
        return f"UnknownSerializer({', '.join(f'{name}={value!r}' for name, value in self._fields.items())})"


def load_library(name: Any, *functions: str) -> ModuleType:
    """Import the module with the given path, and check that it has the functions that are needed.

    Raises:
        ConfigurationError: It is no import path, cannot be imported, or lacks a function. For packages that
            our own serializers need, the message says how to install them.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"The import path of a module was expected as a text, not {name!r}.")
    try:
        module = import_module(name)
    except (ImportError, ValueError) as error:
        brought_by = _INSTALLED_AS.get(name.partition(".")[0])
        advice = f". Install it with: pip install {brought_by}" if brought_by else ""
        raise ConfigurationError(f"The module {name!r} cannot be imported: {error}{advice}") from error
    for function in functions:
        if not callable(getattr(module, function, None)):
            raise ConfigurationError(f"The module {name!r} does not have a {function!r} method.")
    return module


def find_object(path: str, may_import: bool = True) -> Any:
    """The object with the given import path, such as ``package.module.Class.Inner``; `NotSet` if there is none.

    Args:
        path: Names with dots between them.
        may_import: With False only modules that are loaded already are looked at.
    """
    names = path.split(".")
    if not all(name.isidentifier() for name in names):
        return NotSet
    for length in range(len(names) - 1, 0, -1):
        name, rest = ".".join(names[:length]), names[length:]
        module = sys.modules.get(name)
        found = NotSet if module is None else _inside(module, rest)
        if (
            found is NotSet and may_import and loaded(name) is None
        ):  # by another thread it may be half imported
            try:
                module = import_module(name)
            except Exception:  # noqa: S112 - whatever the module's code raises: it cannot be had
                continue
            found = _inside(module, rest)
        if module is not None:
            return found
    return NotSet


def _inside(module: ModuleType, names: Sequence[str]) -> Any:
    found: Any = module
    for name in names:
        found = getattr(found, name, NotSet)
    return found


def _known(kind: str) -> type[Serializer[Any]] | None:
    if kind not in _registry and kind in _HOMES:
        load(f"{__package__}.{_HOMES[kind]}")
    return _registry.get(kind)


def _registered(fields: Mapping[str, Any]) -> type[Serializer[Any]]:
    kind = fields.get("type")
    found = _known(kind) if isinstance(kind, str) else None
    if found is None:
        raise ConfigurationError(
            f"There is no serializer of type {kind!r}. There are: {', '.join(sorted({*_registry, *_HOMES}))}."
            " One of your own is known once the module that defines it was imported."
        )
    return found


def _plain(value: Any) -> Any:
    return value.configuration() if isinstance(value, Serializer) else value
