"""Futures: handles to task runs that were submitted, and waiting for many of them.

A future only observes: waiting for it, giving up on waiting or dropping it never touches the run.
"""

from __future__ import annotations

import concurrent.futures
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from mainspring import clock
from mainspring._core.traverse import transform
from mainspring.states import Cancelled, Pending, State, exception_to_crashed_state

__all__ = [
    "ConcurrentFuture",
    "DoneAndNotDoneFutures",
    "Future",
    "FutureList",
    "as_completed",
    "resolve_futures_to_states",
    "wait",
]

R = TypeVar("R", covariant=True)
T = TypeVar("T")
F = TypeVar("F", bound="Future[Any]")


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
    """A future of a run in this process, around a ``concurrent.futures.Future`` that comes to a state."""

    __slots__ = ("wrapped_future",)

    def __init__(self, task_run_key: bytes, wrapped_future: concurrent.futures.Future[State]) -> None:
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
        return wrapped.result() if error is None else exception_to_crashed_state(error)

    def is_done(self) -> bool:
        """See `Future.is_done`."""
        return self.wrapped_future.done()

    def wait(self, timeout: float | None = None) -> None:
        """See `Future.wait`."""
        # Not `concurrent.futures.wait`: it waits for ever for what a pool cancelled before it began.
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
        self.wait(timeout)
        if not self.is_done():
            raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} second(s).")
        error = None if self.wrapped_future.cancelled() else self.wrapped_future.exception()
        if error is not None and raise_on_failure:
            raise error
        return self.state.result(raise_on_failure=raise_on_failure)  # type: ignore[no-any-return]

    def add_done_callback(self, callback: Callable[[Future[R]], None]) -> None:
        """See `Future.add_done_callback`."""
        self.wrapped_future.add_done_callback(lambda _: callback(self))

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
        """All results in order.

        Raises:
            TimeoutError: They are not all there within ``timeout`` seconds in total.
        """
        now = clock.current().monotonic
        end = None if timeout is None else now() + timeout
        results: list[T] = []
        for future in self:
            left = None if end is None else max(0.0, end - now())
            future.wait(left)
            if not future.is_done():
                raise TimeoutError(f"{_unfinished(self)} within {timeout} second(s)")
            results.append(future.result(raise_on_failure=raise_on_failure))
        return results


class DoneAndNotDoneFutures(NamedTuple):
    """What `wait` found."""

    done: set[Future[Any]]
    not_done: set[Future[Any]]


def wait(futures: Iterable[Future[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """Block until all futures are done or ``timeout`` seconds have passed; tells which are."""
    distinct = set(futures)
    try:
        for _ in as_completed(distinct, timeout):
            pass
    except TimeoutError:
        pass  # the answer says what is missing
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


def _unfinished(futures: list[Any]) -> str:
    return f"{sum(not future.is_done() for future in futures)} (of {len(futures)}) futures unfinished"
