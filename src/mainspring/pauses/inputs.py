"""What the input of a paused run has to be, and its way through the history.

An input goes as JSON wherever that tells all of it, so that it can be read, and typed by hand; else as a pickle. It is
checked by who gives it, if the type can be had there, and always by who gets it.
"""

from __future__ import annotations

import io
import pickle
import typing
from types import ModuleType
from typing import Any

import msgspec

from mainspring._parameters.checks import Check, Refused, check_of
from mainspring._parameters.hints import UNKNOWN, may_be_type
from mainspring._parameters.schema import types_of
from mainspring._representation import shown
from mainspring.annotations import NotSet
from mainspring.exceptions import ParameterTypeError, SerializationError
from mainspring.serializers import PickleSerializer

__all__ = ["ExpectedInput", "load_type", "pack", "unpack"]

_NAME = "run_input"
_SIMPLE = (str, int, float, bool, type(None), list, dict)


class ExpectedInput:
    """The type of an input. Making one imports pydantic for all but classes of msgspec and plain types.

    Args:
        hint: The type: a class, or any annotation that a parameter of a flow may have.

    Raises:
        TypeError: It is no type, or nothing can be checked by it.
    """

    __slots__ = ("_check", "_is_struct", "hint")
    hint: Any

    def __init__(self, hint: Any) -> None:
        name = shown(hint)
        if hint is UNKNOWN or isinstance(hint, str) or not may_be_type(hint):
            raise TypeError(
                f"Invalid `wait_for_input`: {name} is no type. Give a class or an annotation: int, a"
                f" dataclass, dict[str, int]."
            )
        self.hint = hint
        self._is_struct = _has_struct(hint)
        self._check: Check | None = None
        if hint is Any or hint is object:
            return
        try:
            self._check = check_of(hint, _NAME)
            if self._check is not None and not self._is_struct and hint not in _SIMPLE:
                self._check.adapter()
            if self._is_struct:
                msgspec.json.schema(hint)
        except Exception as error:  # of pydantic or of the class: it is the reason to tell
            raise TypeError(
                f"Invalid `wait_for_input`: no input can be checked by {name}: {error}"
            ) from error
        if self._check is None:
            raise TypeError(f"Invalid `wait_for_input`: no input can be checked by {name}.")

    @property
    def schema(self) -> str:
        """Its JSON schema, ``{}`` if JSON has no form for it."""
        if self._check is None:
            return "{}"
        try:
            if self._is_struct:
                schema = msgspec.json.schema(self.hint)
            elif self.hint in _SIMPLE:
                schema = types_of({_NAME: self._check})[0][_NAME]
            else:
                schema = self._check.adapter().json_schema()
        except Exception:  # a type that JSON has no form for
            return "{}"
        return msgspec.json.encode(schema).decode()

    @property
    def pickled(self) -> bytes | None:
        """The type for other processes, by its name; None if they cannot have it."""
        try:
            return pickle.dumps(self.hint)
        except Exception:  # one that has no name, for example as a function has made it
            return None

    def convert(self, value: Any) -> Any:
        """An input as what it has to be.

        Raises:
            ParameterTypeError: It cannot be; the message says why.
        """
        if self._check is None:
            return value
        try:
            if self._is_struct:
                return self._convert_to_struct(value)
            return self._check.convert(value)
        except Refused as refused:
            lines = "\n".join(f"  - {problem}" for problem in refused.problems)
            raise ParameterTypeError(f"The input is not what the run waits for:\n{lines}") from refused.cause

    def _convert_to_struct(self, value: Any) -> Any:
        if type(value) is self.hint:
            return value
        try:
            return msgspec.convert(msgspec.to_builtins(value), self.hint, strict=False)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise Refused([f"{_NAME}: {error}"]) from None

    def default(self) -> Any:
        """The input of somebody who gives none: None, or an object that is all defaults; `NotSet` if there is none."""
        kinds: list[Any] = [None]
        if isinstance(self.hint, type) and not issubclass(self.hint, _SIMPLE):
            kinds.append({})
        for value in kinds:
            try:
                return self.convert(value)
            except ParameterTypeError:
                continue
        return NotSet


def _has_struct(hint: Any) -> bool:
    """Whether there is a class of msgspec in a type: pydantic does not know what to do with those."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return issubclass(hint, msgspec.Struct)
    return any(map(_has_struct, typing.get_args(hint)))


class _Unpickler(pickle.Unpickler):
    """Finds what a script has defined in the module that its file was loaded as."""

    def __init__(self, content: bytes, main: ModuleType | None) -> None:
        super().__init__(io.BytesIO(content))
        self._main = main

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "__main__" and self._main is not None:
            found: Any = self._main
            for part in global_name.split("."):
                found = getattr(found, part)
            return found
        return super().find_class(module_name, global_name)


def load_type(content: bytes | None, main: ModuleType | None = None) -> ExpectedInput | None:
    """The type that was pickled in another process; None if it cannot be had here.

    Args:
        content: The pickle.
        main: The module that was the main program there, if it is known.
    """
    if content is None:
        return None
    try:
        return ExpectedInput(_Unpickler(content, main).load())
    except Exception:  # by rule: who gets the input checks it, wherever the type is
        return None


def pack(value: Any, expected: ExpectedInput | None) -> str | bytes:
    """An input for the history: as JSON if that tells all of it, else as a pickle.

    Args:
        value: The input, converted if the type is known.
        expected: The type, if it is known.

    Raises:
        SerializationError: It cannot be either.
    """
    name = shown(value)
    try:
        text = msgspec.json.encode(value, enc_hook=_in_json)
        again = msgspec.json.decode(text)
        if expected is not None:
            again = expected.convert(again)
        if again == value and type(again) is type(value):
            return text.decode()
        if expected is None and not isinstance(value, (*_SIMPLE, tuple, set, frozenset, bytes)):
            return text.decode()  # an object, whose class the other side has, too
    except Exception:  # noqa: S110 - what has no form in JSON is pickled
        pass
    try:
        pickled = PickleSerializer().dumps_binary(value)
    except Exception as error:  # of the user's class, or whatever pickle meets
        raise SerializationError(f"The input {name} cannot be passed on: {error}") from error
    return pickled


def unpack(content: str | bytes | None) -> Any:
    """An input from the history.

    Raises:
        SerializationError: It cannot be loaded here.
    """
    if content is None:
        return None
    if isinstance(content, str):
        return msgspec.json.decode(content)
    try:
        return pickle.loads(content)
    except Exception as error:  # of a class that is not here
        raise SerializationError(f"The input cannot be loaded here: {error}") from error


def _in_json(value: Any) -> Any:
    serializer: Any = getattr(value, "__pydantic_serializer__", None)
    if serializer is None:
        raise TypeError(f"JSON has no form for {type(value).__name__}.")
    return serializer.to_python(value, mode="json", warnings=False)
