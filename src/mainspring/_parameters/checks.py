"""What one parameter may be: types that pass at a glance, and pydantic for the rest."""

from __future__ import annotations

import collections.abc
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mainspring._parameters.hints import UNKNOWN
from mainspring._representation import shown

__all__ = ["Check", "EachCheck", "EachNamedCheck", "Refused", "check_of"]

# Where pydantic would give an iterator that checks while it is read, and can be read only once.
_LAZY = frozenset(
    {
        collections.abc.Iterable,
        collections.abc.Iterator,
        collections.abc.Generator,
        collections.abc.AsyncIterable,
        collections.abc.AsyncIterator,
        collections.abc.AsyncGenerator,
        collections.abc.Awaitable,
        collections.abc.Coroutine,
    }
)
_HOOKS = ("__get_pydantic_core_schema__", "__get_validators__", "__pydantic_validator__")
# Codes of pydantic's errors: a class with a configuration of its own; `typing.TypedDict` before Python 3.12, which
# does not tell pydantic enough, so that it is left alone.
_BRINGS_CONFIG, _TYPED_DICT = "type-adapter-config-unused", "typed-dict-version"
_SELF: Any = vars(typing)["Self"]  # which means nothing to whoever does not know the class
_SIMPLE = (str, bytes, int, float, complex, bool, type(None))
_SECRET = ("password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "credential")
_LONGEST = 60


class Refused(Exception):  # noqa: N818 - it never leaves the package
    """A value does not fit. ``problems`` has a text for each part that does not, with the path to it."""

    def __init__(self, problems: list[str], cause: Exception | None = None) -> None:
        super().__init__(problems)
        self.problems = problems
        self.cause = cause


class Check:
    """What a value has to be.

    Args:
        hint: The type.
        name: That of the parameter.

    ``exact`` are types whose direct instances pass. Safe to share between threads.
    """

    __slots__ = ("_adapter", "_is_lazy", "classes", "exact", "hint", "name")

    def __init__(self, hint: Any, name: str) -> None:
        self.hint = hint
        self.name = name
        members = list(_members(hint))
        self.exact: frozenset[type] = frozenset(member for member in members if _passes_exactly(member))
        self.classes = tuple(found for member in members if (found := _passes_as_instance(member)))
        self._is_lazy = len(members) == 1 and _bare(hint) in _LAZY
        self._adapter: Any = None

    def admit(self, kind: type) -> None:
        """Let direct instances of one more type pass."""
        self.exact |= {kind}

    def accepts(self, value: Any) -> bool:
        """Whether the value passes as it is, without another look."""
        return type(value) in self.exact or (bool(self.classes) and _is_instance(value, self.classes))

    def convert(self, value: Any) -> Any:
        """The value as what it has to be.

        Raises:
            Refused: It cannot be.
        """
        if self.accepts(value):
            return value
        if self._is_lazy:
            raise Refused(
                [
                    f"{self.name}: Input should be an instance of {_bare(self.hint).__name__}{self._given((), value)}"
                ]
            )
        from pydantic import ValidationError  # on use: it takes longer to import than all of this package

        try:
            return self.adapter().validate_python(value)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
            raise Refused(
                [self._problem(each["loc"], each["type"], each["msg"], each["input"]) for each in details]
            ) from None
        except Exception as error:  # of the annotation or of the user's validator: it is the reason to tell
            text = f"{self.name}: it cannot be validated: {type(error).__name__}: {_first_line(error)}"
            raise Refused([text], error) from None

    def adapter(self) -> Any:
        """What validates in pydantic's way; made once.

        Raises:
            PydanticUserError: pydantic does not know what to do with the type.
        """
        if self._adapter is None:
            self._adapter = _adapter_of(self.hint)
        return self._adapter

    def _problem(self, path: tuple[int | str, ...], kind: str, text: str, value: Any) -> str:
        where = ".".join(map(str, (self.name, *path)))
        return f"{where}: {text}{'' if kind == 'missing' else self._given(path, value)}"

    def _given(self, path: tuple[int | str, ...], value: Any) -> str:
        """What was given, as far as it is short and nobody's secret."""
        words = " ".join(map(str, (self.name, *path))).lower()
        hidden = "Secret" in shown(self.hint) or any(word in words for word in _SECRET)
        if hidden or not isinstance(value, _SIMPLE):
            return f"; given was a {type(value).__name__}"
        text = shown(value)
        return f"; given was {text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'}"


class EachCheck(Check):
    """The check of ``*args``: each of the values has to be of the type."""

    __slots__ = ("_one",)

    def __init__(self, hint: Any, name: str) -> None:
        super().__init__(hint, name)
        self._one = Check(hint, name)
        self.exact: frozenset[type] = frozenset()

    def accepts(self, value: Any) -> bool:
        return all(self._one.accepts(each) for _, each in self._items(value))

    def convert(self, value: Any) -> Any:
        """The values as what they have to be; raises as for one."""
        converted: dict[Any, Any] = {}
        problems: list[str] = []
        cause = None
        for key, each in self._items(value):
            try:
                converted[key] = self._one.convert(each)
            except Refused as refused:
                cause = cause or refused.cause
                problems += [f"{self.name}.{key}{text[len(self.name) :]}" for text in refused.problems]
        if problems:
            raise Refused(problems, cause)
        return self._collect(converted)

    def _items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        values: tuple[Any, ...] = value
        return enumerate(values)

    def _collect(self, converted: dict[Any, Any]) -> Any:
        return tuple(converted.values())


class EachNamedCheck(EachCheck):
    """The same for ``**kwargs``."""

    __slots__ = ()

    def _items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        values: dict[str, Any] = value
        return values.items()

    def _collect(self, converted: dict[Any, Any]) -> Any:
        return converted


def check_of(hint: Any, name: str, make: Callable[[Any, str], Check] = Check) -> Check | None:
    """The check that a type means, None if anything goes."""
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    if hint is UNKNOWN or hint is Any or hint is object or hint is _SELF:
        return None
    if isinstance(hint, typing.TypeVar) and hint.__bound__ is None and not hint.__constraints__:
        return None
    if isinstance(hint, typing.ParamSpecArgs | typing.ParamSpecKwargs | typing.TypeVarTuple):
        return None
    if any(_is_bare_protocol(member) or member is object for member in _members(hint)):
        return None  # one that cannot be asked for
    return make(hint, name)


def _members(hint: Any) -> Iterator[Any]:
    """The types of a union, or the one type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _bare(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _passes_exactly(hint: Any) -> bool:
    """Whether pydantic would return a direct instance as it is, or a copy that is equal."""
    if typing.get_origin(hint) is not None or not isinstance(hint, type):
        return False
    return not any(hasattr(hint, hook) for hook in _HOOKS) and not hasattr(hint, "_fields")


def _passes_as_instance(hint: Any) -> type | None:
    """The class of which every instance passes as it is, None if there is more to it."""
    bare = _bare(hint)
    if bare in _LAZY:
        return bare  # type: ignore[no-any-return]
    if not _passes_exactly(hint):
        return None
    is_of_python = hint.__module__.partition(".")[0] in sys.stdlib_module_names
    return None if is_of_python or typing.is_typeddict(hint) else hint


def _is_bare_protocol(hint: Any) -> bool:
    bare = _bare(hint)
    return getattr(bare, "_is_protocol", False) and not getattr(bare, "_is_runtime_protocol", False)


def _is_instance(value: Any, classes: tuple[type, ...]) -> bool:
    try:
        return isinstance(value, classes)
    except Exception:  # an object may raise anything when it is asked for its class
        return False


def _adapter_of(hint: Any) -> Any:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter  # on use, as above

    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as error:
        code = error.code
        if code not in (_BRINGS_CONFIG, _TYPED_DICT):
            raise
    try:
        return TypeAdapter(hint if code == _BRINGS_CONFIG else Any)
    except PydanticUserError as error:
        if error.code != _TYPED_DICT:
            raise
    return TypeAdapter(Any)


def _first_line(error: Exception) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # what it raises when it is shown must not hide what the message is about
        return "it cannot be shown"
    return lines[0] if lines else ""
