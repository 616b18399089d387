"""Futures: handles to task runs that were submitted, and waiting for many of them.

A future only observes: waiting for it, giving up on waiting or dropping it never touches the run.
"""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeGuard, TypeVar
from uuid import UUID

from mainspring import clock
from mainspring._core.traverse import transform
from mainspring.settings import get_current_settings
from mainspring.states import Cancelled, Completed, Pending, State, exception_to_crashed_state, is_state

__all__ = [
    "ConcurrentFuture",
    "DoneAndNotDoneFutures",
    "Future",
    "FutureList",
    "as_completed",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "wait",
]

R = TypeVar("R", covariant=True)
T = TypeVar("T")
F = TypeVar("F", bound="Future[Any]")

_logger = logging.getLogger("mainspring.futures")


class Future(ABC, Generic[R]):
    """A handle to one task run. All methods are safe from any thread.

    Args:
        task_run_key: The id of the run as 16 bytes, chosen when it was submitted.
    """

    __slots__ = ("task_run_key",)

    def __init__(self, task_run_key: bytes) -> None:
        self.task_run_key = task_run_key

    @property
    def task_run_id(self) -> UUID:
        """The id of the task run."""
        return UUID(bytes=self.task_run_key)

    @property
    @abstractmethod
    def state(self) -> State:
        """The final state once there is one, else a Pending one."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> None:
        """Block until the run is over or ``timeout`` seconds have passed; tells neither by an error."""

    @abstractmethod
    async def wait_async(self, timeout: float | None = None) -> None:
        """`wait` without blocking the event loop."""

    @abstractmethod
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """The value that the run returned, as soon as it is there.

        Args:
            timeout: Wait at most so many seconds.
            raise_on_failure: With False the exception of a failed run is returned instead of raised.

        Raises:
            TimeoutError: The run is not over in time.
        """

    @abstractmethod
    def add_done_callback(self, callback: Callable[[Future[R]], None]) -> None:
        """Call ``callback`` with this future when the run is over, at once if it is."""

    def is_done(self) -> bool:
        """True if the run is over: the future has a result or an exception."""
        return self.state.is_final()


class ConcurrentFuture(Future[R]):
    """A future of a run in this process, around a ``concurrent.futures.Future`` that comes to a state.

    One that nobody holds any more although the run is not over says so in the log, because what a flow has not
    waited for may be cancelled at its end: with a warning, or for debugging only if the setting
    ``tasks.runner.warn_of_dropped_futures`` is off.

    Args:
        task_run_key: The id of the run as 16 bytes.
        wrapped_future: Comes to the final state of the run, to a plain value, or to an exception.
    """

    __slots__ = ("wrapped_future",)

    def __init__(self, task_run_key: bytes, wrapped_future: concurrent.futures.Future[Any]) -> None:
        super().__init__(task_run_key)
        self.wrapped_future = wrapped_future

    @property
    def state(self) -> State:
        """See `Future.state`; NotReady stays the state of a run that never began."""
        wrapped = self.wrapped_future
        if not wrapped.done():
            return Pending()
        if wrapped.cancelled():
            return Cancelled(message="The flow ended before the task run began.")
        error = wrapped.exception()
        if error is not None:
            return exception_to_crashed_state(error)
        value = wrapped.result()
        return value if is_state(value) else Completed(data=value)

    def is_done(self) -> bool:
        """See `Future.is_done`."""
        return self.wrapped_future.done()

    def wait(self, timeout: float | None = None) -> None:
        """See `Future.wait`."""
        # Not `concurrent.futures.wait`: it waits for ever for what others cancelled before it began.
        try:
            self.wrapped_future.exception(timeout)
        except (TimeoutError, concurrent.futures.CancelledError):
            pass  # the state tells

    async def wait_async(self, timeout: float | None = None) -> None:
        """See `Future.wait_async`."""
        import asyncio  # whoever awaits has it already

        await asyncio.wait([asyncio.wrap_future(self.wrapped_future)], timeout=timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """See `Future.result`."""
        try:
            error = self.wrapped_future.exception(timeout)
        except TimeoutError:
            raise TimeoutError(
                f"Task run {self.task_run_id} did not complete within {timeout} second(s)."
            ) from None
        except concurrent.futures.CancelledError:
            return self.state.result(raise_on_failure=raise_on_failure)  # type: ignore[no-any-return]
        if error is None:
            value = self.wrapped_future.result()
            if is_state(value):
                return value.result(raise_on_failure=raise_on_failure)  # type: ignore[no-any-return]
            return value  # type: ignore[no-any-return]
        if raise_on_failure:
            raise error
        return self.state.result(raise_on_failure=False)  # type: ignore[no-any-return]

    def add_done_callback(self, callback: Callable[[Future[R]], None]) -> None:
        """See `Future.add_done_callback`."""
        self.wrapped_future.add_done_callback(lambda _: callback(self))

    def __del__(self) -> None:
        wrapped = getattr(self, "wrapped_future", None)  # missing if somebody's __init__ failed
        if wrapped is not None and not wrapped.done() and not sys.is_finalizing():
            warns = get_current_settings().tasks.runner.warn_of_dropped_futures
            # Not a run's logger: this may happen anywhere, also while its lines are being stored.
            _logger.log(
                logging.WARNING if warns else logging.DEBUG,
                "The future of task run %s was garbage collected before it resolved. The run goes on, but is"
                " cancelled if it has not begun when the flow ends: keep the future and wait for it.",
                self.task_run_id,
            )

    def __repr__(self) -> str:
        return f"ConcurrentFuture(task_run_id={str(self.task_run_id)!r}, done={self.is_done()})"


class FutureList(list[Future[T]], Generic[T]):
    """Futures in the order of what they were made from."""

    def wait(self, timeout: float | None = None) -> None:
        """Block until all runs are over or ``timeout`` seconds have passed; tells of no failure."""
        wait(self, timeout)

    def __copy__(self) -> list[Future[T]]:
        """A plain list: once futures in it were replaced by states, it is no list of futures (F-21)."""
        return list(self)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[T]:
        """All results in order. The first failure in time is raised at once, without waiting for the others.

        Args:
            timeout: Wait at most so many seconds for all of them.
            raise_on_failure: With False exceptions of failed runs are returned instead of raised.

        Raises:
            TimeoutError: They are not all there in time.
            ValueError: ``timeout`` is negative.
        """
        if timeout is not None and timeout < 0:
            raise ValueError(f"`timeout` must be >= 0 seconds; got {timeout}.")
        watch = _Watch(self, stops_at_failure=raise_on_failure)
        if not watch.wait(timeout):
            raise TimeoutError(f"{_unfinished(self)} within {timeout} second(s)")
        if watch.failed is not None:
            watch.failed.result()
        return [future.result(raise_on_failure=raise_on_failure) for future in self]


class DoneAndNotDoneFutures(NamedTuple):
    """What `wait` found."""

    done: set[Future[Any]]
    not_done: set[Future[Any]]


class _Watch:
    """Waits for many futures, and wakes whoever waits only once: when all are done, or one has failed.

    Args:
        futures: The futures; duplicates count once.
        stops_at_failure: Do not wait for the others when the run of one did not complete.
    """

    __slots__ = ("_done", "_left", "_lock", "_stops_at_failure", "failed")

    def __init__(self, futures: Iterable[Future[Any]], stops_at_failure: bool = False) -> None:
        self._stops_at_failure = stops_at_failure
        self.failed: Future[Any] | None = None
        self._done = threading.Event()
        self._lock = threading.Lock()
        distinct = set(futures)
        self._left = len(distinct) + 1  # one for ourselves, so that it ends only when all were counted
        for future in distinct:
            future.add_done_callback(self._note)
        self._count()

    def wait(self, timeout: float | None) -> bool:
        """Block until there is nothing more to wait for; False if ``timeout`` seconds pass before."""
        return self._done.wait(timeout)

    def _note(self, future: Future[Any]) -> None:
        try:
            if self._stops_at_failure and self.failed is None and not future.state.is_completed():
                self.failed = future
                self._done.set()
        finally:
            self._count()

    def _count(self) -> None:
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._done.set()


def wait(futures: Iterable[Future[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """Block until all futures are done or ``timeout`` seconds have passed; tells which are."""
    distinct = set(futures)
    _Watch(distinct).wait(timeout)
    done = {future for future in distinct if future.is_done()}
    return DoneAndNotDoneFutures(done, distinct - done)


def as_completed(futures: Iterable[F], timeout: float | None = None) -> Iterator[F]:
    """Yield each distinct future once, as it is done.

    Raises:
        TimeoutError: Some are not done ``timeout`` seconds after the first step.
    """
    distinct = set(futures)
    total = len(distinct)
    finished: list[F] = []
    ready = threading.Semaphore(0)

    def note(future: Any) -> None:
        finished.append(future)
        ready.release()

    now = clock.current().monotonic
    end = None if timeout is None else now() + timeout
    for future in distinct:
        future.add_done_callback(note)
    for count in range(total):
        if not ready.acquire(timeout=None if end is None else max(0.0, end - now())):
            raise TimeoutError(f"{total - count} (of {total}) futures unfinished")
        yield finished[count]


def resolve_futures_to_states(value: Any) -> Any:
    """``value`` with each future in it, at any depth outside of `quote`, replaced by its final state."""

    def to_state(leaf: Any, _: object) -> Any:
        if isinstance(leaf, Future):
            leaf.wait()
            return leaf.state
        return leaf

    return transform(value, to_state, unwrap=False)


def resolve_futures_to_results(value: Any) -> Any:
    """``value`` with each future in it, at any depth outside of `quote`, replaced by the result of its run.

    Raises:
        BaseException: What the first run among them that did not complete says that it came to.
    """

    def to_result(leaf: Any, _: object) -> Any:
        return leaf.result() if _is_future(leaf) else leaf

    return transform(value, to_result, unwrap=False)


def _unfinished(futures: list[Any]) -> str:
    return f"{sum(not future.is_done() for future in futures)} (of {len(futures)}) futures unfinished"


def _is_future(value: object) -> TypeGuard[Future[Any]]:
    return isinstance(value, Future)
