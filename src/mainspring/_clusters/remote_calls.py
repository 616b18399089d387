"""Calls of functions in workers that do not reach the run store: what an engine that is here makes instead of its own.

As with `mainspring._engine.isolation` the engine stays where it is, with all that it does about a run. But what goes
on over there cannot be killed: if it has to end, only the wait for it does. The worker knows how long it may take, and
interrupts it then, see `mainspring._clusters.outposts`.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any

from mainspring._cancel_scopes import CancelScope
from mainspring._clusters.assignments import Assignment, Lot
from mainspring._clusters.deposits import Deposits
from mainspring._clusters.diaries import bring_home
from mainspring._clusters.errands import pack_given
from mainspring._clusters.messengers import Message, Messenger
from mainspring._clusters.parcels import Verdict, writable
from mainspring._clusters.protocol import ClusterGone, WorkerLost
from mainspring._clusters.settling import refusal_of, refusal_of_parcel
from mainspring._engine.isolation import leash_of, timeout_of
from mainspring._engine.timeouts import come_from_elsewhere
from mainspring._processes.channel import pack_flat
from mainspring._processes.leashes import Leash, WaitOver
from mainspring._processes.portability import open_result, refuse_arguments, unpack_error
from mainspring.context import TaskRunContext, current_scope
from mainspring.exceptions import MainspringError, RunCancelled, WorkerDied
from mainspring.recording import current_recorder

__all__ = ["RemoteCall", "remote_call"]


def remote_call(messenger: Messenger, assignment: Assignment) -> RemoteCall:
    """What calls the function of a task over there, whatever kind it is."""
    task = assignment.lot.task
    kind: type[RemoteCall] = AsyncRemoteCall if task.isasync else RemoteCall
    if task.isgenerator:
        kind = AsyncRemoteGenerator if task.isasync else RemoteGenerator
    return kind(messenger, assignment.lot, assignment.deposits)


class RemoteCall:
    """Calls the function of a task in a worker of a cluster. Safe to be called from any thread.

    Args:
        messenger: Brings the calls there.
        lot: The task, and what its runs have in common.
        deposits: The large arguments of the run, or of all runs of its map.
    """

    def __init__(self, messenger: Messenger, lot: Lot, deposits: Deposits) -> None:
        self._messenger = messenger
        self._lot = lot
        self._deposits = deposits

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """Call the function with these parameters, and return what it returns.

        Raises:
            BaseException: What it raises.
            WorkerDied: The worker is gone.
            TimeoutError: The attempt has no more time.
            RunCancelled: The run was told to stop, or its runner was left before the call was sent.
            SerializationError: Arguments or result cannot be taken to the other process.
        """
        scope = current_scope()
        leash = leash_of(scope)
        with leash.pulled_by(scope):
            message = self._send(parameters, scope)
            try:
                self._wait(message, leash)
            except WaitOver:
                raise _end_of(leash, scope) from None
            finally:
                self._messenger.drop(message)  # which does nothing if there is an answer
            return self._open(message, scope)

    def _wait(self, message: Message, leash: Leash) -> None:
        woken = threading.Event()
        leash.held_by(woken.set)
        message.promise.add_done_callback(lambda _: woken.set())
        try:
            while True:
                woken.clear()
                if message.promise.done():
                    return
                woken.wait(leash.remaining())
        finally:
            leash.held_by(None)

    def _send(self, parameters: Mapping[str, Any], scope: CancelScope | None) -> Message:
        task, context = self._lot.task, TaskRunContext.get()
        fields = {} if context is None else context.serialize(include_secrets=True)
        fields.pop("parameters", None)
        fields.pop("task", None)
        try:
            packed, natives, leans = pack_given(parameters, self._deposits, self._messenger.cluster)
            packed_fields = pack_flat(fields)
        except ClusterGone as error:
            raise WorkerDied(str(error)) from error
        except Exception as error:  # whatever a value raises that cannot be pickled
            raise refuse_arguments(task, parameters, error) from error
        content = [bytes(part) for part in packed]
        message = Message(self._lot, packed_fields, content, natives, leans, scope)
        self._messenger.put(message)
        return message

    def _open(self, message: Message, scope: CancelScope | None) -> Any:
        """The value in an answer, after what was recorded over there was written here.

        Raises:
            BaseException: What the function raised, or why there is no answer.
        """
        try:
            answer, history = message.promise.result()
        except WorkerLost as failure:
            self._deposits.forget(
                self._deposits.current()
            )  # the worker may have been the only one that had them
            death = WorkerDied(str(failure))
            engine = None if scope is None else scope.engine
            if engine is not None:
                engine._loss = death
            raise death from failure
        except MainspringError:
            raise
        except Exception as failure:  # whatever the cluster says of a parcel that it could not open
            raise refusal_of_parcel(self._lot.task, failure) from failure
        if history is not None:
            bring_home(pickle.loads(history), current_recorder())
        if answer.verdict is Verdict.RAISED:
            raise come_from_elsewhere(unpack_error(answer.head, answer.packed or ()))
        if answer.verdict is Verdict.REFUSED:
            cause = unpack_error(answer.head, answer.packed or ())
            raise refusal_of(self._lot.task, cause)
        return open_result(writable(answer.packed or ()), self._lot.task.name)


class AsyncRemoteCall(RemoteCall):
    """The same for a coroutine function, which is awaited over there; the event loop here goes on meanwhile."""

    async def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """See `RemoteCall.__call__`."""
        scope = current_scope()
        leash = leash_of(scope)
        with leash.pulled_by(scope):
            message = self._send(parameters, scope)
            try:
                await self._await(message, leash)
            except WaitOver:
                raise _end_of(leash, scope) from None
            finally:
                self._messenger.drop(message)  # which does nothing if there is an answer
            return self._open(message, scope)

    async def _await(self, message: Message, leash: Leash) -> None:
        import asyncio  # whoever awaits has it already

        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake(_: object = None) -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:  # the loop is closed, and nobody waits
                pass

        leash.held_by(wake)
        message.promise.add_done_callback(wake)
        try:
            while True:
                woken.clear()
                if message.promise.done():
                    return
                try:
                    async with asyncio.timeout(leash.remaining()):
                        await woken.wait()
                except TimeoutError:  # which the next look finds, too
                    pass
        finally:
            leash.held_by(None)


class RemoteGenerator(RemoteCall):
    """The same for a generator: what it yields comes when all of it is there."""

    def __call__(self, parameters: Mapping[str, Any]) -> Generator[Any, Any, Any]:
        """See `RemoteCall.__call__`."""
        values, returned = RemoteCall.__call__(self, parameters)
        yield from values
        return returned


class AsyncRemoteGenerator(AsyncRemoteCall):
    """The same for an async generator."""

    async def __call__(self, parameters: Mapping[str, Any]) -> AsyncGenerator[Any, Any]:  # type: ignore[override]
        """See `RemoteCall.__call__`."""
        values, _ = await AsyncRemoteCall.__call__(self, parameters)
        for value in values:
            yield value


def _end_of(leash: Leash, scope: CancelScope | None) -> BaseException:
    """What ends a call that nobody waits for any more."""
    return timeout_of(scope) if leash.stop is None else RunCancelled(leash.stop.reason)
