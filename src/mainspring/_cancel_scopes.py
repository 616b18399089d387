"""The tree of what bounds runs: until when each may go on, and whether it was told to stop.

Each attempt of a run has a scope, whose parent is the scope of what the run was called or submitted from: a task, a
flow, a subflow, in any thread. A run in another process has a scope there whose parent stands for all that is around
it here. What holds for a scope holds for all inside of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import msgspec

from mainspring import _forks
from mainspring._interruption import interrupt_thread, is_leaving, take_back
from mainspring.exceptions import RunCancelled

__all__ = ["CancelScope", "Stop", "StopKind", "innermost_first", "inside", "live"]

Callback = Callable[["Stop"], object]


class StopKind(Enum):
    """Why a run has to stop."""

    CANCELLED = "cancelled"
    GIVEN_UP = "given up"  # its time was over, and it did not end: whatever comes of it counts no more
    LOST = "lost"  # this process was declared dead, and somebody else may go on with the run


class Stop:
    """That a run has to stop, with all inside of it.

    Args:
        kind: Why.
        reason: The same for people, as a sentence.
    """

    __slots__ = ("kind", "reason")

    def __init__(self, kind: StopKind, reason: str) -> None:
        self.kind = kind
        self.reason = reason


CLEAR_UP = 5.0
"""Seconds that code has to clear up after it was interrupted, until it is interrupted again."""

anybody_was_told = False  # to stop, in this process so far; else nobody has to look
_NEVER = float("-inf")
_ARRIVED = threading.Event()
_ARRIVED.set()


class CancelScope(msgspec.Struct, eq=False):
    """What bounds one attempt of a run. Safe to be read from any thread; see `stop` for who changes it.

    Args:
        key: The id of the run; None for what stands for runs of another process.
        parent: The scope around.
        engine: Carries the attempt out.
        asyncio_task: The asyncio task that does so.
        is_open: The code of a user may run in it from the beginning, see `open`.

    Attributes:
        deadline: By ``time.monotonic()``; never later than that of the parent. None if there is none.
        stopped_by: Set when this very scope was told to stop.
        thread: The thread that it was made in.
        asyncio_task: The asyncio task that carries the attempt out; None for sync ones.
        is_suspended: Its generator waits for its consumer, whose code is not inside of the scope.

    It is a struct because one is made for each attempt, and those are made without an ``__init__`` in Python.
    """

    key: bytes | None
    parent: CancelScope | None = None
    engine: Any = None
    asyncio_task: Any = None
    is_open: bool = False
    deadline: float | None = None
    stopped_by: Stop | None = None
    thread: int = msgspec.field(default_factory=threading.get_ident)
    is_suspended: bool = False
    _interruption: threading.Event | None = None
    _interrupted_at: float = _NEVER
    _cancellations: int = 0
    _callbacks: list[Callback] | None = None

    def __post_init__(self) -> None:
        if self.parent is not None:
            self.deadline = self.parent.deadline

    __repr__ = object.__repr__  # what is around it, and its engine, would be all in it

    def bound(self, deadline: float) -> None:
        """Let the scope end at a time of the monotonic clock, unless it ends sooner."""
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0.0 after it; None if there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def stopped(self) -> Stop | None:
        """Why the scope, or one around it, was told to stop; None if it was not."""
        if not anybody_was_told:
            return None
        scope: CancelScope | None = self
        while scope is not None:
            stop = scope.stopped_by
            if stop is not None:
                return stop
            scope = scope.parent
        return None

    def is_given_up(self) -> bool:
        """Whether what goes on in here counts no more, as somebody has settled it while it went on."""
        if self.deadline is None:  # which is what it takes, here or around
            return False
        stop = self.stopped()
        return stop is not None and stop.kind is StopKind.GIVEN_UP

    def refuse_late(self) -> None:
        """Do not begin anything in here that would count no more.

        Raises:
            RunCancelled: It would not.
        """
        if self.is_given_up():
            stop = self.stopped()
            assert stop is not None
            raise RunCancelled(stop.reason)

    def is_same_place(self, other: CancelScope) -> bool:
        """Whether both go on in the same thread, and the same asyncio task, so that what ends one passes the other."""
        return self.thread == other.thread and self.asyncio_task is other.asyncio_task

    def around(self) -> Iterator[CancelScope]:
        """This scope, and those around it from the inside out."""
        scope: CancelScope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    # Interruptions. Neither side locks: the thread says first that it is done and looks then whether somebody is about
    # to interrupt it; whoever interrupts says so first and looks then whether the thread is done.

    def open(self) -> None:
        """From now on the code of a user runs in the scope, and may be interrupted."""
        self.is_open = True

    def close(self) -> bool:
        """The code of a user has ended; True if an interruption was sent, which has arrived or is awaited here.

        May be called twice.
        """
        self.is_open = False
        sent = self._interruption
        if sent is None:
            return False
        self._interruption = None
        if sent is not _ARRIVED:
            take_back(sent)
        return True

    def suspend(self) -> None:
        """What goes on here from now on is the consumer's, until `resume`."""
        self.close()
        self.is_suspended = True

    def resume(self, asyncio_task: Any) -> None:
        """The generator goes on, maybe in another thread."""
        self.thread, self.asyncio_task = threading.get_ident(), asyncio_task
        self.is_suspended = False
        self.is_open = True

    def is_open_here(self) -> bool:
        """Whether the code of a user runs in the scope, in the calling thread."""
        return self.is_open and self.thread == threading.get_ident()

    @contextmanager
    def closed(self) -> Generator[None]:
        """Inside of the block is code of ours again, which is not interrupted; does nothing in other threads."""
        if not self.is_open_here():
            yield
            return
        self.close()
        try:
            yield
        finally:
            self.open()

    def is_at_work(self) -> bool:
        """Whether code of the attempt may be running, apart from one that was given up."""
        if self.is_suspended or (self.asyncio_task is not None and self.asyncio_task.done()):
            return False
        return all(
            each.stopped_by is None or each.stopped_by.kind is not StopKind.GIVEN_UP for each in self.around()
        )

    def interrupt(self) -> bool:
        """Raise an exception in the code that runs in the scope, at its next bytecode; False if there is none.

        In the main thread, blocking calls are interrupted, too. An asyncio task is cancelled. Code that was interrupted
        and clears up now, as far as that can be told, has `CLEAR_UP` seconds for it.
        """
        if self.asyncio_task is not None:
            return self.is_open and self._cancel_task()
        now = time.monotonic()
        if now < self._interrupted_at + CLEAR_UP and is_leaving(self.thread):
            return False
        self._interrupted_at = now
        self._interruption = sent = threading.Event()
        try:
            if self.is_open:
                interrupt_thread(self.thread)
                return True
        finally:
            sent.set()
        return False

    def leave(self) -> None:
        """The run is over, with all its attempts, or the next attempt has a scope of its own."""
        if self.is_open or self._interruption is not None:
            self.close()
        if self._interrupted_at is _NEVER:
            return
        around = self.parent
        if around is not None and around.is_same_place(self):
            around._interrupted_at = max(around._interrupted_at, self._interrupted_at)
        if not self._cancellations:
            return
        if self.stopped_by is None and around is not None and around.asyncio_task is self.asyncio_task:
            around._cancellations += (
                self._cancellations
            )  # it is that one, or one further out, that goes on after them
        else:
            for _ in range(self._cancellations):
                self.asyncio_task.uncancel()
        self._cancellations = 0

    def follow(self, before: CancelScope) -> None:
        """Take over from the scope of the attempt before."""
        self._cancellations, before._cancellations = before._cancellations, 0
        self._interrupted_at = before._interrupted_at
        stop = before.stopped_by
        if stop is not None and stop.kind is not StopKind.GIVEN_UP:
            self.stop(stop)

    def _cancel_task(self) -> bool:
        task = self.asyncio_task

        def cancel() -> None:
            now = time.monotonic()
            if self.is_open and not task.done() and now >= self._interrupted_at + CLEAR_UP:
                self._interrupted_at = now
                self._interruption = _ARRIVED
                self._cancellations += 1
                task.cancel()

        try:
            task.get_loop().call_soon_threadsafe(cancel)
        except RuntimeError:  # the loop has been closed
            return False
        return True

    def stop(self, stop: Stop) -> bool:
        """Tell the scope to stop, and whoever asked to be told; False if it was told before.

        What goes on inside of it finds out by itself, or is made to by whoever calls this.
        """
        global anybody_was_told
        if self.stopped_by is not None:
            return False
        anybody_was_told = True
        self.stopped_by = stop
        for callback in tuple(self._callbacks or ()):
            callback(stop)
        return True

    @contextmanager
    def calling(self, callback: Callback) -> Generator[None]:
        """Have ``callback`` called if the scope, or one around it, is told to stop inside of the block.

        That may be in any thread, and more than once; it has to be quick.
        """
        told = list(self.around())
        for scope in told:
            if scope._callbacks is None:
                scope._callbacks = []
            scope._callbacks.append(callback)
        try:
            stop = self.stopped()
            if stop is not None:
                callback(stop)
            yield
        finally:
            for scope in told:
                assert scope._callbacks is not None
                scope._callbacks.remove(callback)


live: dict[bytes, CancelScope] = {}
"""The scopes of the attempts that go on in this process, by the ids of their runs."""


def inside(scope: CancelScope) -> list[CancelScope]:
    """The live scopes inside of a scope, itself included."""
    return [each for each in tuple(live.values()) if any(around is scope for around in each.around())]


def innermost_first(scopes: Iterable[CancelScope]) -> list[CancelScope]:
    """The same scopes, each before those around it."""
    return sorted(scopes, key=lambda scope: -sum(1 for _ in scope.around()))


_forks.in_child(live.clear)  # what the parent does goes on there
