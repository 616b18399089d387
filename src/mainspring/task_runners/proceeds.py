"""What a run came to in another process, on its way to whoever waits for it."""

from __future__ import annotations

from copy import copy
from typing import Any

from mainspring._core.traverse import is_atomic
from mainspring._processes.channel import Packed, pack, unpack
from mainspring._processes.portability import RemoteTraceback, pack_error, require_portable, unpack_error
from mainspring._processes.relays import bare
from mainspring.exceptions import SerializationError
from mainspring.states import State, is_stored
from mainspring.states.conversion import describe_exception

__all__ = ["Head", "Proceeds", "unreadable", "unwrap"]

Head = tuple[State, str, Any]
"""A state without what it holds, what that is ("none", "value", "error" or "record"), and words about it."""


class Proceeds:
    """What a run came to, on its way home. A result is packed before its run is completed, and only once."""

    def __init__(self) -> None:
        self._value: Any = None
        self._packed: Packed | None = None

    def check(self, value: Any) -> None:
        """Pack a result.

        Raises:
            SerializationError: It cannot be pickled.
        """
        if not is_atomic((value,)):
            self._packed = require_portable(value)
            self._value = value

    def wrap(self, state: State) -> tuple[Head, Packed]:
        """The head and the value of the answer: the state, what the value is, and words about it.

        Raises:
            SerializationError: What the state holds cannot be pickled.
        """
        if not state.has_data:
            return (state, "none", None), ()
        data = state.data
        if is_stored(data):
            return self._wrap_stored(state, data)
        if isinstance(data, BaseException):
            words, packed = pack_error(data)
            return (bare(state), "error", words), packed
        if self._packed is not None and data is self._value:
            return (bare(state), "value", None), self._packed
        return (bare(state), "value", None), require_portable(data)

    @staticmethod
    def _wrap_stored(state: State, data: Any) -> tuple[Head, Packed]:
        """A result that is kept goes along with its record; if it cannot, whoever wants it reads it."""
        error = data.get() if state.is_failed() and data.has_cached_object() else None
        words = pack_error(error)[0] if isinstance(error, BaseException) else None
        try:
            packed = pack(data)
            if words is not None:
                unpack(packed)
        except Exception:  # whatever the class of an exception does when it is made again
            packed = pack(getattr(data, "metadata", data))
        return (bare(copy(state)), "record", words), packed


def unreadable(run: str, state_name: str, problem: Exception) -> SerializationError:
    """What says that the result of a run cannot be made again here.

    Args:
        run: What people call the run.
        state_name: The name of its state.
        problem: What making it again has raised.
    """
    return SerializationError(
        f"The result of {run} cannot be made again in this process, although the run is {state_name}:"
        f" {describe_exception(problem)}"
    )


def unwrap(head: Head, packed: Packed, run: str) -> State:
    """The state that `Proceeds.wrap` was given, with what the run came to.

    Args:
        head: The head.
        packed: The value.
        run: What people call the run, for messages.

    Raises:
        SerializationError: The value cannot be made again in this process.
    """
    state, form, words = head
    if form == "error":
        state.keep(unpack_error(words, packed))
    elif form != "none":
        try:
            data = unpack(packed)
        except Exception as problem:  # whatever the class of a value does when it is made again
            raise unreadable(f"task run {run}", state.name, problem) from problem
        if words is not None and data.has_cached_object():
            data.get().__cause__ = RemoteTraceback(words[2])
        state.keep(data)
    return state
