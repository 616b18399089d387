"""The canonical encoding of values: equal content gives equal bytes, in every process and on every machine.

A value is walked once. Each part becomes a short, self-delimiting text of bytes that begins with a letter for its
kind, so ``1``, ``"1"``, ``1.0`` and ``True`` all differ. A part whose text is longer than `FOLD` bytes is replaced by
its digest. So nothing large is ever joined or copied, buffers go to the hash function as they are, and a part that
is found in many places is encoded once.

The members of sets and the items of dicts are put into an order that depends on nothing but their content. Objects of
unknown types are taken apart as pickle would, but into parts that are encoded by the same rules. A value that contains
itself is walked a second time with numbers for what was seen already.
"""

from __future__ import annotations

import copyreg
import io
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from importlib import import_module
from pathlib import PurePath, PurePosixPath
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any
from weakref import WeakKeyDictionary

from mainspring.exceptions import HashError
from mainspring.hashing.transforms import STABLE_TRANSFORMS, names_of
from mainspring.hashing.walk import (
    SCALARS,
    Algorithm,
    Cycle,
    Refused,
    Walk,
    folded,
    full_name,
    packed,
    text_of,
    type_of,
)

__all__ = ["encode", "encode_items"]

_packed_name = lru_cache(1024)(packed)  # the few names of parameters that a program has

Names = tuple[type | str, ...]
ByType = Callable[["ObjectWalk", Any], bytes]


def encode(value: Any, algorithm: Algorithm, name: str) -> bytes:
    """The canonical encoding of ``value``.

    Args:
        value: Anything.
        algorithm: The hash function for what is long.
        name: What to call the value in messages.

    Raises:
        HashError: A part of the value can be told neither by its content nor by its pickle.
    """
    try:
        try:
            return ObjectWalk(algorithm).encode(value)
        except Cycle:
            return ObjectWalk(algorithm, [0]).encode(value)
    except Refused as refused:
        path = name + "".join(reversed(refused.path))
        raise HashError(f"Cannot hash {path}: {refused.reason}", path=path) from refused.__cause__
    except RecursionError:
        raise HashError(f"Cannot hash {name}: it is nested too deeply.", path=name) from None


def encode_items(
    values: Mapping[str, Any], algorithm: Algorithm, name: str
) -> tuple[bytes, dict[str, bytes]]:
    """The canonical encoding of a dict, and that of each of its values, in one walk.

    Outside of cycles the encoding of a value does not depend on where it is found, so that of the dict is made of those
    of its values.

    Args:
        values: A dict whose keys are texts.
        algorithm: As for `encode`.
        name: Likewise.

    Returns:
        What `encode` gives for the dict, and what it gives for each value, in the order of the keys.

    Raises:
        HashError: As for `encode`.
    """
    walk: ObjectWalk | None = None
    encoded: dict[str, bytes] = {}
    parts: list[bytes] = []
    try:
        for key in sorted(values):
            value = values[key]
            kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType] - of whatever value
            plain = SCALARS.get(kind)  # most are, or texts, and need no walk
            if plain is not None:
                part = plain(value)
            elif kind is str:
                part = text_of(value, algorithm)
            else:
                walk = walk or ObjectWalk(algorithm)
                part = walk.encode(value)
            encoded[key] = part
            parts += _packed_name(key), part
    except (Cycle, Refused, RecursionError):  # a cycle needs another walk, and an error the whole path
        whole = encode(dict(values), algorithm, name)
        return whole, {key: encode(values[key], algorithm, name) for key in sorted(values)}
    return folded(b"{", parts, algorithm), encoded


_TRACES = "tblib."
"""Where functions are from that some libraries register to pickle exceptions with where they were raised."""


