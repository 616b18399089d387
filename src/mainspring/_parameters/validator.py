"""All parameters of one flow: converted by their annotations, or refused with all that is wrong with them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from mainspring._core.arguments import Arguments
from mainspring._parameters.checks import Check, EachCheck, EachNamedCheck, Refused, check_of
from mainspring._parameters.hints import UNKNOWN, find_local_names, refuse_bad_annotations, resolve
from mainspring.exceptions import ParameterTypeError

__all__ = ["ParameterValidator"]

_KINDS = inspect.Parameter


class ParameterValidator:
    """Knows what the parameters of a flow have to be. Costs next to nothing before it is used; thread-safe.

    Args:
        arguments: Those of the flow's function.
        local_names: What its annotations name among the variables around its definition, if that is over.
    """

    __slots__ = ("_checks", "arguments", "local_names")

    def __init__(self, arguments: Arguments, local_names: Mapping[str, Any] | None = None) -> None:
        self.arguments = arguments
        if local_names is None:
            local_names = find_local_names(arguments.function, arguments.signature)
        self.local_names = local_names
        self._checks: dict[str, Check | None] | None = None

    def refuse_bad_annotations(self) -> None:
        """Refuse a function some of whose annotations cannot be types.

        Raises:
            ValueError: As the name says.
        """
        refuse_bad_annotations(self.arguments.signature, self.arguments.name)

    @property
    def checks(self) -> dict[str, Check | None]:
        """The check of each parameter, None where anything goes."""
        if self._checks is None:
            self._checks = {
                name: self._check_of(p) for name, p in self.arguments.signature.parameters.items()
            }
        return self._checks

    def hint_of(self, name: str) -> Any:
        """The type of a parameter, `inspect.Parameter.empty` if it has none."""
        parameter = self.arguments.signature.parameters[name]
        return resolve(parameter.annotation, self.arguments.function, self.local_names)

    def convert(self, parameters: dict[str, Any], name: str, partly: bool = False) -> dict[str, Any]:
        """The parameters as what they have to be: the same dict if they are that already.

        Args:
            parameters: The parameters by name.
            name: What the flow is called.
            partly: They are not all there, and need not be.

        Raises:
            ParameterTypeError: Some do not fit, are unknown or missing; all of these are named.
        """
        checks = self._checks or self.checks
        if len(parameters) != len(checks) and not partly:
            return self._convert(parameters, name, self._missing_from(parameters))
        for key, value in parameters.items():
            check = checks.get(key, _NO_SUCH)
            if check is not None and type(value) not in check.exact and not check.accepts(value):
                return self._convert(parameters, name, ())
        return parameters

    def _missing_from(self, parameters: Mapping[str, Any]) -> list[str]:
        """The parameters without a default that are not there."""
        return [
            name
            for name, parameter in self.arguments.signature.parameters.items()
            if name not in parameters
            and parameter.default is parameter.empty
            and parameter.kind not in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD)
        ]

    def _convert(self, parameters: dict[str, Any], name: str, missing: Iterable[str]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        problems = [f"{key}: It is missing" for key in missing]
        cause: Exception | None = None
        for key, value in parameters.items():
            if key not in self.checks:
                problems.append(f"{key}: There is no such parameter")
                continue
            check = self.checks[key]
            try:
                converted[key] = value if check is None else check.convert(value)
            except Refused as refused:
                problems += refused.problems
                cause = cause or refused.cause
        if problems:
            lines = "\n".join(f"  - {problem}" for problem in problems)
            raise ParameterTypeError(f"Flow {name!r} was called with invalid parameters:\n{lines}") from cause
        return converted

    def _check_of(self, parameter: inspect.Parameter) -> Check | None:
        name, hint = parameter.name, self.hint_of(parameter.name)
        if parameter.kind is _KINDS.VAR_POSITIONAL:
            is_special = typing.get_origin(hint) is typing.Unpack or hint is UNKNOWN
            return None if is_special else check_of(hint, name, EachCheck)
        if parameter.kind is _KINDS.VAR_KEYWORD:
            if typing.get_origin(hint) is typing.Unpack:  # a TypedDict says what there is
                return check_of(typing.get_args(hint)[0], name)
            return check_of(hint, name, EachNamedCheck)
        check = check_of(hint, name)
        if check is not None and parameter.default is None:  # `x: int = None` means that None will do
            check.admit(type(None))
        return check


class _NoSuchParameter(Check):
    """Nothing passes."""

    __slots__ = ()

    def accepts(self, value: Any) -> bool:
        return False


_NO_SUCH = _NoSuchParameter((), "")
