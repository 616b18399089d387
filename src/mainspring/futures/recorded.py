"""Futures of runs that are known by their ids: what there is to know of them is in the history."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

from mainspring import identifiers
from mainspring.futures.base import Future, RunFuture
from mainspring.futures.lookout import lookout, read_run
from mainspring.futures.waiting import Watch
from mainspring.recording import current_recorder
from mainspring.states import Pending

if TYPE_CHECKING:
    from mainspring.recording import Recorder
    from mainspring.states import State

__all__ = ["DistributedFuture", "FlowRunFuture", "RecordedFuture"]

R = TypeVar("R", covariant=True)

RENEWAL = 1.0
"""Seconds after which whoever waits sees to it that the run is still looked for: its store may have been closed."""

_logger = logging.getLogger("mainspring.futures")


class RecordedFuture(RunFuture[R]):
    """A handle to a run in the history, which may go on in any process. All methods are safe from any thread.

    A final state that was seen is kept. What it came to is loaded from where it was kept when it is asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for moments, around everything below
        self._final: State | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._sought_in: Recorder | None = None

    @property
    def state(self) -> State:
        """The final state once it was seen, else where the run is now; Pending if nobody knows of it yet.

        Raises:
            StoreError: The history cannot be read.
        """
        if self._final is not None:
            return self._final
        run = read_run(current_recorder(), self.run_key)
        if run is None:
            return Pending()
        state: State = run.state
        if state.is_final():
            self._settle(state)
        return state

    def wait(self, timeout: float | None = None) -> None:
        """See `RunFuture.wait`."""
        watch = Watch([self])
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not watch.wait(1, _next_wait(end)) and not _is_over(end):
                self._seek()
        finally:
            watch.close()

    async def wait_async(self, timeout: float | None = None) -> None:
        """See `RunFuture.wait_async`."""
        watch = Watch([self])
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not await watch.wait_async(1, _next_wait(end)) and not _is_over(end):
                self._seek()
        finally:
            watch.close()

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """See `RunFuture.result`.

        Raises:
            TimeoutError: The run is not over in time.
            MissingResult: The run completed, but its result was not kept.
        """
        self.wait(timeout)
        return self._require_final(timeout).result(raise_on_failure)  # type: ignore[no-any-return]

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """See `RunFuture.result_async`; raises as `result` does."""
        await self.wait_async(timeout)
        return await self._require_final(timeout).aresult(raise_on_failure)  # type: ignore[no-any-return]

    def is_done(self) -> bool:
        """See `RunFuture.is_done`."""
        return self._final is not None or self.state.is_final()

    def _require_final(self, timeout: float | None) -> State:
        if self._final is None:
            self._give_up(timeout)
        assert self._final is not None
        return self._final

    # Who is called when the run is over

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See `RunFuture.add_done_callback`; called once, in the order of registration, in any thread."""
        with self._lock:
            is_over = self._final is not None
            if not is_over:
                self._callbacks.append(callback)
        if is_over:
            self._call(callback)
            return
        try:
            self._seek()
        except BaseException:
            self.remove_done_callback(callback)
            raise

    def remove_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See `RunFuture.remove_done_callback`; nobody looks for the run if there is no other."""
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
            recorder = None if self._callbacks else self._sought_in
            if recorder is not None:
                self._sought_in = None
        if recorder is not None:
            lookout().forget(recorder, self.run_key, self._settle)

    def _seek(self) -> None:
        """See to it that the run is looked for, where that is not the case or its store was closed."""
        recorder = current_recorder()
        with self._lock:
            before = self._sought_in
            if self._final is not None or (before is not None and not before.is_closed):
                return
            self._sought_in = recorder
        lookout().seek(recorder, self.run_key, self._settle)

    def _settle(self, state: State) -> None:
        with self._lock:
            if self._final is not None:
                return
            self._final = state
            callbacks, self._callbacks = self._callbacks, []
            self._sought_in = None
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[Any], None]) -> None:
        try:
            callback(self)
        except Exception:  # as everywhere: what a callback does is not the affair of others that wait
            _logger.exception("A callback of %r failed", self)

    def __reduce__(self) -> tuple[Any, ...]:
        """A handle travels as the id that it is made of."""
        return type(self), (str(self.run_id),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.run_id)!r})"


class DistributedFuture(RecordedFuture[R], Future[R]):
    """A handle to any task run in the history, by its id. Equal to every other one of that run.

    Args:
        task_run_id: The id of the run, which need not exist yet.
    """

    def __init__(self, task_run_id: UUID | str) -> None:
        super().__init__()
        self.task_run_key = identifiers.to_bytes(task_run_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DistributedFuture):
            return NotImplemented
        return self.task_run_key == other.task_run_key

    def __hash__(self) -> int:
        return hash(self.task_run_key)


class FlowRunFuture(RecordedFuture[R]):
    """A handle to any flow run in the history, by its id; what ``flow.submit`` returns is one, too.

    A flow run that had ended when it was looked at counts as over, also if somebody resumes it afterwards.

    Args:
        flow_run_id: The id of the run, which need not exist yet.
    """

    noun: ClassVar[str] = "Flow run"

    def __init__(self, flow_run_id: UUID | str) -> None:
        super().__init__()
        self._key = identifiers.to_bytes(flow_run_id)

    @property
    def run_key(self) -> bytes:
        """See `RunFuture.run_key`."""
        return self._key

    @property
    def flow_run_id(self) -> UUID:
        """The id of the flow run."""
        return self.run_id

    @property
    def origin_key(self) -> bytes | None:
        """See `RunFuture.origin_key`; the task run that stands for a subflow, once its run is over."""
        stand_in = None if self._final is None else self._final.state_details.task_run_id
        return None if stand_in is None else stand_in.bytes

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """`result` without blocking the event loop."""
        return await self.result_async(timeout, raise_on_failure)


def _next_wait(end: float | None) -> float:
    return RENEWAL if end is None else max(0.0, min(RENEWAL, end - time.monotonic()))


def _is_over(end: float | None) -> bool:
    return end is not None and time.monotonic() >= end
