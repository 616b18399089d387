"""What a worker process does: it is set up, makes the calls that it is sent, one after the other, and ends.

What a call does is the business of whoever sends it: it names a function of ours, which is given the `Station`, the
head and the value of the frame, and returns kind, head and value of the answer. What it raises goes home as it is. The
main thread makes the calls, so limits on time can interrupt them. A second thread listens to the parent, and ends the
process at once if that is gone. What the process then leaves is settled by whoever opens the run store next.
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
from typing import Any, NamedTuple

from mainspring._cancel_scopes import CancelScope, Stop, StopKind, live
from mainspring._imports import loaded
from mainspring._processes.channel import Channel, Frame, Kind, Packed, unpack
from mainspring._processes.flow_files import FlowFiles
from mainspring._processes.portability import pack_error
from mainspring._processes.relays import Audience, Outbox, Relay
from mainspring.context import SettingsContext
from mainspring.exceptions import RunCancelled
from mainspring.recording import close_recorders, commit_noted
from mainspring.settings import reload_settings

__all__ = ["Setup", "Station", "serve"]

_WATCH = 1_000
"""Milliseconds after which a worker that hears nothing sees whether its parent is still there."""

_LAST_WRITES = 2.0
"""Seconds that a worker without a parent has to write what is in its buffers."""

_LEADER = "MAINSPRING_INTERNAL_GROUP"
"""Set in the environment of what belongs to the process group of a worker."""


class Setup(NamedTuple):
    """What holds for all calls of a worker. What may be of the user's making is packed beside it.

    Args:
        environment: The environment of the parent.
        settings: Its settings, as `SettingsContext` gives them.
        levels: See `Audience`.
        flow_files: See `FlowFiles`.
    """

    environment: dict[str, str]
    settings: dict[str, Any]
    levels: tuple[int, ...]
    flow_files: FlowFiles


def serve(end: socket.socket, leads: bool = False) -> None:
    """Be a worker; returns when there is no more to do.

    Args:
        end: This side of the connection.
        leads: Lead a process group, unless a process around does: it is killed with all that it has started.
    """
    if leads and _LEADER not in os.environ:
        os.setpgid(0, 0)
    station = Station(Channel(end), leads)
    try:
        station.serve()
    except EOFError:  # the parent is gone before there was anything to do
        os._exit(1)


class Station:
    """This process, at work; what a call finds here.

    Attributes:
        cancelled: Set when nothing is to begin any more.
        context: What was active where the call was made; kept from one call to the next, see `open_context`.
    """

    def __init__(self, channel: Channel, leads: bool) -> None:
        self.cancelled = threading.Event()
        self.context: dict[str, Any] = {}
        self._channel = channel
        self._leads = leads
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._outbox = Outbox(channel)
        self._relay = Relay(self._outbox)
        self._received = 0  # calls, by the listener
        self._call = 0  # the number of the one that is made
        self._stops: dict[int, Stop] = {}  # by the number of the call
        self._scope: CancelScope | None = None
        self._is_interruptible = False
        self._is_postponed = False

    def serve(self) -> None:
        """Work until the parent says that it is over."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while the process was started
        frame = self._channel.receive()
        threading.Thread(target=self._listen, name="mainspring-listener", daemon=True).start()
        with ExitStack() as stack:
            try:
                self._set_up(frame, stack)
            except BaseException as error:  # whatever the initializer raises: the parent has to know
                self._outbox.answer(Kind.UNREADY, *pack_error(error))
            else:
                self._outbox.answer(Kind.READY)
            while (call := self._frames.get()) is not None:
                self._answer(call)
                del call  # nothing of it is kept while there is nothing to do
        self._outbox.end()

    def _set_up(self, frame: Frame, stack: ExitStack) -> None:
        setup = Setup(*frame.head)
        os.environ.clear()
        os.environ.update(setup.environment)
        if self._leads:
            os.environ[_LEADER] = "1"
        reload_settings(tell=False)  # the parent has said it
        stack.enter_context(SettingsContext.hydrate(setup.settings))
        FlowFiles(*setup.flow_files).find()
        self._relay.replace_output(setup.levels)
        initializer, arguments = unpack(frame.packed)
        if initializer is not None:
            initializer(*arguments)
        self._relay.join_root()

    def _answer(self, frame: Frame) -> None:
        """Make a call and send what it came to."""
        self._call += 1
        make, head = frame.head
        answer: tuple[Kind, Any, Packed]
        try:
            answer = make(self, head, frame.packed)
            commit_noted()  # whoever is told of a run finds it in the history
        except BaseException as error:  # belongs to whoever waits for the answer
            words, packed = pack_error(error)
            answer = Kind.RAISED, words, packed
        self._stops.pop(self._call, None)
        self._outbox.answer(*answer)

    # For calls

    def open_context(self, packed: bytes | None) -> None:
        """Make `context` what was packed; None leaves it as it is, as whoever makes the call knows it to be.

        Raises:
            Exception: Whatever making a part of it again raises.
        """
        if packed is not None:
            self.context = pickle.loads(packed)

    @contextmanager
    def at_work(self, audience: Audience, scope: CancelScope | None = None) -> Generator[None]:
        """The block in which a call may be interrupted, and what happens is told to those who listen.

        Args:
            audience: They.
            scope: Is told to stop if the call has to.
        """
        self._scope = scope
        try:
            with self._relay.open_for(audience), self._interruptible():
                yield
        finally:
            self._scope = None
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()  # whoever watches the output does not want to wait for the end of the worker

    def tell_limit(self, deadline: float | None, facts: object = None) -> None:
        """Have this process killed if what goes on is not over by then; None says that it is over.

        ``facts`` are for whoever has it killed. Sent at once: what goes on may let no other thread send anything.
        """
        was, self._is_interruptible = self._is_interruptible, False  # not in the middle of a frame
        try:
            self._channel.send(Kind.LIMIT, (deadline, facts))
        finally:
            self._is_interruptible = was
        if self._is_postponed:
            self._interrupt(signal.SIGINT, None)

    # Signals and the end

    @contextmanager
    def _interruptible(self) -> Generator[None]:
        self._is_postponed = False
        self._is_interruptible = True
        try:
            if self._call in self._stops:  # before there was anything to interrupt
                self._interrupt(signal.SIGINT, None)
            yield
        finally:
            self._is_interruptible = False

    def _interrupt(self, number: int, _: object) -> None:
        """SIGINT, from the terminal or ourselves: it ends a call; without one, the parent decides."""
        if not self._is_interruptible:
            self._is_postponed = True
            return
        stop = self._stops.get(self._call)
        if stop is None:
            self._is_interruptible = False
            raise KeyboardInterrupt
        asyncio = loaded("asyncio")
        loop = None if asyncio is None else asyncio._get_running_loop()
        if asyncio is None or loop is None:
            self._is_interruptible = False
            raise RunCancelled(stop.reason)
        for task in asyncio.all_tasks(
            loop
        ):  # it would be left lying around if its loop ended by an exception
            loop.call_soon_threadsafe(task.cancel)

    def _stop_call(self, number: int, reason: str) -> None:
        """Have the call of that number end, if it is not over."""
        if number != self._received or number in self._stops:
            return
        self._stops[number] = stop = Stop(StopKind.CANCELLED, reason)
        if number != self._call:  # it is about to begin
            return
        for scope in (self._scope, *live.values()):
            if scope is not None:
                scope.stop(stop)
        main = threading.main_thread().ident
        if self._is_interruptible and main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    def _listen(self) -> None:
        """Take in calls, and know when the parent is gone, also if a fork of it holds the connection open."""
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
                    self.cancelled.set()
                elif frame.kind is Kind.INTERRUPT:
                    self._stop_call(*frame.head)
                elif frame.kind is Kind.CALL:
                    self._received += 1
                    self._frames.put(frame)
                else:
                    self._frames.put(None)
                    return
                del frame
        except EOFError:
            pass
        writer = threading.Thread(target=close_recorders, daemon=True)
        writer.start()
        writer.join(_LAST_WRITES)
        os._exit(1)
