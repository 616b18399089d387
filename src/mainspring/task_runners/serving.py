"""What a worker process does: it is set up, runs the calls that it is sent, one after the other, and ends.

The main thread runs tasks, so limits on time can interrupt them. A second thread listens to the runner, and ends the
process at once if the runner is gone. What the process then leaves is settled by whoever opens the run store next.
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any, NamedTuple

from mainspring._core.traverse import is_atomic
from mainspring.context import SettingsContext, hydrated_context
from mainspring.recording import close_recorders
from mainspring.runs import TaskRun
from mainspring.settings import reload_settings
from mainspring.states import State, is_stored
from mainspring.task_runners.calls import Call
from mainspring.task_runners.channel import Channel, Frame, Kind, Packed, pack, unpack
from mainspring.task_runners.portability import pack_error, require_portable
from mainspring.task_runners.relays import Audience, Outbox, Relay, bare

__all__ = ["Order", "Setup", "serve"]

_WATCH = 1_000
"""Milliseconds after which a worker that hears nothing sees whether its parent is still there."""

_LAST_WRITES = 2.0
"""Seconds that a worker without a parent has to write what is in its buffers."""


class Setup(NamedTuple):
    """What holds for all calls of a worker. What may be of the user's making is packed beside it.

    Args:
        environment: The environment of the runner's process.
        settings: Its settings, as `SettingsContext` gives them.
        levels: See `Audience`.
    """

    environment: dict[str, str]
    settings: dict[str, Any]
    levels: tuple[int, ...]


class Order(NamedTuple):
    """What a worker is told about a call. Task and parameters are packed beside it.

    Args:
        run: The record of the run.
        context: The context that it was submitted in, packed; None if it is the one that was sent last.
        step: The step of its flow run, see `Call`.
        retries: How many retries of the run were granted elsewhere.
        audience: Who listens.
    """

    run: TaskRun
    context: bytes | None
    step: tuple[str, bool] | None
    retries: int
    audience: Audience


def serve(end: socket.socket) -> None:
    """Be a worker; returns when the runner has no more to do.

    Args:
        end: This side of the connection.
    """
    worker = Worker(Channel(end))
    try:
        worker.serve()
    except EOFError:  # the runner is gone before there was anything to do
        os._exit(1)


class Worker:
    """This process, at work."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._calls: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._outbox = Outbox(channel)
        self._relay = Relay(self._outbox)
        self._is_interruptible = False
        self._context: dict[str, Any] = {}

    def serve(self) -> None:
        """Work until the runner says that it is over."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while the process was started
        frame = self._channel.receive()
        threading.Thread(target=self._listen, name="mainspring-listener", daemon=True).start()
        with ExitStack() as stack:
            try:
                self._set_up(frame, stack)
            except BaseException as error:  # whatever the initializer raises: the runner has to know
                self._outbox.answer(Kind.UNREADY, *pack_error(error))
            else:
                self._outbox.answer(Kind.READY)
            while (call := self._calls.get()) is not None:
                self._answer(call)
                del call  # nothing of it is kept while there is nothing to do
        self._outbox.end()

    def _set_up(self, frame: Frame, stack: ExitStack) -> None:
        setup = Setup(*frame.head)
        os.environ.clear()
        os.environ.update(setup.environment)
        reload_settings()
        stack.enter_context(SettingsContext.hydrate(setup.settings))
        self._relay.replace_output(setup.levels)
        initializer, arguments = unpack(frame.packed)
        if initializer is not None:
            initializer(*arguments)
        self._relay.join_root()

    # Calls

    def _answer(self, frame: Frame) -> None:
        """Run a call and send what it came to."""
        order = Order(*frame.head)
        try:
            if order.context is not None:
                self._context = pickle.loads(order.context)
            task, parameters = unpack(frame.packed)
        except BaseException as error:  # whatever importing a module of the user's does
            self._outbox.answer(Kind.REFUSED, *pack_error(error))
            return
        parcel = _Parcel()
        try:
            state = self._run(order, task, parameters, parcel)
        except BaseException as error:  # belongs to whoever waits for the run
            self._outbox.answer(Kind.RAISED, *pack_error(error))
            return
        try:
            head, packed = parcel.wrap(state)
        except Exception as error:  # what a hand-made state or a generator holds was not tried before
            self._outbox.answer(Kind.RAISED, *pack_error(error))
        else:
            self._outbox.answer(Kind.DONE, head, packed)

    def _run(self, order: Order, task: Any, parameters: dict[str, Any], parcel: _Parcel) -> State:
        context = {
            "cancel_event": self._cancelled,
            "step": order.step,
            "retries": order.retries,
            "check": parcel.check,
        }
        call = Call(task, order.run.key, parameters, None, None, context, order.run)
        try:
            with (
                hydrated_context(self._context),
                self._relay.open_for(order.audience),
                self._interruptible(),
            ):
                return call.run()
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()  # whoever watches the output does not want to wait for the end of the worker

    # Signals and the end

    @contextmanager
    def _interruptible(self) -> Generator[None]:
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False

    def _interrupt(self, number: int, _: object) -> None:
        """SIGINT, which goes to all processes of a terminal: it ends a task; without one, the runner decides."""
        if self._is_interruptible:
            self._is_interruptible = False
            raise KeyboardInterrupt

    def _listen(self) -> None:
        """Take in calls, and know when the runner is gone, also if a fork of it holds the connection open."""
        parent = os.getppid()
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        try:
            while True:
                if not poller.poll(_WATCH):
                    if os.getppid() != parent:
                        break
                    continue
                frame = self._channel.receive()
                if frame.kind is Kind.CANCEL:
                    self._cancelled.set()
                elif frame.kind is Kind.CALL:
                    self._calls.put(frame)
                else:
                    self._calls.put(None)
                    return
                del frame
        except EOFError:
            pass
        writer = threading.Thread(target=close_recorders, daemon=True)
        writer.start()
        writer.join(_LAST_WRITES)
        os._exit(1)


class _Parcel:
    """What a run came to, on its way home. A result is packed before its run is completed, and only once."""

    def __init__(self) -> None:
        self._value: Any = None
        self._packed: Packed | None = None

    def check(self, value: Any) -> None:
        """Pack a result.

        Raises:
            SerializationError: It cannot be pickled.
        """
        if not is_atomic((value,)):
            self._packed = require_portable(value)
            self._value = value

    def wrap(self, state: State) -> tuple[tuple[State, str, Any], Packed]:
        """The head and the value of the answer: the state, what the value is, and words about it.

        Raises:
            SerializationError: What the state holds cannot be pickled.
        """
        if not state.has_data:
            return (state, "none", None), ()
        data = state.data
        if is_stored(data):
            return self._wrap_stored(state, data)
        if isinstance(data, BaseException):
            words, packed = pack_error(data)
            return (bare(state), "error", words), packed
        if self._packed is not None and data is self._value:
            return (bare(state), "value", None), self._packed
        return (bare(state), "value", None), require_portable(data)

    @staticmethod
    def _wrap_stored(state: State, data: Any) -> tuple[tuple[State, str, Any], Packed]:
        """A result that is kept goes along with its record; if it cannot, whoever wants it reads it."""
        error = data.get() if state.is_failed() and data.has_cached_object() else None
        words = pack_error(error)[0] if isinstance(error, BaseException) else None
        try:
            packed = pack(data)
            if words is not None:
                unpack(packed)
        except Exception:  # whatever the class of an exception does when it is made again
            packed = pack(getattr(data, "metadata", data))
        return (bare(copy(state)), "record", words), packed