class ObjectWalk(Walk):
    """A walk that knows all kinds of objects."""

    __slots__ = ()

    def other(self, value: Any, kind: type) -> bytes:
        """A value of a type that is not built in: by a transform, by its kind, or taken apart."""
        entry = _by_type.get(kind)
        if entry is None:
            entry = _by_type[kind] = (names_of(kind), _choose(kind))
        names, encoder = entry
        for name in names:
            transform = STABLE_TRANSFORMS.get(name)
            if transform is not None:
                try:
                    plainer = transform(value)
                except Exception as error:  # any error of foreign code means that this value has no hash
                    raise Refused(f"its transform failed ({_told(error)}).") from error
                return self.fold(b"T", [packed(full_name(kind)), self.transformed(plainer)])
        return encoder(self, value)

    def transformed(self, value: Any) -> bytes:
        """What a transform made, in a walk of its own: it is large at times, and not needed afterwards."""
        return self.detached([value])[0] if self.effort else ObjectWalk(self.algorithm).encode(value)

    def reduced(self, value: Any) -> bytes:
        """An object as pickle would take it apart: constructor, arguments, state and items."""
        reduce = copyreg.dispatch_table.get(type_of(value))
        if reduce is not None and getattr(reduce, "__module__", "").startswith(_TRACES):
            reduce = None
        try:
            taken: Any = reduce(value) if reduce else value.__reduce_ex__(4)
        except RecursionError:
            raise
        except Exception as error:  # any error of foreign code means no more than that this way is barred
            return self.pickled(value, error)
        if isinstance(taken, str):  # a name that it can be imported by
            wrapped = self.encode(getattr(value, "__wrapped__", None))
            return self.fold(b"G", [packed(f"{getattr(value, '__module__', '')}.{taken}"), wrapped])
        parts: tuple[Any, ...] = (*taken, None, None, None)
        make, arguments, state, items, pairs = parts[:5]
        encoded = [self.constructor(make), self.arguments(arguments), self.state(state)]
        encoded.append(self.sequence(list(items)) if items is not None else b"N")
        if pairs is None:
            encoded.append(b"N")
        elif isinstance(value, OrderedDict):
            encoded.append(self.sequence(list(pairs)))
        else:
            encoded.append(self.mapping(dict(pairs)))
        return self.fold(b"R", encoded)

    def arguments(self, arguments: Iterable[Any]) -> bytes:
        """What a constructor is called with; classes among it stand for themselves, by name."""
        parts: list[bytes] = []
        try:
            for argument in arguments:
                parts.append(
                    self.constructor(argument) if isinstance(argument, type) else self.encode(argument)
                )
        except Refused as refused:
            refused.path.append(f"(argument {len(parts)})")
            raise
        return self.fold(b"(", parts)

    def constructor(self, make: Any) -> bytes:
        """What makes an object, by name: its code is not a part of the object."""
        if isinstance(make, type | FunctionType):
            return b"g" + packed(full_name(make))
        if isinstance(make, BuiltinFunctionType) and not isinstance(make.__self__, type):
            return b"g" + packed(full_name(make))
        return self.encode(make)  # a class method, which belongs to the class that it is bound to

    def state(self, state: Any) -> bytes:
        """The state of an object: normally its attributes, and those in slots."""
        kind = type_of(state)
        if kind is tuple and len(state) == 2 and type_of(state[1]) is dict:
            attributes: dict[Any, Any] = {**(state[0] or {}), **state[1]}
        elif kind is dict:
            attributes = state
        else:
            return self.encode(state)
        if set(map(type_of, attributes)) == {str}:
            return self.named("{", sorted(attributes), attributes.__getitem__, ".{}")
        return self.encode(attributes)

    def pickled(self, value: Any, error: Exception) -> bytes:
        """The last resort: the pickle, for what can be pickled but not taken apart."""
        cloudpickle: Any = import_module("cloudpickle")
        try:
            return b"P" + self.digest(cloudpickle.dumps(value))
        except Exception as unpicklable:  # foreign code again: told in our own error
            raise Refused(
                f"an object of type {full_name(type_of(value))} can neither be taken apart ({_told(error)})"
                f" nor pickled ({_told(unpicklable)})."
            ) from unpicklable

    def refuse(self, value: Any) -> bytes:
        raise Refused(
            f"an object of type {full_name(type_of(value))} has no content that could be told without using it up or"
            " reading what it stands for."
        )

    # Code

    def function(self, value: FunctionType) -> bytes:
        """A function: its name, its code, its defaults and what it has from the functions around it."""
        cells = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True))
        closure = {name: _content(cell) for name, cell in cells.items()}
        return self.fold(
            b"F",
            [
                packed(full_name(value)),
                self.code(value.__code__),
                self.encode(value.__defaults__),
                self.encode(value.__kwdefaults__),
                self.named("{", sorted(closure), closure.__getitem__, ".<closure {}>"),
            ],
        )

    def code(self, value: CodeType) -> bytes:
        """Compiled code: what it does, not where it stands."""
        arguments = value.co_argcount + value.co_kwonlyargcount
        arguments += bool(value.co_flags & 4) + bool(value.co_flags & 8)  # *args and **kwargs
        return self.fold(
            b"C",
            [
                self.encode(value.co_code),
                self.encode(value.co_consts),
                self.encode(value.co_names),
                self.encode(value.co_varnames[:arguments]),
                self.encode(value.co_freevars),
                self.encode(value.co_exceptiontable),
                self.encode((value.co_argcount, value.co_posonlyargcount, value.co_flags)),
            ],
        )

    def class_(self, value: type) -> bytes:
        """A class: its name; and its members, if it could not be imported by that name."""
        name = packed(full_name(value))
        if _is_importable(value):
            return b"g" + name
        members: dict[str, Any] = {}
        for key, member in vars(value).items():
            function = getattr(member, "__func__", None) or getattr(member, "func", None) or member
            special = key.startswith("__") and key.endswith("__")
            if isinstance(function, FunctionType | property) or not (special or key == "_abc_impl"):
                members[key] = function
        annotations = {key: repr(text) for key, text in getattr(value, "__annotations__", {}).items()}
        bases = [self.encode(base) for base in value.__bases__]
        content = self.named("{", sorted(members), members.__getitem__, ".{}")
        return self.fold(b"K", [name, *bases, content, self.encode(annotations)])


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return ...


