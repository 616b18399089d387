"""Lists of futures: what ``map`` gives."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from mainspring.futures.base import Future
from mainspring.futures.waiting import Watch, wait

__all__ = ["FutureList"]

T = TypeVar("T")


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
        watch = Watch(self, stops_at_failure=raise_on_failure)
        if not watch.wait(timeout):
            raise TimeoutError(f"{_unfinished(self)} within {timeout} second(s)")
        if watch.failed is not None:
            watch.failed.result()
        return [future.result(raise_on_failure=raise_on_failure) for future in self]


def _unfinished(futures: list[Any]) -> str:
    return f"{sum(not future.is_done() for future in futures)} (of {len(futures)}) futures unfinished"
