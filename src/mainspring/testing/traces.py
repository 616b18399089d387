"""What user code saw: calls of functions and hooks, and log lines, noted in the order in which they happened.

A `Trace` is for comparing with the history: see `mainspring.testing.rules`. A note is made before what it is about
goes on, so a process that dies leaves at most one thing that was noted and has not come to pass.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from mainspring.context import FlowRunContext, TaskRunContext
from mainspring.exceptions import ConfigurationError
from mainspring.logging import get_run_logger

__all__ = ["Note", "Trace"]

F = TypeVar("F", bound=Callable[..., Any])

What = Literal["called", "returned", "raised", "left", "hook", "logged"]

_LISTS = ("running", "completion", "failure", "crashed", "cancellation")


class Note(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that user code saw.

    Attributes:
        what: A function was ``called``, has ``returned`` or ``raised``, or was ``left`` (a generator that was closed);
            a ``hook`` was called; a line was ``logged``.
        name: The name of the function or hook, or the line.
        process: The id of the process.
        run: The id of the run as 32 hexadecimal digits; None outside of runs.
        attempt: The number of its attempt.
        state: For the hook of a run, the id of the state that it follows.
        transaction: For the hook of a transaction, what tells that from others.
        phase: Why it was called: ``commit`` or ``rollback``.
        place: Which of the hooks of its list it is, from 0; None if that cannot be told.
        alone: No other hook of its list has its name.
    """

    what: What
    name: str
    process: int
    run: str | None = None
    attempt: int = 0
    state: str | None = None
    transaction: str | None = None
    phase: str | None = None
    place: int | None = None
    alone: bool = False


class _Seat(NamedTuple):
    """The run and the attempt that code is in."""

    run: str | None = None
    attempt: int = 0


