"""Results that have stayed on the cluster: fetched when somebody here asks for them."""

from __future__ import annotations

import threading
from typing import Any

from mainspring._clusters.protocol import Ticket, WorkerLost
from mainspring._processes.channel import unpack
from mainspring._processes.portability import RemoteTraceback
from mainspring.exceptions import MissingResult
from mainspring.recording import current_recorder
from mainspring.runs import TaskRun
from mainspring.states import StoredResult, is_stored
from mainspring.task_runners.proceeds import unreadable

__all__ = ["FarValue"]


class FarValue(StoredResult):
    """The value of one answer of a reply that the cluster keeps. Safe to use from any thread.

    Args:
        ticket: The parcel.
        number: The number of the answer.
        run: The run that it is the result of.
        trace: If it is an exception: where that came from.
    """

    __slots__ = ("_lock", "_run", "_store", "_value", "number", "ticket", "trace")

    def __init__(self, ticket: Ticket, number: int, run: TaskRun, trace: str | None = None) -> None:
        self.ticket = ticket
        self.number = number
        self.trace = trace
        self._run = run
        self._store = current_recorder().store
        self._lock = threading.Lock()
        self._value: tuple[Any] | None = None

    def get(self) -> Any:
        """The value; fetched once, and read from where it is kept if it is gone.

        Raises:
            MissingResult: It is gone with the worker that had it.
            SerializationError: It cannot be made again in this process.
        """
        with self._lock:
            if self._value is None:
                value = self._load()
                if is_stored(value):
                    value = value.get()
                if self.trace is not None:
                    value.__cause__ = RemoteTraceback(self.trace)
                self._value = (value,)
            return self._value[0]

    def _load(self) -> Any:
        problem: WorkerLost | None = None
        try:
            reply = self.ticket.fetch()
        except WorkerLost as error:
            problem = error
        else:
            if self.number in reply.values:  # else another worker was asked again, which does not have it
                packed = reply.value(self.number)
                try:
                    return unpack(packed)
                except Exception as error:  # whatever the class of a value does when it is made again
                    raise unreadable(_shown(self._run), "Completed", error) from error
        found = self._store.read_run(self._run.key)
        if found is not None and found.state.has_data and is_stored(found.state.data):
            return found.state.data
        raise MissingResult(
            f"The result of task run {_shown(self._run)} had stayed on the cluster, and is gone with the"
            " worker that had it. Keep such results with `persist_result=True`."
        ) from problem

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


def _shown(run: TaskRun) -> str:
    return f"{run.name!r} ({run.id})"


def _same(value: Any) -> Any:
    return value
