"""Worker processes as the runner sees them: one of them, and all that a started runner has."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any
from weakref import WeakSet

from mainspring._engine.main_program import GUARD, WORKER
from mainspring.exceptions import WorkerDied, WorkerNotStarted
from mainspring.logging import get_logger
from mainspring.states.conversion import describe_exception
from mainspring.task_runners.channel import Channel, Frame, Kind, Packed
from mainspring.task_runners.portability import unpack_error
from mainspring.task_runners.relays import Inbox
from mainspring.task_runners.serving import Setup, serve

__all__ = ["Child", "Crew"]

PATIENCE = 10.0
"""Seconds that a worker has to end after it was told to, before it is made to."""

_TOLD = frozenset({Kind.LOG, Kind.EVENT, Kind.STATE})


class Child:
    """One worker process. Used by one thread at a time, except for `cancel`.

    Args:
        process: The process, which was started.
        channel: Our end of the connection.
    """

    def __init__(self, process: Any, channel: Channel) -> None:
        self.process = process
        self.pid: int = process.pid
        self._channel = channel
        self.context_number = 0  # of the context that it was told last

    @classmethod
    def start(cls, number: int) -> Child:
        """Start a process. It is ready for nothing until it was set up.

        Raises:
            Exception: There can be none.
        """
        import multiprocessing  # on use: most programs need no processes

        context = multiprocessing.get_context("spawn")
        ours, theirs = socket.socketpair()
        process = context.Process(target=serve, args=(theirs,), name=f"{WORKER}-{number}", daemon=False)
        try:
            # An interrupt from the keyboard goes to the process, too, and it cannot tell what to do before it serves.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, Channel(ours))

    def set_up(self, setup: Setup, packed: Packed, inbox: Inbox) -> None:
        """Make it ready for calls.

        Raises:
            WorkerNotStarted: It died, or its initializer failed.
        """
        try:
            frame = self.call(Kind.SETUP, setup, packed, inbox)
        except EOFError as gone:
            raise WorkerNotStarted(
                f"A worker process {_end_of(self.exit_code())} before it was ready for work; what it wrote to standard"
                f" error says more. Each worker process imports the main program, which must not run anything then."
                f" {GUARD} A program that is read from standard input cannot be imported."
            ) from gone
        if frame.kind is Kind.UNREADY:
            cause = unpack_error(frame.head, frame.packed)
            raise WorkerNotStarted(
                f"A worker process could not be set up. Its initializer failed: {describe_exception(cause)}"
            ) from cause

    def call(self, kind: Kind, head: Any, packed: Packed, inbox: Inbox) -> Frame:
        """Send a frame and wait for the answer; what is told meanwhile goes to the inbox.

        Raises:
            EOFError: The process died.
        """
        try:
            self._channel.send(kind, head, packed)
        except OSError:  # it is dead; what it has sent before is still to be read
            pass
        while True:
            frame = self._channel.receive()
            if frame.kind not in _TOLD:
                return frame
            inbox.take(frame)

    def cancel(self) -> None:
        """Tell it that nothing is to begin any more."""
        try:
            self._channel.send(Kind.CANCEL)
        except OSError:  # it is dead, and whoever waits for it notices
            pass

    def is_alive(self) -> bool:
        """Whether the process is there."""
        return bool(self.process.is_alive())

    def exit_code(self) -> int | None:
        """How the process ended, once nothing comes from it any more; one that has not ended is made to."""
        self._channel.close()
        self._wait(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self._wait(PATIENCE)
        code: int | None = self.process.exitcode
        return code

    def death(self) -> WorkerDied:
        """The exception that says how it died."""
        code = self.exit_code()
        hint = " If nobody has killed it, the system was short of memory." if code == -signal.SIGKILL else ""
        return WorkerDied(f"Worker process {self.pid} {_end_of(code)}.{hint}", exit_code=code)

    def close(self) -> None:
        """Close the connection, which ends the process if it has not ended. May be called twice."""
        self._channel.close()

    def dismiss(self) -> None:
        """Tell it to end."""
        try:
            self._channel.send(Kind.EXIT)
        except OSError:  # it has ended
            pass

    def end(self, deadline: float, inbox: Inbox) -> None:
        """Wait for its end, and hear what it still has to tell; force it at the deadline."""
        try:
            while True:
                self._channel.give_up_after(max(deadline - time.monotonic(), 0.001))
                inbox.take(self._channel.receive())
        except (EOFError, TimeoutError):
            pass
        self._channel.close()
        self._wait(max(deadline - time.monotonic(), 0.05))
        if self.process.exitcode is None:
            get_logger("task_runner.processpool").warning(
                "Worker process %s did not end within %g seconds and is killed. Does a task leave threads running?",
                self.pid,
                PATIENCE,
            )
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._channel.close()
        self.process.kill()
        self._wait(PATIENCE)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.process.join(seconds)
        # Another thread that waits for any process may have been told instead, and knows in a moment.
        while self.process.exitcode is None and not self._is_gone() and time.monotonic() < end:
            time.sleep(0.001)

    def _is_gone(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except OSError:
            return True
        return False


def _end_of(code: int | None) -> str:
    """What a process did, from its exit code."""
    if code is None:
        return "ended in a way that is not known"
    if code >= 0:
        return f"ended itself with exit code {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"


class Crew:
    """The worker processes of a started runner: started when needed, kept, and replaced when they die.

    Safe to use from any thread.

    Args:
        limit: The most processes at a time.
        prepare: Gives the setup, at the first start.
        inbox: Told what happens in processes.
    """

    def __init__(self, limit: int, prepare: Callable[[], tuple[Setup, Packed]], inbox: Inbox) -> None:
        self.inbox = inbox
        self._limit = limit
        self._prepare = prepare
        self._setup: tuple[Setup, Packed] | None = None
        self._changed = threading.Condition()
        self._all: set[Child] = set()
        self._free: list[Child] = []
        self._starting = 0
        self._started = 0
        self._problem: Exception | None = None
        self._process = os.getpid()
        _crews.add(self)

    def take(self) -> Child:
        """A worker that nobody else uses until it is given back or dropped.

        Raises:
            WorkerNotStarted: There is none, and none can be started.
        """
        with self._changed:
            while True:
                while self._free:
                    child = self._free.pop()
                    if child.is_alive():
                        return child
                    self._drop(child)
                if self._problem is not None:
                    raise WorkerNotStarted(str(self._problem)) from self._problem.__cause__
                if len(self._all) + self._starting < self._limit:
                    self._starting += 1
                    self._started += 1
                    number = self._started
                    break
                self._changed.wait()
        return self._start(number)

    def give_back(self, child: Child) -> None:
        """Let others use a worker."""
        with self._changed:
            self._free.append(child)
            self._changed.notify()

    def drop(self, child: Child) -> None:
        """Forget a worker that has died."""
        with self._changed:
            self._drop(child)

    def cancel(self) -> None:
        """Tell all workers that nothing is to begin any more."""
        with self._changed:
            children = list(self._all)
        for child in children:
            child.cancel()

    def end(self) -> None:
        """End all workers in order; none of them is at work."""
        children = self._leave()
        for child in children:
            child.dismiss()
        deadline = time.monotonic() + PATIENCE
        for child in children:
            child.end(deadline, self.inbox)

    def kill(self) -> None:
        """End all workers at once, whatever they are doing."""
        if os.getpid() == self._process:  # in a fork of the process they are not ours
            for child in self._leave():
                child.kill()

    def _leave(self) -> list[Child]:
        _crews.discard(self)
        with self._changed:
            children = list(self._all)
            self._all.clear()
            self._free.clear()
            self._problem = self._problem or WorkerNotStarted("The task runner was left.")
        return children

    def _drop(self, child: Child) -> None:
        child.close()
        self._all.discard(child)
        self._changed.notify()

    def _start(self, number: int) -> Child:
        """Start a worker; if that fails once, it is not tried again, for it would fail each time."""
        child = None
        try:
            with self._changed:
                if self._setup is None:
                    self._setup = self._prepare()
            child = Child.start(number)
            child.set_up(*self._setup, self.inbox)
        except BaseException as error:
            if child is not None:
                child.kill()
            problem = error if isinstance(error, WorkerNotStarted) else None
            if problem is None:
                problem = WorkerNotStarted(f"No worker process can be started: {describe_exception(error)}")
                problem.__cause__ = error
            with self._changed:
                self._starting -= 1
                self._problem = self._problem or problem
                self._changed.notify_all()
            if not isinstance(error, Exception):
                raise
            raise problem from problem.__cause__
        with self._changed:
            self._starting -= 1
            self._all.add(child)
        return child


_crews: WeakSet[Crew] = WeakSet()


def _kill_all() -> None:
    """At the end of the program: nobody may be left by a runner that nobody has left."""
    for crew in list(_crews):
        crew.kill()


def kill_at_exit() -> None:
    """See that `_kill_all` is called before `multiprocessing` waits for all processes that there are."""
    import_module(
        "multiprocessing.util"
    )  # which registers what waits; what is registered later is called earlier
    atexit.unregister(_kill_all)
    atexit.register(_kill_all)
