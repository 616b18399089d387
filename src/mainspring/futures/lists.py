"""Lists of futures: what ``map`` gives. One over an iterator is filled as it is used."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Generic, SupportsIndex, TypeVar, overload

from mainspring.futures.base import Future, RunFuture
from mainspring.futures.promises import postpone
from mainspring.futures.turns import paused
from mainspring.futures.waiting import Watch, countdown

__all__ = ["Feed", "FutureList", "Results"]

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


class FutureList(list[Future[T]], Generic[T]):
    """Futures in the order of what they were made from. ``await futures`` gives all results.

    The list of a map over an iterator is *open*: it has the futures of what was submitted so far. It is filled, in the
    thread that uses it, by whatever needs more of it: a loop, ``async for``, an index, its length, waiting for it. No
    element is taken from the iterator before there is room for another run. An exception of the iterator is raised
    where more was needed, and again wherever more is needed later.

    Args:
        futures: The futures.
        feed: Where the others come from, if the list is open.
    """

    __slots__ = ("_feed",)

    def __init__(self, futures: Iterable[Future[T]] = (), feed: Feed[T] | None = None) -> None:
        super().__init__(futures)
        self._feed = feed
        self.fill()

    @property
    def is_open(self) -> bool:
        """True as long as there may be futures to come."""
        return self._feed is not None and self._feed.error is None

    def present(self, start: int = 0) -> list[Future[T]]:
        """The futures from a number on that there are now, without having more of them."""
        return super().__getitem__(slice(start, None))

    def give_away(self) -> tuple[Feed[T] | None, list[Future[T]]]:
        """Have no futures any more: where others would come from, and those that there were."""
        feed, self._feed = self._feed, None
        there = self.present()
        self.clear()
        return feed, there

    def fill(self, unseen: int = 0) -> None:
        """Submit as much as there is room for now, without waiting.

        Args:
            unseen: How many futures the caller has not looked at yet, which take room, too.
        """
        for _ in range(0 if self._feed is None else self._feed.limit - unseen):
            if not self._submit_next():
                return

    def fill_up(self) -> None:
        """Have all futures, however long that takes.

        Raises:
            BaseException: What the iterator raises.
        """
        while self._grow():
            pass

    def wait(self, timeout: float | None = None) -> None:
        """Block until all runs are over or ``timeout`` seconds have passed; tells of no failure.

        Raises:
            DeadlockError: One of the runs waits for the caller.
        """
        left, watch = countdown(timeout), Watch()
        try:
            if self._complete(watch, left):
                watch.wait(watch.total, left())
        finally:
            watch.close()

    async def wait_async(self, timeout: float | None = None) -> None:
        """`wait` without blocking the event loop."""
        left, watch = countdown(timeout), Watch()
        try:
            if await self._complete_async(watch, left):
                await watch.wait_async(watch.total, left())
        finally:
            watch.close()

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[T]:
        """All results in order. The first failure in time is raised at once, without waiting for the others.

        Args:
            timeout: Wait at most so many seconds for all of them.
            raise_on_failure: With False exceptions of failed runs are returned instead of raised.

        Raises:
            TimeoutError: They are not all there in time.
            DeadlockError: One of the runs waits for the caller.
            ValueError: ``timeout`` is negative.
        """
        _require_time(timeout)
        left, watch = countdown(timeout), Watch((), raise_on_failure)
        try:
            in_time = self._complete(watch, left) and watch.wait(watch.total, left())
        finally:
            watch.close()
        return self._results(watch, in_time, timeout, raise_on_failure)

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[T]:
        """`result` without blocking the event loop."""
        _require_time(timeout)
        left, watch = countdown(timeout), Watch((), raise_on_failure)
        try:
            in_time = await self._complete_async(watch, left) and await watch.wait_async(watch.total, left())
        finally:
            watch.close()
        return self._results(watch, in_time, timeout, raise_on_failure)

    def results(self, *, in_order: bool = True, raise_on_failure: bool = True) -> Results[T]:
        """The results one by one, for ``for`` or ``async for``; nothing is kept of those that were handed out.

        This empties the list. Over an iterator, no more elements are taken than there may be runs under way, and a
        result that nobody has asked for counts as such: memory stays flat, however long the iterator is, and who is
        slow to ask slows down the map.

        Args:
            in_order: In the order of the elements; with False as the runs complete.
            raise_on_failure: With False exceptions of failed runs are handed out instead of raised.
        """
        return Results(self, in_order, raise_on_failure)

    def _results(self, watch: Watch, in_time: bool, timeout: float | None, raise_on_failure: bool) -> list[T]:
        if watch.failed is not None:
            watch.failed.result()
        if not in_time:
            there = self.present()
            unfinished = sum(not future.is_done() for future in there)
            total = f"{len(there)}{' or more' if self.is_open else ''}"
            raise TimeoutError(f"{unfinished} (of {total}) futures unfinished within {timeout} second(s)")
        return [future.result(raise_on_failure=raise_on_failure) for future in self]

    # Filling an open list

    def _submit_next(self) -> bool | None:
        """Have one more future; False if there are no more, None if there is no room for one."""
        feed = self._feed
        if feed is None:
            return False
        has_more = feed.submit_if_room(super().append)
        if has_more is False:
            self._feed = None
        return has_more

    def _grow(self, timeout: float | None = None) -> bool:
        """Have one more future as soon as there is room for it; False if there are no more, or not in time."""
        length = super().__len__()
        while self._feed is not None and self._feed.wait_for_room(timeout):
            has_more = (
                super().__len__() > length or self._submit_next()
            )  # another thread may have been faster
            if has_more is not None:
                return has_more
        return False

    async def _grow_async(self, timeout: float | None = None) -> bool:
        """`_grow` without blocking the event loop."""
        length = super().__len__()
        while self._feed is not None and await self._feed.wait_for_room_async(timeout):
            has_more = (
                super().__len__() > length or self._submit_next()
            )  # another thread may have been faster
            if has_more is not None:
                return has_more
        return False

    def _may_grow(self) -> bool:
        return self._feed is not None

    def _complete(self, watch: Watch, left: Callable[[], float | None]) -> bool:
        """Have all futures, and let them be watched, until one has failed if that counts; False if not in time."""
        seen = self._show(watch, 0)
        while self._feed is not None and watch.failed is None:
            if not self._grow(left()) and self._may_grow():
                return False
            seen = self._show(watch, seen)
        return True

    async def _complete_async(self, watch: Watch, left: Callable[[], float | None]) -> bool:
        """`_complete` without blocking the event loop."""
        seen = self._show(watch, 0)
        while self._feed is not None and watch.failed is None:
            if not await self._grow_async(left()) and self._may_grow():
                return False
            seen = self._show(watch, seen)
        return True

    def _show(self, watch: Watch, seen: int) -> int:
        """Let the futures from a number on be watched; the number of those that are."""
        for future in self.present(seen):
            watch.add(future)
            seen += 1
        return seen

    # What a list can do

    def __iter__(self) -> Iterator[Future[T]]:
        return super().__iter__() if self._feed is None else self._iterate()

    def _iterate(self) -> Iterator[Future[T]]:
        index = 0
        while index < super().__len__() or self._grow():
            yield super().__getitem__(index)
            index += 1

    async def __aiter__(self) -> AsyncIterator[Future[T]]:
        index = 0
        while index < super().__len__() or await self._grow_async():
            yield super().__getitem__(index)
            index += 1

    def __len__(self) -> int:
        self.fill_up()
        return super().__len__()

    def __bool__(self) -> bool:
        return super().__len__() > 0 or self._grow()

    @overload
    def __getitem__(self, index: SupportsIndex) -> Future[T]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Future[T]]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Future[T] | list[Future[T]]:
        wanted = None if isinstance(index, slice) else index.__index__()
        while (wanted is None or wanted < 0 or wanted >= super().__len__()) and self._grow():
            pass
        return super().__getitem__(index)

    def __contains__(self, future: object) -> bool:
        return any(each is future or each == future for each in self)

    def __reversed__(self) -> Iterator[Future[T]]:
        self.fill_up()
        return super().__reversed__()

    def __eq__(self, other: object) -> bool:
        self.fill_up()
        return super().__eq__(other)

    __hash__ = None

    def __copy__(self) -> list[Future[T]]:
        """A plain list: once futures in it were replaced by states, it is no list of futures (F-21)."""
        return list(self)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, ...]" if self.is_open else super().__repr__()

    def __radd__(self, other: list[Any]) -> list[Any]:
        return other + list(self)

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self.result_async().__await__()


def _see_all(name: str) -> None:
    """Have a method of lists fill an open list first."""
    method: Callable[..., Any] = getattr(list, name)

    @wraps(method)
    def see_all(self: FutureList[Any], *args: Any, **options: Any) -> Any:
        self.fill_up()
        return method(self, *args, **options)

    setattr(FutureList, name, see_all)


for _name in (
    *(
        "__add__",
        "__delitem__",
        "__ge__",
        "__gt__",
        "__iadd__",
        "__imul__",
        "__le__",
        "__lt__",
        "__mul__",
        "__ne__",
    ),
    *(
        "__rmul__",
        "__setitem__",
        "append",
        "copy",
        "count",
        "extend",
        "index",
        "insert",
        "pop",
        "remove",
        "reverse",
    ),
    "sort",
):
    _see_all(_name)


class Results(Iterator[T], AsyncIterator[T], Generic[T]):
    """The results of a list of futures, one by one; see `FutureList.results`.

    Leaving it early, or a failure, cancels the runs that have not begun.
    """

    def __init__(self, futures: FutureList[T], in_order: bool, raise_on_failure: bool) -> None:
        self._raise_on_failure = raise_on_failure
        self._feed, there = futures.give_away()
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


def _require_time(timeout: float | None) -> None:
    """Refuse a negative time.

    Raises:
        ValueError: ``timeout`` is negative.
    """
    if timeout is not None and timeout < 0:
        raise ValueError(f"`timeout` must be >= 0 seconds; got {timeout}.")
