"""Futures of flow runs that this process has started."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar

from mainspring._engine.reservations import Reservation
from mainspring.futures.recorded import FlowRunFuture, Wake
from mainspring.states import Cancelled, Pending, State, exception_to_crashed_state

__all__ = ["BackgroundFlowRun"]

R = TypeVar("R", covariant=True)


class BackgroundFlowRun(FlowRunFuture[R]):
    """What ``flow.submit`` returns: what the run comes to is known here, also if it is kept nowhere.

    Args:
        reservation: The ids of the run.
        outcome: Comes to the final state of the run, or to what ended it from outside.
    """

    def __init__(self, reservation: Reservation, outcome: concurrent.futures.Future[State]) -> None:
        self._reservation = reservation
        self._outcome = outcome

    @property
    def run_key(self) -> bytes:
        """See `RunFuture.run_key`; in a resumed flow run it may be that of an earlier run, once that is known."""
        return self._reservation.flow_run_key

    @property
    def origin_key(self) -> bytes | None:
        """See `RunFuture.origin_key`."""
        return self._reservation.stand_in_key

    @property
    def state(self) -> State:
        """See `Future.state`; NotReady stays the state of a run that never began."""
        if not self._outcome.done():
            return Pending()
        if self._outcome.cancelled():
            return Cancelled(message="The flow around ended before the flow run began.")
        error = self._outcome.exception()
        return self._outcome.result() if error is None else exception_to_crashed_state(error)

    def is_done(self) -> bool:
        """See `Future.is_done`."""
        return self._outcome.done()

    def wait(self, timeout: float | None = None) -> None:
        """See `Future.wait`."""
        try:
            self._outcome.exception(timeout)
        except (TimeoutError, concurrent.futures.CancelledError):
            pass  # the state tells

    async def wait_async(self, timeout: float | None = None) -> None:
        """See `Future.wait_async`."""
        import asyncio  # whoever awaits has it already

        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._outcome.add_done_callback(Wake(lambda: loop.call_soon_threadsafe(over.set)))
        try:
            async with asyncio.timeout(timeout):
                await over.wait()
        except TimeoutError:
            pass  # the state tells

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """See `Future.result`."""
        self.wait(timeout)
        return self._require_outcome(timeout, raise_on_failure).result(raise_on_failure)  # type: ignore[no-any-return]

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """`result` without blocking the event loop."""
        await self.wait_async(timeout)
        state = self._require_outcome(timeout, raise_on_failure)
        return await state.aresult(raise_on_failure)  # type: ignore[no-any-return]

    def _require_outcome(self, timeout: float | None, raise_on_failure: bool) -> State:
        """The state of the run; what ended it from outside is raised as it is.

        Raises:
            TimeoutError: The run is not over in time.
        """
        if not self._outcome.done():
            raise TimeoutError(f"{self.noun} {self.run_id} did not complete within {timeout} second(s).")
        if raise_on_failure and not self._outcome.cancelled():
            error = self._outcome.exception()
            if error is not None:
                raise error
        return self.state

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See `Future.add_done_callback`."""
        self._outcome.add_done_callback(lambda _: callback(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return FlowRunFuture, (str(self.run_id),)

    def __repr__(self) -> str:
        return f"FlowRunFuture({str(self.run_id)!r}, done={self.is_done()})"
