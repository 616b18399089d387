"""A function in a forked process, which may die on the way.

A forked child has everything that its parent has imported and defined, so flows need not be importable. It has one
thread and keeps none of what the engine holds for its process: see `mainspring.store.forks`.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import selectors
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from mainspring.exceptions import MainspringError

__all__ = ["Child", "ChildError", "Ending", "HungError", "die", "run_in_child"]

_PATIENCE = 60.0
_CHUNK = 1 << 16
_WHOLE = b"."  # the last byte of each pickle: what was not written to its end has none


class ChildError(MainspringError):
    """A process that a test has started did not end as it should: the message has what it told."""


class HungError(ChildError):
    """A process that a test has started did not end in time."""


class Ending(NamedTuple):
    """How a child ended.

    Args:
        code: Its exit code; negative is the signal that killed it.
        value: What the function returned; None if it did not get that far.
        error: What the function raised, as it came over; None if it raised nothing.
        trace: The traceback of that as a text.
    """

    code: int
    value: Any = None
    error: BaseException | None = None
    trace: str = ""

    @property
    def was_killed(self) -> bool:
        """Whether it was killed by SIGKILL, as `die` does."""
        return self.code == -signal.SIGKILL


def die() -> NoReturn:
    """Kill this process as a power cut would: no ``finally``, no exit handlers, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.pause()


class Child:
    """A forked process that calls a function; its parent may do something else until it asks for its `end`.

    Not for two threads at a time.

    Args:
        function: What is called, in the only thread of the child.
        patience: Seconds after which the child counts as hanging.

    Raises:
        ChildError: This system cannot fork.
    """

    def __init__(self, function: Callable[[], object], patience: float = _PATIENCE) -> None:
        if not hasattr(os, "fork"):
            raise ChildError(
                "This test needs processes that are forked, which this system has not: run it on Linux."
            )
        sys.stdout.flush()
        sys.stderr.flush()
        self._source, sink = os.pipe()
        self._patience = patience
        with warnings.catch_warnings():
            # The other threads are waited for where they hold what the child needs: see `mainspring.store.forks`.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(self._source)
            _live(function, sink)
        os.close(sink)

    def fileno(self) -> int:
        """What can be read from once the child has something to tell, or is dead: for `selectors`."""
        return self._source

    def end(self) -> Ending:
        """Wait for its end; to be called once.

        Raises:
            HungError: It has shown where its threads are, and was killed.
        """
        try:
            told = _read(self._source, self._patience)
        except TimeoutError:
            os.kill(self._pid, signal.SIGABRT)  # faulthandler shows all threads
            with suppress(TimeoutError):
                _read(self._source, 5.0)
            self.kill()
            raise HungError(
                f"The process {self._pid} of a test did not end within {self._patience:g} seconds. Where its threads"
                f" were is above."
            ) from None
        except BaseException:
            self.kill()
            raise
        os.close(self._source)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if not told.endswith(_WHOLE):
            return Ending(code)
        return Ending(code, *pickle.loads(told))

    def kill(self) -> None:
        """End it without asking what came of it; instead of `end`."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._source)


def run_in_child(function: Callable[[], object], patience: float = _PATIENCE) -> Ending:
    """Call ``function`` in a forked child and wait for its end.

    What it returns or raises comes back pickled; what cannot be pickled comes back as its ``repr``.

    Args:
        function: What is called, in the only thread of the child.
        patience: Seconds after which the child counts as hanging: it shows where its threads are, and is killed.

    Raises:
        ChildError: It hung, or this system cannot fork.
    """
    return Child(function, patience).end()


def _read(source: int, patience: float) -> bytes:
    """All that comes until nobody writes any more."""
    import time

    chunks: list[bytes] = []
    end = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, end - time.monotonic())):
                raise TimeoutError
            chunk = os.read(source, _CHUNK)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)


def _live(function: Callable[[], object], sink: int) -> NoReturn:
    """What the child does; it never comes back to its parent's code."""
    code = 70
    try:
        faulthandler.enable(2, all_threads=True)
        threading.current_thread().name = "MainThread"
        value: object = None
        error: BaseException | None = None
        trace = ""
        try:
            value = function()
        except BaseException as raised:
            error, trace = raised, traceback.format_exc()
        _tell(sink, value, error, trace)
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(sink: int, value: object, error: BaseException | None, trace: str) -> None:
    try:
        content = pickle.dumps((value, error, trace))
        pickle.loads(content)
    except Exception:  # values and exceptions of users raise what they like
        described = None if error is None else ChildError(f"{type(error).__name__}: {error}")
        content = pickle.dumps((repr(value), described, trace))
    while content:
        content = content[os.write(sink, content) :]
