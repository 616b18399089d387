"""The JSON schema of a flow's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mainspring._parameters.checks import Check
from mainspring.store.encoding import to_plain

__all__ = ["schema_of", "types_of"]

_KINDS = inspect.Parameter
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    list: {"type": "array", "items": {}},
    dict: {"type": "object", "additionalProperties": True},
}
_REFERENCE = "#/definitions/{model}"


def schema_of(
    signature: inspect.Signature, checks: Mapping[str, Check | None], left_out: int
) -> dict[str, Any]:
    """The schema of an object with the parameters as its properties.

    Args:
        signature: That of the flow's function.
        checks: What the parameters have to be, by name.
        left_out: How many of the first parameters are bound already.
    """
    parameters = list(signature.parameters.values())[left_out:]
    types, definitions = types_of({p.name: checks.get(p.name) for p in parameters})
    properties: dict[str, Any] = {}
    required: list[str] = []
    for position, parameter in enumerate(parameters):
        found = types[parameter.name]
        if parameter.kind is _KINDS.VAR_POSITIONAL:
            found = {"type": "array", "items": found}
        elif parameter.kind is _KINDS.VAR_KEYWORD and found.get("type") != "object" and "$ref" not in found:
            found = {"type": "object", "additionalProperties": found or True}
        about = {"title": parameter.name, "position": position, **_without_title(found)}
        if parameter.default is not parameter.empty:
            about.update(to_plain({"default": parameter.default}))
        elif parameter.kind not in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD):
            required.append(parameter.name)
        properties[parameter.name] = about
    return {
        "title": "Parameters",
        "type": "object",
        "properties": properties,
        "required": required,
        "definitions": definitions,
    }


def _without_title(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "title"}


def types_of(checks: Mapping[str, Check | None]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The schema of each parameter's type, and what these refer to; empty for what JSON has no form for."""
    types: dict[str, dict[str, Any]] = {}
    others: dict[str, Check] = {}
    for name, check in checks.items():
        plain: dict[str, Any] | None = {}
        if check is not None:
            plain = _PLAIN.get(check.hint) if isinstance(check.hint, type) else None
        if plain is None and check is not None:
            others[name] = check
        else:
            types[name] = dict(plain or {})
    if not others:
        return types, {}
    from pydantic import TypeAdapter  # on use: importing it takes longer than all of this package

    inputs: list[Any] = []
    for name, check in others.items():
        try:
            check.adapter().json_schema()
        except Exception:  # a type that has no schema can have any value
            types[name] = {}
        else:
            inputs.append((name, "validation", check.adapter()))
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REFERENCE)
    types.update({name: dict(schema) for (name, _), schema in found.items()})
    return types, dict(rest.get("$defs", {}))