def _is_importable(value: type) -> bool:
    """Whether a class is what its full name says, in a module that other processes know by that name, too."""
    found: Any = sys.modules.get(value.__module__)
    if found is None or value.__module__ == "__main__":
        return False
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


# What encodes which type


def _member(walk: ObjectWalk, value: Enum) -> bytes:
    return walk.fold(b"e", [packed(full_name(type_of(value))), walk.encode(value.value)])


def _path(_: ObjectWalk, value: PurePath) -> bytes:
    return (b"p" if isinstance(value, PurePosixPath) else b"w") + packed(str(value))


def _record_of(names: list[str]) -> ByType:
    return lambda walk, value: walk.record(value, names)


def _set_subclass(walk: ObjectWalk, value: Any) -> bytes:
    content = walk.members(value)
    return walk.fold(
        b"Z", [packed(full_name(type_of(value))), content, walk.state(getattr(value, "__dict__", None))]
    )


def _choose(kind: Any) -> ByType:
    """How values of a type that is not built in are encoded."""
    for base, encoder in BY_BASE.items():
        if issubclass(kind, base):
            return encoder
    names = _field_names(kind)
    return ObjectWalk.reduced if names is None else _record_of(names)


def _field_names(kind: Any) -> list[str] | None:
    """The names of the declared fields of a class, in an order of their own; None if it declares none itself.

    What a subclass adds without declaring it would be missed, so a subclass is taken apart instead.
    """
    own: Any = kind.__dict__
    if "__dataclass_fields__" in own:
        return sorted(kind.__dataclass_fields__)
    if "__struct_fields__" in own:
        return sorted(kind.__struct_fields__)
    if "__pydantic_fields__" in own:
        return sorted([*kind.__pydantic_fields__, "__pydantic_extra__", "__pydantic_private__"])
    if "__attrs_attrs__" in own:
        return sorted(attribute.name for attribute in kind.__attrs_attrs__)
    if "_fields" in own and issubclass(kind, tuple):
        return list(own["_fields"])
    return None


_by_type: WeakKeyDictionary[type, tuple[Names, ByType]] = WeakKeyDictionary()

BY_BASE: dict[type, ByType] = {
    type: ObjectWalk.class_,
    Enum: _member,
    PurePath: _path,
    ModuleType: lambda _, value: b"g" + packed(value.__name__),
    FunctionType: ObjectWalk.function,
    CodeType: ObjectWalk.code,
    MethodType: lambda walk, value: walk.fold(
        b"M", [walk.encode(value.__func__), walk.encode(value.__self__)]
    ),
    property: lambda walk, value: walk.fold(b"o", [walk.encode((value.fget, value.fset, value.fdel))]),
    GeneratorType: ObjectWalk.refuse,
    AsyncGeneratorType: ObjectWalk.refuse,
    CoroutineType: ObjectWalk.refuse,
    io.BytesIO: ObjectWalk.reduced,
    io.StringIO: ObjectWalk.reduced,
    io.IOBase: ObjectWalk.refuse,
    set: _set_subclass,
    frozenset: _set_subclass,
}
