"""Parameters of flows as the command line gives them: texts, which the flow's annotations make values of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainspring.entrypoints import AnyFlow
from mainspring.exceptions import ConfigurationError, ParameterBindError

__all__ = ["check_names", "convert_parameters", "split_assignments"]

_NULL = {"type": "null"}
_BEGINS_JSON = ("[", "{", '"')


def split_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """The texts that ``name=value`` assignments give.

    Raises:
        ConfigurationError: One is no assignment, or a name is given twice.
    """
    texts: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigurationError(
                f"--param {assignment!r} is not of the form NAME=VALUE, for example --param days=7."
            )
        if name in texts:
            raise ConfigurationError(f"The parameter {name!r} is given twice.")
        texts[name] = value
    return texts


def check_names(flow: AnyFlow, texts: Mapping[str, str]) -> None:
    """Refuse parameters that are unknown, and calls without some that are needed, in the words of the command line.

    Raises:
        ParameterBindError: The message names all of them, and what the flow takes.
    """
    try:
        flow.bind((), dict(texts))
    except ParameterBindError as error:
        known = flow.arguments.signature.parameters
        unknown = [name for name in texts if name not in known and not flow.arguments.variadic_keyword]
        missing = [
            name
            for name, parameter in known.items()
            if name not in texts and parameter.default is parameter.empty and not _is_variadic(parameter)
        ]
        takes = f"It takes ({', '.join(map(str, known.values()))})." if known else "It takes none."
        if not unknown and not missing:
            raise
        has_none = f"has no parameter {' or '.join(map(repr, unknown))}" if unknown else ""
        options = " ".join(f"--param {name}=..." for name in missing)
        plural = "s" if len(missing) > 1 else ""
        needs = (
            f"needs the parameter{plural} {', '.join(map(repr, missing))}: add {options}" if missing else ""
        )
        text = ". It ".join(filter(None, (has_none, needs)))
        raise ParameterBindError(f"The flow {flow.name!r} {text}. {takes}") from error


def _is_variadic(parameter: Any) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def convert_parameters(flow: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """The parameters as the flow's annotations say.

    What is JSON is taken as that, unless the parameter is a text; anything else is a text.

    Raises:
        ConfigurationError: A value begins like JSON and is none.
        ParameterTypeError: Some parameters do not fit; all of these are named.
    """
    types: dict[str, Any] = flow.parameters["properties"] if texts else {}
    values = {name: _value_of(name, text, types.get(name, {})) for name, text in texts.items()}
    if flow.should_validate_parameters:
        flow.validate_parameters(flow.bind((), dict(values)))
    return values


def _is_text(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string"


def _value_of(name: str, text: str, schema: Mapping[str, Any]) -> Any:
    kinds = schema.get("anyOf", [schema])
    may_be_text = any(map(_is_text, kinds)) and all(_is_text(kind) or kind == _NULL for kind in kinds)
    if may_be_text and not text.startswith('"') and not (text == "null" and _NULL in kinds):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if not text.startswith(_BEGINS_JSON):
            return text
        raise ConfigurationError(
            f"The value of --param {name}={text} is not JSON ({error}). If it is meant as text, put it in"
            f" double quotes, and those in single quotes for the shell:"
            f" --param '{name}={msgspec.json.encode(text).decode()}'"
        ) from None
