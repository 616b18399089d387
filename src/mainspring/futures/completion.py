"""Futures in the order in which they are done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, TypeGuard, TypeVar, cast

from mainspring.futures.base import RunFuture
from mainspring.futures.lists import FutureList
from mainspring.futures.promises import postpone
from mainspring.futures.waiting import Watch, countdown

__all__ = ["CompletedFutures", "as_completed"]

F = TypeVar("F", bound="RunFuture[Any]")


class CompletedFutures(Iterator[F], AsyncIterator[F], Generic[F]):
    """The futures in the order in which they are done; for ``for``, which blocks, and for ``async for``."""

    def __init__(self, futures: Iterable[F], timeout: float | None) -> None:
        self._timeout = timeout
        self._countdown: Callable[[], float | None] | None = None
        self._taken = 0
        is_open = _is_list(futures) and futures.is_open
        self._list: FutureList[Any] | None = cast("FutureList[Any]", futures) if is_open else None
        self._seen = 0  # of the list
        self._told: set[Any] = set()
        self._watch = Watch(() if is_open else futures)

    def __iter__(self) -> CompletedFutures[F]:
        return self

    def __aiter__(self) -> CompletedFutures[F]:
        return self

    def __next__(self) -> F:
        if not self._has_more():
            raise StopIteration
        return self._take(self._watch.wait(self._taken + 1, self._left()))

    async def __anext__(self) -> F:
        if not self._has_more():
            raise StopAsyncIteration
        return self._take(await self._watch.wait_async(self._taken + 1, self._left()))

    def _has_more(self) -> bool:
        """Have an open list filled; false if there is nothing left."""
        futures = self._list
        if futures is not None:
            self._see_more(futures)  # what is there already counts as not looked at, also if it is done
            try:
                futures.fill(self._watch.total - self._taken)
            except BaseException:
                self._list = None  # what was submitted before is still told when somebody goes on
                self._see_more(futures)
                raise
            self._see_more(futures)
        return self._taken < self._watch.total

    def _see_more(self, futures: FutureList[Any]) -> None:
        """Watch what a list has got meanwhile."""
        for future in futures.present(self._seen):
            self._seen += 1
            if future not in self._told:
                self._told.add(future)
                self._watch.add(future)

    def _left(self) -> float | None:
        """The seconds that are left from the first step on."""
        if self._countdown is None:
            self._countdown = countdown(self._timeout)
        return self._countdown()

    def _take(self, in_time: bool) -> F:
        if not in_time:
            self._watch.close()
            raise TimeoutError(
                f"{self._watch.total - self._taken} (of {self._watch.total}) futures unfinished"
            )
        self._taken += 1
        return cast(F, self._watch.arrived.popleft())

    def __del__(self) -> None:
        watch = getattr(self, "_watch", None)  # missing if what was given is no collection
        if watch is not None and watch.pending:
            postpone(watch.close)


def _is_list(value: object) -> TypeGuard[FutureList[Any]]:
    return isinstance(value, FutureList)


def as_completed(futures: Iterable[F], timeout: float | None = None) -> CompletedFutures[F]:
    """An iterator over each distinct future once, as it is done; also for ``async for``.

    Raises:
        TimeoutError: While iterating: some are not done ``timeout`` seconds after the first step.
        DeadlockError: While iterating: what is waited for waits for the caller.
    """
    return CompletedFutures(futures, timeout)
