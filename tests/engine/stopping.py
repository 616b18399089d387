"""Cancelling runs while their code goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from mainspring._cancel_scopes import live
from mainspring.client import get_client
from mainspring.runs import FlowRun, TaskRun
from mainspring.runtime import flow_run, task_run

__all__ = ["PATIENCE", "Canceller", "linger", "until"]

PATIENCE = 20.0
"""Seconds that a slow machine may take for what takes a moment."""


class Canceller:
    """Cancels a run, from a thread of its own, once its code says that it has begun."""

    def __init__(self) -> None:
        self.found: TaskRun | FlowRun | None = None
        self._begun = threading.Event()
        self._run_id: UUID | None = None

    def begin(self, run_id: UUID | str | None = None) -> None:
        """Have the run cancelled now: by default the innermost one that the caller is in."""
        self._run_id = UUID(str(run_id or task_run.id or flow_run.id))
        self._begun.set()

    @contextmanager
    def at_work(self, reason: str | None = "enough") -> Iterator[Canceller]:
        """Around the run. At the end it is over, and nothing that was cancelled goes on."""

        def cancel() -> None:
            if self._begun.wait(PATIENCE):
                assert self._run_id is not None
                self.found = get_client().cancel_run(self._run_id, reason, timeout=PATIENCE)

        before = set(live)
        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            yield self
        finally:
            thread.join()
            assert set(live) <= before


def linger(begun: Callable[[], object] | None = None) -> None:
    """Go on until somebody ends it, in a way that can be interrupted in any thread."""
    if begun is not None:
        begun()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(0.005)
    raise AssertionError("nobody has ended it")


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Wait for something that should be there soon."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.005)
