"""Where the function of a task or flow is defined, as text, so that another process finds it."""

from __future__ import annotations

import sys
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec

from mainspring._engine.subject import Subject
from mainspring.store.results import CrashHooks

__all__ = ["Place", "crash_note", "place_of"]


class Place(msgspec.Struct, frozen=True):
    """Where a flow is defined.

    Args:
        entrypoint: ``module:name``; None if no name leads to the flow.
        file: The file of that module, if there is one.
        problem: Why another process cannot find the flow, if it cannot.
    """

    entrypoint: str | None = None
    file: str | None = None
    problem: str | None = None


def place_of(flow: Any) -> Place:
    """Where other processes find the flow."""
    facts = cast("dict[str, str]", vars(flow))
    module_name, path = facts.get("__module__", "__main__"), facts.get("__qualname__", "")
    if "<locals>" in path:
        return Place(problem="its flow is defined inside of a function")
    module = sys.modules.get(module_name)
    if module is None:
        return Place(problem=f"its flow is of {module_name!r}, which is no module that can be imported")
    name = _name_in(module, flow, path)
    if name is None:
        return Place(problem=f"no name in the module {module_name!r} leads to its flow, which may be a copy")
    found = getattr(module, "__file__", None)
    file = _resolved(found) if found else None
    if module_name == "__main__" and (file is None or not file.endswith(".py")):
        return Place(problem="its flow is defined in an interactive session")
    return Place(f"{module_name}:{name}", file)


@lru_cache(256)
def _resolved(path: str) -> str:
    """A path without links; asked for by each run of the same few flows, and it takes a look at each folder."""
    return str(Path(path).resolve())


def crash_note(run_key: bytes, subject: Any) -> tuple[CrashHooks, ...]:
    """What whoever finds this process dead has to know to call the ``on_crashed`` hooks; nothing if there are none."""
    if not subject.on_crashed_hooks:
        return ()
    place = place_of(subject)
    return (CrashHooks(run_key, place.entrypoint, place.file),)


def _name_in(module: ModuleType, flow: Any, path: str) -> str | None:
    """The name under which a module has the flow, also as one that is bound to an instance or class."""
    try:
        found: Any = attrgetter(path)(module)
    except AttributeError:
        found = None
    if isinstance(found, Subject) and found.policy is flow.policy:
        return path
    return next((name for name, value in vars(module).items() if value is flow), None)
