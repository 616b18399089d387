"""Results that have stayed on the cluster: fetched when somebody here asks for them."""

from __future__ import annotations

import threading
from typing import Any

from mainspring._clusters.protocol import Ticket, WorkerLost
from mainspring._processes.channel import unpack
from mainspring._processes.portability import RemoteTraceback
from mainspring.exceptions import MissingResult
from mainspring.states import StoredResult
from mainspring.task_runners.proceeds import unreadable

__all__ = ["FarValue"]


class FarValue(StoredResult):
    """The value of one answer of a reply that the cluster keeps. Safe to use from any thread.

    Args:
        ticket: The parcel.
        number: The number of the answer.
        what: The run that it is the result of, for messages.
        trace: If it is an exception: where that came from.
    """

    __slots__ = ("_lock", "_value", "number", "ticket", "trace", "what")

    def __init__(self, ticket: Ticket, number: int, what: str, trace: str | None = None) -> None:
        self.ticket = ticket
        self.number = number
        self.what = what
        self.trace = trace
        self._lock = threading.Lock()
        self._value: tuple[Any] | None = None

    def get(self) -> Any:
        """The value; fetched once.

        Raises:
            MissingResult: It is gone with the worker that had it.
            SerializationError: It cannot be made again in this process.
        """
        with self._lock:
            if self._value is None:
                try:
                    packed = self.ticket.fetch().value(self.number)
                except WorkerLost as error:
                    raise MissingResult(
                        f"The result of {self.what} had stayed on the cluster, and is gone with the worker that had it:"
                        f" {error} Keep it with `persist_result=True`."
                    ) from error
                try:
                    value = unpack(packed)
                except Exception as problem:  # whatever the class of a value does when it is made again
                    raise unreadable(self.what, "Completed", problem) from problem
                if self.trace is not None:
                    value.__cause__ = RemoteTraceback(self.trace)
                self._value = (value,)
            return self._value[0]

    async def aget(self) -> Any:
        """`get` for async code, without blocking the event loop."""
        import asyncio  # whoever awaits has it already

        return await asyncio.to_thread(self.get)

    def has_cached_object(self) -> bool:
        """True if it was fetched."""
        return self._value is not None

    def describe(self) -> str | None:
        """None: it is kept nowhere."""
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process is the value."""
        return _same, (self.get(),)


def _same(value: Any) -> Any:
    return value
