"""Flows that pause, on threads of their own, and waiting for what they come to."""

import threading
import time
from collections.abc import Callable
from typing import Any, Self

from mainspring import get_client
from mainspring.runs import FlowRun

LIMIT = 20.0
"""Seconds after which something that is waited for has not happened."""


def until(call: Callable[[], Any]) -> Any:
    """What a call gives as soon as that is true."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = call()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{call} has not come true in {LIMIT} seconds")


def paused(name: str | None = None) -> FlowRun:
    """The newest run that is paused, as soon as there is one."""

    def look() -> FlowRun | None:
        runs = get_client().read_flow_runs(states=["PAUSED"])
        return next((run for run in runs if name in (None, run.flow_name)), None)

    run: FlowRun = until(look)
    return run


class Calling:
    """A call on a thread of its own, which is over at the end of the block; what it came to is `result`."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._outcome = self._call()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(LIMIT)

    def result(self) -> Any:
        """What the call returned; what it raised is raised."""
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._outcome
