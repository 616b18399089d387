"""Waiting for many futures at once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from mainspring import clock
from mainspring.futures.base import RunFuture

__all__ = ["DoneAndNotDoneFutures", "Watch", "as_completed", "wait"]

F = TypeVar("F", bound="RunFuture[Any]")


class DoneAndNotDoneFutures(NamedTuple):
    """What `wait` found."""

    done: set[RunFuture[Any]]
    not_done: set[RunFuture[Any]]


class Watch:
    """Waits for many futures, and wakes whoever waits only once: when all are done, or one has failed.

    Args:
        futures: The futures; duplicates count once.
        stops_at_failure: Do not wait for the others when the run of one did not complete.
    """

    __slots__ = ("_done", "_left", "_lock", "_stops_at_failure", "failed")

    def __init__(self, futures: Iterable[RunFuture[Any]], stops_at_failure: bool = False) -> None:
        self._stops_at_failure = stops_at_failure
        self.failed: RunFuture[Any] | None = None
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

    def _note(self, future: RunFuture[Any]) -> None:
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


def wait(futures: Iterable[RunFuture[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """Block until all futures are done or ``timeout`` seconds have passed; tells which are."""
    distinct = set(futures)
    Watch(distinct).wait(timeout)
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
