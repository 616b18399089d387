"""What tests of runners and futures are made from."""

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

from mainspring.futures import ConcurrentFuture
from mainspring.states import Completed, State


def made(value: Any = None, state: State | None = None) -> ConcurrentFuture[Any]:
    """A future by hand; done if a state or value is given."""
    wrapped: concurrent.futures.Future[Any] = concurrent.futures.Future()
    if state is not None or value is not None:
        wrapped.set_result(state or Completed(data=value))
    return ConcurrentFuture(bytes(16), wrapped)


def settle(future: ConcurrentFuture[Any], value: Any = None, state: State | None = None) -> None:
    """Let a future made by hand come to a value or state."""
    future.wrapped_future.set_result(state or Completed(data=value))


def eventually(condition: Callable[[], object], seconds: float = 30) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
