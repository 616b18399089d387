"""What is active here as bytes, for a worker; for most calls of a flow run the same, so each worker gets it once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from copy import copy
from operator import is_ as _is
from typing import Any, ClassVar, NamedTuple

from mainspring._processes.channel import pack, pack_flat
from mainspring._processes.children import Child
from mainspring.exceptions import SerializationError
from mainspring.states.conversion import describe_exception

__all__ = ["PackedContexts", "pack_context"]


class PackedContexts:
    """The latest context that was packed, and which worker knows it. Safe to use from any thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._latest: Latest | None = None

    def news_for(
        self, child: Child, active: tuple[Any, ...], describe: Callable[[], Mapping[str, Any]]
    ) -> bytes | None:
        """What a worker has to be told before it is given a call; None if it knows.

        Args:
            child: The worker, which is told.
            active: What is active here: a context is the same as long as all of these are.
            describe: Gives the context for `hydrated_context`.

        Raises:
            SerializationError: It cannot be pickled.
        """
        latest = self._latest
        if latest is None or not all(map(_is, latest.active, active)):
            latest = self._latest = Latest(active, next(self._numbers), pack_context(describe()))
        is_known, child.context_number = child.context_number == latest.number, latest.number
        return None if is_known else latest.packed


class Latest(NamedTuple):
    """A context that was packed, and a number that tells it from others."""

    active: tuple[Any, ...]
    number: int
    packed: bytes


def pack_context(context: Mapping[str, Any]) -> bytes:
    """A context as bytes; what cannot be pickled of the runs around, or of their functions, stays behind.

    Raises:
        SerializationError: Something else cannot be pickled.
    """
    try:
        return pack_flat(context)
    except Exception as error:  # whatever a value raises that cannot be pickled
        try:
            return pack_flat(without_unportable(context))
        except Exception:  # as above
            raise SerializationError(
                f"The flow run around the task cannot be taken to another process: {describe_exception(error)}"
            ) from error


def without_unportable(context: Mapping[str, Any]) -> dict[str, Any]:
    """A context without the arguments of runs, and the functions of tasks and flows, that cannot be pickled."""
    fields = dict(context)
    for name in ("flow_run_context", "task_run_context"):
        known = dict(fields.get(name) or {})
        given: dict[str, Any] = known.get("parameters") or {}
        parameters = {key: each for key, each in given.items() if _travels(each)}
        if "parameters" in known:
            known["parameters"] = parameters
        if "flow_run" in known:
            known["flow_run"] = copied = copy(known["flow_run"])
            copied.parameters = parameters
        for subject in ("flow", "task"):
            if subject in known and not _travels(known[subject]):
                known[subject] = LeftBehind(known[subject])
        fields[name] = known
    return fields


class LeftBehind:
    """Stands for a task or flow that cannot be pickled, in the context of what it has submitted; not to be called."""

    FACTS: ClassVar = ("name", "step_key", "task_key", "task_runner", "version")

    def __init__(self, subject: Any) -> None:
        for fact in self.FACTS:
            if hasattr(subject, fact):
                setattr(self, fact, getattr(subject, fact))


def _travels(value: Any) -> bool:
    try:
        pack(value)
    except Exception:  # as above
        return False
    return True
