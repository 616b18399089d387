"""The annotations of a function's parameters as types: texts are evaluated where the function was written."""

from __future__ import annotations

import ast
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType, GenericAlias
from typing import Any

__all__ = ["UNKNOWN", "find_local_names", "may_be_type", "refuse_bad_annotations", "resolve"]

UNKNOWN: Any = inspect.Parameter.empty
"""What `resolve` gives for an annotation that says nothing, or that cannot be evaluated."""

_TYPING = frozenset({"typing", "types", "typing_extensions", "annotationlib"})
_FAR_ENOUGH = 20  # frames between the decorator and the function around it


def refuse_bad_annotations(signature: inspect.Signature, name: str) -> None:
    """See at a glance that annotations can be types, without evaluating any.

    Args:
        signature: That of the flow's function.
        name: What the flow is called.

    Raises:
        ValueError: Some are no types; all of these are named.
    """
    bad = [
        f"{parameter.name}: {parameter.annotation!r}"
        for parameter in signature.parameters.values()
        if not may_be_type(parameter.annotation)
    ]
    if bad:
        raise ValueError(
            f"Flow {name!r} cannot validate its parameters, as {', '.join(bad)} {'is' if len(bad) == 1 else 'are'}"
            f" not annotated with a type. Annotate with types, or give the flow `validate_parameters=False`."
        )


def may_be_type(annotation: Any) -> bool:
    """Whether an annotation is a type, or a text that may name one; nothing is evaluated."""
    if isinstance(annotation, str):
        return _may_be_text_of_type(annotation)
    if annotation is None or isinstance(annotation, type):
        return True
    if isinstance(annotation, GenericAlias):
        return True
    module: str = type(annotation).__module__
    return module in _TYPING or hasattr(annotation, "__get_pydantic_core_schema__")


def _may_be_text_of_type(text: str) -> bool:
    try:
        found = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return False
    if isinstance(found, ast.Constant):  # a text in a text is evaluated once more
        return found.value is None or (isinstance(found.value, str) and _may_be_text_of_type(found.value))
    return isinstance(found, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp | ast.Call)


def find_local_names(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """What the texts of annotations name among the variables of the functions and classes around the definition.

    To be called while that definition goes on: later these variables are gone. Empty for most functions.
    """
    source = _source_of(function)
    place: str = getattr(source, "__qualname__", "")
    if "<locals>" not in place:
        return {}
    texts = [p.annotation for p in signature.parameters.values() if isinstance(p.annotation, str)]
    wanted = {name for text in texts for name in _names_in(text)}
    found: dict[str, Any] = {}
    if wanted:
        for frame in _frames_around(place, getattr(source, "__globals__", None)):
            variables = frame.f_locals
            for name in wanted - found.keys():
                if name in variables:
                    found[name] = variables[name]
    return found


def _names_in(text: str) -> set[str]:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return set()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    inner = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return names.union(*(_names_in(each) for each in inner if isinstance(each, str)))


def _frames_around(place: str, module: object) -> Iterator[FrameType]:
    """The frames in which the function at ``place`` is being defined, innermost first."""
    around = {part for part in place.split(".")[:-1] if part != "<locals>"}
    frame: FrameType | None = inspect.currentframe()
    for _ in range(_FAR_ENOUGH):
        if frame is None:
            return
        code: CodeType = frame.f_code
        if frame.f_globals is module and code.co_name in around:
            yield frame
        frame = frame.f_back


def resolve(annotation: Any, function: Callable[..., Any], local_names: Mapping[str, Any]) -> Any:
    """The type that an annotation means; `UNKNOWN` if it means none, or names what does not exist at run time.

    Args:
        annotation: As it was written.
        function: Whose parameter it is of.
        local_names: What `find_local_names` has found.
    """
    if annotation is UNKNOWN or annotation is None:
        return type(None) if annotation is None else UNKNOWN
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation
    source = _source_of(function)

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    variables = {**_closure_of(source), **local_names}
    try:
        hints = typing.get_type_hints(
            holder, getattr(source, "__globals__", {}), variables, include_extras=True
        )
    except Exception:  # by rule: a name that only type checkers know is no reason to refuse a call
        return UNKNOWN
    return hints["it"]


def _source_of(function: Any) -> Any:
    """The plain function in which the annotations were written."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isroutine(function) or isinstance(function, type):
            return function
        else:  # an object that can be called
            return type(function).__call__


def _closure_of(function: Any) -> dict[str, Any]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    found: dict[str, Any] = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return found
