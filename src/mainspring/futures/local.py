"""Futures of runs in this process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mainspring._core.circles import Needs
from mainspring.exceptions import Pause, RunCancelled
from mainspring.futures.base import Future, RunFuture
from mainspring.futures.promises import Promise
from mainspring.futures.waiting import Watch
from mainspring.settings import get_current_settings
from mainspring.states import Cancelled, Completed, Pending, State, exception_to_crashed_state, is_state
from mainspring.suspensions import leave_if_suspended

if TYPE_CHECKING:
    import concurrent.futures

__all__ = ["ConcurrentFuture", "LocalFuture"]

R = TypeVar("R", covariant=True)

_logger = logging.getLogger("mainspring.futures")


class LocalFuture(RunFuture[R]):
    """A future of a run in this process, around a promise or a ``concurrent.futures.Future`` that comes to a state."""

    __slots__ = ()

    wrapped_future: Promise | concurrent.futures.Future[Any]

    @property
    def state(self) -> State:
        """See `RunFuture.state`; NotReady stays the state of a run that never began."""
        wrapped = self.wrapped_future
        if type(wrapped) is Promise and type(wrapped.outcome) is State:  # what nearly all come to
            return wrapped.outcome
        if not wrapped.done():
            return Pending()
        if wrapped.cancelled():
            return Cancelled(
                message=f"The {self.noun.lower()} was cancelled before it began, or its flow ended before."
            )
        error = wrapped.exception()
        if error is not None:
            left_in = error.state if isinstance(error, Pause) else None
            return left_in if is_state(left_in) else exception_to_crashed_state(error)
        value = wrapped.result()
        return value if is_state(value) else Completed(data=value)

    def is_done(self) -> bool:
        """See `RunFuture.is_done`."""
        return self.wrapped_future.done()

    def wait(self, timeout: float | None = None) -> None:
        """See `RunFuture.wait`."""
        leave_if_suspended()
        if not self.wrapped_future.done():
            watch = Watch([self])
            try:
                watch.wait(1, timeout)
            finally:
                watch.close()

    async def wait_async(self, timeout: float | None = None) -> None:
        """See `RunFuture.wait_async`."""
        leave_if_suspended()
        if not self.wrapped_future.done():
            watch = Watch([self])
            try:
                await watch.wait_async(1, timeout)
            finally:
                watch.close()

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """See `RunFuture.result`."""
        self.wait(timeout)
        return self._settled(timeout, raise_on_failure).result(raise_on_failure)  # type: ignore[no-any-return]

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """See `RunFuture.result_async`."""
        await self.wait_async(timeout)
        return await self._settled(timeout, raise_on_failure).aresult(raise_on_failure)  # type: ignore[no-any-return]

    def _settled(self, timeout: float | None, raise_on_failure: bool) -> State:
        """The state of the run; what was raised instead is raised as it is.

        Raises:
            TimeoutError: The run is not over in time.
        """
        wrapped = self.wrapped_future
        if type(wrapped) is Promise and type(wrapped.outcome) is State:
            return wrapped.outcome
        if not wrapped.done():
            self._give_up(timeout)
        if raise_on_failure and not wrapped.cancelled():
            error = wrapped.exception()
            if error is not None:
                raise error
        return self.state

    def add_done_callback(self, callback: Callable[[RunFuture[R]], None]) -> None:
        """See `RunFuture.add_done_callback`."""
        if isinstance(self.wrapped_future, Promise):
            self.wrapped_future.add_done_callback(callback, self)
        else:
            self.wrapped_future.add_done_callback(lambda _: callback(self))

    def remove_done_callback(self, callback: Callable[[RunFuture[R]], None]) -> None:
        """See `RunFuture.remove_done_callback`; one of a ``concurrent.futures.Future`` stays."""
        if isinstance(self.wrapped_future, Promise):
            self.wrapped_future.remove_done_callback(callback)

    def cancel(self) -> bool:
        """See `RunFuture.cancel`."""
        return self.wrapped_future.cancel()

    def needs(self) -> Needs:
        """See `RunFuture.needs`."""
        wrapped = self.wrapped_future
        work = wrapped.work if isinstance(wrapped, Promise) else None
        return Needs() if work is None else Needs([work])


class ConcurrentFuture(LocalFuture[R], Future[R]):
    """A future of a run in this process, around a promise or a ``concurrent.futures.Future`` that comes to a state.

    One that nobody holds any more although the run is not over says so in the log, because what a flow has not
    waited for may be cancelled at its end: with a warning, or for debugging only if the setting
    ``tasks.runner.warn_of_dropped_futures`` is off.

    Args:
        task_run_key: The id of the run as 16 bytes.
        wrapped_future: Comes to the final state of the run, to a plain value, or to an exception.
    """

    __slots__ = ("wrapped_future",)

    def __init__(self, task_run_key: bytes, wrapped_future: Promise | concurrent.futures.Future[Any]) -> None:
        self.task_run_key = task_run_key
        self.wrapped_future = wrapped_future

    def __del__(self) -> None:
        wrapped = getattr(self, "wrapped_future", None)  # missing if somebody's __init__ failed
        if wrapped is not None and not wrapped.done() and not sys.is_finalizing():
            try:
                warns = get_current_settings().tasks.runner.warn_of_dropped_futures
                # Not a run's logger: this may happen anywhere, also while its lines are being stored.
                _logger.log(
                    logging.WARNING if warns else logging.DEBUG,
                    "The future of task run %s was garbage collected before it resolved. The run goes on, but is"
                    " cancelled if it has not begun when the flow ends: keep the future and wait for it.",
                    self.task_run_id,
                )
            except (KeyboardInterrupt, RunCancelled):
                pass  # for the code around, which this would not reach; whoever interrupts it does so again

    def __repr__(self) -> str:
        return f"ConcurrentFuture(task_run_id={str(self.task_run_id)!r}, done={self.is_done()})"
