"""Runs on a cluster that have to stop, because the run around them does: workers are asked through the run store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from mainspring import clock
from mainspring._cancel_scopes import CancelScope, Stop, StopKind
from mainspring._clusters.assignments import Assignment
from mainspring._clusters.dispatch import Dispatcher
from mainspring.exceptions import StoreError
from mainspring.recording import current_recorder
from mainspring.store.cancellations import CancellationRequest

__all__ = ["Stops"]

_PAUSE = 0.2
"""Seconds after which workers are asked again, as a run may not have begun when they were asked."""


class Stops:
    """Notices when scopes of runs that were sent are told to stop. Safe to use from any thread.

    Args:
        dispatcher: Knows the runs.
        close: Has nothing begin any more; called when all that the runner was started for stops.
        around: The scope that the runner was started in.
    """

    def __init__(
        self, dispatcher: Dispatcher, close: Callable[[], object], around: CancelScope | None
    ) -> None:
        self._dispatcher = dispatcher
        self._close = close
        self._around: set[int] = set() if around is None else set(map(id, around.around()))
        self._lock = threading.RLock()  # a scope that was told to stop says so at once
        self._scopes: dict[int, _Attended] = {}
        self._woken = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def attend(self, assignment: Assignment) -> None:
        """Notice from now on when the scope of a run is told to stop."""
        scope = assignment.scope
        if scope is None:
            return
        with self._lock:
            attended = self._scopes.get(id(scope))
            if attended is None:
                attended = self._scopes[id(scope)] = _Attended(scope)
                attended.exits.enter_context(scope.calling(self._pull))
            attended.runs += 1

    def dismiss(self, assignment: Assignment) -> None:
        """A run is settled, and its scope need not be attended to because of it any more."""
        scope = assignment.scope
        if scope is None:
            return
        with self._lock:
            attended = self._scopes.get(id(scope))
            if attended is None:
                return
            attended.runs -= 1
            if not attended.runs:
                del self._scopes[id(scope)]
                attended.exits.close()

    def close(self) -> None:
        """Notice nothing any more."""
        with self._lock:
            self._is_closed = True
        self._woken.set()
        with self._lock:
            for attended in self._scopes.values():
                attended.exits.close()
            self._scopes.clear()
        if self._thread is not None:
            self._thread.join()

    def _pull(self, _: Stop) -> None:
        """A scope was told to stop: a thread sees to it, for this may be called anywhere."""
        self._woken.set()
        with self._lock:
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._ask_all, name="mainspring-stops", daemon=True)
                self._thread.start()

    def _ask_all(self) -> None:
        while True:
            self._woken.wait()
            self._woken.clear()
            while not self._is_closed:
                stopped = [(each, stop) for each in self._dispatcher.unfinished() if (stop := _stop_of(each))]
                for assignment, stop in stopped:
                    assignment.context.copy().run(self._ask, assignment, stop)
                if not stopped or self._woken.wait(_PAUSE):
                    break
            if self._is_closed:
                return

    def _ask(self, assignment: Assignment, stop: Stop) -> None:
        assignment.leash.pull(stop)
        scope = assignment.scope
        if scope is not None and any(id(each) in self._around and each.stopped_by for each in scope.around()):
            self._close()
        if stop.kind is StopKind.CANCELLED:
            request = CancellationRequest(assignment.call.run_key, stop.reason)
            try:
                current_recorder().store.request_cancellation(request, clock.current().now())
            except StoreError:  # it is asked again
                pass


class _Attended:
    """A scope, which keeps its id by that, and for how many runs it is attended to."""

    def __init__(self, scope: CancelScope) -> None:
        self.scope = scope
        self.runs = 0
        self.exits = ExitStack()


def _stop_of(assignment: Assignment) -> Stop | None:
    return None if assignment.scope is None else assignment.scope.stopped()
