"""Time limits for blocks of code.

Sync, main thread    an alarm signal, which also interrupts blocking calls
Sync, other threads  an exception sent into the thread, which a blocking call delays until it returns
Async                a cancellation by the event loop, told from foreign ones by ``asyncio.timeout``

None of these ends every call. So an attempt of a run that is not over a moment after its deadline is settled by
another thread, see `overdue`.

A limit is passed on by its own marker, never recognised by the type of an exception: user code may raise
``TimeoutError`` for reasons of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from mainspring._imports import modules_on_use
from mainspring.logging import engine_logs

if TYPE_CHECKING:
    from mainspring._core.policy import RunPolicy
    from mainspring._engine import overdue, watchers
else:
    overdue, watchers = modules_on_use("mainspring._engine", "overdue", "watchers")

__all__ = [
    "AsyncBlockTimeout",
    "AsyncTimeout",
    "SyncTimeout",
    "come_from_elsewhere",
    "comes_from_outside",
    "limit_of",
]


def comes_from_outside(error: BaseException, own: object) -> bool:
    """True if a limit further out than ``own`` has expired and ``error`` is on its way there."""
    limit = limit_of(error)
    return limit is not None and limit.active and limit is not own and not limit.is_elsewhere


def limit_of(error: BaseException) -> _Timeout | None:
    """The limit that an exception comes from, None if it comes from elsewhere; the exception is not asked."""
    if not isinstance(error, TimeoutError):
        return None
    limit = BaseException.__getattribute__(error, "__dict__").get("limit")
    return limit if isinstance(limit, _Timeout) else None


def come_from_elsewhere(error: BaseException) -> BaseException:
    """An exception of another process; if it is a timeout, it comes from none of the limits here."""
    if isinstance(error, TimeoutError) and limit_of(error) is None:
        BaseException.__setattr__(error, "limit", _elsewhere)
    return error


class _Timeout:
    """A limit of ``seconds`` for one block; expiry leaves the block as a ``kind`` of error.

    Args:
        seconds: How long the block may take.
        kind: What is raised when it takes longer.
        engine: The engine of the run whose attempt the block is, None for a block of a user's.
        words: What people call the limit of a run.
        is_last: No further attempt of the run can be made after it.
        deadline: When it expires, by the monotonic clock, if others have been told that; else that is decided when
            the block begins.
    """

    __slots__ = (
        "_deadline",
        "_engine",
        "_given",
        "_has_ended",
        "_overdue",
        "active",
        "error",
        "is_last",
        "kind",
        "seconds",
        "words",
    )
    is_async = False

    def __init__(
        self,
        seconds: float,
        kind: type[TimeoutError],
        engine: Any = None,
        words: str = "",
        is_last: bool = False,
        deadline: float | None = None,
    ) -> None:
        self.seconds = seconds
        self.kind = kind
        self.words = words
        self.is_last = is_last
        self._engine = engine
        self.error: TimeoutError | None = None
        self.active = False
        self._given = deadline
        self._deadline = 0.0
        self._has_ended = False  # and what follows takes its own time
        self._overdue: overdue.Overdue | None = None

    @property
    def is_settled(self) -> bool:
        """Whether another thread has settled the attempt, as its function did not end in time."""
        return self._overdue is not None and self._overdue.is_taken

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is around a call that goes on in another thread, though the run has ended with its error."""
        return (
            self._overdue is not None
            and self._overdue.is_taken
            and self._overdue.thread != threading.get_ident()
        )

    @property
    def is_due(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    def check(self) -> None:
        """Do not begin what has no time left, or was settled by another thread before it could begin.

        Raises:
            TimeoutError: The deadline has passed.
        """
        if self.seconds <= 0 or self.is_settled:
            raise self.error or self.expire()

    def __reduce__(self) -> tuple[Callable[[], _Timeout], tuple[()]]:
        return _get_elsewhere, ()

    def expire(self) -> TimeoutError:
        """Note that the limit has expired and return the error that says so."""
        block = "block" if self._engine is None else "run"
        error = self.error = self.kind(f"The {block} timed out after {_shortened(self.seconds)} second(s).")
        BaseException.__setattr__(error, "limit", self)  # past what a class of the user's may do instead
        return error

    def _is_late(self) -> bool:
        """Whether the block ends after its deadline, which nobody may have noticed: a call kept the interpreter."""
        is_late = not self._has_ended and time.monotonic() >= self._deadline
        self._has_ended = True
        return is_late

    def _watch(self) -> None:
        """See to it that the attempt is settled at its deadline even if its function does not end."""
        if self._engine is not None and self._engine.tell_limit is None:
            self._overdue = overdue.Overdue(self._engine, self, self._deadline)


_elsewhere = _Timeout(0.0, TimeoutError)
"""Stands for any limit of another process."""


def _get_elsewhere() -> _Timeout:
    return _elsewhere


class SyncTimeout(_Timeout):
    """A limit for a block of sync code, usable in any thread; ``error`` tells whether it has expired."""

    __slots__ = ("_guard",)
    _guard: watchers.Alarm | watchers.Injector

    def __enter__(self) -> Self:
        self._deadline = time.monotonic() + self.seconds if self._given is None else self._given
        if watchers.Alarm.is_usable():
            self._guard = watchers.Alarm(self)
        else:
            self._guard = watchers.Injector(self)
            if self._engine is not None:
                _warn_of_delays(self._engine, self)
        self._watch()
        self.active = True
        if self.seconds > 0 or self._engine is None:
            self._guard.arm(self._deadline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        try:
            self.end()
        except self.kind as expiry:
            if error is None or isinstance(
                error, Exception
            ):  # else an interrupt is on its way, and counts more
                raise expiry from None

    def end(self) -> None:
        """Stop watching for good: what follows is not the user's code. An expiry that it swallowed counts."""
        is_late = self._is_late()
        self._guard.disarm()
        if self._overdue is not None:
            self._overdue.end()
        if self._guard.fired or self.is_settled or is_late:
            raise self.error or self.expire()

    def suspend(self) -> None:
        """Stop watching while a generator is suspended; time goes on."""
        self._guard.disarm()
        if self._overdue is not None:
            self._overdue.end()

    def resume(self) -> None:
        """Watch again; a deadline that has passed meanwhile is raised at once."""
        if self._guard.fired or self.is_settled or time.monotonic() >= self._deadline:
            self._guard.fired = True
            raise self.error or self.expire()
        self._guard.arm(self._deadline)
        self._watch()


class AsyncTimeout(_Timeout):
    """A limit for a block of async code; ``error`` tells whether it has expired."""

    __slots__ = ("_limit",)
    _limit: Any
    is_async = True

    async def __aenter__(self) -> Self:
        import asyncio  # whoever awaits has it already

        given = self._given
        self._limit = asyncio.timeout(self.seconds) if given is None else asyncio.timeout_at(given)
        await self._limit.__aenter__()
        self.active = True
        self._deadline = self._limit.when()
        self._watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        if self.error is not None and not self._limit.expired():
            self._limit.reschedule(None)
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            self._end_overdue()
            raise (self.error if self.is_settled else None) or self.expire() from None
        is_late = self._is_late()
        self._end_overdue()
        if (self.is_settled or is_late) and (error is None or isinstance(error, Exception)):
            raise self.error or self.expire()

    def end(self) -> None:
        """Stop watching for good: what follows is not the user's code. An expiry that it swallowed counts."""
        is_expired = self._limit.expired() or self._is_late()
        self._has_ended = True
        if not self._limit.expired():
            self._limit.reschedule(None)
        self._end_overdue()
        if is_expired or self.is_settled:
            raise self.error or self.expire()

    def suspend(self) -> None:
        """Stop watching while a generator is suspended; time goes on."""
        self._limit.reschedule(None)
        self._end_overdue()

    def resume(self) -> None:
        """Watch again; a deadline that has passed meanwhile is raised at once."""
        import asyncio  # whoever awaits has it already

        if self.is_settled or asyncio.get_running_loop().time() >= self._deadline:
            raise self.error or self.expire()
        self._limit.reschedule(self._deadline)
        self._watch()

    def _end_overdue(self) -> None:
        if self._overdue is not None:
            self._overdue.end()


class AsyncBlockTimeout(_Timeout):
    """A limit for a block of a user's in async code, which is entered without ``await``."""

    __slots__ = ("_cancelling", "_handle", "_task")

    def __enter__(self) -> Self:
        import asyncio  # whoever awaits has it already

        task = asyncio.current_task()
        if task is None:
            raise RuntimeError(
                "A time limit for async code needs an asyncio task. Use `timeout` in sync code."
            )
        self._task = task
        self._cancelling = task.cancelling()
        self._handle = asyncio.get_running_loop().call_later(self.seconds, self._end_block)
        self.active = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        self._handle.cancel()
        if self.error is None:
            return
        import asyncio

        # As many cancellations as before: the one under way is ours. More: somebody else's is on its way, too.
        is_ours = self._task.uncancel() <= self._cancelling
        if error is None or (is_ours and isinstance(error, asyncio.CancelledError)):
            raise self.error from None

    def _end_block(self) -> None:
        self.expire()
        self._task.cancel()


_warned: WeakSet[RunPolicy] = WeakSet()
_warned_lock = threading.Lock()


def _warn_of_delays(engine: Any, limit: _Timeout) -> None:
    """Say, once per task or flow, what its limit cannot do where it runs (V-27)."""
    if threading.current_thread() is threading.main_thread() or not engine_logs(logging.WARNING):
        return
    subject = engine.subject
    if getattr(subject, "isolation", None) is not None or getattr(engine, "_caller", None) is not None:
        return  # what blocks is in another process: it is killed, or nobody waits for it any more
    with _warned_lock:
        if subject.policy in _warned:
            return
        _warned.add(subject.policy)
    engine.logger.warning(
        "%r has a time limit of %s second(s) but does not run in the main thread, so a call that blocks cannot be"
        " interrupted: the run is settled at its deadline, but the call goes on until it returns by itself.",
        subject.name,
        limit.seconds,
    )


def _shortened(seconds: float) -> float:
    """Seconds as people want to read them: what was left of another limit has many digits."""
    return float(f"{max(seconds, 0.0):.6g}")
