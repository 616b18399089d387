"""Facts about the run that is active here, for names, logs and user code: ``runtime.task_run.parameters``.

Outside of a run every fact is None, or empty where it is a collection. An environment variable named after a fact
overrides it, inside and outside of runs, which helps to try out code that asks for facts:
``MAINSPRING__RUNTIME__TASK_RUN__RUN_COUNT=3``. Texts are taken as they are, ids and numbers are converted,
tags are given with commas between them, and parameters as a JSON object.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar, overload
from uuid import UUID

import msgspec

from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import ConfigurationError

__all__ = ["flow_run", "task_run"]

T = TypeVar("T")

_PREFIX = "MAINSPRING__RUNTIME__"


class _Fact(Generic[T]):
    """A read-only attribute that an environment variable may override."""

    def __init__(self, variable: str, parse: Callable[[str], T], read: Callable[[Any], T]) -> None:
        self._variable = _PREFIX + variable
        self._parse = parse
        self._read = read
        self.__doc__ = read.__doc__

    @overload
    def __get__(self, facts: None, owner: type) -> Self: ...

    @overload
    def __get__(self, facts: object, owner: type | None = None) -> T: ...

    def __get__(self, facts: object | None, owner: type | None = None) -> T | Self:
        if facts is None:
            return self
        text = os.environ.get(self._variable)
        if text is None:
            return self._read(facts)
        try:
            return self._parse(text)
        except (ValueError, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"{self._variable}={text!r} cannot stand for that fact: {error}."
            ) from None

    def __set__(self, facts: object, value: object) -> None:
        raise AttributeError(f"Facts are read only. Set the environment variable {self._variable} instead.")


def _fact(variable: str, parse: Callable[[str], T]) -> Callable[[Callable[[Any], T]], _Fact[T]]:
    """A decorator that makes a method a fact, which ``variable`` overrides with a text for ``parse``."""

    def decorate(read: Callable[[Any], T]) -> _Fact[T]:
        return _Fact(variable, parse, read)

    return decorate


def _as_text(text: str) -> str | None:
    return text


def _as_id(text: str) -> UUID | None:
    return UUID(text)


def _as_count(text: str) -> int | None:
    return int(text)


def _as_parameters(text: str) -> Mapping[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])


def _as_tags(text: str) -> list[str]:
    return sorted({tag.strip() for tag in text.split(",")} - {""})


class _TaskRunFacts:
    """The active task run."""

    @_fact("TASK_RUN__ID", _as_id)
    def id(self) -> UUID | None:
        """The id of the run."""
        context = TaskRunContext.get()
        return None if context is None else context.task_run.id

    @_fact("TASK_RUN__NAME", _as_text)
    def name(self) -> str | None:
        """The name of the run."""
        context = TaskRunContext.get()
        return None if context is None else context.task_run.name

    @_fact("TASK_RUN__TASK_NAME", _as_text)
    def task_name(self) -> str | None:
        """The name of the task."""
        context = TaskRunContext.get()
        return None if context is None else context.task.name

    @_fact("TASK_RUN__PARAMETERS", _as_parameters)
    def parameters(self) -> Mapping[str, Any]:
        """The arguments by parameter name."""
        context = TaskRunContext.get()
        return {} if context is None else context.parameters or {}

    @_fact("TASK_RUN__TAGS", _as_tags)
    def tags(self) -> list[str]:
        """The tags, sorted."""
        context = TaskRunContext.get()
        return [] if context is None else sorted(context.task_run.tags)

    @_fact("TASK_RUN__RUN_COUNT", _as_count)
    def run_count(self) -> int | None:
        """Which attempt this is, counted from 1."""
        context = TaskRunContext.get()
        return None if context is None else context.task_run.run_count


class _FlowRunFacts:
    """The active flow run."""

    @_fact("FLOW_RUN__ID", _as_id)
    def id(self) -> UUID | None:
        """The id of the run."""
        context = FlowRunContext.get()
        return None if context is None or context.flow_run is None else context.flow_run.id

    @_fact("FLOW_RUN__NAME", _as_text)
    def name(self) -> str | None:
        """The name of the run."""
        context = FlowRunContext.get()
        return None if context is None or context.flow_run is None else context.flow_run.name

    @_fact("FLOW_RUN__FLOW_NAME", _as_text)
    def flow_name(self) -> str | None:
        """The name of the flow."""
        context = FlowRunContext.get()
        return None if context is None or context.flow is None else context.flow.name

    @_fact("FLOW_RUN__PARAMETERS", _as_parameters)
    def parameters(self) -> Mapping[str, Any]:
        """The arguments by parameter name."""
        context = FlowRunContext.get()
        return {} if context is None else context.parameters or {}

    @_fact("FLOW_RUN__TAGS", _as_tags)
    def tags(self) -> list[str]:
        """The tags, sorted."""
        context = FlowRunContext.get()
        return [] if context is None or context.flow_run is None else sorted(context.flow_run.tags)

    @_fact("FLOW_RUN__RUN_COUNT", _as_count)
    def run_count(self) -> int | None:
        """Which attempt this is, counted from 1."""
        context = FlowRunContext.get()
        return None if context is None or context.flow_run is None else context.flow_run.run_count


task_run = _TaskRunFacts()
flow_run = _FlowRunFacts()
