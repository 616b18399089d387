"""What flows through an open list of futures: runs that are submitted one by one, and results that are handed out."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from mainspring.futures.base import Future, RunFuture
from mainspring.futures.promises import postpone
from mainspring.futures.turns import paused
from mainspring.futures.waiting import Watch

__all__ = ["Feed", "Results"]

T = TypeVar("T")


class Feed(Generic[T]):
    """Where the futures of an open list come from: runs that are submitted one by one, so many at a time at most.

    Elements are taken from the iterator in the thread that asks for more futures; the runs are submitted in the context
    in which the feed was made. Safe to use from any thread.

    Args:
        children: What the runs are made of.
        submit: Submits a run.
        limit: How many may be under way at a time.
    """

    __slots__ = (
        "_children",
        "_context",
        "_is_asked",
        "_lock",
        "_submit",
        "_submitted",
        "_watch",
        "error",
        "limit",
    )

    def __init__(self, children: Iterator[Any], submit: Callable[[Any], Future[T]], limit: int) -> None:
        self._children: Iterator[Any] | None = children
        self._submit = submit
        self._submitted = 0
        self._watch = Watch()
        self._context = contextvars.copy_context()
        self._lock = threading.RLock()
        self._is_asked = False
        self.limit = limit
        self.error: BaseException | None = None  # what has ended it too early

    def has_room(self) -> bool:
        """True if another run may be submitted now."""
        self._watch.arrived.clear()
        return self._watch.total - self._watch.count < self.limit

    def wait_for_room(self, timeout: float | None) -> bool:
        """Block until another run may be submitted; False if ``timeout`` seconds pass before."""
        return self.has_room() or self._watch.wait(self._watch.total - self.limit + 1, timeout)

    async def wait_for_room_async(self, timeout: float | None) -> bool:
        """`wait_for_room` without blocking the event loop."""
        return self.has_room() or await self._watch.wait_async(self._watch.total - self.limit + 1, timeout)

    def submit_if_room(self, keep: Callable[[Future[T]], object]) -> bool | None:
        """`submit_next`, and count the run as under way until it is over; None if there is no room for it."""
        with self._alone():
            if not self.has_room() and self.error is None:
                return None

            def count(future: Future[T]) -> None:
                keep(future)
                self._watch.add(future)

            return self.submit_next(count)

    def submit_next(self, keep: Callable[[Future[T]], object]) -> bool:
        """Submit the next run and have its future kept; False if there is none, and there will not be one.

        Raises:
            RuntimeError: The iterator itself asks for more.
            BaseException: What the iterator raises, now and whenever more is asked for. What was submitted goes on.
        """
        with self._alone():
            if self._is_asked:
                raise RuntimeError(
                    "The iterator that a map takes its elements from asks for more of that map, which would wait for"
                    " itself. It may use the futures that are there: collect them in a list of your own."
                )
            if self.error is not None:
                raise self.error
            if self._children is None:
                return False
            self._is_asked = True
            try:
                child = next(self._children, None)
                future = None if child is None else self._context.run(self._submit, child)
            except BaseException as error:
                self._children, self.error = None, error
                error.add_note(f"This ended a map after {self._submitted} element(s), whose runs go on.")
                raise
            finally:
                self._is_asked = False
            if future is None:
                self._children = None
                return False
            self._submitted += 1
            keep(future)
            return True

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keep other threads out; who has to wait lets others have its turn, as the iterator may wait for them."""
        if not self._lock.acquire(blocking=False):
            with paused():
                self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()


class Results(Iterator[T], AsyncIterator[T], Generic[T]):
    """The results of a list of futures, one by one; see `FutureList.results`.

    Leaving it early, or a failure, cancels the runs that have not begun.

    Args:
        feed: Where futures come from besides those that are there.
        there: Those.
        in_order: Hand out the results in the order of the elements, else as the runs complete.
        raise_on_failure: With False exceptions of failed runs are handed out instead of raised.
    """

    def __init__(
        self, feed: Feed[T] | None, there: Iterable[Future[T]], in_order: bool, raise_on_failure: bool
    ) -> None:
        self._raise_on_failure = raise_on_failure
        self._feed = feed
        self._ahead: deque[RunFuture[T]] = deque()  # in order of the elements
        self._watch = None if in_order else Watch()
        self._taken = 0
        for future in there:
            self._keep(future)

    def __iter__(self) -> Results[T]:
        return self

    def __aiter__(self) -> Results[T]:
        return self

    def __next__(self) -> T:
        if not self._has_more():
            raise StopIteration
        if self._watch is None:
            self._ahead[0].wait()
        else:
            self._watch.wait(self._taken + 1)
        return self._take()

    async def __anext__(self) -> T:
        if not self._has_more():
            raise StopAsyncIteration
        if self._watch is None:
            await self._ahead[0].wait_async()
        else:
            await self._watch.wait_async(self._taken + 1)
        return self._take()

    def close(self) -> None:
        """Cancel what has not begun; there are no more results."""
        self._feed = None
        watch, self._watch = self._watch, None
        if watch is not None:
            self._ahead.extend(watch.pending)
            watch.close()
        while self._ahead:
            future = self._ahead.pop()
            if not future.cancel():  # it has begun: kept until it is over, as nobody has forgotten it
                future.add_done_callback(_let_go)

    def _has_more(self) -> bool:
        """Submit as much as there may be under way; false if that is nothing, and nothing is left."""
        try:
            while self._feed is not None and self._waiting() < self._feed.limit:
                if not self._feed.submit_next(self._keep):
                    self._feed = None
        except BaseException:
            self.close()
            raise
        return self._waiting() > 0

    def _waiting(self) -> int:
        """How many results there are to be handed out before another element is taken."""
        return len(self._ahead) if self._watch is None else self._watch.total - self._taken

    def _keep(self, future: Future[T]) -> None:
        if self._watch is None:
            self._ahead.append(future)
        else:
            self._watch.add(future)

    def _take(self) -> T:
        self._taken += 1
        future = self._ahead.popleft() if self._watch is None else self._watch.arrived.popleft()
        try:
            return future.result(raise_on_failure=self._raise_on_failure)
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        if hasattr(self, "_taken") and self._waiting():  # else the list was not one, or all is done
            self._feed = None
            postpone(self.close)


def _let_go(_: object) -> None:
    """Do nothing: whoever knows of this callback keeps its future."""
