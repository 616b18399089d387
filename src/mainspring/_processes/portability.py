"""What can be taken to another process and what cannot, with words for the latter."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, cast

from mainspring import _forks
from mainspring._core.traverse import is_atomic
from mainspring._processes.channel import Packed, pack, unpack
from mainspring._representation import shown
from mainspring.annotations import quote
from mainspring.exceptions import ConfigurationError, ForeignError, SerializationError
from mainspring.recording import current_recorder
from mainspring.states.conversion import describe_exception

__all__ = [
    "RemoteTraceback",
    "open_result",
    "pack_arguments",
    "pack_error",
    "pack_together",
    "refuse_arguments",
    "require_portable",
    "require_shared_store",
    "unpack_error",
]

_DEPTH = 6  # how deep the part that is to blame is looked for
_WIDTH = 1_000  # how many members of a collection are tried

# Some values refuse to be pickled by two threads at once: frames of older Polars, which an `unmapped` argument shares.
# The lock may be taken again by the thread that has it, as a value may run a task when it is pickled.
_packing = threading.RLock()
_forks.remake_in_child(globals(), _packing=threading.RLock)


class RemoteTraceback(Exception):  # noqa: N818 - is no error, but says where one came from
    """Where an exception of another process came from: its cause here, so that tracebacks show both."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


# Arguments and results


def pack_arguments(task: Any, parameters: Mapping[str, Any]) -> Packed:
    """A task and its arguments as bytes. These are resolved already, so they are quoted for the run over there.

    Raises:
        SerializationError: One of them cannot be pickled; the message names it, and what in it is to blame.
    """
    quoted = {name: each if is_atomic((each,)) else quote(each) for name, each in parameters.items()}
    return pack_together((task, quoted), task, parameters)


def pack_together(values: tuple[Any, ...], task: Any, parameters: Mapping[str, Any]) -> Packed:
    """What has a task and its arguments in it as bytes, in one piece: the same object here is the same there.

    Raises:
        SerializationError: One of the values cannot be pickled; the message names it, and what in it is to blame.
    """
    try:
        with _packing:
            return pack(values)
    except Exception as error:  # whatever a value raises that cannot be pickled
        raise refuse_arguments(task, parameters, error) from error


def refuse_arguments(task: Any, parameters: Mapping[str, Any], error: Exception) -> SerializationError:
    """What says why a task cannot be pickled with its arguments, as ``error`` has shown."""
    for name, value in parameters.items():
        found = _blame(value, name)
        if found is not None:
            return SerializationError(
                f"Parameter {name!r} of task {task.name!r} cannot be taken to another process: {found}. Pass what"
                " can be pickled, and make the rest in the task."
            )
    return SerializationError(
        f"Task {task.name!r} cannot be taken to another process: {describe_exception(error)}. It and its hooks go"
        " along by value, with all that they refer to, unless they can be imported."
    )


def require_shared_store(who: str) -> None:
    """Refuse a run store that other processes cannot open.

    Args:
        who: What needs one, for the message.

    Raises:
        ConfigurationError: It is in the memory of this process.
    """
    if current_recorder().store.url == "sqlite://":
        raise ConfigurationError(
            f"{who} needs a run store that other processes can open, and this one is in memory. Set"
            " MAINSPRING_DATABASE_URL to the path of a file, or use threads."
        )


def require_portable(value: Any) -> Packed:
    """A result as bytes.

    Raises:
        SerializationError: It cannot be pickled; the message names what in it is to blame.
    """
    try:
        return pack(value)
    except Exception as error:  # as above
        found = _blame(value, "result") or describe_exception(error)
        raise SerializationError(
            f"The result cannot be taken to the process that waits for it: {found}. Return what can be pickled, or"
            " write it to a file and return the path."
        ) from error


def open_result(packed: Packed, task_name: str) -> Any:
    """The result that was packed in another process.

    Raises:
        SerializationError: It cannot be made again here.
    """
    try:
        return unpack(packed)
    except Exception as problem:  # whatever the class of a value does when it is made again
        raise SerializationError(
            f"The result of task {task_name!r} cannot be made again in this process: {describe_exception(problem)}"
        ) from problem


def _blame(value: Any, path: str, depth: int = 0) -> str | None:
    """What in ``value`` cannot be pickled, and why; None if all of it can."""
    try:
        pack(value)
    except Exception as error:  # as above
        if depth < _DEPTH:
            for name, member in _members(value):
                found = _blame(member, f"{path}{name}", depth + 1)
                if found is not None:
                    return found
        return f"`{path}` is of type {type(value).__name__!r}, which cannot be pickled ({describe_exception(error)})"
    return None


def _members(value: Any) -> list[tuple[str, Any]]:
    """The parts of a value, each with what one writes to get at it."""
    kind = type(cast("object", value))
    try:
        if issubclass(kind, Mapping):
            pairs = islice(cast("Mapping[Any, Any]", value).items(), _WIDTH)
            return [(f"[{shown(key)}]", each) for key, each in pairs]
        if issubclass(kind, (list, tuple)):
            members = islice(cast("Iterable[Any]", value), _WIDTH)
            return [(f"[{index}]", each) for index, each in enumerate(members)]
        if issubclass(kind, (set, frozenset)):
            members = islice(cast("Iterable[Any]", value), _WIDTH)
            return [(f" (member {shown(each)})", each) for each in members]
        attributes = cast("dict[str, Any]", vars(value))
        return [(f".{name}", each) for name, each in attributes.items()]
    except Exception:  # it has no parts, or does not show them
        return []


# Exceptions


def pack_error(error: BaseException) -> tuple[tuple[str, str, str], Packed]:
    """An exception as words, and as bytes that are known to become an exception of the same type again.

    One that does not is replaced by a `ForeignError`.
    """
    words = _words(error)
    try:
        packed = pack(error)
        again: object = unpack(packed)
        if type(again) is type(error):
            return words, packed
        reason = f"its pickle makes a {type(again).__name__} of it"
    except Exception as problem:  # whatever the class of the user's does when it is pickled and made again
        reason = describe_exception(problem)
    return words, pack(_stand_in(words, reason))


def unpack_error(words: tuple[str, str, str], packed: Packed) -> BaseException:
    """The exception, with the traceback of the other process as its cause."""
    error: BaseException
    try:
        error = unpack(packed)
    except Exception as problem:  # its class may exist over there only
        error = _stand_in(words, describe_exception(problem))
    error.__cause__ = RemoteTraceback(words[2])
    return error


def _words(error: BaseException) -> tuple[str, str, str]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
        trace = "".join(traceback.format_exception(error))
    except Exception:  # an exception that cannot be shown
        text, trace = (
            "<the exception cannot be shown as text>",
            "".join(traceback.format_tb(error.__traceback__)),
        )
    return name, text, trace


def _stand_in(words: tuple[str, str, str], reason: str) -> ForeignError:
    name, text, trace = words
    return ForeignError(
        f"{name}: {text} (The exception itself cannot be taken to another process: {reason})",
        type_name=name,
        message=text,
        traceback=trace,
    )