class Trace:
    """Notes of what user code saw. Safe to use from any thread and asyncio task.

    Without a file the notes are in memory, and in this process only. With one, each note is there before what it is
    about goes on: several processes may share the file, and nothing is lost when they are killed.

    Args:
        file: A file that notes are appended to, one line of JSON each; it need not exist. A new one for each history.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self._file = None if file is None else Path(file).absolute()  # it may be used after a chdir
        self._noted: list[tuple[int, Note]] = []
        self._numbers = count()
        self._transactions: list[tuple[Any, str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None:
            raise ConfigurationError(
                "A trace in memory cannot go to another process: give it a file, as in `Trace(tmp_path / 'trace')`."
            )
        return Trace, (self._file,)

    def redirect(self, file: str | os.PathLike[str]) -> None:
        """Append to another file from now on, in this process: of a history that is to be told from others."""
        self._file = Path(file).absolute()

    @property
    def notes(self) -> Sequence[Note]:
        """All notes so far, in the order in which they were made. What was cut off by a death is left out."""
        if self._file is None:
            return [note for _, note in sorted(self._noted, key=_number_of)]
        try:
            lines = self._file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [_decode(line) for line in lines[:-1]]

    # What is traced

    def function(self, fn: F) -> F:
        """The same function, the calls and ends of which are noted. Decorate it with `task` or `flow` afterwards.

        ::

            @task(retries=3)
            @trace.function
            def load(url): ...

        Args:
            fn: A function, coroutine function, generator function or async generator function; its signature, name
                and code count as before.
        """
        wrapped: Any
        if inspect.isasyncgenfunction(fn):
            wrapped = self._async_generator(fn)
        elif inspect.isgeneratorfunction(fn):
            wrapped = self._generator(fn)
        elif inspect.iscoroutinefunction(fn):
            wrapped = self._coroutine(fn)
        else:
            wrapped = self._plain(fn)
        functools.update_wrapper(wrapped, fn)
        done: F = wrapped
        return done

    def hook(self, fn: F) -> F:
        """The same hook, the calls of which are noted: ``hook(flow_or_task, run, state)`` or ``hook(transaction)``."""
        wrapped: Any
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def ahook(*args: Any, **kwargs: Any) -> Any:
                self._note_hook(fn.__qualname__, ahook, args)
                return await fn(*args, **kwargs)

            wrapped = ahook
        else:

            @functools.wraps(fn)
            def hook(*args: Any, **kwargs: Any) -> Any:
                self._note_hook(fn.__qualname__, hook, args)
                return fn(*args, **kwargs)

            wrapped = hook
        done: F = wrapped
        return done

    def log(self, line: str, level: int = logging.INFO) -> None:
        """Log a line with the logger of the current run, and note it.

        Raises:
            MissingContextError: There is no active run.
        """
        logger = get_run_logger()
        self._note("logged", line, _seat())
        logger.log(level, "%s", line)

    # Notes

    def _note(self, what: What, name: str, seat: _Seat, **more: Any) -> None:
        note = Note(what=what, name=name, process=os.getpid(), run=seat.run, attempt=seat.attempt, **more)
        if self._file is None:
            self._noted.append((next(self._numbers), note))
            return
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, _encode(note) + b"\n")
        finally:
            os.close(descriptor)

    def _note_hook(self, name: str, hook: object, args: Sequence[Any]) -> None:
        if len(args) == 1:
            (txn,) = args
            phase = txn.settling
            hooks = txn.on_rollback_hooks if phase == "rollback" else txn.on_commit_hooks
            key = txn.run_key
            run = None if key is None else key.hex()
            self._note(
                "hook",
                name,
                _Seat(run),
                transaction=run or txn.key or self._name_of(txn),
                phase=phase,
                place=_place(hook, hooks),
                alone=[getattr(each, "__qualname__", "") for each in hooks].count(name) == 1,
            )
            return
        subject, run, state = args
        lists = [getattr(subject, f"on_{each}_hooks", ()) for each in _LISTS]
        places = [place for place in (_place(hook, each) for each in lists) if place is not None]
        place = places[0] if len(places) == 1 else None
        self._note("hook", name, _Seat(run.key.hex(), run.run_count), state=state.key.hex(), place=place)

    def _name_of(self, transaction: Any) -> str:
        for known, name in self._transactions:
            if known is transaction:
                return name
        name = f"{os.getpid()}-{len(self._transactions)}"
        self._transactions.append((transaction, name))
        return name

    # Functions of each kind

    def _plain(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with _Noting(self._note, fn):
                return fn(*args, **kwargs)

        return call

    def _coroutine(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            with _Noting(self._note, fn):
                return await fn(*args, **kwargs)

        return call

    def _generator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with _Noting(self._note, fn, leaves=True):
                inner: Generator[Any, Any, Any] = fn(*args, **kwargs)
                value: Any = yield from inner
                return value

        return call

    def _async_generator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            with _Noting(self._note, fn, leaves=True):
                inner = fn(*args, **kwargs)
                step = inner.asend(None)
                while True:
                    try:
                        item = await step
                    except StopAsyncIteration:
                        return
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:
                        step = inner.athrow(error)
                    else:
                        step = inner.asend(sent)

        return call


class _Noting:
    """Notes that a function is called, and how it ends."""

    __slots__ = ("_leaves", "_name", "_note", "_seat")

    def __init__(
        self, note: Callable[[What, str, _Seat], None], fn: Callable[..., Any], leaves: bool = False
    ) -> None:
        self._note = note
        self._name = fn.__qualname__
        self._leaves = leaves  # it is a generator, which may be closed

    def __enter__(self) -> None:
        self._seat = _seat()
        self._note("called", self._name, self._seat)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        what: What = "returned" if kind is None else "raised"
        if self._leaves and kind is not None and issubclass(kind, GeneratorExit):
            what = "left"
        self._note(what, self._name, self._seat)


def _seat() -> _Seat:
    task_context = TaskRunContext.get()
    if task_context is not None:
        return _Seat(task_context.task_run.key.hex(), task_context.task_run.run_count)
    flow_context = FlowRunContext.get()
    if flow_context is not None and flow_context.flow_run is not None:
        return _Seat(flow_context.flow_run.key.hex(), flow_context.flow_run.run_count)
    return _Seat()


def _place(hook: object, hooks: Sequence[object]) -> int | None:
    """Where a hook is in a list; None if it is not there just once."""
    places = [index for index, each in enumerate(hooks) if each is hook]
    return places[0] if len(places) == 1 else None


def _number_of(noted: tuple[int, Note]) -> int:
    return noted[0]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Note).decode
