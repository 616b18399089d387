"""Lists of futures: what ``map`` gives. One over an iterator is filled as it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar, overload

from mainspring.futures.base import Future
from mainspring.futures.streams import Results
from mainspring.futures.waiting import AllWatch, Watch, countdown

if TYPE_CHECKING:
    from mainspring.futures.streams import Feed

__all__ = ["FutureList"]

T = TypeVar("T")


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

    def _give_away(self) -> tuple[Feed[T] | None, list[Future[T]]]:
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
        left, watch = countdown(timeout), AllWatch()
        try:
            if self._complete(watch, left):
                watch.wait(watch.total, left())
        finally:
            watch.close()

    async def wait_async(self, timeout: float | None = None) -> None:
        """`wait` without blocking the event loop."""
        left, watch = countdown(timeout), AllWatch()
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
        return Results(*self._give_away(), in_order, raise_on_failure)

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


def _require_time(timeout: float | None) -> None:
    """Refuse a negative time.

    Raises:
        ValueError: ``timeout`` is negative.
    """
    if timeout is not None and timeout < 0:
        raise ValueError(f"`timeout` must be >= 0 seconds; got {timeout}.")
