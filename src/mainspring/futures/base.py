"""What a future is, whatever runs behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from uuid import UUID

from mainspring._imports import modules_on_use
from mainspring.states import State

if TYPE_CHECKING:
    from mainspring._core import circles
    from mainspring._core.circles import Needs
else:
    circles = modules_on_use("mainspring._core", "circles")

__all__ = ["Future", "RunFuture"]

R = TypeVar("R", covariant=True)


class RunFuture(ABC, Generic[R]):
    """A handle to one run, of a task or of a flow. All methods are safe from any thread, and from any event loop.

    ``await future`` gives the result as `result` does, without blocking the event loop.
    """

    __slots__ = ()

    noun: ClassVar[str] = "Run"  # for messages

    @property
    @abstractmethod
    def run_key(self) -> bytes:
        """The id of the run as 16 bytes."""

    @property
    def origin_key(self) -> bytes | None:
        """The id, as 16 bytes, of the task run that its value is known to come from, if there is one."""
        return None

    @property
    def run_id(self) -> UUID:
        """The id of the run."""
        return UUID(bytes=self.run_key)

    @property
    @abstractmethod
    def state(self) -> State:
        """The final state once there is one, else a Pending one or where the run is now."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> None:
        """Block until the run is over or ``timeout`` seconds have passed; tells neither by an error.

        Raises:
            DeadlockError: The run waits for the caller.
        """

    @abstractmethod
    async def wait_async(self, timeout: float | None = None) -> None:
        """`wait` without blocking the event loop."""

    @abstractmethod
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """The value that the run returned, as soon as it is there.

        Args:
            timeout: Wait at most so many seconds.
            raise_on_failure: With False the exception of a failed run is returned instead of raised.

        Raises:
            TimeoutError: The run is not over in time.
            DeadlockError: The run waits for the caller.
        """

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """`result` without blocking the event loop."""
        await self.wait_async(timeout)
        return self.result(0, raise_on_failure) if self.is_done() else self._give_up(timeout)

    @abstractmethod
    def add_done_callback(self, callback: Callable[[RunFuture[R]], None]) -> None:
        """Call ``callback`` with this future when the run is over, at once if it is.

        A callback that raises is logged, and nobody else learns of it.
        """

    def remove_done_callback(self, callback: Callable[[RunFuture[R]], None]) -> None:
        """Do not call ``callback`` any more, as far as the future can."""

    def cancel(self) -> bool:
        """Cancel the run if it has not begun; False if it has, or if the future cannot."""
        return False

    def is_done(self) -> bool:
        """True if the run is over: the future has a result or an exception."""
        return self.state.is_final()

    def needs(self) -> Needs:
        """What has to be over before the run can be; nothing if that is not known (see `_core.circles`)."""
        return circles.Needs()

    def _give_up(self, timeout: float | None) -> R:
        raise TimeoutError(f"{self.noun} {self.run_id} did not complete within {timeout} second(s).")

    def __await__(self) -> Generator[Any, None, R]:
        return self.result_async().__await__()


class Future(RunFuture[R]):
    """A handle to one task run. All methods are safe from any thread, and from any event loop.

    Args:
        task_run_key: The id of the run as 16 bytes, chosen when it was submitted.
    """

    __slots__ = ("task_run_key",)

    noun: ClassVar[str] = "Task run"

    def __init__(self, task_run_key: bytes) -> None:
        self.task_run_key = task_run_key

    @property
    def run_key(self) -> bytes:
        """See `RunFuture.run_key`."""
        return self.task_run_key

    @property
    def origin_key(self) -> bytes | None:
        """See `RunFuture.origin_key`; the run itself."""
        return self.task_run_key

    @property
    def task_run_id(self) -> UUID:
        """The id of the task run."""
        return UUID(bytes=self.task_run_key)
