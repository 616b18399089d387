"""The other end of a future of this process: settled once, by whoever carries the run."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any, NoReturn, Protocol

from mainspring import _forks
from mainspring._core.circles import Needs

__all__ = ["Promise", "Work", "postpone"]

_Entry = tuple[Callable[[Any], object], Any]

_lock = threading.Lock()  # of all promises, as it is held for moments, and one for each would cost memory
_forks.remake_in_child(globals(), _lock=threading.Lock)
_postponed: deque[Callable[[], object]] = deque()
_logger = logging.getLogger("mainspring.futures")


class Work(Hashable, Protocol):
    """What carries the run of a promise, as long as that is under way."""

    def needs(self) -> Needs:
        """What has to be over before the run can be; nothing if that is not known."""
        ...


class _Status(Enum):
    PENDING = "pending"
    RUNNING = "running"
    CANCELLED = "cancelled"
    DONE = "done"


_PENDING, _RUNNING, _CANCELLED, _DONE = _Status


class Promise:
    """Comes to the final state of a run or to an exception, once. Safe to use from any thread.

    It has the methods of ``concurrent.futures.Future`` that futures need, at a fraction of the memory: a map has one
    for each element. ``work`` is what carries the run, if that is known. ``outcome`` is what it has come to, a state or
    an exception; None before that, and if it was cancelled.
    """

    __slots__ = ("_callbacks", "_status", "outcome", "work")

    def __init__(self) -> None:
        self._status = _PENDING
        self.outcome: Any = None
        self._callbacks: _Entry | list[_Entry] | None = None  # a list only if there are several
        self.work: Work | None = None

    def done(self) -> bool:
        """True if it has come to something, or was cancelled."""
        return self._status is _DONE or self._status is _CANCELLED

    def cancelled(self) -> bool:
        """True if the run was cancelled before it began."""
        return self._status is _CANCELLED

    def running(self) -> bool:
        """True if the run has begun and is not over."""
        return self._status is _RUNNING

    def exception(self) -> BaseException | None:
        """What was raised instead of coming to a state; None if nothing was. Only to be asked when done.

        Raises:
            CancelledError: It was cancelled.
        """
        if self._status is _CANCELLED:
            from concurrent.futures import CancelledError  # takes a millisecond to load

            raise CancelledError
        return self.outcome if isinstance(self.outcome, BaseException) else None

    def result(self) -> Any:
        """The state. Only to be asked when done.

        Raises:
            CancelledError: It was cancelled.
            BaseException: What `exception` tells.
        """
        error = self.exception()
        if error is not None:
            raise error
        return self.outcome

    def begin(self) -> bool:
        """Note that the run begins; False if it must not, as it was cancelled."""
        if _postponed:
            _do_postponed()  # it may be that
        with _lock:
            if self._status is not _PENDING:
                return False
            self._status = _RUNNING
            return True

    def take_back(self) -> None:
        """Note that the run has not begun after all, and will not; it counts as cancelled."""
        with _lock:
            if self._status is _RUNNING:
                self._status = _PENDING
        self.cancel()

    def cancel(self) -> bool:
        """Cancel the run if it has not begun; False if it has."""
        return self._settle(_CANCELLED, None)

    def set_result(self, state: Any) -> None:
        """Come to a state."""
        self._settle(_DONE, state)
        if _postponed:
            _do_postponed()

    def set_exception(self, error: BaseException) -> None:
        """Come to an exception, which belongs to whoever asks for the result."""
        self._settle(_DONE, error)
        if _postponed:
            _do_postponed()

    def add_done_callback(self, callback: Callable[[Any], object], argument: Any = None) -> None:
        """Call ``callback`` when done, at once if that is so; with ``argument``, or else with the promise."""
        entry = (callback, self if argument is None else argument)
        with _lock:
            if not self.done():
                known = self._callbacks
                if known is None:
                    self._callbacks = entry
                elif isinstance(known, list):
                    known.append(entry)
                else:
                    self._callbacks = [known, entry]
                return
        _call(entry)

    def remove_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Do not call ``callback`` any more."""
        with _lock:
            self._callbacks = [entry for entry in _entries(self._callbacks) if entry[0] != callback] or None

    def _settle(self, status: _Status, outcome: Any) -> bool:
        with _lock:
            if self.done() or (status is _CANCELLED and self._status is _RUNNING):
                return self._status is status
            self.outcome, self._status, self.work = outcome, status, None
            callbacks, self._callbacks = self._callbacks, None
        if callbacks is not None:
            for entry in _entries(callbacks):
                _call(entry)
        return True

    def __reduce__(self) -> NoReturn:
        """A copy would never be settled.

        Raises:
            TypeError: Always.
        """
        raise TypeError("A future cannot be pickled or copied: pass its result, or the id of its run.")


def _entries(callbacks: _Entry | list[_Entry] | None) -> Sequence[_Entry]:
    if isinstance(callbacks, list):
        return callbacks
    return () if callbacks is None else (callbacks,)


def _call(entry: _Entry) -> None:
    callback, argument = entry
    try:
        callback(argument)
    except Exception:  # by rule FU-27: whoever settles the promise has nothing to do with those who watch it
        _logger.exception("A callback of a future has failed: %r", callback)


def postpone(call: Callable[[], object]) -> None:
    """Have something done soon, by the next thread that begins or settles a run; takes no lock.

    It is for ``__del__``: the garbage collector may come while the thread holds one of our locks.
    """
    _postponed.append(call)


def _do_postponed() -> None:
    while _postponed:
        try:
            call = _postponed.popleft()
        except IndexError:  # another thread was faster
            return
        call()
