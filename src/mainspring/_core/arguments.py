"""From the arguments of a call to parameters by name and back, compiled once per function.

``inspect.Signature.bind`` costs some microseconds a call. Python binds arguments for nothing when a function has
the wanted signature, so for each task two small functions are compiled: one with the signature of the task's
function that returns its arguments as a dict, and one that calls the task's function from such a dict.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

from mainspring.exceptions import ParameterBindError, ReservedArgumentError

__all__ = ["RESERVED_NAMES", "Arguments", "Body"]

RESERVED_NAMES = ("return_state", "wait_for")

_KINDS = inspect.Parameter


class Body:
    """What is called in place of a function: the function itself, unless a test has put a stand-in there.

    All copies of a task or flow share one, so that whatever takes the place of its function does so in all of them.

    Args:
        function: What is called.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


class Arguments:
    """The signature of one function, ready for fast use. Immutable and safe to share between threads.

    Args:
        function: The function; bound methods and callable objects are fine.
        name: What error messages call it.
        signature: The function's signature, if it is known: in another process the function may not be
            complete yet.

    Raises:
        ReservedArgumentError: A parameter has a name that calls of a task or flow need themselves.
        TypeError: The function has no signature.
    """

    __slots__ = ("_absent", "_bind", "_call", "body", "function", "name", "signature", "variadic_keyword")

    def __init__(
        self, function: Callable[..., Any], name: str, signature: inspect.Signature | None = None
    ) -> None:
        try:
            self.signature = inspect.signature(function) if signature is None else signature
        except Exception as error:  # an object may raise anything when it is looked at
            raise TypeError(
                f"{name!r} cannot be used: Python cannot tell its signature ({error}). Wrap it in a"
                f" function that spells out its parameters."
            ) from None
        self.function = function
        self.body = Body(function)
        self.name = name
        parameters = self.signature.parameters
        self.variadic_keyword = next(
            (key for key, p in parameters.items() if p.kind is _KINDS.VAR_KEYWORD), None
        )
        for reserved in RESERVED_NAMES:
            if reserved in parameters:
                raise ReservedArgumentError(
                    f"{reserved!r} is a reserved argument name and cannot be used as a parameter of"
                    f" {name!r}: calls use it themselves. Rename the parameter."
                )
        self._absent = {name: _absent(parameter) for name, parameter in parameters.items()}
        self._bind = _compile_bind(parameters)
        self._call = _compile_call(parameters)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a call by name, defaults applied, in the order of the signature.

        Raises:
            ParameterBindError: The arguments do not fit.
        """
        try:
            return self._bind(*args, **kwargs) if kwargs else self._bind(*args)
        except TypeError:
            raise self._explain(args, kwargs) from None

    def call(self, parameters: Mapping[str, Any]) -> Any:
        """Call the function with the given parameters; they may come from elsewhere than `bind`."""
        return self._call(self.body.function, parameters)

    @property
    def has_stand_in(self) -> bool:
        """Whether something else is called in place of the function."""
        return self.body.function is not self.function

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that a call names itself, defaults left out.

        Raises:
            ParameterBindError: The arguments do not fit.
        """
        try:
            return dict(self.signature.bind(*args, **kwargs).arguments)
        except TypeError:
            raise self._explain(args, kwargs) from None

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """``given`` with the defaults added, in the order of the signature."""
        complete = {name: given.get(name, default) for name, default in self._absent.items()}
        variadic = self.variadic_keyword
        if variadic is not None and variadic not in given:
            complete[variadic] = {}  # for each call its own
        return complete

    def _explain(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ParameterBindError:
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            reason = str(error)
        else:
            reason = "the arguments do not fit"
        problems = _problems(self.signature.parameters, args, kwargs)
        others = [problem for name, problem in problems if repr(name) not in reason]
        reason = "; ".join([reason, *others])
        return ParameterBindError.from_call(self.name, self.signature, reason, args, kwargs)


def _problems(
    parameters: Mapping[str, inspect.Parameter], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterable[tuple[str, str]]:
    """What is wrong with which arguments of a call, in Python's words; Python itself only names the first."""
    kinds = {parameter.kind for parameter in parameters.values()}
    by_position = (_KINDS.POSITIONAL_ONLY, _KINDS.POSITIONAL_OR_KEYWORD)
    positional = [name for name, parameter in parameters.items() if parameter.kind in by_position]
    filled = set(positional[: len(args)])
    for name, parameter in parameters.items():
        is_given = name in filled or (name in kwargs and parameter.kind is not _KINDS.POSITIONAL_ONLY)
        if parameter.default is parameter.empty and parameter.kind not in _STARS and not is_given:
            yield name, f"missing a required argument: {name!r}"
    for name in kwargs:
        known = parameters.get(name)
        if name in filled and known is not None and known.kind is not _KINDS.POSITIONAL_ONLY:
            yield name, f"multiple values for argument {name!r}"
        elif known is None and _KINDS.VAR_KEYWORD not in kinds:
            yield name, f"got an unexpected keyword argument {name!r}"


def _absent(parameter: inspect.Parameter) -> Any:
    """What a parameter is that a call does not name."""
    return () if parameter.kind is _KINDS.VAR_POSITIONAL else parameter.default


def _compile_bind(parameters: Mapping[str, inspect.Parameter]) -> Callable[..., dict[str, Any]]:
    """A function with the same parameters and defaults that returns them as a dict."""
    header: list[str] = []
    defaults: list[Any] = []
    keyword_defaults: dict[str, Any] = {}
    previous = None
    for name, parameter in parameters.items():
        kind = parameter.kind
        if previous is _KINDS.POSITIONAL_ONLY and kind is not _KINDS.POSITIONAL_ONLY:
            header.append("/")
        if kind is _KINDS.KEYWORD_ONLY and previous not in (_KINDS.VAR_POSITIONAL, kind):
            header.append("*")
        header.append(_STARS.get(kind, "") + name)
        if parameter.default is not parameter.empty:
            header[-1] += "=None"
            if kind is _KINDS.KEYWORD_ONLY:
                keyword_defaults[name] = parameter.default
            else:
                defaults.append(parameter.default)
        previous = kind
    if previous is _KINDS.POSITIONAL_ONLY:
        header.append("/")
    items = ", ".join(f"{name!r}: {name}" for name in parameters)
    bind = _compile("bind", header, f"{{{items}}}")
    bind.__defaults__ = tuple(defaults)
    bind.__kwdefaults__ = keyword_defaults
    return bind


def _compile_call(parameters: Mapping[str, inspect.Parameter]) -> Callable[..., Any]:
    """A function that calls its first argument with the parameters in its second."""
    passed = [
        f"{_STARS.get(p.kind, '')}{f'{name}=' if p.kind is _KINDS.KEYWORD_ONLY else ''}_values[{name!r}]"
        for name, p in parameters.items()
    ]
    return _compile("call", ["_function", "_values"], f"_function({', '.join(passed)})")


_STARS: dict[object, str] = {_KINDS.VAR_POSITIONAL: "*", _KINDS.VAR_KEYWORD: "**"}


def _compile(name: str, header: Iterable[str], result: str) -> FunctionType:
    namespace: dict[str, Any] = {"__name__": __name__}  # so that tracebacks know whose code it is
    exec(f"def {name}({', '.join(header)}):\n    return {result}", namespace)  # noqa: S102 - names from a signature are identifiers
    compiled: FunctionType = namespace[name]
    return compiled
